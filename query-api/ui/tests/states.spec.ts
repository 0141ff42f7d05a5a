// What the page says when there is nothing, not all, or a refusal; and what runs beside a search: live tail and pipeline.

import { expect, param, test } from "./page";
import { mainCommit, run, send } from "./seed";

const problem = (status: number, code: string, detail: string, headers: Record<string, string> = {}) => ({
  status,
  headers: { "content-type": "application/problem+json", ...headers },
  body: JSON.stringify({ title: "Refused", status, code, detail }),
});

test("nothing found says what to do about it", async ({ explorer }) => {
  const { page } = explorer;
  await explorer.openStory({ from: "2023-09-15T10:00:00.000Z", to: "2023-09-15T10:05:00.000Z" });
  await expect(page.getByRole("heading", { name: "No events" })).toBeVisible();
  await expect(page.getByText(/curl -sS .*\/logs/)).toBeVisible();
  await page.getByRole("button", { name: "Undo zoom" }).waitFor({ state: "hidden" });
  await explorer.openStory({ q: `commit:${mainCommit()} nosuchword`, from: "now-5m", to: "now" });
  await page.getByRole("button", { name: "Last 15 minutes" }).click();
  await expect.poll(() => param(page, "from")).toBe("now-15m");
  await page.getByRole("button", { name: "Without the query" }).click();
  await expect(explorer.query).toHaveValue("");
});

test("an overloaded API is tried again when it says so, and the hits before stay", async ({ explorer }) => {
  const { page } = explorer;
  await explorer.openStory();
  const before = await explorer.rows.first().textContent();
  await page.route("**/api/v1/search", (route) => route.fulfill(problem(503, "overloaded", "as many searches run as may", { "retry-after": "2" })));
  await page.keyboard.press("r");
  const alert = page.getByRole("alert").filter({ hasText: "overloaded" });
  await expect(alert).toContainText("as many searches run as may");
  await expect(alert.getByRole("button", { name: /Try again in \d s/ })).toBeDisabled();
  await expect(explorer.rows.first()).toHaveText(before ?? "");
  await page.unroute("**/api/v1/search");
  await alert.getByRole("button", { name: "Try again", exact: true }).click();
  await expect(alert).toBeHidden();
});

test("an API that is away is named so", async ({ explorer }) => {
  const { page } = explorer;
  await explorer.openStory();
  await page.route("**/api/v1/**", (route) => route.abort("connectionrefused"));
  await page.keyboard.press("r");
  await expect(page.locator(".results").getByRole("alert")).toContainText("cannot be reached");
});

test("a partial result is marked with its reasons", async ({ explorer }) => {
  const { page } = explorer;
  await page.route("**/api/v1/search", async (route) => {
    const reply = await route.fetch();
    const body = (await reply.json()) as Record<string, unknown>;
    await route.fulfill({ response: reply, json: { ...body, partial: true, partial_reasons: [{ code: "timed_out", detail: "the search ended after 10 s" }] } });
  });
  await explorer.openStory();
  const banner = page.locator(".partial");
  await expect(banner).toContainText("Partial result.");
  await expect(banner).toContainText("the search ended after 10 s timed_out");
});

test("old results stay while new ones are on their way, and nothing jumps", async ({ explorer }) => {
  const { page } = explorer;
  await explorer.openStory();
  const before = await explorer.rows.first().boundingBox();
  let release: () => void = () => undefined;
  const held = new Promise<void>((resolve) => (release = resolve));
  await page.route("**/api/v1/search", async (route) => {
    await held;
    await route.continue();
  });
  await page.keyboard.press("r");
  await expect(page.locator(".progress.running")).toBeVisible();
  expect(await explorer.rows.first().boundingBox()).toEqual(before);
  release();
  await explorer.settled();
  expect(await explorer.rows.first().boundingBox()).toEqual(before);
});

test("the page is there before the API has said anything", async ({ explorer }) => {
  const { page } = explorer;
  await page.route("**/api/v1/**", () => new Promise(() => undefined));
  await explorer.open({ q: "timeout" });
  await expect(explorer.query).toHaveValue("timeout");
  await expect(page.getByText("Searching …")).toBeVisible();
  await page.unrouteAll({ behavior: "ignoreErrors" });
});

test("a browser that keeps no cookie is told so", async ({ explorer }) => {
  const { page } = explorer;
  await page.route("**/api/v1/session", (route) => (route.request().method() === "POST" ? route.continue() : route.fulfill(problem(401, "key_missing", "this service needs an API key"))));
  await explorer.open();
  const signIn = page.getByRole("dialog", { name: "Sign in" });
  await signIn.getByLabel("Key", { exact: true }).fill("an.id");
  await page.keyboard.press("Enter");
  await expect(signIn.getByRole("alert")).toContainText("the browser did not keep the cookie");
});

test("the live tail shows what is logged now, pauses, and goes on", async ({ explorer }) => {
  const { page } = explorer;
  const commit = `tail-${run()}`;
  const line = (n: number) => ({ level: "info", message: `live line ${n}`, resourceId: "web-1", commit });
  await explorer.open({ view: "tail", q: `commit:${commit}` });
  const tail = page.getByRole("region", { name: "Live tail" });
  await expect(tail.getByRole("status")).toHaveText("Live");
  await send([line(1), { ...line(0), commit: "another" }, line(2)]);
  const rows = page.getByRole("grid", { name: "Live events" }).locator(".row");
  await expect(rows).toHaveCount(2);
  await expect(rows.last()).toContainText("live line 2");
  await page.keyboard.press(" ");
  await expect(tail.getByRole("status")).toHaveText("Paused");
  await send([line(3), line(4), line(5)]);
  await expect(tail.getByRole("button", { name: /Resume/ })).toContainText("(3 waiting)");
  await expect(rows).toHaveCount(2);
  await tail.getByRole("button", { name: /Resume/ }).click();
  await expect(rows).toHaveCount(5);
  await rows.first().click();
  await expect(page.locator(".details")).toContainText("live line 1");
});

test("the live tail keeps two thousand rows, counts what was dropped, and resumes behind the last event", async ({ explorer }) => {
  const { page } = explorer;
  const event = (n: number) => `id: 0:${n}\nevent: log\ndata: ${JSON.stringify({ id: `e${n}`, event: { level: "info", message: `line ${n}`, timestamp: new Date().toISOString() } })}\n\n`;
  const asked: (string | undefined)[] = [];
  await page.route("**/api/v1/tail*", async (route) => {
    asked.push(route.request().headers()["last-event-id"]);
    if (asked.length === 1) {
      const lines = Array.from({ length: 2_500 }, (_, n) => event(n)).join("");
      await route.fulfill({ contentType: "text/event-stream", body: `${lines}event: dropped\ndata: {"count":1234}\n\n` });
    } else if (asked.length === 2) await route.fulfill({ contentType: "text/event-stream", body: event(2_500) });
    else await new Promise(() => undefined);
  });
  await explorer.open({ view: "tail" });
  const tail = page.getByRole("region", { name: "Live tail" });
  await expect(tail).toContainText("1,234 dropped by the server");
  await expect(tail).toContainText("2,501 received");
  const grid = page.getByRole("grid", { name: "Live events" });
  await expect(grid).toHaveAttribute("aria-rowcount", "2001");
  await expect(grid.locator(".row").last()).toContainText("line 2500");
  expect(asked.slice(0, 2)).toEqual([undefined, "0:2499"]);
  // Who scrolls up is left alone.
  await grid.evaluate((element) => (element.scrollTop = 0));
  await expect(tail.getByRole("button", { name: "Newest" })).toBeVisible();
  await tail.getByRole("button", { name: "Newest" }).click();
  await expect(grid.locator(".row").last()).toBeInViewport();
  await page.unrouteAll({ behavior: "ignoreErrors" });
});

test("a wrong query stops the live tail and says where it is wrong", async ({ explorer }) => {
  const { page } = explorer;
  await explorer.open({ view: "tail", q: "level:error (" });
  await expect(page.locator("#query-fault")).toContainText(/column \d+/);
  await expect(page.getByRole("region", { name: "Live tail" }).getByRole("status")).toHaveText("Stopped");
});

test("the pipeline page says how far indexing is", async ({ explorer }) => {
  const { page } = explorer;
  await explorer.openStory();
  await page.getByRole("link", { name: /fresh|up to date|behind|unknown|no sink/ }).click();
  await expect(page.getByRole("heading", { name: "Pipeline" })).toBeVisible();
  await expect(page.getByRole("region", { name: "Pipeline" })).toContainText("Dead letters");
});

test("holds and dead letters come with reasons and with the command that redrives them", async ({ explorer }) => {
  const { page } = explorer;
  await page.route("**/api/v1/pipeline", (route) =>
    route.fulfill({
      json: {
        sinks: [
          { address: "127.0.0.1:9102", reachable: true, lag: 4_200, freshness_seconds: 400, holds: [{ cause: "index_blocked", items: 512, since_seconds: 390, reason: "index is read-only" }], partitions: 6, ready: false, reasons: ["holds"] },
          { address: "127.0.0.1:9103", reachable: false, lag: null, freshness_seconds: null, holds: [], partitions: null, ready: false, reasons: ["connection refused"] },
        ],
        topic: { name: "logs", partitions: 6, end_offsets: 99_000 },
        dead_letters: { count: 2, count_is_exact: true, newest: [{ partition: 0, offset: 7, time: "2023-09-15T10:00:00Z", topic: "logs/1@5", reason_class: "document_parsing_exception", reason: "object mapping for `user`", value: "<b>raw</b>" }] },
      },
    }),
  );
  await explorer.open({ view: "pipeline" });
  const pipeline = page.getByRole("region", { name: "Pipeline" });
  await expect(pipeline).toContainText("4,200");
  await expect(pipeline).toContainText("index is read-only");
  await expect(pipeline.getByRole("row", { name: /index_blocked/ })).toContainText("6 min 30 s");
  await expect(pipeline).toContainText("connection refused");
  await pipeline.getByText("From a shell").click();
  await pipeline.getByRole("button", { name: "Copy the command es-sink dead-letters redrive --reason document_parsing_exception" }).click();
  await expect(page.locator(".said")).toHaveText("Command copied");
  expect(await page.evaluate(() => navigator.clipboard.readText())).toBe("es-sink dead-letters redrive --reason document_parsing_exception");
  await pipeline.getByRole("button", { name: "0:7", exact: true }).click();
  await expect(pipeline).toContainText("<b>raw</b>");
  await expect(page.getByRole("link", { name: "indexing held" })).toBeVisible();
});

test("a redrive says how long it runs, what it did, and what it could not do", async ({ explorer }) => {
  const { page } = explorer;
  const letter = (offset: number) => ({ partition: 0, offset, time: "2023-09-15T10:00:00Z", topic: "gone", reason_class: "document_parsing_exception", reason: "object mapping for `user`", value: "{}" });
  await page.route("**/api/v1/pipeline", (route) => route.fulfill({ json: { sinks: [], topic: null, dead_letters: { count: 998, count_is_exact: false, newest: [letter(7), letter(8)] } } }));
  let release: () => void = () => undefined;
  const held = new Promise<void>((resolve) => (release = resolve));
  const asked: unknown[] = [];
  await page.route("**/api/v1/dead-letters/redrive", async (route) => {
    asked.push(route.request().postDataJSON());
    await held;
    if (asked.length === 1) await route.fulfill(problem(503, "overloaded", "another redrive runs; try again when it has ended"));
    else await route.fulfill({ json: { redriven: 986, refused: 12, refusals: ["0:7: there is no topic `gone`", "0:8: <b>too large</b>"], ended_early: "the service is shutting down" } });
  });
  await explorer.open({ view: "pipeline" });
  const pipeline = page.getByRole("region", { name: "Pipeline" });
  await expect(pipeline).toContainText("998+");
  await pipeline.getByRole("button", { name: "Redrive all" }).click();
  const confirm = page.getByRole("dialog", { name: "Redrive all open letters" });
  await expect(confirm).toContainText("998 of the newest letters are open, and older ones may be.");
  await confirm.getByRole("button", { name: "Redrive", exact: true }).click();
  const told = pipeline.getByRole("status", { name: "Redrive" });
  await expect(told).toContainText("Redriving all open letters");
  await expect(told).toContainText("1 s");
  await expect(told).toBeFocused();
  await expect(pipeline.getByRole("button", { name: "Redrive 0:7" })).toBeDisabled();
  release();
  const alert = pipeline.getByRole("alert");
  await expect(alert).toContainText("another redrive runs");
  await alert.getByRole("button", { name: "Try again" }).click();
  await expect(told).toContainText("986 redriven: their records are in their topics again. 12 refused: they stay as they are.");
  await expect(told.getByRole("listitem")).toHaveText(["0:7: there is no topic `gone`", "0:8: <b>too large</b>", "and 10 more"]);
  await expect(told).toContainText("It ended early: the service is shutting down.");
  await told.getByRole("button", { name: "Dismiss" }).click();
  await expect(told).toHaveText("");
  expect(asked).toEqual([{ all: true }, { all: true }]);
});
