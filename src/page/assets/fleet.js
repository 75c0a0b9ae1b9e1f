// What the page knows: each rocket once, as the stream last told it, with totals by type and mission. It is changed as events
// arrive and read when the page paints; it paints nothing itself. Sorting works on keys that are made once for each change,
// and moves only those whose key is another one, so that 100,000 rockets are put in order in some ten milliseconds.

import { compare } from "./exact.js";

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
  #turn = 0;
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
    for (const entry of this.#entries.values()) entry.isGone = true;
    this.#entries.clear();
    this.types.clear();
    this.missions.clear();
    this.membership += 1;
    this.isComplete = false;
  }

  /** The entries that a filter lets through, sorted; `before` is the order of last time, which makes it quick. */
  select({ sort, status, type, mission, q }, before = []) {
    const isWanted = this.#filter({ status, type, mission, q });
    const order = this.#orderOf(sort);
    const turn = (this.#turn += 1);
    const isSameSort = before.sortedBy === sort;
    const [kept, moved] = [[], []];
    for (const entry of before) {
      if (entry.isGone || !isWanted(entry.rocket)) continue;
      entry.turn = turn;
      const isKept = !order.rekey(entry) && isSameSort;
      (isKept ? kept : moved).push(entry);
    }
    for (const entry of this.#entries.values()) {
      if (entry.turn === turn || !isWanted(entry.rocket)) continue;
      order.rekey(entry);
      moved.push(entry);
    }
    const listed = merged(kept, moved.sort(order.compare), order.compare);
    listed.sortedBy = sort;
    return listed;
  }

  #filter({ status, type, mission, q }) {
    const text = q.trim().toLowerCase();
    const types = matching(this.types, text);
    const missions = matching(this.missions, text);
    return (rocket) =>
      (!status || (status === "pending" ? rocket.pendingMessages > 0 : rocket.status === status)) &&
      (!type || rocket.type === type) &&
      (!mission || rocket.mission === mission) &&
      (!text || rocket.id.includes(text) || types.has(rocket.type) || missions.has(rocket.mission));
  }

  #orderOf(sort) {
    const isDown = sort.startsWith("-");
    const keyOf = SORT_KEYS[isDown ? sort.slice(1) : sort] ?? SORT_KEYS.channel;
    const ranks = { types: ranked(this.types), missions: ranked(this.missions) };
    const isRanked = keyOf === SORT_KEYS.type || keyOf === SORT_KEYS.mission;
    const idSign = isDown && keyOf === SORT_KEYS.channel ? -1 : 1;
    const sign = isDown ? -1 : 1;
    return {
      compare: (a, b) => (a.key === b.key ? idSign * (a.place - b.place || compare(a.id, b.id)) : a.key < b.key ? -sign : sign),
      // A key is made again only of a rocket that has changed; whether it is another one.
      rekey: (entry) => {
        if (entry.keyedBy === keyOf && entry.keyed === entry.rocket && !isRanked) return false;
        const key = keyOf(entry.rocket, ranks);
        const isOther = key !== entry.key || entry.keyedBy !== keyOf;
        [entry.key, entry.keyed, entry.keyedBy] = [key, entry.rocket, keyOf];
        return isOther;
      },
    };
  }
}

// Two sorted lists as one: those that have moved go in between those that have not, which is quicker than to sort all.
function merged(kept, moved, order) {
  if (!kept.length) return moved;
  const all = [];
  let next = 0;
  for (const entry of kept) {
    while (next < moved.length && order(moved[next], entry) < 0) all.push(moved[next++]);
    all.push(entry);
  }
  while (next < moved.length) all.push(moved[next++]);
  return all;
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
