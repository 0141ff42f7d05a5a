// Keeps what outlives the page: theme, saved searches, whether single keys act.
//
// In the flow: **`storage`** → `page.svelte`, `components/SavedMenu`. A browser that refuses storage costs the memory, not the page.

export interface SavedSearch {
  name: string;
  /** The part of the address after `?`. */
  address: string;
}

export type Theme = "auto" | "dark" | "light";

const SEARCHES = "logflow.searches";
const THEME = "logflow.theme";
const SINGLE_KEYS = "logflow.single-keys";
const SEARCHES_MAX = 200;

function read(name: string): string | null {
  try {
    return localStorage.getItem(name);
  } catch {
    return null;
  }
}

function write(name: string, value: string | null): void {
  try {
    if (value === null) localStorage.removeItem(name);
    else localStorage.setItem(name, value);
  } catch {
    // Private windows and full disks: the choice lasts as long as the page.
  }
}

export function readTheme(): Theme {
  const theme = read(THEME);
  return theme === "dark" || theme === "light" ? theme : "auto";
}

export function writeTheme(theme: Theme): void {
  write(THEME, theme === "auto" ? null : theme);
}

export function readSingleKeys(): boolean {
  return read(SINGLE_KEYS) !== "off";
}

export function writeSingleKeys(on: boolean): void {
  write(SINGLE_KEYS, on ? null : "off");
}

export function readSearches(): SavedSearch[] {
  try {
    const parsed: unknown = JSON.parse(read(SEARCHES) ?? "[]");
    if (!Array.isArray(parsed)) return [];
    return parsed.flatMap((entry: unknown) => {
      if (typeof entry !== "object" || entry === null) return [];
      const { name, address } = entry as Record<string, unknown>;
      return typeof name === "string" && typeof address === "string" ? [{ name, address }] : [];
    });
  } catch {
    return [];
  }
}

/** Adds or replaces the search of that name. */
export function saveSearch(search: SavedSearch): SavedSearch[] {
  const others = readSearches().filter((other) => other.name !== search.name);
  return writeSearches([search, ...others].slice(0, SEARCHES_MAX));
}

export function forgetSearch(name: string): SavedSearch[] {
  return writeSearches(readSearches().filter((search) => search.name !== name));
}

function writeSearches(searches: SavedSearch[]): SavedSearch[] {
  write(SEARCHES, JSON.stringify(searches));
  return searches;
}
