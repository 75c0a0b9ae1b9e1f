// A message checked as the ingress checks it, in the same order and with the same words, so that a form can say what is wrong before
// anything is sent. The server checks again: this is a help, and no promise.

const NUMBER_MAX = 9_223_372_036_854_775_807n;
const TEXT = "must be a string of 1 to 255 characters";
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const TIME = /^(\d{4})-(\d\d)-(\d\d)[Tt]([01]\d|2[0-3]):([0-5]\d):([0-5]\d|60)(\.\d+)?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)$/;

/** The fields of each type of message, and whether each is a text or the least integer that it may be. */
export const PAYLOADS = {
  RocketLaunched: { type: "text", launchSpeed: 1n, mission: "text" },
  RocketSpeedIncreased: { by: 0n },
  RocketSpeedDecreased: { by: 0n },
  RocketMissionChanged: { newMission: "text" },
  RocketExploded: { reason: "text" },
};

/** What is wrong with a message, in the words of the ingress; nothing where it is right. */
export function problemOf(message) {
  const { metadata, message: payload } = message;
  if (!isObject(metadata)) return "metadata: must be a JSON object";
  if (!UUID.test(metadata.channel)) return "metadata.channel: must be a UUID such as 193270a9-c9cf-404a-8f83-838e71d9ae67";
  const number = integerProblem(metadata.messageNumber, 1n);
  if (number) return `metadata.messageNumber: ${number}`;
  if (!isTime(metadata.messageTime)) return "metadata.messageTime: must be an RFC 3339 time such as 2022-02-02T19:39:05.86337+01:00";
  const fields = Object.hasOwn(PAYLOADS, metadata.messageType) && PAYLOADS[metadata.messageType];
  if (!fields) return "failed to process message: unknown message type";
  if (!isObject(payload)) return "message: must be a JSON object";
  for (const [name, kind] of Object.entries(fields)) {
    const problem = payload[name] === undefined ? "is missing" : kind === "text" ? textProblem(payload[name]) : integerProblem(payload[name], kind);
    if (problem) return `message.${name}: ${problem}`;
  }
  return undefined;
}

/** The integer that a text says, as it is to be sent; the text itself where it says none. */
export function integerOf(text) {
  if (!/^-?(0|[1-9]\d*)$/.test(text)) return text;
  const exact = BigInt(text);
  return Number.isSafeInteger(Number(exact)) ? Number(exact) : exact;
}

/** How two messages differ, a row a field: its path, what was and what will be. */
export function differences(before, after, path = "") {
  if (!isObject(before) && !isObject(after)) return before === after ? [] : [{ path, before, after }];
  const [old, fresh] = [isObject(before) ? before : {}, isObject(after) ? after : {}];
  const names = new Set([...Object.keys(old), ...Object.keys(fresh)]);
  return [...names].flatMap((name) => differences(old[name], fresh[name], path ? `${path}.${name}` : name));
}

export function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function integerProblem(value, least) {
  const isInteger = typeof value === "bigint" || Number.isSafeInteger(value);
  const isInRange = isInteger && BigInt(value) >= least && BigInt(value) <= NUMBER_MAX;
  return isInRange ? undefined : `must be an integer from ${least} to ${NUMBER_MAX}`;
}

function textProblem(value) {
  const isText = typeof value === "string" && value !== "" && [...value].length <= 255;
  return isText ? undefined : TEXT;
}

function isTime(value) {
  const parts = typeof value === "string" && value.length <= 255 && TIME.exec(value);
  if (!parts) return false;
  const [, year, month, day] = parts.map(Number);
  return month >= 1 && month <= 12 && day >= 1 && day <= new Date(Date.UTC(2000 + (year % 400), month, 0)).getUTCDate();
}
