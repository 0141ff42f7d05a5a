// Sends what the tests look for through the gateway, and waits until all of it can be found.
//
// An hour of a small shop: eight services, and one bad minute. `checkout-7` reloads its configuration, then cannot reach its database.

import { INGEST_URL, UI_URL } from "../playwright.config";
import { HOSTILE } from "./hostile_lines";

const MINUTE = 60_000;
const SERVICES = ["web-1", "web-2", "checkout-3", "checkout-7", "cart-1", "search-1", "mail-1", "payments-db"];
/** More than the search counts exactly, and more than anybody scrolls through. */
const QUIET_EVENTS = 12_000;
export const FAILURES = 240;
export const BATCH = 1_000;
/** How long the pipeline may take to make the events searchable. */
const PATIENCE_MS = 120_000;

type LogEvent = Record<string, unknown>;

/** What marks this run's events, so that others' do not matter. */
export const run = (): string => process.env["LOGFLOW_UI_RUN"] ?? "";
export const mainCommit = (): string => `ui-${run()}`;
export const hostileCommit = (): string => `hostile-${run()}`;

function story(now: number): LogEvent[] {
  const events: LogEvent[] = [];
  const commit = mainCommit();
  for (let i = 0; i < QUIET_EVENTS; i += 1) {
    const at = now - 50 * MINUTE + (i * 48 * MINUTE) / QUIET_EVENTS;
    const service = SERVICES[(i * 7) % SERVICES.length] ?? "";
    events.push({
      timestamp: new Date(at).toISOString(),
      level: i % 41 === 0 ? "warn" : i % 9 === 0 ? "debug" : "info",
      message: i % 41 === 0 ? `slow reply from ${service}: ${900 + (i % 700)} ms` : `GET /articles/${i % 977} answered 200 in ${3 + (i % 60)} ms`,
      resourceId: service,
      traceId: `${run()}-quiet-${Math.floor(i / 4)}`,
      commit,
      status: 200,
      duration_ms: 3 + (i % 60),
      metadata: { parentResourceId: "shop", region: i % 3 === 0 ? "eu-west" : "eu-central", request: { method: "GET", tags: ["a", "b"] } },
    });
  }
  const bad = now - 20 * MINUTE;
  events.push({
    timestamp: new Date(bad - 40).toISOString(),
    level: "info",
    message: "configuration reloaded: database host is now payments-db.old:5432",
    resourceId: "checkout-7",
    commit,
  });
  for (let i = 0; i < FAILURES; i += 1) {
    const at = bad + i * 240;
    const traceId = `${run()}-bad-${i}`;
    const base = { traceId, commit, metadata: { parentResourceId: "shop", region: "eu-west" } };
    events.push(
      { ...base, timestamp: nanos(at, 100_000), level: "info", message: `POST /checkout for order ${7_000 + i}`, resourceId: "web-1", spanId: "a1" },
      { ...base, timestamp: nanos(at + 2, 350_000), level: "info", message: `charging the card of order ${7_000 + i}`, resourceId: "checkout-7", spanId: "b2" },
      {
        ...base,
        timestamp: nanos(at + 9, 725_000),
        level: "error",
        message: `Failed to charge: connection refused by payments-db.old:5432, see https://runbook.example/payments?order=${7_000 + i}`,
        resourceId: "checkout-7",
        spanId: "b2",
        status: 502,
      },
      { ...base, timestamp: nanos(at + 11, 5), level: "warn", message: "checkout answered 502, told the customer to try again", resourceId: "web-1", spanId: "a1" },
    );
  }
  return events;
}

function nanos(ms: number, extra: number): string {
  return new Date(ms).toISOString().replace("Z", `${String(extra).padStart(6, "0")}Z`);
}

export async function send(events: object[], to: { url: string; headers?: Record<string, string> } = { url: INGEST_URL }): Promise<void> {
  for (let at = 0; at < events.length; at += BATCH) {
    const body = JSON.stringify(events.slice(at, at + BATCH));
    const reply = await fetch(`${to.url}/logs`, { method: "POST", headers: { "content-type": "application/json", ...to.headers }, body });
    const answer = (await reply.json()) as { accepted?: number; refused?: number };
    if (!reply.ok || answer.refused !== 0) throw new Error(`the gateway answered ${reply.status}: ${JSON.stringify(answer).slice(0, 500)}`);
  }
}

/** How many events match; `null` while nothing can be said, as long as the shard of a new index starts. */
async function countOf(q: string): Promise<number | null> {
  const reply = await fetch(`${UI_URL}/api/v1/search`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ q, from: "now-2h", to: "now", limit: 1 }),
  });
  if (reply.status === 503) return null;
  if (!reply.ok) throw new Error(`the query API answered ${reply.status}: ${await reply.text()}`);
  return ((await reply.json()) as { total: { value: number } }).total.value;
}

export async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  const end = Date.now() + PATIENCE_MS;
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`waited in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

export default async function seed(): Promise<void> {
  process.env["LOGFLOW_UI_RUN"] = Date.now().toString(36);
  const now = Date.now();
  await send(story(now));
  await send(
    HOSTILE.map((line, i) => ({
      timestamp: new Date(now - 10 * MINUTE + i * 1_000).toISOString(),
      level: i % 2 === 0 ? "error" : line,
      message: line,
      resourceId: line.slice(0, 200),
      traceId: `${run()}-hostile`,
      commit: hostileCommit(),
      metadata: { note: line, [`name ${line.replace(/[.\u0000]/g, "")}`.slice(0, 200)]: "value" },
    })),
  );
  await until("the failures are found", async () => (await countOf(`commit:${mainCommit()} level:error`)) === FAILURES);
  await until("the quiet events are found", async () => ((await countOf(`commit:${mainCommit()} status:200`)) ?? 0) >= 10_000);
  await until("the hostile lines are found", async () => (await countOf(`commit:${hostileCommit()}`)) === HOSTILE.length);
}
