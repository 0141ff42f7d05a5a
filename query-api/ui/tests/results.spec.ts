// Reading: the list, one event, its surroundings, its trace, the export.

import { readFile } from "node:fs/promises";
import { expect, param, test } from "./page";
import { FAILURES, mainCommit } from "./seed";

test("ten thousand rows are scrolled through while the page holds a few dozen", async ({ explorer }) => {
  const { page } = explorer;
  await explorer.openStory();
  const grid = page.getByRole("grid", { name: "Events" });
  for (let loaded = 0; loaded < 10_000; ) {
    await grid.evaluate((element) => (element.scrollTop = element.scrollHeight));
    await expect.poll(async () => Number(await grid.getAttribute("aria-rowcount"))).toBeGreaterThan(loaded + 1);
    loaded = Number(await grid.getAttribute("aria-rowcount")) - 1;
    expect(await explorer.rows.count()).toBeLessThan(150);
  }
  await grid.evaluate((element) => (element.scrollTop = element.scrollHeight / 2));
  const middle = explorer.rows.nth(20);
  await expect(middle).toContainText(/answered 200|slow reply|order|customer/);
  expect(Number(await middle.getAttribute("aria-rowindex"))).toBeGreaterThan(2_000);
  // Nothing is listed twice and the order is kept, across pages.
  const times = await explorer.rows.evaluateAll((rows) => rows.map((row) => row.querySelector(".time")?.getAttribute("title") ?? ""));
  expect(times).toEqual([...times].sort().reverse());
});

test("an event opens as a tree and as JSON, and every field leads on", async ({ explorer }) => {
  const { page, query } = explorer;
  await explorer.openStory({ q: `commit:${mainCommit()} level:error` });
  await explorer.rows.first().click();
  const details = page.locator(".details");
  await expect(details).toContainText("metadata");
  await expect(details.getByRole("link", { name: /runbook/ })).toHaveAttribute("rel", "noopener noreferrer");
  await details.getByRole("button", { name: "Filter out metadata.region: eu-west" }).click();
  await expect(query).toHaveValue(`commit:${mainCommit()} level:error -metadata.region:eu-west`);
  await page.goBack();
  await explorer.settled();
  // Back also opens what was open.
  await details.getByRole("button", { name: "Filter for status: 502" }).click();
  await expect(query).toHaveValue(`commit:${mainCommit()} level:error status:502`);
  await explorer.settled();
  await expect(explorer.count).toContainText(`${FAILURES} events`);
  await explorer.rows.first().click();
  await details.getByRole("button", { name: "Only events that have spanId" }).click();
  await expect(query).toHaveValue(`commit:${mainCommit()} level:error status:502 spanId:*`);
  await explorer.settled();
  await explorer.rows.first().click();
  await details.getByRole("button", { name: "JSON", exact: true }).click();
  const event = JSON.parse((await details.locator("pre").textContent()) ?? "") as Record<string, unknown>;
  expect(event["status"]).toBe(502);
  await details.getByRole("button", { name: "Copy JSON" }).click();
  await expect(page.locator(".said")).toHaveText("Event copied");
  expect(JSON.parse(await page.evaluate(() => navigator.clipboard.readText()))).toEqual(event);
  await details.getByRole("button", { name: "Fields", exact: true }).click();
  await details.getByRole("button", { name: "Copy message:" }).click();
  await expect(page.locator(".said")).toHaveText("message copied");
  // Nested fields close and open.
  await details.getByRole("button", { name: "metadata", exact: true }).click();
  await expect(details.getByRole("button", { name: "Filter for metadata.region: eu-west" })).toBeHidden();
});

test("columns are chosen and reordered, by mouse and by keyboard", async ({ explorer }) => {
  const { page } = explorer;
  await explorer.openStory();
  await page.getByRole("button", { name: "Columns" }).click();
  const menu = page.getByRole("dialog", { name: "Columns" });
  await menu.getByLabel("Find a field").fill("duration");
  await menu.getByRole("checkbox", { name: "duration_ms" }).click();
  const heads = page.getByRole("grid", { name: "Events" }).getByRole("columnheader");
  await expect(heads).toContainText(["Level", "Time", "resourceId", "duration_ms", "message"]);
  await menu.getByRole("button", { name: "Move duration_ms left" }).click();
  await expect(heads).toContainText(["Level", "Time", "duration_ms", "resourceId", "message"]);
  await menu.getByRole("checkbox", { name: "duration_ms" }).focus();
  await page.keyboard.press("Alt+ArrowDown");
  await expect(heads).toContainText(["Level", "Time", "resourceId", "duration_ms", "message"]);
  await menu.getByRole("checkbox", { name: "resourceId" }).click();
  await expect.poll(() => param(page, "columns")).toBe("duration_ms,message");
  await menu.getByRole("button", { name: "As at first" }).click();
  await expect.poll(() => param(page, "columns")).toBeNull();
});

test("lines wrap and rows grow on demand", async ({ explorer }) => {
  const { page } = explorer;
  await page.setViewportSize({ width: 900, height: 800 });
  await explorer.openStory({ q: `commit:${mainCommit()} level:error` });
  const height = async () => (await explorer.rows.first().boundingBox())?.height ?? 0;
  const plain = await height();
  await page.getByRole("button", { name: "Roomy rows" }).click();
  await expect.poll(height).toBeGreaterThan(plain);
  await page.getByRole("button", { name: "Wrap long lines" }).click();
  await expect.poll(height).toBeGreaterThan(plain + 20);
  // In a list of rows of many heights the last one is reached all the same.
  await page.getByRole("grid", { name: "Events" }).focus();
  await expect(async () => {
    await page.keyboard.press("End");
    await expect(page.locator(`#hit-${FAILURES - 1}`)).toBeInViewport({ timeout: 500 });
  }).toPass();
});

test("everything is reached by keyboard", async ({ explorer }) => {
  const { page, query } = explorer;
  await explorer.openStory({ q: `commit:${mainCommit()} level:error` });
  await page.keyboard.press("/");
  await expect(query).toBeFocused();
  await page.keyboard.press("Escape");
  await expect(query).not.toBeFocused();
  await page.keyboard.press("j");
  await page.keyboard.press("j");
  await page.keyboard.press("k");
  await page.keyboard.press("j");
  await expect(page.locator("#hit-1")).toHaveAttribute("aria-selected", "true");
  await page.keyboard.press("Enter");
  await expect(page.locator(".details")).toBeVisible();
  await page.keyboard.press("x");
  await expect(page.getByRole("dialog", { name: /^Trace/ })).toBeVisible();
  await page.keyboard.press("Escape");
  await expect(page.getByRole("dialog", { name: /^Trace/ })).toBeHidden();
  await page.keyboard.press("c");
  await expect(page.getByRole("dialog", { name: /^Context/ })).toBeVisible();
  await page.keyboard.press("Escape");
  await expect(page.getByRole("dialog", { name: /^Context/ })).toBeHidden();
  await page.keyboard.press("Escape");
  await expect(page.locator(".details")).toBeHidden();
  await page.keyboard.press("w");
  await expect.poll(() => param(page, "wrap")).toBe("1");
  await page.keyboard.press("l");
  await expect.poll(() => param(page, "tz")).toBe("local");
  await page.keyboard.press("t");
  await expect.poll(() => param(page, "view")).toBe("tail");
  await page.keyboard.press("t");
  await expect.poll(() => param(page, "view")).toBeNull();
  await page.keyboard.press("p");
  await expect(page.getByRole("heading", { name: "Pipeline" })).toBeVisible();
  await page.keyboard.press("p");
  await page.keyboard.press("?");
  const keys = page.getByRole("dialog", { name: "Keys and colours" });
  await expect(keys).toContainText("Copy a link to exactly this");
  await keys.getByRole("checkbox", { name: /Single keys/ }).uncheck();
  await page.keyboard.press("Escape");
  await page.keyboard.press("t");
  await expect(page.getByRole("region", { name: "Results" })).toBeVisible();
  expect(param(page, "view")).toBeNull();
});

test("the context of an event grows on both sides", async ({ explorer }) => {
  const { page } = explorer;
  await explorer.openStory({ q: `commit:${mainCommit()} "configuration reloaded"` });
  await explorer.rows.first().click();
  await page.getByRole("button", { name: "Context", exact: true }).click();
  const context = page.getByRole("dialog", { name: "Context in checkout-7" });
  await expect(context.getByRole("listitem")).toHaveCount(41);
  await expect(context.locator("[aria-current=true]")).toBeInViewport();
  await context.getByRole("button", { name: "Load earlier" }).click();
  await expect(context.getByRole("listitem")).toHaveCount(81);
  await context.getByRole("button", { name: "Load later" }).click();
  await expect(context.getByRole("listitem")).toHaveCount(121);
  await context.getByRole("listitem").nth(3).getByRole("button").first().click();
  await expect(context.locator(".details")).toBeVisible();
  await page.goBack();
  await expect(context).toBeHidden();
});

test("a trace is a timeline, and can be searched", async ({ explorer }) => {
  const { page, query } = explorer;
  await explorer.openStory({ q: `commit:${mainCommit()} level:error`, sort: "oldest" });
  await explorer.rows.first().click();
  await page.getByRole("button", { name: "Trace", exact: true }).click();
  const trace = page.getByRole("dialog", { name: /^Trace/ });
  await expect(trace.getByRole("img", { name: /Timeline of 2 resources over/ })).toBeVisible();
  await expect(trace.getByRole("listitem")).toHaveCount(4);
  await expect(trace.getByRole("listitem").first()).toContainText("+0");
  await trace.getByRole("button", { name: "Search it" }).click();
  await expect(query).toHaveValue(/^traceId:/);
  await explorer.settled();
  await expect(explorer.count).toContainText("4 events");
});

test("a search is exported as CSV with the columns on the page, and the file says that it is whole", async ({ explorer }) => {
  const { page } = explorer;
  await explorer.openStory({ q: `commit:${mainCommit()} level:error`, columns: "resourceId,status,message" });
  await page.getByRole("button", { name: "Export" }).click();
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: /CSV/ }).click()]);
  const lines = (await readFile(await download.path(), "utf8")).trim().split(/\r?\n/);
  expect(lines[0]).toBe("timestamp,level,resourceId,status,message");
  expect(lines.at(-1)).toBe(`# end: ${FAILURES} events`);
  expect(lines).toHaveLength(FAILURES + 2);
});

test("a link to an event that the search does not list shows it all the same", async ({ explorer }) => {
  const { page } = explorer;
  await explorer.openStory({ q: `commit:${mainCommit()} level:error` });
  await explorer.rows.first().click();
  const id = param(page, "event") ?? "";
  await explorer.openStory({ q: `commit:${mainCommit()} level:debug`, event: id });
  await expect(page.locator(".linked")).toContainText("Failed to charge");
});
