// Decides where the events of a trace lie on its timeline, and in which lanes.
//
// In the flow: `explorer.svelte` → **`trace_layout`** → `components/TraceView`.

import type { Hit } from "./api_types";
import { levelClass, type LevelClass } from "./level";
import { momentOf, textOf } from "./log_event";
import { millisBetween, type Moment } from "./timestamp";

export interface Dot {
  hit: Hit;
  level: LevelClass;
  /** Milliseconds since the trace's first event; null without a timestamp. */
  offset_ms: number | null;
  /** Where between the trace's ends, 0 to 1. */
  at: number;
}

/** What one resource logged in the trace. */
export interface Lane {
  resource: string;
  dots: Dot[];
  from: number;
  to: number;
}

export interface Trace {
  dots: Dot[];
  lanes: Lane[];
  length_ms: number;
  errors: number;
}

export function layOutTrace(hits: readonly Hit[]): Trace {
  const moments = hits.map((hit) => momentOf(hit.event));
  const known = moments.filter((moment): moment is Moment => moment !== null);
  const first = known.reduce<Moment | null>((a, b) => (a && millisBetween(a, b) >= 0 ? a : b), null);
  const last = known.reduce<Moment | null>((a, b) => (a && millisBetween(a, b) <= 0 ? a : b), null);
  const length_ms = first && last ? millisBetween(first, last) : 0;
  const dots = hits.map((hit, i): Dot => {
    const moment = moments[i] ?? null;
    const offset_ms = moment && first ? millisBetween(first, moment) : null;
    return { hit, level: levelClass(hit.event["level"]), offset_ms, at: offset_ms !== null && length_ms > 0 ? offset_ms / length_ms : 0 };
  });
  return { dots, lanes: lanes(dots), length_ms, errors: dots.filter((dot) => dot.level === "error" || dot.level === "fatal").length };
}

function lanes(dots: readonly Dot[]): Lane[] {
  const byResource = new Map<string, Dot[]>();
  for (const dot of dots) {
    const resource = textOf(dot.hit.event["resourceId"]) || "no resource";
    byResource.set(resource, [...(byResource.get(resource) ?? []), dot]);
  }
  return [...byResource].map(([resource, own]) => ({
    resource,
    dots: own,
    from: Math.min(...own.map((dot) => dot.at)),
    to: Math.max(...own.map((dot) => dot.at)),
  }));
}
