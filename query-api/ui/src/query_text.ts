// Edits the text of a query: adds and removes filters, quotes values, says what could be completed at the caret.
//
// In the flow: `time_range` → **`query_text`** → `url_state`. The server's parser judges a query; this file only needs to see
// where its clauses end, and leaves alone what it does not understand.

/** A part of a query that stands at its top level. */
export interface Clause {
  start: number;
  end: number;
  negated: boolean;
  /** The clause without what negates it. */
  body: string;
}

export interface Clauses {
  clauses: Clause[];
  /** Whether an OR stands between two of them, so that they do not all have to hold. */
  hasOr: boolean;
}

/** A filter on one field; `null` stands for having the field at all. */
export interface Filter {
  field: string;
  values: (string | null)[];
}

const CLOSING: Record<string, string> = { "(": ")", "[": "]", "{": "}" };

/** A value as the query language writes it, quoted unless that changes nothing. */
export function quote(value: string): string {
  const bare = /^[\p{L}\p{N}_][\p{L}\p{N}_.@-]*$/u.test(value) && !/^(AND|OR|NOT|TO)$/.test(value);
  return bare ? value : `"${value.replace(/["\\]/g, "\\$&")}"`;
}

/** The text that a value in a query stands for; null if it is a pattern and stands for many. */
export function unquote(text: string): string | null {
  if (/^"(?:[^"\\]|\\[\s\S])*"$/.test(text)) return text.slice(1, -1).replace(/\\([\s\S])/g, "$1");
  if (/["()\s]/.test(text.replace(/\\[\s\S]/g, "")) || /(^|[^\\])(\\\\)*[*?]/.test(text)) return null;
  return text.replace(/\\([\s\S])/g, "$1");
}

export function fieldName(name: string): string {
  return name.replace(/[\s()"\\*?:<>=[\]{}]/g, "\\$&").replace(/^-/, "\\-");
}

/** `level:error`, `level:(error OR warn)`, `-level:error`, `level:*`. */
export function writeFilter(filter: Filter, negated = false): string {
  const name = fieldName(filter.field);
  const values = filter.values.map((value) => (value === null ? "*" : quote(value)));
  return `${negated ? "-" : ""}${name}:${values.length === 1 ? values[0] : `(${values.join(" OR ")})`}`;
}

/** Reads a clause's body as a filter on one field, if it is no more than that. */
export function readFilter(body: string): Filter | null {
  const colon = nameEnd(body);
  if (colon <= 0 || body[colon] !== ":") return null;
  const name = body.slice(0, colon).replace(/\\([\s\S])/g, "$1");
  const text = body.slice(colon + 1);
  if (text === "*") return { field: name, values: [null] };
  if (!text.startsWith("(")) {
    const value = /^[[{<>]/.test(text) || text === "" ? null : unquote(text);
    return value === null ? null : { field: name, values: [value] };
  }
  if (!text.endsWith(")")) return null;
  const inner = text.slice(1, -1);
  const { clauses } = clausesOf(inner);
  const between = clauses.slice(1).map((clause, i) => inner.slice(clauses[i]?.end, clause.start).trim());
  const values = clauses.map((clause) => (clause.negated ? null : unquote(clause.body)));
  if (values.length === 0 || values.includes(null) || between.some((word) => word !== "OR")) return null;
  return { field: name, values };
}

/** Where a field's name ends: at the first of `: < >` that is not escaped, or −1 when a quote or bracket comes first. */
function nameEnd(text: string): number {
  for (let i = 0; i < text.length; i += 1) {
    const c = text[i] ?? "";
    if (c === "\\") i += 1;
    else if (c === ":" || c === "<" || c === ">") return i;
    else if (/["()[\]{}\s]/.test(c)) return -1;
  }
  return -1;
}

/** Where a clause that begins at `start` ends. */
function unitEnd(text: string, start: number): number {
  let i = start;
  while (i < text.length) {
    const c = text[i] ?? "";
    if (c === "\\") i += 2;
    else if (c === '"') i = quoteEnd(text, i);
    else if (c in CLOSING && (i === start || /[:<>=]/.test(text[i - 1] ?? ""))) {
      i = bracketEnd(text, i);
      return Math.min(i, text.length);
    } else if (c in CLOSING || c === ")" || /\s/.test(c)) break;
    else i += 1;
  }
  // A stray closing bracket is a clause of its own, so that reading always goes on.
  return Math.min(Math.max(i, start + 1), text.length);
}

function quoteEnd(text: string, start: number): number {
  for (let i = start + 1; i < text.length; i += 1) {
    if (text[i] === "\\") i += 1;
    else if (text[i] === '"') return i + 1;
  }
  return text.length;
}

function bracketEnd(text: string, start: number): number {
  let depth = 0;
  let i = start;
  while (i < text.length) {
    const c = text[i] ?? "";
    if (c === "\\") i += 1;
    else if (c === '"') i = quoteEnd(text, i) - 1;
    else if (c in CLOSING) depth += 1;
    else if (/[)\]}]/.test(c)) {
      depth -= 1;
      if (depth === 0) return i + 1;
    }
    i += 1;
  }
  return text.length;
}

export function clausesOf(query: string): Clauses {
  const clauses: Clause[] = [];
  let hasOr = false;
  let negatedAt = -1;
  let i = 0;
  while (i < query.length) {
    if (/\s/.test(query[i] ?? "")) {
      i += 1;
      continue;
    }
    const end = unitEnd(query, i);
    const unit = query.slice(i, end);
    if (unit === "OR") hasOr = true;
    else if (unit === "NOT") negatedAt = negatedAt < 0 ? i : negatedAt;
    else if (unit !== "AND") {
      const minus = unit.length > 1 && unit.startsWith("-");
      const body = minus ? bodyAfterMinus(query, i) : { text: unit, end };
      const start = negatedAt >= 0 ? negatedAt : i;
      clauses.push({ start, end: body.end, negated: minus !== negatedAt >= 0, body: body.text });
      negatedAt = -1;
      i = body.end;
      continue;
    } else if (unit === "AND") negatedAt = -1;
    i = end;
  }
  return { clauses, hasOr };
}

function bodyAfterMinus(query: string, minus: number): { text: string; end: number } {
  const end = unitEnd(query, minus + 1);
  return { text: query.slice(minus + 1, end), end };
}

/** Whether two values of a field are the same to the search. */
function sameValue(field: string, a: string | null, b: string | null): boolean {
  if (a === null || b === null) return a === b;
  return field === "level" ? a.toLowerCase() === b.toLowerCase() : a === b;
}

interface FilterClause {
  clause: Clause;
  filter: Filter;
}

function filtersOn(query: string, field: string): FilterClause[] {
  const { clauses, hasOr } = clausesOf(query);
  if (hasOr) return [];
  return clauses.flatMap((clause) => {
    const filter = readFilter(clause.body);
    return filter && filter.field === field ? [{ clause, filter }] : [];
  });
}

export type FilterState = "included" | "excluded" | null;

/** Whether every hit must have that value, or none may. */
export function filterState(query: string, field: string, value: string | null): FilterState {
  for (const { clause, filter } of filtersOn(query, field)) {
    if (filter.values.some((other) => sameValue(field, other, value))) return clause.negated ? "excluded" : "included";
  }
  return null;
}

/** The query that also wants `field` to have `value`, or one of the values that it already names for it. */
export function include(query: string, field: string, value: string | null): string {
  if (filterState(query, field, value) === "included") return query;
  const without = removeFilter(query, field, value);
  const named = filtersOn(without, field).find(({ clause, filter }) => !clause.negated && !filter.values.includes(null));
  // Of a message several words can be wanted at once; of any other field an event has one value.
  if (named && value !== null && field !== "message") {
    const more = writeFilter({ field, values: [...named.filter.values, value] });
    return without.slice(0, named.clause.start) + more + without.slice(named.clause.end);
  }
  return append(without, writeFilter({ field, values: [value] }));
}

/** The query that wants no hit to have that value. */
export function exclude(query: string, field: string, value: string | null): string {
  if (filterState(query, field, value) === "excluded") return query;
  return append(removeFilter(query, field, value), writeFilter({ field, values: [value] }, true));
}

/** The query without any filter on that value. */
export function removeFilter(query: string, field: string, value: string | null): string {
  const found = filtersOn(query, field).find(({ filter }) => filter.values.some((other) => sameValue(field, other, value)));
  if (!found) return query;
  const { clause, filter } = found;
  const rest = filter.values.filter((other) => !sameValue(field, other, value));
  if (rest.length > 0) {
    return query.slice(0, clause.start) + writeFilter({ field, values: rest }, clause.negated) + query.slice(clause.end);
  }
  const before = query.slice(0, clause.start).replace(/\s+$/, "");
  const after = query.slice(clause.end).replace(/^\s+/, "");
  // An AND that joined the clause to its neighbour goes with it.
  if (/(^|\s)AND$/.test(before)) return join(before.replace(/\s*AND$/, ""), after);
  return join(before, before === "" ? after.replace(/^AND(\s+|$)/, "") : after);
}

function join(before: string, after: string): string {
  return before && after ? `${before} ${after}` : before + after;
}

/** The query and one more clause, both of which must hold. */
export function append(query: string, clause: string): string {
  const trimmed = query.trim();
  if (trimmed === "") return clause;
  return `${clausesOf(trimmed).hasOr ? `(${trimmed})` : trimmed} ${clause}`;
}

/** The words and phrases, in lower case, that the query wants in a message: what to mark in it. */
export function wantedWords(query: string): string[] {
  const words = new Set<string>();
  collectWords(query, words, 0);
  return [...words];
}

const NESTING_MAX = 20;

function collectWords(query: string, into: Set<string>, depth: number): void {
  if (depth > NESTING_MAX) return;
  for (const { negated, body } of clausesOf(query).clauses) {
    if (negated) continue;
    const colon = nameEnd(body);
    if (body.startsWith("(")) collectWords(body.slice(1, body.endsWith(")") ? -1 : undefined), into, depth + 1);
    else if (colon < 0) addWord(body, into);
    else if (body[colon] === ":" && body.slice(0, colon) === "message") collectWords(body.slice(colon + 1), into, depth + 1);
  }
}

function addWord(body: string, into: Set<string>): void {
  const word = (unquote(body) ?? body.replace(/[*?]/g, "")).trim().toLowerCase();
  if (word !== "") into.add(word);
}

/** What could be completed at the caret, and which part of the query the completion replaces. */
export interface CompletionPoint {
  kind: "field" | "value";
  /** The field whose values are wanted. */
  field: string | null;
  prefix: string;
  start: number;
  end: number;
}

export function completionAt(query: string, caret: number): CompletionPoint | null {
  let start = 0;
  let group: string | null = null;
  // Walks to the caret; an opening bracket begins a query inside the query.
  for (let i = 0; i < caret; ) {
    const c = query[i] ?? "";
    if (c === "\\") i += 2;
    else if (c === '"') {
      const end = quoteEnd(query, i);
      if (end > caret || (end === caret && !isClosedQuote(query, i, end))) break;
      i = end;
    } else if (c === "(") {
      const head = query.slice(start, i);
      const colon = nameEnd(head);
      group = colon > 0 && colon === head.length - 1 ? head.slice(0, colon).replace(/\\([\s\S])/g, "$1") : null;
      i += 1;
      start = i;
    } else if (c === ")") {
      group = null;
      i += 1;
      start = i;
    } else if (/\s/.test(c)) {
      i += 1;
      start = i;
    } else i += 1;
  }
  if (query[start] === "-" && start < caret) start += 1;
  const typed = query.slice(start, caret);
  const rest = /^(?:\\[\s\S]|[^\s()"\\])*/.exec(query.slice(caret))?.[0].length ?? 0;
  if (group !== null) return { kind: "value", field: group, prefix: bare(typed), start, end: caret + rest };
  const colon = nameEnd(typed);
  if (colon > 0 && typed[colon] === ":") {
    const field = typed.slice(0, colon).replace(/\\([\s\S])/g, "$1");
    const value = typed.slice(colon + 1);
    if (/^[<>[{]/.test(value)) return null;
    const closing = value.startsWith('"') ? closingQuote(query, start + colon + 1) : caret + rest;
    return { kind: "value", field, prefix: bare(value), start: start + colon + 1, end: closing };
  }
  if (colon >= 0 || typed.startsWith('"')) return null;
  return { kind: "field", field: null, prefix: typed, start, end: caret + rest };
}

function isClosedQuote(text: string, start: number, end: number): boolean {
  return end - start > 1 && /^"(?:[^"\\]|\\[\s\S])*"$/.test(text.slice(start, end));
}

function closingQuote(query: string, start: number): number {
  const end = quoteEnd(query, start);
  return isClosedQuote(query, start, end) ? end : query.length;
}

/** What was typed of a value, without its quotes and escapes. */
function bare(text: string): string {
  return text.replace(/^"/, "").replace(/(^|[^\\])"$/, "$1").replace(/\\([\s\S])/g, "$1");
}
