// Decides where the histogram's bars, marks and selection lie; the component only draws them.
//
// In the flow: `explorer.svelte` → **`histogram_layout`** → `components/Histogram`. Errors stand on the base line, where their height
// can be compared, and never become thinner than can be seen.

import type { Bucket } from "./api_types";
import { LEVEL_CLASSES, countsByClass, type LevelClass } from "./level";
import { showOnAxis, zoneOffset, type Zone } from "./timestamp";

export interface Segment {
  level: LevelClass;
  y: number;
  height: number;
}

export interface Bar {
  index: number;
  x: number;
  width: number;
  count: number;
  segments: Segment[];
}

export interface Mark {
  at: number;
  label: string;
}

export interface Layout {
  bars: Bar[];
  xMarks: Mark[];
  yMarks: Mark[];
  /** The count that reaches the top. */
  top: number;
}

/** Room for a label of the time axis. */
const X_LABEL_PX = 92;
const GAP_PX = 1;
/** The least height of a segment, so that three errors among ten thousand events are seen. */
const SEGMENT_MIN_PX: Record<LevelClass, number> = { fatal: 3, error: 3, warn: 2, info: 1, debug: 1, trace: 1, other: 1 };

export function layOut(buckets: readonly Bucket[], interval: number, width: number, height: number, zone: Zone): Layout {
  const top = niceTop(Math.max(0, ...buckets.map((bucket) => bucket.count)));
  const slot = buckets.length > 0 ? width / buckets.length : width;
  const bars = buckets.map((bucket, index) => layOutBar(bucket, index, slot, height, top));
  return { bars, xMarks: timeMarks(buckets, interval, width, zone), yMarks: countMarks(top, height), top };
}

function layOutBar(bucket: Bucket, index: number, slot: number, height: number, top: number): Bar {
  const gap = slot > 4 ? GAP_PX : slot > 2 ? GAP_PX / 2 : 0;
  const counts = countsByClass(bucket.levels);
  const wanted = LEVEL_CLASSES.flatMap((level) => {
    const count = counts.get(level)?.count ?? 0;
    return count > 0 ? [{ level, height: Math.max((count / top) * height, SEGMENT_MIN_PX[level]) }] : [];
  });
  // What the least heights added is taken from the tallest, so that the bar stays below the top.
  const over = wanted.reduce((sum, segment) => sum + segment.height, 0) - height;
  if (over > 0) {
    const tallest = wanted.reduce((a, b) => (b.height > a.height ? b : a));
    tallest.height = Math.max(1, tallest.height - over);
  }
  let y = height;
  const segments = wanted.map((segment) => {
    y -= segment.height;
    return { ...segment, y };
  });
  return { index, x: index * slot + gap / 2, width: Math.max(slot - gap, 0.5), count: bucket.count, segments };
}

/** The least of 1, 2, 5, 10, 20, 50, … that is not below `count`. */
export function niceTop(count: number): number {
  if (count <= 1) return 1;
  const magnitude = 10 ** Math.floor(Math.log10(count));
  for (const factor of [1, 1.5, 2, 3, 5, 7.5]) {
    if (count <= factor * magnitude) return Math.ceil(factor * magnitude);
  }
  return 10 * magnitude;
}

function countMarks(top: number, height: number): Mark[] {
  const marks = [{ at: 0, label: showCount(top) }];
  if (top >= 2 && top % 2 === 0) marks.push({ at: height / 2, label: showCount(top / 2) });
  return marks;
}

/** `950`, `1.2k`, `34k`, `5.6M`. */
export function showCount(count: number): string {
  if (count < 1_000) return String(count);
  const [value, unit] = count < 999_500 ? [count / 1_000, "k"] : [count / 1_000_000, "M"];
  return `${Number(value.toFixed(value < 10 ? 1 : 0))}${unit}`;
}

const STEPS_MS = [
  1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000, 600_000, 900_000,
  1_800_000, 3_600_000, 7_200_000, 10_800_000, 21_600_000, 43_200_000, 86_400_000, 172_800_000, 604_800_000, 1_209_600_000, 2_592_000_000,
];

function timeMarks(buckets: readonly Bucket[], interval: number, width: number, zone: Zone): Mark[] {
  const start = startOf(buckets, 0);
  if (start === null || width < X_LABEL_PX) return [];
  const length = interval * buckets.length;
  const wanted = length / Math.max(1, Math.floor(width / X_LABEL_PX));
  const step = STEPS_MS.find((step) => step >= wanted) ?? Math.ceil(wanted / 2_592_000_000) * 2_592_000_000;
  const offset = zoneOffset(start, zone);
  const marks: Mark[] = [];
  for (let t = Math.ceil((start + offset) / step) * step - offset; t < start + length; t += step) {
    const at = ((t - start) / length) * width;
    // A label that would be cut is left out.
    if (at > 20 && at < width - 28) marks.push({ at, label: showOnAxis(t, step, zone) });
  }
  return marks;
}

export function startOf(buckets: readonly Bucket[], index: number): number | null {
  const ms = Date.parse(buckets[index]?.from ?? "");
  return Number.isNaN(ms) ? null : ms;
}

/** The bucket under a pixel, kept within the histogram. */
export function bucketAt(x: number, width: number, n_buckets: number): number {
  if (n_buckets === 0 || width <= 0) return 0;
  return Math.min(n_buckets - 1, Math.max(0, Math.floor((x / width) * n_buckets)));
}

/** The first and last bucket of a selection, whichever end it was drawn from. */
export function selection(anchor: number, focus: number): [number, number] {
  return anchor <= focus ? [anchor, focus] : [focus, anchor];
}
