// The view as an address, and back: what the page shows is a pure function of this.
//
// In the flow: `query_text` → **`url_state`** → `explorer.svelte`. Reading never fails: what makes no sense counts as not given.

import type { Sort } from "./api_types";
import { DEFAULT_COLUMNS } from "./log_event";
import { DEFAULT_RANGE, isRange, type Range } from "./time_range";
import type { Zone } from "./timestamp";

export const PAGES = ["explore", "tail", "pipeline"] as const;
export type Page = (typeof PAGES)[number];

/** What lies over the results: the surroundings of one event, or a trace. */
export interface Panel {
  kind: "context" | "trace";
  id: string;
}

export interface View {
  page: Page;
  q: string;
  range: Range;
  sort: Sort;
  columns: string[];
  /** The fields whose values the sidebar lists. */
  facets: string[];
  wrap: boolean;
  dense: boolean;
  zone: Zone;
  /** The id of the event whose details are open. */
  event: string | null;
  panel: Panel | null;
}

export const DEFAULT_FACETS: readonly string[] = ["level", "resourceId", "commit"];
/** How many columns or open facets an address may name. */
const NAMES_MAX = 24;

export const DEFAULT_VIEW: View = {
  page: "explore",
  q: "",
  range: DEFAULT_RANGE,
  sort: "newest",
  columns: [...DEFAULT_COLUMNS],
  facets: [...DEFAULT_FACETS],
  wrap: false,
  dense: true,
  zone: "utc",
  event: null,
  panel: null,
};

/** The part of the address after `?`, without it; defaults are left out. */
export function writeView(view: View): string {
  const params: [string, string][] = [];
  if (view.page !== "explore") params.push(["view", view.page]);
  if (view.q !== "") params.push(["q", view.q]);
  if (view.range.from !== DEFAULT_RANGE.from || view.range.to !== DEFAULT_RANGE.to) {
    params.push(["from", view.range.from], ["to", view.range.to]);
  }
  if (view.sort !== "newest") params.push(["sort", view.sort]);
  if (!same(view.columns, DEFAULT_COLUMNS)) params.push(["columns", writeNames(view.columns)]);
  if (!same(view.facets, DEFAULT_FACETS)) params.push(["facets", writeNames(view.facets)]);
  if (view.wrap) params.push(["wrap", "1"]);
  if (!view.dense) params.push(["density", "roomy"]);
  if (view.zone !== "utc") params.push(["tz", view.zone]);
  if (view.event !== null) params.push(["event", view.event]);
  if (view.panel !== null) params.push([view.panel.kind, view.panel.id]);
  return params.map(([name, value]) => `${name}=${encode(value)}`).join("&");
}

/** Like `encodeURIComponent`, but what an address may hold as it is stays readable. */
function encode(value: string): string {
  return encodeURIComponent(value.toWellFormed())
    .replace(/%(3A|2C|28|29|2F|40|2A)/g, (escape) => decodeURIComponent(escape))
    .replaceAll("%20", "+");
}

export function readView(search: string): View {
  const params = new URLSearchParams(search);
  const range = { from: params.get("from") ?? DEFAULT_RANGE.from, to: params.get("to") ?? DEFAULT_RANGE.to };
  const page = PAGES.find((page) => page === params.get("view")) ?? "explore";
  return {
    page,
    q: params.get("q") ?? "",
    range: isRange(range) ? range : DEFAULT_RANGE,
    sort: params.get("sort") === "oldest" ? "oldest" : "newest",
    columns: readNames(params.get("columns")) ?? [...DEFAULT_COLUMNS],
    facets: readNames(params.get("facets")) ?? [...DEFAULT_FACETS],
    wrap: params.get("wrap") === "1",
    dense: params.get("density") !== "roomy",
    zone: params.get("tz") === "local" ? "local" : "utc",
    event: params.get("event") || null,
    panel: readPanel(params),
  };
}

function readPanel(params: URLSearchParams): Panel | null {
  for (const kind of ["context", "trace"] as const) {
    const id = params.get(kind);
    if (id) return { kind, id };
  }
  return null;
}

/** Names joined by commas; a comma or backslash in a name is escaped. */
function writeNames(names: readonly string[]): string {
  return names.map((name) => name.replace(/[\\,]/g, "\\$&")).join(",");
}

function readNames(text: string | null): string[] | null {
  if (text === null) return null;
  if (text === "") return [];
  const names = [...text.matchAll(/((?:\\[\s\S]|[^,\\])+)/g)].map((match) => (match[1] ?? "").replace(/\\([\s\S])/g, "$1"));
  return [...new Set(names)].slice(0, NAMES_MAX);
}

function same(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((name, i) => name === b[i]);
}

/** Two views with the same key show the same hits. */
export function searchKey(view: View): string {
  return JSON.stringify([view.q, view.range.from, view.range.to, view.sort]);
}
