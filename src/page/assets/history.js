// The history of one rocket as far as it is loaded: the newest page first, older ones when they are asked for, newer ones as the
// rocket flies. Rows are kept ascending by number. A correction changes numbers that have gone by, so whoever sees a rocket change
// without a new number loads the history again.

import { get, path, rocketPath } from "./api.js";
import { compare, minus } from "./exact.js";

const PAGE = 500;
/** Rows that are kept at once; whoever wants to see further back asks for a number. */
const ROWS_MAX = 20_000;

export class History {
  rows = [];
  #cursor;
  #turn = 0;

  constructor(id) {
    this.id = id;
  }

  /** Whether older numbers can be loaded. */
  get hasMore() {
    return this.#cursor !== undefined && this.rows.length < ROWS_MAX;
  }

  /** The row of a number, if it is loaded. */
  row(number) {
    return this.rows.find((row) => String(row.message_number) === String(number));
  }

  /** Loads the newest page, and forgets what was loaded before. */
  async load() {
    const turn = (this.#turn += 1);
    const { data, next_cursor: cursor, trimmed_through: trimmed } = await this.#page({});
    if (turn !== this.#turn) return;
    this.rows = data.reverse();
    this.#cursor = cursor;
    this.trimmedThrough = trimmed;
  }

  /** Loads the page before the oldest row. */
  async loadOlder() {
    if (!this.hasMore) return;
    const turn = this.#turn;
    const { data, next_cursor: cursor, trimmed_through: trimmed } = await this.#page({ cursor: this.#cursor });
    if (turn !== this.#turn) return;
    this.rows = [...data.reverse(), ...this.rows];
    this.#cursor = cursor;
    this.trimmedThrough = trimmed;
  }

  /** Loads what is newer than the newest row; everything, where a page does not reach back to it. */
  async loadNewer() {
    const newest = this.rows.at(-1)?.message_number;
    if (newest === undefined) return this.load();
    const turn = this.#turn;
    const { data } = await this.#page({ limit: 100 });
    if (turn !== this.#turn) return undefined;
    const fresh = data.reverse().filter((row) => compare(row.message_number, newest) > 0);
    if (fresh.length === data.length && data.length > 0) return this.load();
    this.rows = [...this.rows, ...fresh];
    if (this.rows.length > ROWS_MAX) return this.load();
    return undefined;
  }

  #page(query) {
    return get(path(rocketPath(this.id, "/history"), { limit: PAGE, ...query }));
  }
}

/** What a row did to the rocket, in a few words. */
export function effectOf(row, before, words) {
  const effect = row.status === "processed" ? changeOf(row, before, words) : row.error_message ?? "";
  return row.corrects ? `${effect} (in the place of event ${row.corrects})` : effect;
}

function changeOf(row, before, { number, signed }) {
  const [was, is] = [before?.rocket, row.rocket];
  if (!is) return "";
  const type = row.message_type;
  if (type === "RocketLaunched") return `${is.type}, ${is.mission}, at ${number(is.currentSpeed)}`;
  if (type === "RocketExploded") return is.explosionReason ?? "";
  if (type === "RocketMissionChanged") return was ? `${was.mission} → ${is.mission}` : is.mission;
  return was ? `${signed(minus(is.currentSpeed, was.currentSpeed))} → ${number(is.currentSpeed)}` : `speed ${number(is.currentSpeed)}`;
}
