import fc from "fast-check";
import { expect, test } from "vitest";
import type { Bucket } from "./api_types";
import { bucketAt, layOut, niceTop, selection, showCount } from "./histogram_layout";

const START = Date.parse("2023-09-15T10:00:00Z");
const MINUTE = 60_000;

const buckets = fc
  .array(fc.record({ error: fc.nat(5), info: fc.nat(20_000), "": fc.nat(3), toString: fc.nat(3) }), { minLength: 1, maxLength: 120 })
  .map((counts) =>
    counts.map((levels, i): Bucket => {
      const count = Object.values(levels).reduce((a, b) => a + b, 0);
      return { from: new Date(START + i * MINUTE).toISOString(), count, levels };
    }),
  );

test("bars stay within the picture, stacked without a gap, and no level that occurs is invisible", () => {
  fc.assert(
    fc.property(buckets, fc.integer({ min: 200, max: 2000 }), (buckets, width) => {
      const { bars } = layOut(buckets, MINUTE, width, 90, "utc");
      expect(bars).toHaveLength(buckets.length);
      for (const bar of bars) {
        expect(bar.x).toBeGreaterThanOrEqual(0);
        expect(bar.x + bar.width).toBeLessThanOrEqual(width + 0.01);
        let bottom = 90;
        for (const segment of bar.segments) {
          expect(segment.y + segment.height).toBeCloseTo(bottom, 6);
          expect(segment.height).toBeGreaterThanOrEqual(1);
          bottom = segment.y;
        }
        expect(bottom).toBeGreaterThanOrEqual(-0.01);
      }
    }),
  );
});

test("errors stand on the base line and are seen among ten thousand others", () => {
  const { bars } = layOut([{ from: new Date(START).toISOString(), count: 10_003, levels: { info: 10_000, error: 3 } }], MINUTE, 500, 90, "utc");
  expect(bars[0]?.segments[0]).toMatchObject({ level: "error", height: 3, y: 87 });
});

test("marks of the time axis are whole steps within the picture", () => {
  const hour = Array.from({ length: 60 }, (_, i) => ({ from: new Date(START + i * MINUTE).toISOString(), count: 1, levels: {} }));
  const { xMarks } = layOut(hour, MINUTE, 1000, 90, "utc");
  expect(xMarks.map((mark) => mark.label)).toEqual(["10:10", "10:20", "10:30", "10:40", "10:50"]);
});

test("a pixel is a bucket, also outside", () => {
  expect([-5, 0, 499, 500, 999, 2000].map((x) => bucketAt(x, 1000, 10))).toEqual([0, 0, 4, 5, 9, 9]);
  expect(selection(5, 2)).toEqual([2, 5]);
});

test("the top is a round number that no bar exceeds", () => {
  fc.assert(fc.property(fc.nat(1e9), (count) => niceTop(count) >= count));
  expect([0, 7, 11, 99, 1234].map(niceTop)).toEqual([1, 7.5, 15, 100, 1500].map(Math.ceil));
  expect([950, 1234, 34_000, 5_600_000].map(showCount)).toEqual(["950", "1.2k", "34k", "5.6M"]);
});
