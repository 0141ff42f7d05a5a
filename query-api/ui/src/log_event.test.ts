import fc from "fast-check";
import { expect, test } from "vitest";
import { cleanText, fieldOf, lineOf, segments, textOf } from "./log_event";
import { countsByClass, levelClass } from "./level";

test("a field is found under a name with dots, in an object, or both", () => {
  expect(fieldOf({ "a.b": 1 }, "a.b")).toBe(1);
  expect(fieldOf({ a: { "b.c": 2 } }, "a.b.c")).toBe(2);
  expect(fieldOf({ a: null }, "a.b")).toBeUndefined();
  expect(fieldOf({}, "constructor")).toBeUndefined();
  expect(fieldOf({ a: {} }, "a.__proto__")).toBeUndefined();
});

test("any value has a text", () => {
  fc.assert(fc.property(fc.jsonValue(), (value) => typeof textOf(value) === "string"));
});

test("escapes of terminals are gone, other control characters and turned directions are seen", () => {
  expect(cleanText("\u001b[31mred\u001b[0m \u001b]8;;http://x\u0007link\u001b]8;;\u0007")).toBe("red link");
  expect(cleanText("a\u0000b\u202ec")).toBe("a␀b‹U+202E›c");
  expect(lineOf("one\r\ntwo\n")).toBe("one ↵ two");
});

test("the pieces of a text are the text", () => {
  const text = fc.string({ unit: fc.constantFrom("a", "b", " ", "http://", "https://x.y/", "javascript:", "<", '"', "İ", ".", ")") });
  fc.assert(
    fc.property(text, fc.array(fc.string({ unit: fc.constantFrom("a", "b", "x"), minLength: 1, maxLength: 2 })), (text, terms) => {
      expect(segments(text, terms).map((piece) => piece.text).join("")).toBe(text);
    }),
  );
});

test("only http and https lead anywhere", () => {
  const leads = (text: string) => segments(text, []).flatMap((piece) => piece.href ?? []);
  expect(leads("see https://example.org/a?b=c. And (http://x.y/z)")).toEqual(["https://example.org/a?b=c", "http://x.y/z"]);
  expect(leads("javascript:alert(1) data:text/html,x file:///etc vbscript:x http://")).toEqual([]);
});

test("what the query asked for is marked, without regard to case", () => {
  expect(segments("Connection Refused twice", ["refused"])).toEqual([
    { text: "Connection ", href: null, marked: false },
    { text: "Refused", href: null, marked: true },
    { text: " twice", href: null, marked: false },
  ]);
});

test("levels by their many names, and nothing by an inherited one", () => {
  expect(["ERROR", "err", "Critical", "warning", "notice", "x", "", null, 3, "constructor"].map(levelClass)).toEqual([
    "error",
    "error",
    "fatal",
    "warn",
    "info",
    "other",
    "other",
    "other",
    "other",
    "other",
  ]);
  expect(countsByClass({ error: 2, err: 1, "": 4 }).get("error")).toEqual({ count: 3, words: ["error", "err"] });
});
