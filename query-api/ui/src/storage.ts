// Keeps what outlives the page: theme, saved searches, whether single keys act; and for the tab only, the API key.
//
// In the flow: `api` → **`storage`** → `explorer.svelte`. A browser that refuses storage costs the memory, not the page.

export interface SavedSearch {
  name: string;
  /** The part of the address after `?`. */
  address: string;
}

export type Theme = "auto" | "dark" | "light";

const SEARCHES = "logflow.searches";
const THEME = "logflow.theme";
const SINGLE_KEYS = "logflow.single-keys";
const API_KEY = "logflow.api-key";
const SEARCHES_MAX = 200;

function read(storage: () => Storage, name: string): string | null {
  try {
    return storage().getItem(name);
  } catch {
    return null;
  }
}

function write(storage: () => Storage, name: string, value: string | null): void {
  try {
    if (value === null) storage().removeItem(name);
    else storage().setItem(name, value);
  } catch {
    // Private windows and full disks: the choice lasts as long as the page.
  }
}

const lasting = (): Storage => localStorage;
const forTab = (): Storage => sessionStorage;

export function readTheme(): Theme {
  const theme = read(lasting, THEME);
  return theme === "dark" || theme === "light" ? theme : "auto";
}

export function writeTheme(theme: Theme): void {
  write(lasting, THEME, theme === "auto" ? null : theme);
}

export function readSingleKeys(): boolean {
  return read(lasting, SINGLE_KEYS) !== "off";
}

export function writeSingleKeys(on: boolean): void {
  write(lasting, SINGLE_KEYS, on ? null : "off");
}

export function readApiKey(): string | null {
  return read(forTab, API_KEY);
}

export function writeApiKey(key: string | null): void {
  write(forTab, API_KEY, key);
}

export function readSearches(): SavedSearch[] {
  try {
    const parsed: unknown = JSON.parse(read(lasting, SEARCHES) ?? "[]");
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
  write(lasting, SEARCHES, JSON.stringify(searches));
  return searches;
}
