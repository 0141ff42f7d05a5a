// Decides what a time range means: what people type and paste, how it is named, how it moves.
//
// In the flow: `timestamp` → **`time_range`** → `url_state`. A range keeps the text of its ends: `now-15m` stays relative until it is pinned.

import { showMoment, startOfDay, zoneOffset, type Zone } from "./timestamp";

export interface Range {
  /** `now`, `now-15m`, or RFC 3339 in UTC. */
  from: string;
  to: string;
}

export const DEFAULT_RANGE: Range = { from: "now-1h", to: "now" };

export const QUICK_RANGES: readonly { label: string; range: Range }[] = [
  ["Last 5 minutes", "now-5m"],
  ["Last 15 minutes", "now-15m"],
  ["Last 30 minutes", "now-30m"],
  ["Last hour", "now-1h"],
  ["Last 3 hours", "now-3h"],
  ["Last 12 hours", "now-12h"],
  ["Last 24 hours", "now-24h"],
  ["Last 3 days", "now-3d"],
  ["Last 7 days", "now-7d"],
  ["Last 30 days", "now-30d"],
].map(([label = "", from = ""]) => ({ label, range: { from, to: "now" } }));

const UNIT_MS: Record<string, number> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };
const UNIT_NAMES: Record<string, string> = { s: "second", m: "minute", h: "hour", d: "day", w: "week" };
const RELATIVE = /^now(?:-(\d{1,7})([smhdw]))?$/;
/** The shortest range that zooming makes. */
const RANGE_MIN_MS = 1;
/** 2262-04-11, the last day that Elasticsearch can hold. */
const MOMENT_MAX_MS = 9_223_372_036_854;

/** The milliseconds since the epoch that an end of a range stands for, if it is one. */
export function resolve(end: string, now: number): number | null {
  const relative = RELATIVE.exec(end);
  if (relative) {
    const [, amount = "0", unit = "s"] = relative;
    return now - Number(amount) * (UNIT_MS[unit] ?? 0);
  }
  if (!/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?Z$/.test(end)) return null;
  const ms = Date.parse(end.replace(/(\.\d{3})\d+/, "$1"));
  return Number.isNaN(ms) ? null : ms;
}

export function isRange(range: Range): boolean {
  return resolve(range.from, 0) !== null && resolve(range.to, 0) !== null;
}

export function isRelative(range: Range): boolean {
  return RELATIVE.test(range.from) || RELATIVE.test(range.to);
}

/** Milliseconds as an end of a range. */
export function endAt(ms: number): string {
  return new Date(ms).toISOString();
}

/** The last moment before `ms`, because both ends of a range belong to it. */
export function endBefore(ms: number): string {
  return new Date(ms - 1).toISOString().replace("Z", "999999Z");
}

/** The same range with ends that do not move. */
export function pin(range: Range, now: number): Range {
  return { from: pinEnd(range.from, now), to: pinEnd(range.to, now) };
}

function pinEnd(end: string, now: number): string {
  return RELATIVE.test(end) ? endAt(resolve(end, now) ?? now) : end;
}

/** The range with the same middle and `factor` times the length. */
export function zoomOut(range: Range, now: number, factor = 2): Range {
  const from = resolve(range.from, now) ?? now;
  const to = resolve(range.to, now) ?? now;
  if (range.to === "now") {
    const minutes = Math.max(1, Math.round(((to - from) * factor) / UNIT_MS["m"]!));
    return { from: `now-${minutes % 1440 === 0 ? `${minutes / 1440}d` : minutes % 60 === 0 ? `${minutes / 60}h` : `${minutes}m`}`, to: "now" };
  }
  const more = (Math.max(to - from, RANGE_MIN_MS) * (factor - 1)) / 2;
  return { from: endAt(Math.max(0, Math.floor(from - more))), to: endAt(Math.min(MOMENT_MAX_MS, Math.ceil(to + more))) };
}

/** The range as long as this one that ends where it begins, or begins where it ends. */
export function step(range: Range, now: number, direction: -1 | 1): Range {
  const from = resolve(range.from, now) ?? now;
  const to = resolve(range.to, now) ?? now;
  const length = Math.max(to - from, RANGE_MIN_MS);
  const start = Math.min(Math.max(0, from + direction * length), MOMENT_MAX_MS - length);
  return { from: endAt(start), to: endAt(start + length) };
}

/** The next quick range that is longer, for a search that found nothing. */
export function widen(range: Range, now: number): Range | null {
  const length = now - (resolve(range.from, now) ?? now);
  return QUICK_RANGES.find((quick) => now - (resolve(quick.range.from, now) ?? now) > length * 2)?.range ?? null;
}

export function nameRange(range: Range, zone: Zone): string {
  const quick = QUICK_RANGES.find((quick) => quick.range.from === range.from && quick.range.to === range.to);
  if (quick) return quick.label;
  if (range.to === "now") {
    const [, amount, unit = ""] = RELATIVE.exec(range.from) ?? [];
    if (amount) return `Last ${amount} ${UNIT_NAMES[unit]}${amount === "1" ? "" : "s"}`;
  }
  const [from, to] = [nameEnd(range.from, zone), nameEnd(range.to, zone)];
  const sameDay = from.length > 10 && from.slice(0, 11) === to.slice(0, 11);
  return `${from} – ${sameDay ? to.slice(11) : to}`;
}

/** An end of a range as it stands in the picker's fields: what `parseEnd` reads back. */
export function nameEnd(end: string, zone: Zone): string {
  if (RELATIVE.test(end)) return end;
  const ms = resolve(end, 0);
  return ms === null ? end : showMoment(ms, zone).replace(/(:00)?\.000$/, "");
}

const NAIVE = /^(\d{4})-(\d{2})-(\d{2})(?:[Tt ]+(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?)?\s*([Zz]|UTC|[+-]\d{2}:?\d{2})?$/;

/** Reads what a person typed or pasted as one end of a range. Null if it is no moment. */
export function parseEnd(text: string, which: "from" | "to", now: number, zone: Zone): string | null {
  const typed = text.trim();
  const short = /^-?\s*(\d{1,7})\s*([smhdw])(?:\s+ago)?$/.exec(typed);
  if (short) return `now-${short[1]}${short[2]}`;
  if (RELATIVE.test(typed)) return typed;
  if (/^\d{9,19}$/.test(typed)) return parseEpoch(typed);
  const clock = /^(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?$/.exec(typed);
  const day = new Date(startOfDay(now, zone) + zoneOffset(now, zone)).toISOString().slice(0, 10);
  const match = NAIVE.exec(clock ? `${day} ${typed}` : typed);
  if (!match) return null;
  const [, year, month, date, hour, minute, second, fraction, offset] = match;
  const milli = Number((fraction ?? "").padEnd(3, "0").slice(0, 3));
  const fields = [Number(year), Number(month) - 1, Number(date), Number(hour ?? 0), Number(minute ?? 0), Number(second ?? 0), milli] as const;
  const utc = Date.UTC(...fields);
  // 31 February becomes 3 March unless it is compared.
  if (new Date(utc).getUTCDate() !== fields[2] || fields[1] > 11 || fields[3] > 23 || fields[4] > 59 || fields[5] > 59) return null;
  const start = offset ? utc - offsetMs(offset) : zone === "utc" ? utc : new Date(...fields).getTime();
  if (start < 0 || start > MOMENT_MAX_MS) return null;
  if (hour === undefined && which === "to") return endBefore(nextDay(start, offset ? "utc" : zone));
  return endAt(start);
}

function parseEpoch(digits: string): string | null {
  // The API's own rule: below 10¹¹ seconds, below 10¹⁴ milliseconds, below 10¹⁷ microseconds, else nanoseconds.
  const value = Number(digits);
  const ms = value < 1e11 ? value * 1000 : value < 1e14 ? value : value < 1e17 ? value / 1e3 : value / 1e6;
  return ms <= MOMENT_MAX_MS ? endAt(Math.floor(ms)) : null;
}

function offsetMs(offset: string): number {
  const match = /^([+-])(\d{2}):?(\d{2})$/.exec(offset);
  if (!match) return 0;
  return (match[1] === "-" ? -1 : 1) * (Number(match[2]) * 60 + Number(match[3])) * 60_000;
}

/** The first moment of the next day; a day need not have 24 hours. */
function nextDay(start: number, zone: Zone): number {
  return zone === "utc" ? start + UNIT_MS["d"]! : startOfDay(start + 26 * UNIT_MS["h"]!, zone);
}

/** How much is shown on either side of a single pasted moment. */
const AROUND_MS = 15 * 60_000;

/** Reads a pasted range (`… - …`, `… to …`, `…/…`), a day, or a moment, around which it makes a range. */
export function parsePasted(text: string, now: number, zone: Zone): Range | null {
  for (const separator of [/\s+(?:-|–|—|to|until)\s+/, /\s*(?:\/|\.\.|–|—|,\s)\s*/]) {
    const [first, second, ...rest] = text.trim().split(separator);
    if (!first || !second || rest.length > 0) continue;
    const from = parseEnd(first, "from", now, zone);
    const to = parseEnd(second, "to", now, zone);
    if (from && to) return inOrder({ from, to }, now);
  }
  const from = parseEnd(text, "from", now, zone);
  if (!from) return null;
  if (RELATIVE.test(from)) return { from, to: "now" };
  const to = parseEnd(text, "to", now, zone) ?? from;
  if (to !== from) return { from, to };
  const at = resolve(from, now) ?? now;
  return { from: endAt(Math.max(0, at - AROUND_MS)), to: endAt(at + AROUND_MS) };
}

/** The same range with its earlier end first. */
export function inOrder(range: Range, now: number): Range {
  const from = resolve(range.from, now) ?? 0;
  const to = resolve(range.to, now) ?? 0;
  return from <= to ? range : { from: range.to, to: range.from };
}
