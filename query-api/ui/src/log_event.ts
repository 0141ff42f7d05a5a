// Reads an event that nobody vouches for: any field may be absent, null, of another type, or hostile.
//
// In the flow: `timestamp` → **`log_event`** → `components`. What comes out is text for a text node, never markup.

import type { LogEvent } from "./api_types";
import { parseTimestamp, type Moment } from "./timestamp";

/** The fields that the result list shows unless told otherwise. */
export const DEFAULT_COLUMNS: readonly string[] = ["resourceId", "message"];

/** How many characters of a text a row draws; the details draw all of it. */
export const ROW_TEXT_MAX = 2_000;

/** The value at `path`, where a dot may be part of a name or lead into an object. */
export function fieldOf(event: LogEvent, path: string): unknown {
  let at: unknown = event;
  let rest = path;
  while (isObject(at)) {
    if (Object.hasOwn(at, rest)) return at[rest];
    const dot = rest.indexOf(".");
    if (dot < 0) return undefined;
    const name = rest.slice(0, dot);
    if (!Object.hasOwn(at, name)) return undefined;
    at = at[name];
    rest = rest.slice(dot + 1);
  }
  return undefined;
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function textOf(value: unknown): string {
  if (value === undefined || value === null) return "";
  if (typeof value === "string") return value;
  if (typeof value === "object") return JSON.stringify(value);
  return String(value);
}

/** A field as a text that can be searched for, or null where there is none. */
export function idOf(event: LogEvent, name: string): string | null {
  const value = event[name];
  return typeof value === "string" && value !== "" ? value : null;
}

export function momentOf(event: LogEvent): Moment | null {
  return parseTimestamp(event["timestamp"]);
}

// CSI and OSC sequences, then the two-byte escapes.
// eslint-disable-next-line no-control-regex
const ANSI = /[\u001b\u009b](?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[ -/]*[0-~])/g;
// eslint-disable-next-line no-control-regex
const CONTROL = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]/g;
// What turns the direction of the text around it, so that a line reads as what it is not.
const DIRECTION = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** Text for show: without ANSI escapes, with other control characters and directional overrides made visible. */
export function cleanText(text: string): string {
  return text
    .replace(ANSI, "")
    .replace(/\r\n?/g, "\n")
    .replace(CONTROL, (c) => (c <= "\u001f" ? String.fromCharCode(0x2400 + c.charCodeAt(0)) : "␡"))
    .replace(DIRECTION, (c) => `‹U+${c.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}›`);
}

/** As much of a text as a row draws. */
export function cutForRow(text: string): string {
  return text.length > ROW_TEXT_MAX ? `${text.slice(0, ROW_TEXT_MAX)}…` : text;
}

/** The same on one line. */
export function lineOf(text: string): string {
  return cleanText(cutForRow(text)).replace(/\n+$/, "").replaceAll("\n", " ↵ ").replaceAll("\t", "  ");
}

export interface Segment {
  text: string;
  /** Where the text leads, if it is an address that a browser may open. */
  href: string | null;
  /** Whether the query asked for it. */
  marked: boolean;
}

const ADDRESS = /https?:\/\/[^\s"'<>`{}|\\^]+/gi;
/** What ends a sentence rather than an address. */
const TRAILING = /[.,;:!?)\]]+$/;
const MARKS_MAX = 200;

/** Cuts a text into plain pieces, http(s) addresses, and the pieces that one of `terms` (in lower case) matches. */
export function segments(text: string, terms: readonly string[]): Segment[] {
  const pieces: Segment[] = [];
  let at = 0;
  for (const match of text.matchAll(ADDRESS)) {
    const address = match[0].replace(TRAILING, "");
    const href = safeAddress(address);
    if (href === null) continue;
    mark(text.slice(at, match.index), null, terms, pieces);
    mark(address, href, terms, pieces);
    at = match.index + address.length;
  }
  mark(text.slice(at), null, terms, pieces);
  return pieces;
}

function safeAddress(text: string): string | null {
  try {
    const address = new URL(text);
    return address.protocol === "http:" || address.protocol === "https:" ? address.href : null;
  } catch {
    return null;
  }
}

function mark(text: string, href: string | null, terms: readonly string[], into: Segment[]): void {
  if (text === "") return;
  const lower = text.toLowerCase();
  // Lower case may be longer than the text in a few scripts, and then its positions say nothing about the text.
  const usable = lower.length === text.length ? terms : [];
  let at = 0;
  while (into.length < MARKS_MAX) {
    let next = -1;
    let length = 0;
    for (const term of usable) {
      const found = lower.indexOf(term, at);
      if (found >= 0 && (next < 0 || found < next || (found === next && term.length > length))) {
        next = found;
        length = term.length;
      }
    }
    if (next < 0 || length === 0) break;
    if (next > at) into.push({ text: text.slice(at, next), href, marked: false });
    into.push({ text: text.slice(next, next + length), href, marked: true });
    at = next + length;
  }
  if (at < text.length) into.push({ text: text.slice(at), href, marked: false });
}
