// The keys of the query API that needs some, its key file, and dead letters for those who may redrive them.

import { readFile, writeFile } from "node:fs/promises";
import type { Page } from "@playwright/test";
import { KEYS_URL } from "../playwright.config";
import { expect } from "./page";
import { mainCommit, run, send, until } from "./seed";

/** The keys by their ids, `{"admin": "admin.SECRET"}`. */
const KEYS = JSON.parse(process.env["LOGFLOW_KEYS"] ?? "{}") as Record<string, string>;
const KEY_FILE = process.env["LOGFLOW_KEYS_FILE"] ?? "";
const TENANT_INGEST_URL = process.env["LOGFLOW_KEYS_INGEST_URL"] ?? "";
const ELASTICSEARCH_URL = process.env["LOGFLOW_ELASTICSEARCH_URL"] ?? "";

/** What the tests have keys for. `shop` belongs to the tenant of that name. */
export type KeyId = "admin" | "reader" | "sender" | "expired" | "shop";

export function keyOf(id: KeyId): string {
  const key = KEYS[id];
  if (!key) throw new Error(`LOGFLOW_KEYS has no key \`${id}\`; README.md lists what it needs`);
  return key;
}

/** Signs the browser in, past the page. */
export async function become(page: Page, id: KeyId): Promise<void> {
  const reply = await page.request.post(`${KEYS_URL}/api/v1/session`, { data: { key: keyOf(id) } });
  expect(reply.status()).toBe(200);
}

/** Asks the API in the name of a key, beside the page. */
async function ask<T>(id: KeyId, path: string): Promise<T> {
  const reply = await fetch(`${KEYS_URL}/api/v1${path}`, { headers: { authorization: `Bearer ${keyOf(id)}` } });
  if (!reply.ok) throw new Error(`${path} answered ${reply.status}: ${await reply.text()}`);
  return (await reply.json()) as T;
}

/** Runs `work` while the key file gives the key these scopes. */
export async function withScopes(id: KeyId, scopes: string[], work: () => Promise<void>): Promise<void> {
  const before = await readFile(KEY_FILE, "utf8");
  const entry = new RegExp(`(id = "${id}"\\n.*\\nscopes = )\\[[^\\]]*\\]`);
  expect(before).toMatch(entry);
  const { scopes: usual } = await ask<{ scopes: string[] }>(id, "/session");
  const count = async (text: string, wanted: string[]): Promise<void> => {
    await writeFile(KEY_FILE, text);
    await until("the key file counts", async () => (await ask<{ scopes: string[] }>(id, "/session")).scopes.join() === wanted.join());
  };
  await count(before.replace(entry, `$1${JSON.stringify(scopes)}`), scopes);
  try {
    await work();
  } finally {
    await count(before, usual);
  }
}

export interface Letter {
  partition: number;
  offset: number;
  value: string;
}

/** The open letters that this key sees. */
export async function letters(id: KeyId): Promise<Letter[]> {
  const { dead_letters } = await ask<{ dead_letters: { newest: Letter[] } | null }>(id, "/pipeline");
  return dead_letters?.newest ?? [];
}

/** A field whose first value mixes an object with numbers: Elasticsearch takes that in no event, unless it is told not to look. */
const oddField = (name: string): string => `odd_${name}_${run()}`;

export const oddMessage = (name: string): string => `an odd ${name} of ${run()}`;

/** Sends an event that becomes a dead letter, as nobody's or as the tenant's, and waits until it is one. */
export async function makeLetter(name: string, as: "nobody" | "shop" = "nobody"): Promise<void> {
  const event = { level: "info", message: oddMessage(name), [oddField(name)]: [1, "two", { three: 3 }] };
  await (as === "nobody" ? send([event]) : sendAsShop([event]));
  await until(`the odd ${name} is a dead letter`, async () => (await letters("admin")).some((letter) => letter.value.includes(oddMessage(name))));
}

export async function sendAsShop(events: object[]): Promise<void> {
  await send(events, { url: TENANT_INGEST_URL, headers: { authorization: `Bearer ${keyOf("shop")}` } });
}

/** What an operator does about such letters: the field is kept, and not looked into. */
export async function mendMapping(name: string): Promise<void> {
  const properties = { [oddField(name)]: { type: "object", enabled: false } };
  let index: string | undefined;
  await until("an index is known", async () => (index = (await search("admin", `commit:${mainCommit()}`))[0]?.index) !== undefined);
  // Those of all tenants and days.
  const indices = index?.replace(/-[^-]+-[\d.]+$/, "-*") ?? "";
  const reply = await fetch(`${ELASTICSEARCH_URL}/${indices}/_mapping`, { method: "PUT", headers: { "content-type": "application/json" }, body: JSON.stringify({ properties }) });
  expect(reply.status).toBe(200);
}

/** The first hits; none while nothing can be said, as long as the shard of a new index starts. */
async function search(id: KeyId, q: string): Promise<{ index: string }[]> {
  const reply = await fetch(`${KEYS_URL}/api/v1/search`, {
    method: "POST",
    headers: { authorization: `Bearer ${keyOf(id)}`, "content-type": "application/json" },
    body: JSON.stringify({ q, from: "now-2h", to: "now", limit: 2 }),
  });
  if (reply.status === 503) return [];
  if (!reply.ok) throw new Error(`the query API answered ${reply.status}: ${await reply.text()}`);
  return ((await reply.json()) as { hits: { index: string }[] }).hits;
}

export async function isFound(id: KeyId, message: string): Promise<boolean> {
  return (await search(id, `"${message}"`)).length === 1;
}
