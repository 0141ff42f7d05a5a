// Every view, in both colours, without a violation that axe knows; and on a telephone.

import { checkAll, type Views } from "./axe";
import { expect, test } from "./page";
import { mainCommit, run } from "./seed";

const ERRORS = (): Record<string, string> => ({ q: `commit:${mainCommit()} level:error` });

const VIEWS: Views = {
  "the results": (e) => e.openStory({ q: `commit:${mainCommit()} order` }),
  "an open event": async (e) => {
    await e.openStory(ERRORS());
    await e.rows.first().click();
    await expect(e.page.locator(".details")).toBeVisible();
  },
  "raw JSON": async (e) => {
    await e.openStory({ ...ERRORS(), wrap: "1", density: "roomy" });
    await e.rows.first().click();
    await e.page.getByRole("button", { name: "JSON", exact: true }).click();
  },
  "nothing found": (e) => e.openStory({ q: "nosuchwordatall" }),
  "a wrong query": (e) => e.openStory({ q: "level:error (" }),
  "completions": async (e) => {
    await e.openStory();
    await e.query.fill("lev");
    await e.query.press("ArrowDown");
  },
  "a refusal": async (e) => {
    await e.page.route("**/api/v1/search", (route) =>
      route.fulfill({ status: 503, headers: { "retry-after": "600" }, contentType: "application/problem+json", body: '{"title":"Overloaded","status":503,"code":"overloaded","detail":"too much"}' }),
    );
    await e.openStory();
  },
  "the time range": async (e) => {
    await e.openStory();
    await e.page.keyboard.press("i");
    await expect(e.page.getByRole("dialog", { name: "Time range" })).toBeVisible();
  },
  "the columns": async (e) => {
    await e.openStory();
    await e.page.getByRole("button", { name: "Columns" }).click();
  },
  "the export": async (e) => {
    await e.openStory();
    await e.page.getByRole("button", { name: "Export" }).click();
  },
  "the saved searches": async (e) => {
    await e.openStory();
    await e.page.getByRole("button", { name: "Saved searches" }).click();
  },
  "the map of keys": async (e) => {
    await e.openStory();
    await e.page.keyboard.press("?");
    await expect(e.page.getByRole("dialog", { name: "Keys and colours" })).toBeVisible();
  },
  "a trace": async (e) => {
    await e.open({ trace: `${run()}-bad-3` });
    await expect(e.page.getByRole("dialog").getByRole("listitem")).toHaveCount(4);
  },
  "a context": async (e) => {
    await e.openStory(ERRORS());
    await e.page.keyboard.press("j");
    await e.page.keyboard.press("c");
    await expect(e.page.getByRole("dialog").locator("[aria-current=true]")).toBeVisible();
  },
  "the live tail": async (e) => {
    const lines = ["info", "warn", "error", "fatal", "debug", "trace", "odd"].map((level, n) => `id: 0:${n}\nevent: log\ndata: ${JSON.stringify({ id: `e${n}`, event: { level, message: `a line at ${level}`, resourceId: "web-1" } })}\n\n`);
    await e.page.route("**/api/v1/tail*", (route) => route.fulfill({ contentType: "text/event-stream", body: `${lines.join("")}event: dropped\ndata: {"count":12}\n\n` }));
    await e.open({ view: "tail" });
    await expect(e.page.getByRole("grid").locator(".row").first()).toBeVisible();
  },
  "the pipeline": async (e) => {
    await e.page.route("**/api/v1/pipeline", (route) =>
      route.fulfill({
        json: {
          sinks: [{ address: "127.0.0.1:9102", reachable: true, lag: 4_200, freshness_seconds: 400, holds: [{ cause: "index_blocked", items: 512, since_seconds: 390, reason: "read-only" }], partitions: 6, ready: false, reasons: ["holds"] }],
          topic: { name: "logs", partitions: 6, end_offsets: 99_000 },
          dead_letters: { count: 1, count_is_exact: true, newest: [{ partition: 0, offset: 7, time: "2023-09-15T10:00:00Z", topic: "logs", reason_class: "document_parsing_exception", reason: "object mapping for `user`", value: "{}" }] },
        },
      }),
    );
    await e.open({ view: "pipeline" });
    await e.page.getByRole("button", { name: "0:7", exact: true }).click();
  },
};

checkAll(VIEWS);

test("on a telephone the fields lie over the list and make way", async ({ explorer }) => {
  const { page } = explorer;
  await page.setViewportSize({ width: 360, height: 740 });
  await explorer.openStory();
  await expect(page.getByRole("complementary", { name: "Fields" })).toBeHidden();
  await page.getByRole("button", { name: "Fields", exact: true }).click();
  await explorer.value("level", "error").getByRole("button").first().click();
  await page.getByRole("button", { name: "Hide the fields" }).click();
  await expect(explorer.query).toHaveValue(`commit:${mainCommit()} level:error`);
  await explorer.rows.first().click();
  await expect(page.locator(".details")).toBeVisible();
});

test("colours follow the system unless told otherwise, and remember", async ({ explorer }) => {
  const { page } = explorer;
  const background = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  await page.emulateMedia({ colorScheme: "dark" });
  await explorer.openStory();
  const dark = await background();
  await page.emulateMedia({ colorScheme: "light" });
  const light = await background();
  expect(light).not.toBe(dark);
  await page.keyboard.press("m");
  expect(await background()).toBe(dark);
  await page.reload();
  await explorer.settled();
  expect(await background()).toBe(dark);
});

test("what was found is announced", async ({ explorer }) => {
  const { page } = explorer;
  await explorer.openStory(ERRORS());
  await expect(page.getByRole("status").filter({ hasText: /events/ })).toBeVisible();
});
