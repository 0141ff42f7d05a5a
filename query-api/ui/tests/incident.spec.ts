// The story of one night, as one test: from "something is wrong" to the cause, and on to the colleague who takes over.

import { readFile } from "node:fs/promises";
import { expect, explorerOf, param, test } from "./page";
import { FAILURES, mainCommit } from "./seed";

test("an engineer finds the cause of an outage, shows it to a colleague and takes the evidence along", async ({ explorer, browser }) => {
  const { page } = explorer;
  await explorer.openStory();

  // The spike is where the red is tallest.
  const errors = page.locator("svg .segment.level-error");
  await expect(errors.first()).toBeAttached();
  const spike = await errors.evaluateAll((bars) => {
    const boxes = bars.map((bar) => bar.getBoundingClientRect());
    const tallest = boxes.reduce((a, b) => (b.height > a.height ? b : a));
    return { left: tallest.left, right: tallest.right, y: tallest.top };
  });
  await page.mouse.move(spike.left - 8, spike.y);
  await page.mouse.down();
  await page.mouse.move(spike.right + 4, spike.y, { steps: 4 });
  await page.mouse.move(spike.right + 14, spike.y, { steps: 4 });
  await page.mouse.up();
  await expect(page.getByRole("button", { name: "Undo zoom" })).toBeVisible();
  expect(param(page, "from")).toMatch(/^\d{4}-/);
  await explorer.settled();

  // Whose errors are they?
  await page.getByRole("list", { name: "Levels" }).getByRole("button", { name: /error/ }).click();
  await expect(explorer.count).toContainText(`${FAILURES} events`);
  await explorer.value("resourceId", "checkout-7").getByRole("button").first().click();
  await expect(explorer.query).toHaveValue(`commit:${mainCommit()} level:error resourceId:checkout-7`);
  await explorer.settled();
  await expect(explorer.count).toContainText(`${FAILURES} events`);

  // What happened in one of the failed requests?
  await page.getByRole("button", { name: "Newest first" }).click();
  await explorer.settled();
  await explorer.rows.first().click();
  await page.getByRole("button", { name: "Trace", exact: true }).click();
  const trace = page.getByRole("dialog", { name: /^Trace / });
  await expect(trace.getByRole("status")).toContainText(/4 events from 2 resources in 10\.9 ms.*1 error/);
  await expect(trace.getByRole("listitem").nth(2)).toContainText("+9.6 ms");
  await expect(trace.getByRole("listitem").nth(2)).toContainText("connection refused by payments-db.old");
  await page.keyboard.press("Escape");
  await expect(trace).toBeHidden();

  // What did that service do just before?
  await page.getByRole("button", { name: "Context", exact: true }).click();
  const context = page.getByRole("dialog", { name: "Context in checkout-7" });
  await expect(context.locator("[aria-current=true]")).toContainText("Failed to charge");
  await expect(context.getByText("configuration reloaded: database host is now payments-db.old:5432")).toBeVisible();
  await page.keyboard.press("Escape");
  await expect(context).toBeHidden();

  // The colleague sees the same.
  await page.getByRole("button", { name: "Copy a link to exactly this" }).click();
  await expect(page.locator(".said")).toHaveText("Link copied");
  const link = await page.evaluate(() => navigator.clipboard.readText());
  const colleague = await browser.newContext({ viewport: { width: 1280, height: 800 } });
  const theirs = explorerOf(await colleague.newPage());
  await theirs.page.goto(link);
  await theirs.settled();
  await expect(theirs.query).toHaveValue(await explorer.query.inputValue());
  await expect(theirs.count).toContainText(`${FAILURES} events`);
  await expect(theirs.rows.first()).toHaveText((await explorer.rows.first().textContent()) ?? "");
  await expect(theirs.page.locator(".details")).toContainText("connection refused by payments-db.old");
  await colleague.close();

  // The evidence.
  await page.getByRole("button", { name: "Export" }).click();
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: /NDJSON/ }).click()]);
  const lines = (await readFile(await download.path(), "utf8")).trim().split("\n").map((line) => JSON.parse(line) as Record<string, unknown>);
  expect(lines.pop()).toEqual({ _end: true, events: FAILURES, partial: false, partial_reasons: [] });
  expect(lines).toHaveLength(FAILURES);
  expect(new Set(lines.map((line) => line["resourceId"]))).toEqual(new Set(["checkout-7"]));
});
