import { expect, test } from "vitest";
import { layOutTrace } from "./trace_layout";

const hit = (id: string, timestamp: unknown, resourceId: unknown, level = "info") => ({ id, index: "i", event: { timestamp, resourceId, level } });

test("events lie between the trace's ends, to the microsecond, in one lane for each resource", () => {
  const trace = layOutTrace([
    hit("a", "2023-09-15T10:00:00.000000Z", "web"),
    hit("b", "2023-09-15T10:00:00.000250Z", "db", "error"),
    hit("c", "2023-09-15T10:00:00.001000Z", "web"),
    hit("d", null, null),
  ]);
  expect(trace.length_ms).toBe(1);
  expect(trace.errors).toBe(1);
  expect(trace.dots.map((dot) => [dot.offset_ms, dot.at])).toEqual([[0, 0], [0.25, 0.25], [1, 1], [null, 0]]);
  expect(trace.lanes.map((lane) => [lane.resource, lane.from, lane.to])).toEqual([["web", 0, 1], ["db", 0.25, 0.25], ["no resource", 0, 0]]);
});

test("a trace without events or length divides by nothing", () => {
  expect(layOutTrace([]).length_ms).toBe(0);
  expect(layOutTrace([hit("a", "2023-09-15T10:00:00Z", "web")]).dots[0]?.at).toBe(0);
});
