// Decides which columns the result list has, in which order and how wide.
//
// In the flow: `url_state` → **`columns`** → `components/Results`.

export function toggleColumn(columns: readonly string[], name: string): string[] {
  if (columns.includes(name)) return columns.filter((column) => column !== name);
  // The message takes what room is left, so it stays last.
  const last = columns.at(-1);
  return last === "message" ? [...columns.slice(0, -1), name, last] : [...columns, name];
}

export function moveColumn(columns: readonly string[], name: string, by: -1 | 1): string[] {
  const from = columns.indexOf(name);
  const to = from + by;
  if (from < 0 || to < 0 || to >= columns.length) return [...columns];
  const moved = [...columns];
  moved.splice(from, 1);
  moved.splice(to, 0, name);
  return moved;
}

/** How wide a column is, in characters; null takes what is left. */
function widthOf(name: string): number | null {
  if (name === "message") return null;
  if (name === "traceId" || name === "eventId") return 26;
  if (name === "commit" || name === "spanId") return 14;
  return 20;
}

/** How wide the level's letter and the time are. */
const FIXED_CH = [2.6, 21];
/** The least width of the column that takes what is left. */
const FLEXIBLE_CH = 30;

export interface Grid {
  /** For `grid-template-columns`: level and time first, then the columns chosen. */
  template: string;
  /** Below this the list scrolls sideways. */
  least_ch: number;
}

export function gridOf(columns: readonly string[]): Grid {
  const widths = columns.map((name) => widthOf(name));
  const flexible = widths.includes(null) ? widths.indexOf(null) : widths.length - 1;
  const least = [...FIXED_CH, ...widths.map((width) => width ?? FLEXIBLE_CH)];
  const template = least.map((width, i) => (i - FIXED_CH.length === flexible ? `minmax(${width}ch, 1fr)` : `${width}ch`));
  return { template: template.join(" "), least_ch: least.reduce((sum, width) => sum + width, 0) };
}
