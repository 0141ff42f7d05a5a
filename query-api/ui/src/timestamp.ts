// Reads and writes moments: RFC 3339 with up to nine decimals in, text for people in UTC or local time out.
//
// In the flow: `level` → **`timestamp`** → `time_range`. A `Date` holds milliseconds; what is finer is carried beside it.

export type Zone = "utc" | "local";

export interface Moment {
  ms: number;
  /** Nanoseconds beyond the millisecond, 0 to 999,999. */
  nanos: number;
}

const RFC3339 = /^(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}:\d{2})(?:[.,](\d{1,9}))?([Zz]|[+-]\d{2}:\d{2})$/;

export function parseTimestamp(text: unknown): Moment | null {
  if (typeof text !== "string") return null;
  const match = RFC3339.exec(text);
  if (!match) return null;
  const [, day, time, fraction = "", offset] = match;
  const whole = Date.parse(`${day}T${time}${offset?.toUpperCase()}`);
  if (Number.isNaN(whole)) return null;
  const digits = fraction.padEnd(9, "0");
  return { ms: whole + Number(digits.slice(0, 3)), nanos: Number(digits.slice(3)) };
}

/** `later - earlier` in milliseconds, fractions included. */
export function millisBetween(earlier: Moment, later: Moment): number {
  return later.ms - earlier.ms + (later.nanos - earlier.nanos) / 1e6;
}

const two = (n: number): string => String(n).padStart(2, "0");
const three = (n: number): string => String(n).padStart(3, "0");

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

interface Parts {
  year: number;
  month: number;
  day: number;
  hour: number;
  minute: number;
  second: number;
  milli: number;
}

function parts(ms: number, zone: Zone): Parts {
  const date = new Date(ms);
  return zone === "utc"
    ? {
        year: date.getUTCFullYear(),
        month: date.getUTCMonth(),
        day: date.getUTCDate(),
        hour: date.getUTCHours(),
        minute: date.getUTCMinutes(),
        second: date.getUTCSeconds(),
        milli: date.getUTCMilliseconds(),
      }
    : {
        year: date.getFullYear(),
        month: date.getMonth(),
        day: date.getDate(),
        hour: date.getHours(),
        minute: date.getMinutes(),
        second: date.getSeconds(),
        milli: date.getMilliseconds(),
      };
}

/** `2023-09-15 10:20:30.123`, what a person can read, copy and paste into the time picker. */
export function showMoment(ms: number, zone: Zone): string {
  const p = parts(ms, zone);
  return `${p.year}-${two(p.month + 1)}-${two(p.day)} ${two(p.hour)}:${two(p.minute)}:${two(p.second)}.${three(p.milli)}`;
}

/** `Sep 15 10:20:30.123`, for a row of the result list. */
export function showInRow(ms: number, zone: Zone): { day: string; time: string } {
  const p = parts(ms, zone);
  return {
    day: `${MONTHS[p.month]} ${two(p.day)}`,
    time: `${two(p.hour)}:${two(p.minute)}:${two(p.second)}.${three(p.milli)}`,
  };
}

const MINUTE = 60_000;
const DAY = 86_400_000;

/** A label of the time axis, as short as the distance of the marks allows. */
export function showOnAxis(ms: number, step: number, zone: Zone): string {
  const p = parts(ms, zone);
  const date = `${MONTHS[p.month]} ${two(p.day)}`;
  if (step >= DAY) return date;
  const midnight = p.hour === 0 && p.minute === 0 && p.second === 0 && p.milli === 0;
  if (midnight && step >= MINUTE) return date;
  if (step >= MINUTE) return `${two(p.hour)}:${two(p.minute)}`;
  if (step >= 1000) return `${two(p.hour)}:${two(p.minute)}:${two(p.second)}`;
  return `${two(p.second)}.${three(p.milli)}`;
}

/** The first moment of the day that `ms` is in. */
export function startOfDay(ms: number, zone: Zone): number {
  const p = parts(ms, zone);
  return zone === "utc" ? Date.UTC(p.year, p.month, p.day) : new Date(p.year, p.month, p.day).getTime();
}

/** How far local time is ahead of UTC at that moment. */
export function zoneOffset(ms: number, zone: Zone): number {
  return zone === "utc" ? 0 : -new Date(ms).getTimezoneOffset() * MINUTE;
}

/** `850 µs`, `12.3 ms`, `4.20 s`, `3 min 5 s`, `2 h 4 min`, `3 d 2 h`. */
export function showDuration(ms: number): string {
  const sign = ms < 0 ? "-" : "";
  const size = Math.abs(ms);
  if (size === 0) return "0";
  if (size < 1) return `${sign}${Math.round(size * 1000)} µs`;
  if (size < 1000) return `${sign}${Number(size.toFixed(size < 100 ? 1 : 0))} ms`;
  if (size < MINUTE) return `${sign}${Number((size / 1000).toFixed(size < 10_000 ? 2 : 1))} s`;
  const [large, small, unit, rest] =
    size < 60 * MINUTE
      ? [Math.floor(size / MINUTE), Math.floor((size % MINUTE) / 1000), "min", "s"]
      : size < DAY
        ? [Math.floor(size / (60 * MINUTE)), Math.floor((size % (60 * MINUTE)) / MINUTE), "h", "min"]
        : [Math.floor(size / DAY), Math.floor((size % DAY) / (60 * MINUTE)), "d", "h"];
  return small ? `${sign}${large} ${unit} ${small} ${rest}` : `${sign}${large} ${unit}`;
}
