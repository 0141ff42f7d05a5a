// Decides how the severity that an event states is shown: which of seven classes, which letter, in which order they are stacked.
//
// In the flow: `api_types` → **`level`** → `log_event`. A class is told by its letter too, never by its colour alone.

export const LEVEL_CLASSES = ["fatal", "error", "warn", "info", "debug", "trace", "other"] as const;

export type LevelClass = (typeof LEVEL_CLASSES)[number];

/** One letter for each class, for those who do not see the colours. */
export const LEVEL_LETTERS: Record<LevelClass, string> = {
  fatal: "F",
  error: "E",
  warn: "W",
  info: "I",
  debug: "D",
  trace: "T",
  other: "·",
};

const CLASS_OF_WORD: Record<string, LevelClass> = {
  fatal: "fatal",
  critical: "fatal",
  crit: "fatal",
  emergency: "fatal",
  emerg: "fatal",
  alert: "fatal",
  panic: "fatal",
  error: "error",
  err: "error",
  severe: "error",
  warn: "warn",
  warning: "warn",
  info: "info",
  information: "info",
  informational: "info",
  notice: "info",
  debug: "debug",
  fine: "debug",
  trace: "trace",
  verbose: "trace",
  finest: "trace",
};

export function levelClass(level: unknown): LevelClass {
  if (typeof level !== "string") return "other";
  const word = level.toLowerCase();
  return Object.hasOwn(CLASS_OF_WORD, word) ? (CLASS_OF_WORD[word] ?? "other") : "other";
}

/** Counts by class from counts by the words that events state, with the words of each class that occur. */
export function countsByClass(levels: Record<string, number>): Map<LevelClass, { count: number; words: string[] }> {
  const classes = new Map<LevelClass, { count: number; words: string[] }>();
  for (const [word, count] of Object.entries(levels)) {
    if (count <= 0) continue;
    const name = levelClass(word);
    const entry = classes.get(name) ?? { count: 0, words: [] };
    entry.count += count;
    entry.words.push(word);
    classes.set(name, entry);
  }
  return classes;
}
