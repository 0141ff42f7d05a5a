// The keys of the query API that needs some, and its key file.

import { readFile, writeFile } from "node:fs/promises";
import type { Page } from "@playwright/test";
import { KEYS_URL } from "../playwright.config";
import { expect } from "./page";
import { send, until } from "./seed";

/** The keys by their ids, `{"admin": "admin.SECRET"}`. */
const KEYS = JSON.parse(process.env["LOGFLOW_KEYS"] ?? "{}") as Record<string, string>;
const KEY_FILE = process.env["LOGFLOW_KEYS_FILE"] ?? "";
const TENANT_INGEST_URL = process.env["LOGFLOW_KEYS_INGEST_URL"] ?? "";

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

export async function sendAsShop(events: object[]): Promise<void> {
  await send(events, { url: TENANT_INGEST_URL, headers: { authorization: `Bearer ${keyOf("shop")}` } });
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
