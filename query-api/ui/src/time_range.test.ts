import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { endBefore, inOrder, isRange, nameRange, parseEnd, parsePasted, pin, resolve, step, widen, zoomOut } from "./time_range";
import { parseTimestamp, showDuration, showMoment, showOnAxis } from "./timestamp";

const NOW = Date.parse("2023-09-15T12:34:56.789Z");
const moments = fc.integer({ min: 0, max: 9_000_000_000_000 });

describe("what people type", () => {
  const from = (text: string) => parseEnd(text, "from", NOW, "utc");

  test("relative moments", () => {
    expect(from("now-15m")).toBe("now-15m");
    expect(from("15m")).toBe("now-15m");
    expect(from("2h ago")).toBe("now-2h");
  });

  test("dates, times, offsets and the commas of Java", () => {
    expect(from("2023-09-15")).toBe("2023-09-15T00:00:00.000Z");
    expect(parseEnd("2023-09-15", "to", NOW, "utc")).toBe("2023-09-15T23:59:59.999999999Z");
    expect(from("2023-09-15 10:20")).toBe("2023-09-15T10:20:00.000Z");
    expect(from("2023-09-15 10:20:30,123")).toBe("2023-09-15T10:20:30.123Z");
    expect(from("2023-09-15T10:20:30.123456789+02:00")).toBe("2023-09-15T08:20:30.123Z");
    expect(from("10:20")).toBe("2023-09-15T10:20:00.000Z");
  });

  test("epochs by their length", () => {
    for (const digits of ["1694773296", "1694773296000", "1694773296000000", "1694773296000000000"]) {
      expect(from(digits)).toBe("2023-09-15T10:21:36.000Z");
    }
  });

  test("what is no moment is refused", () => {
    for (const text of ["", "yesterday", "2023-02-31", "2023-13-01", "2023-09-15 25:00", "now+5m", "99999999999999999999"]) {
      expect(from(text)).toBeNull();
    }
  });

  test("any moment comes back from how it is shown, in either zone", () => {
    fc.assert(
      fc.property(moments, (ms) => {
        expect(resolve(parseEnd(showMoment(ms, "utc"), "from", NOW, "utc") ?? "", NOW)).toBe(ms);
      }),
    );
  });

  test("any text can be read", () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(..."0123456789-:TZ+., now/dms".split("")) }), (text) => {
        const range = parsePasted(text, NOW, "local");
        expect(range === null || isRange(range)).toBe(true);
      }),
    );
  });
});

describe("what people paste", () => {
  test("a range in several spellings", () => {
    const wanted = { from: "2023-09-15T10:00:00.000Z", to: "2023-09-15T11:00:00.000Z" };
    for (const text of [
      "2023-09-15T10:00:00Z/2023-09-15T11:00:00Z",
      "2023-09-15 10:00 - 2023-09-15 11:00",
      "2023-09-15 10:00 to 2023-09-15 11:00",
      "2023-09-15 11:00 – 2023-09-15 10:00",
    ]) {
      expect(parsePasted(text, NOW, "utc")).toEqual(wanted);
    }
  });

  test("a day is all of it, a moment has some time on both sides", () => {
    expect(parsePasted("2023-09-15", NOW, "utc")).toEqual({ from: "2023-09-15T00:00:00.000Z", to: "2023-09-15T23:59:59.999999999Z" });
    expect(parsePasted("2023-09-15T10:20:00Z", NOW, "utc")).toEqual({ from: "2023-09-15T10:05:00.000Z", to: "2023-09-15T10:35:00.000Z" });
    expect(parsePasted("now-2h", NOW, "utc")).toEqual({ from: "now-2h", to: "now" });
  });
});

describe("how a range moves", () => {
  test("a pinned range stands still and covers the same time", () => {
    expect(pin({ from: "now-15m", to: "now" }, NOW)).toEqual({ from: "2023-09-15T12:19:56.789Z", to: "2023-09-15T12:34:56.789Z" });
    const fixed = { from: "2023-09-15T10:00:00.000Z", to: "2023-09-15T10:00:00.999999999Z" };
    expect(pin(fixed, NOW)).toEqual(fixed);
  });

  test("zooming out keeps the middle, and a range up to now stays one", () => {
    expect(zoomOut({ from: "2023-09-15T10:00:00.000Z", to: "2023-09-15T11:00:00.000Z" }, NOW)).toEqual({
      from: "2023-09-15T09:30:00.000Z",
      to: "2023-09-15T11:30:00.000Z",
    });
    expect(zoomOut({ from: "now-15m", to: "now" }, NOW)).toEqual({ from: "now-30m", to: "now" });
    expect(zoomOut({ from: "now-12h", to: "now" }, NOW)).toEqual({ from: "now-1d", to: "now" });
  });

  test("a step forth undoes a step back, and every step is a range", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1e12, max: 2e12 }), fc.integer({ min: 1, max: 1e10 }), (start, length) => {
        const range = { from: new Date(start).toISOString(), to: new Date(start + length).toISOString() };
        expect(step(step(range, NOW, -1), NOW, 1)).toEqual(range);
        expect(isRange(zoomOut(range, NOW))).toBe(true);
      }),
    );
  });

  test("a search that found nothing can be widened until the longest range", () => {
    expect(widen({ from: "now-1h", to: "now" }, NOW)).toEqual({ from: "now-3h", to: "now" });
    expect(widen({ from: "now-30d", to: "now" }, NOW)).toBeNull();
  });

  test("ends are put in order", () => {
    expect(inOrder({ from: "now", to: "now-1h" }, NOW)).toEqual({ from: "now-1h", to: "now" });
  });
});

test("a range has a name", () => {
  expect(nameRange({ from: "now-15m", to: "now" }, "utc")).toBe("Last 15 minutes");
  expect(nameRange({ from: "now-7m", to: "now" }, "utc")).toBe("Last 7 minutes");
  expect(nameRange({ from: "2023-09-15T10:00:00.000Z", to: endBefore(Date.parse("2023-09-15T11:00:00Z")) }, "utc")).toBe(
    "2023-09-15 10:00 – 10:59:59.999",
  );
});

test("timestamps are read to the nanosecond, and nothing else is read as one", () => {
  expect(parseTimestamp("2023-09-15T10:20:30.123456789Z")).toEqual({ ms: Date.parse("2023-09-15T10:20:30.123Z"), nanos: 456789 });
  for (const value of [null, 5, {}, "", "2023", "2023-09-15T10:20:30", "2023-99-15T10:20:30Z"]) expect(parseTimestamp(value)).toBeNull();
});

test("durations and axis labels are short", () => {
  expect([0, 0.25, 12.34, 4200, 65_000, 7_440_000, 266_400_000].map((ms) => showDuration(ms))).toEqual([
    "0",
    "250 µs",
    "12.3 ms",
    "4.2 s",
    "1 min 5 s",
    "2 h 4 min",
    "3 d 2 h",
  ]);
  expect(showOnAxis(NOW, 60_000, "utc")).toBe("12:34");
  expect(showOnAxis(NOW, 86_400_000, "utc")).toBe("Sep 15");
});
