// What the page knows: each rocket once, as the stream last told it, with totals by type and mission. It is changed as events
// arrive and read when the page paints; it paints nothing itself. Sorting works on numbers that are made before: 100,000 rockets
// that are nearly in order are sorted in a few milliseconds.

import { compare } from "./exact.js";

const collator = (a, b) => compare(a, b);

/** What the fleet can be sorted by, in the words of `GET /rockets?sortBy=` and two more. */
export const SORT_KEYS = {
  channel: () => 0,
  type: (rocket, ranks) => ranks.types.get(rocket.type),
  mission: (rocket, ranks) => ranks.missions.get(rocket.mission),
  speed: (rocket) => rocket.currentSpeed,
  status: (rocket) => (rocket.status === "active" ? 0 : 1),
  launchTime: (rocket) => Date.parse(rocket.launchTime) || 0,
  lastUpdated: (rocket) => Date.parse(rocket.lastUpdated) || 0,
  lastMessageTime: (rocket) => Date.parse(rocket.lastMessageTime) || 0,
  number: (rocket) => rocket.lastMessageNumber,
  pending: (rocket) => rocket.pendingMessages,
};

export class Fleet {
  #entries = new Map();
  #listeners = new Set();
  types = new Map();
  missions = new Map();
  /** Counts every change, so that readers see whether there was one. */
  version = 0;
  /** Counts what may change who is listed: rockets that come and go. */
  membership = 0;
  isComplete = false;
  pulse = undefined;

  get size() {
    return this.#entries.size;
  }

  /** What is kept of a rocket, or nothing. */
  get(id) {
    return this.#entries.get(id);
  }

  entries() {
    return this.#entries.values();
  }

  /** Calls a function with each entry that has changed, at once. */
  onChange(listener) {
    this.#listeners.add(listener);
  }

  /** Takes an event of the stream. */
  take(type, data) {
    if (type === "rocket") this.#set(data);
    else if (type === "gone") this.#remove(data.id);
    else if (type === "reset") this.#clear();
    else if (type === "synced") this.isComplete = true;
    else if (type === "pulse") this.pulse = { ...data, heardAt: Date.now() };
    this.version += 1;
  }

  #set(rocket) {
    let entry = this.#entries.get(rocket.id);
    if (entry) {
      count(this.types, entry.rocket.type, -1);
      count(this.missions, entry.rocket.mission, -1);
    } else {
      entry = { id: rocket.id, place: Number.parseInt(rocket.id.slice(0, 8) + rocket.id.slice(9, 13), 16), key: 0 };
      this.#entries.set(rocket.id, entry);
      this.membership += 1;
    }
    rocket.type = count(this.types, rocket.type, 1);
    rocket.mission = count(this.missions, rocket.mission, 1);
    entry.rocket = rocket;
    entry.seenAt = Date.now();
    for (const listener of this.#listeners) listener(entry);
  }

  #remove(id) {
    const entry = this.#entries.get(id);
    if (!entry) return;
    count(this.types, entry.rocket.type, -1);
    count(this.missions, entry.rocket.mission, -1);
    this.#entries.delete(id);
    this.membership += 1;
    entry.isGone = true;
    for (const listener of this.#listeners) listener(entry);
  }

  #clear() {
    this.#entries.clear();
    this.types.clear();
    this.missions.clear();
    this.membership += 1;
    this.isComplete = false;
  }

  /** The entries that a filter lets through, sorted; `before` is the order of last time, which makes it quick. */
  select({ sort, status, type, mission, q }, before = []) {
    const isWanted = this.#filter({ status, type, mission, q });
    const known = new Set(before);
    const listed = before.filter((entry) => this.#entries.get(entry.id) === entry && isWanted(entry.rocket));
    for (const entry of this.#entries.values()) if (!known.has(entry) && isWanted(entry.rocket)) listed.push(entry);
    return this.#sorted(listed, sort);
  }

  #filter({ status, type, mission, q }) {
    const text = q.trim().toLowerCase();
    const types = matching(this.types, text);
    const missions = matching(this.missions, text);
    return (rocket) =>
      (!status || (status === "waiting" ? rocket.pendingMessages > 0 : rocket.status === status)) &&
      (!type || rocket.type === type) &&
      (!mission || rocket.mission === mission) &&
      (!text || rocket.id.includes(text) || types.has(rocket.type) || missions.has(rocket.mission));
  }

  #sorted(listed, sort) {
    const isDown = sort.startsWith("-");
    const keyOf = SORT_KEYS[isDown ? sort.slice(1) : sort] ?? SORT_KEYS.channel;
    const ranks = { types: ranked(this.types), missions: ranked(this.missions) };
    for (const entry of listed) entry.key = keyOf(entry.rocket, ranks);
    const byId = (a, b) => a.place - b.place || collator(a.id, b.id);
    const idOrder = isDown && keyOf === SORT_KEYS.channel ? (a, b) => byId(b, a) : byId;
    const sign = isDown ? -1 : 1;
    return listed.sort((a, b) => (a.key === b.key ? idOrder(a, b) : a.key < b.key ? -sign : sign));
  }
}

// Adds to the count of a name, and gives the one copy of the name that is kept.
function count(counts, name, by) {
  const counted = counts.get(name);
  if (!counted) {
    counts.set(name, { name, rockets: by });
    return name;
  }
  counted.rockets += by;
  if (counted.rockets === 0) counts.delete(name);
  return counted.name;
}

function matching(counts, text) {
  const names = [...counts.keys()];
  return new Set(text ? names.filter((name) => name.toLowerCase().includes(text)) : []);
}

// The place of each name among all, by code point as the service sorts.
function ranked(counts) {
  return new Map([...counts.keys()].sort(byCodePoint).map((name, rank) => [name, rank]));
}

function byCodePoint(a, b) {
  const [left, right] = [[...a], [...b]];
  const at = left.findIndex((character, index) => character !== right[index]);
  if (at < 0) return left.length - right.length;
  return at >= right.length ? 1 : left[at].codePointAt(0) - right[at].codePointAt(0);
}
