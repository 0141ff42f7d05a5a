import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  append,
  clausesOf,
  completionAt,
  exclude,
  filterState,
  include,
  quote,
  readFilter,
  removeFilter,
  unquote,
  wantedWords,
  writeFilter,
} from "./query_text";

const bodies = (query: string): string[] => clausesOf(query).clauses.map((c) => (c.negated ? "-" : "") + c.body);
const anyValue = fc.oneof(fc.string(), fc.string({ unit: fc.constantFrom('"', "\\", " ", "a", "(", ")", "*", "?", "-", ":", "\n", "é") }));
const anyField = fc.string({ unit: fc.constantFrom("a", "b", ".", " ", ":", "(", "\\", "*", "-", '"', "<", "_"), minLength: 1 });

describe("values", () => {
  test("a value comes back from its quoted form", () => {
    fc.assert(fc.property(anyValue, (value) => unquote(quote(value)) === value));
  });

  test("only what needs quotes has them", () => {
    expect(quote("error")).toBe("error");
    expect(quote("server-12.eu")).toBe("server-12.eu");
    expect(quote("-1")).toBe('"-1"');
    expect(quote("OR")).toBe('"OR"');
    expect(quote("")).toBe('""');
    expect(quote('say "hi" \\o')).toBe('"say \\"hi\\" \\\\o"');
  });

  test("a pattern is no value", () => {
    expect(unquote("tim*")).toBeNull();
    expect(unquote("tim\\*")).toBe("tim*");
    expect(unquote('"tim*"')).toBe("tim*");
  });
});

describe("clauses", () => {
  test("quotes, brackets and escapes hold a clause together", () => {
    expect(bodies('a "b c" level:(x OR y) -d NOT e f\\ g size:[1 TO 5] (h OR i)')).toEqual([
      "a",
      '"b c"',
      "level:(x OR y)",
      "-d",
      "-e",
      "f\\ g",
      "size:[1 TO 5]",
      "(h OR i)",
    ]);
  });

  test("an OR is seen at the top level only", () => {
    expect(clausesOf("a OR b").hasOr).toBe(true);
    expect(clausesOf("(a OR b) c").hasOr).toBe(false);
    expect(clausesOf('"a OR b"').hasOr).toBe(false);
  });

  test("any text can be read, and clauses lie within it in order", () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom("a", " ", "(", ")", '"', "\\", ":", "-", "OR ", "NOT ", "[", "]", "*") }), (query) => {
        let at = 0;
        for (const clause of clausesOf(query).clauses) {
          expect(clause.start).toBeGreaterThanOrEqual(at);
          expect(clause.end).toBeGreaterThan(clause.start);
          at = clause.end;
        }
        expect(at).toBeLessThanOrEqual(query.length);
      }),
    );
  });
});

describe("filters", () => {
  test("a filter comes back from its text", () => {
    fc.assert(
      fc.property(anyField, fc.array(anyValue, { minLength: 1, maxLength: 3 }), (field, values) => {
        expect(readFilter(writeFilter({ field, values }))).toEqual({ field, values });
      }),
    );
  });

  test("what was included is known to be, and its removal restores the query", () => {
    fc.assert(
      fc.property(anyField, anyValue, fc.constantFrom("", "timeout", 'a "b c"', "-x (c OR d)"), (field, value, query) => {
        const more = include(query, field, value);
        expect(filterState(more, field, value)).toBe("included");
        expect(removeFilter(more, field, value)).toBe(query);
        const less = exclude(query, field, value);
        expect(filterState(less, field, value)).toBe("excluded");
        expect(removeFilter(less, field, value)).toBe(query);
      }),
    );
  });

  test("a second value of the same field widens the filter", () => {
    expect(include("level:error timeout", "level", "warn")).toBe("level:(error OR warn) timeout");
    expect(include("level:(error OR warn)", "level", "info")).toBe("level:(error OR warn OR info)");
    expect(removeFilter("level:(error OR warn) timeout", "level", "error")).toBe("level:warn timeout");
  });

  test("including what was excluded replaces it", () => {
    expect(include("-level:error", "level", "error")).toBe("level:error");
    expect(exclude("level:error", "level", "error")).toBe("-level:error");
    expect(exclude("level:(error OR warn)", "level", "error")).toBe("level:warn -level:error");
  });

  test("levels are compared without regard to case, other fields with it", () => {
    expect(filterState("level:ERROR", "level", "error")).toBe("included");
    expect(filterState("resourceId:A", "resourceId", "a")).toBeNull();
  });

  test("an existing alternative is bracketed before a filter joins it", () => {
    expect(append("a OR b", "level:error")).toBe("(a OR b) level:error");
    expect(include("a OR b", "level", "error")).toBe("(a OR b) level:error");
  });

  test("an AND goes with the clause that it joined", () => {
    expect(removeFilter("a AND level:error", "level", "error")).toBe("a");
    expect(removeFilter("level:error AND a", "level", "error")).toBe("a");
    expect(removeFilter("a AND level:error b", "level", "error")).toBe("a b");
  });

  test("having a field is a filter too", () => {
    expect(include("", "commit", null)).toBe("commit:*");
    expect(exclude("commit:*", "commit", null)).toBe("-commit:*");
    expect(filterState("NOT commit:*", "commit", null)).toBe("excluded");
  });
});

describe("completion", () => {
  const at = (marked: string) => {
    const caret = marked.indexOf("|");
    return completionAt(marked.replace("|", ""), caret);
  };

  test("a bare word may become a field", () => {
    expect(at("lev|")).toMatchObject({ kind: "field", prefix: "lev", start: 0, end: 3 });
    expect(at("timeout -res|")).toMatchObject({ kind: "field", prefix: "res", start: 9, end: 12 });
    expect(at("(a OR le|)")).toMatchObject({ kind: "field", prefix: "le", start: 6, end: 8 });
  });

  test("after a colon stands a value of that field", () => {
    expect(at("level:er|")).toMatchObject({ kind: "value", field: "level", prefix: "er", start: 6, end: 8 });
    expect(at('level:"er|ror" x')).toMatchObject({ kind: "value", field: "level", prefix: "er", start: 6, end: 13 });
    expect(at("level:(error OR wa|)")).toMatchObject({ kind: "value", field: "level", prefix: "wa", start: 16, end: 18 });
    expect(at("my\\ field:|")).toMatchObject({ kind: "value", field: "my field", prefix: "" });
  });

  test("inside a phrase, a range or a comparison nothing is offered", () => {
    expect(at('"some wor|')).toBeNull();
    expect(at("size>1|")).toBeNull();
    expect(at("size:[1|")).toBeNull();
  });

  test("any caret in any text has an answer within the text", () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom("a", " ", "(", ")", '"', "\\", ":", "-") }), fc.nat(), (query, n) => {
        const caret = n % (query.length + 1);
        const point = completionAt(query, caret);
        if (point) {
          expect(point.start).toBeLessThanOrEqual(point.end);
          expect(point.end).toBeLessThanOrEqual(query.length);
        }
      }),
    );
  });
});

test("wanted words are those of the message that no NOT takes back", () => {
  expect(wantedWords('Timeout "Connection refused" level:error message:db -skip NOT that (x OR pre*)')).toEqual([
    "timeout",
    "connection refused",
    "db",
    "x",
    "pre",
  ]);
});
