// Whoever is refused is told what helps.

import { expect, test } from "vitest";
import { ACTS, endOf, isAnother, lackOf, refusalOf, seenBy, type Act } from "./access";
import { Problem } from "./api";
import type { SessionReply } from "./api_types";

const refused = (code: string, detail = ""): Problem => new Problem(401, code, "Unauthorized", detail, null, null);
const WAY = /copy all of it again|ask whoever runs logflow|allow cookies|try again/i;

test("every refusal of a key names a way out", () => {
  for (const code of ["key_unreadable", "key_unknown", "key_expired", "key_missing", "overloaded"]) expect(refusalOf(refused(code)), code).toMatch(WAY);
  expect(refusalOf(refused("overloaded", "too many ask"))).toMatch(/: too many ask$/);
});

test("the end of a session is told from its absence", () => {
  expect(endOf(refused("key_missing"), false)).toBeNull();
  expect(endOf(refused("key_missing"), true)).toMatch(/session has ended/);
  for (const code of ["key_unknown", "key_unreadable", "key_expired"]) {
    expect(endOf(refused(code), false), code).toMatch(WAY);
    expect(endOf(refused(code), true), code).toMatch(WAY);
  }
});

test("whoever lacks a scope is told which one, and who can give it", () => {
  for (const act of Object.keys(ACTS) as Act[]) {
    expect(lackOf(act, "reader")).toMatch(new RegExp(`^The key \`reader\` may not .*: it lacks the scope \`${act}\`\\. Whoever runs logflow can add it`));
    expect(lackOf(act, null)).toMatch(/^This key may not /);
  }
});

test("another key, and another tenant of the same key, sees other events", () => {
  const who = (id: string | null, tenant: string | null): SessionReply => ({ needs_key: id !== null, id, tenant, scopes: ["query"], expires: null });
  expect(isAnother(who("a", null), { ...who("a", null), scopes: ["query", "tail"] })).toBe(false);
  expect(isAnother(who("a", null), who("b", null))).toBe(true);
  expect(isAnother(who("a", null), who("a", "shop"))).toBe(true);
  expect(isAnother(who(null, null), who("a", null))).toBe(true);
  expect(seenBy(who("a", "shop"))).toBe("the events of the tenant shop");
  expect(seenBy(who("a", null))).toBe("the events of all tenants");
});
