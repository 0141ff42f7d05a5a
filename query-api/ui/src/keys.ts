// The map of keys: which key does what, as the page obeys it and as the help shows it.
//
// In the flow: `explorer.svelte` → **`keys`** → `components/App`. Single keys act only outside of text fields, and can be turned off.

export const KEYS = [
  ["/", "focus-query", "Go to the query"],
  ["j", "next", "Next event"],
  ["k", "previous", "Previous event"],
  ["Enter", "open", "Open or close the event"],
  ["Escape", "close", "Close what is open, leave a field"],
  ["c", "context", "Context of the event: what its resource logged around it"],
  ["x", "trace", "Trace of the event"],
  ["r", "refresh", "Search again"],
  ["z", "undo-zoom", "Undo the zoom"],
  ["-", "zoom-out", "Twice the time range"],
  ["[", "earlier", "The time before this range"],
  ["]", "later", "The time after this range"],
  ["i", "time", "Choose the time range"],
  ["t", "tail", "Live tail on or off"],
  ["Space", "pause", "Pause or resume the live tail"],
  ["p", "pipeline", "Pipeline on or off"],
  ["f", "facets", "Show or hide the fields"],
  ["o", "order", "Newest or oldest first"],
  ["w", "wrap", "Wrap long lines or not"],
  ["d", "density", "Dense or roomy rows"],
  ["l", "zone", "UTC or local time"],
  ["s", "share", "Copy a link to exactly this"],
  ["b", "saved", "Saved searches"],
  ["m", "theme", "Dark, light, or as the system"],
  ["?", "keys", "This map of keys"],
] as const;

export type Action = (typeof KEYS)[number][1];

export interface Pressed {
  key: string;
  ctrlKey: boolean;
  metaKey: boolean;
  altKey: boolean;
}

/** What a key does when the focus is in no text field. */
export function actionOf(pressed: Pressed): Action | null {
  if (pressed.ctrlKey || pressed.metaKey || pressed.altKey) return null;
  const key = pressed.key === " " ? "Space" : pressed.key;
  return KEYS.find(([name]) => name === key)?.[1] ?? null;
}
