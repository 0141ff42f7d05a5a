import fc from "fast-check";
import { expect, test } from "vitest";
import { DEFAULT_VIEW, readView, searchKey, writeView, type View } from "./url_state";

const text = fc.oneof(fc.string(), fc.string({ unit: "grapheme" }), fc.string({ unit: fc.constantFrom("&", "=", "+", "%", "#", ",", "\\", " ", '"', "é", "😀") }));
const names = fc.uniqueArray(text.filter((name) => name !== ""), { maxLength: 5 });
const end = fc.oneof(
  fc.constant("now"),
  fc.tuple(fc.integer({ min: 0, max: 9999 }), fc.constantFrom("s", "m", "h", "d", "w")).map(([n, unit]) => `now-${n}${unit}`),
  fc.date({ min: new Date(0), max: new Date("2262-01-01"), noInvalidDate: true }).map((date) => date.toISOString()),
);

const view: fc.Arbitrary<View> = fc.record({
  page: fc.constantFrom("explore" as const, "tail" as const, "pipeline" as const),
  q: text,
  range: fc.record({ from: end, to: end }),
  sort: fc.constantFrom("newest" as const, "oldest" as const),
  columns: names,
  facets: names,
  wrap: fc.boolean(),
  dense: fc.boolean(),
  zone: fc.constantFrom("utc" as const, "local" as const),
  event: fc.option(text.filter((id) => id !== "")),
  panel: fc.option(fc.record({ kind: fc.constantFrom("context" as const, "trace" as const), id: text.filter((id) => id !== "") })),
});

test("a view comes back from its address", () => {
  fc.assert(
    fc.property(view, (view) => {
      expect(readView(`?${writeView(view)}`)).toEqual(view);
    }),
  );
});

test("any address is a view, and its own address is the same view", () => {
  fc.assert(
    fc.property(fc.oneof(text, fc.webQueryParameters()), (search) => {
      const view = readView(search);
      expect(readView(writeView(view))).toEqual(view);
    }),
  );
});

test("the default view needs no address, and an address stays readable", () => {
  expect(writeView(DEFAULT_VIEW)).toBe("");
  expect(writeView({ ...DEFAULT_VIEW, q: 'level:error "db down"', range: { from: "now-15m", to: "now" } })).toBe(
    "q=level:error+%22db+down%22&from=now-15m&to=now",
  );
});

test("an impossible range counts as not given", () => {
  expect(readView("from=yesterday&to=now").range).toEqual(DEFAULT_VIEW.range);
});

test("only what changes the hits changes the search", () => {
  expect(searchKey({ ...DEFAULT_VIEW, wrap: true, event: "x" })).toBe(searchKey(DEFAULT_VIEW));
  expect(searchKey({ ...DEFAULT_VIEW, q: "x" })).not.toBe(searchKey(DEFAULT_VIEW));
});
