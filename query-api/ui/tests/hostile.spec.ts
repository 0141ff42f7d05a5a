// Log lines that are programs: nothing runs, nothing is markup, every character is on the page. Every test checks that nothing ran; see `page.ts`.

import { expect, test } from "./page";
import { HOSTILE } from "./hostile_lines";
import { hostileCommit, run, send } from "./seed";

/** Elements that only markup from a log line could have made. */
const MADE = "script:not([src='./app.js']), iframe, object, embed, video, style, base, math, template, form[action], [onerror], [onload], [onfocus], [ontoggle], img:not([src='./icon.svg']), a[href^='javascript'], a[href^='data'], link[href^='http'], meta[http-equiv='refresh']";

const visible = (line: string): string =>
  // What is shown for what cannot be: see `cleanText`.
  line.replace(/\u001b(\[[0-9;]*m|\]8;;[^\u0007]*\u0007)/g, "").replace("\u202e", "‹U+202E›");

test("in rows, fields, JSON, facets and columns", async ({ explorer }) => {
  const { page } = explorer;
  await explorer.open({ q: `commit:${hostileCommit()}`, columns: "traceId,metadata.note,message", wrap: "1", sort: "oldest" });
  await explorer.settled();
  await expect(explorer.count).toContainText(`${HOSTILE.length} events`);
  for (const [i, line] of HOSTILE.entries()) {
    await page.keyboard.press("j");
    const row = page.locator(`#hit-${i}`);
    await expect(row.locator(".message")).toHaveText(visible(line));
    await page.keyboard.press("Enter");
    await expect(page.locator(".details .tree")).toContainText(visible(line));
    await page.locator(".details").getByRole("button", { name: "JSON", exact: true }).click();
    expect(JSON.parse((await page.locator(".details pre").textContent()) ?? "")).toMatchObject({ message: line });
    await page.keyboard.press("Escape");
  }
  await expect(page.getByRole("region", { name: "Values of resourceId" }).getByRole("listitem").first()).toBeVisible();
  expect(await page.locator(MADE).count()).toBe(0);
});

test("in the trace, the context and the live tail", async ({ explorer }) => {
  const { page } = explorer;
  await explorer.open({ q: `commit:${hostileCommit()}`, trace: `${run()}-hostile` });
  const trace = page.getByRole("dialog");
  await expect(trace.getByRole("listitem")).toHaveCount(HOSTILE.length);
  await trace.getByRole("listitem").nth(1).getByRole("button").first().click();
  await expect(trace.locator(".tree")).toContainText(HOSTILE[1] ?? "");
  expect(await page.locator(MADE).count()).toBe(0);
  await page.keyboard.press("Escape");
  await explorer.rows.nth(3).click();
  await page.getByRole("button", { name: "Context", exact: true }).click();
  await expect(page.getByRole("dialog").locator("[aria-current=true]")).toBeVisible();
  expect(await page.locator(MADE).count()).toBe(0);
  const commit = `hostile-tail-${run()}`;
  await explorer.open({ view: "tail", q: `commit:${commit}` });
  await expect(page.getByRole("region", { name: "Live tail" }).getByRole("status")).toHaveText("Live");
  await send(HOSTILE.map((line) => ({ level: "info", message: line, resourceId: line.slice(0, 100), commit })));
  await expect(page.getByRole("grid", { name: "Live events" })).toHaveAttribute("aria-rowcount", String(HOSTILE.length + 1));
  expect(await page.locator(MADE).count()).toBe(0);
});

test("a hostile value is filtered for and found", async ({ explorer }) => {
  const { page } = explorer;
  for (const [i, line] of HOSTILE.entries()) {
    if (i % 6 !== 0) continue;
    await explorer.open({ q: `commit:${hostileCommit()}`, sort: "oldest" });
    await explorer.settled();
    await page.locator(`#hit-${i}`).click();
    await page.locator(".details").getByRole("button", { name: `Filter for resourceId: ${line.slice(0, 60)}` }).click();
    await explorer.settled();
    await expect(explorer.count).toContainText("1 event");
    await expect(page.locator("#hit-0 .message")).toContainText(visible(line).slice(0, 40));
  }
});

test("in the address", async ({ explorer }) => {
  const { page } = explorer;
  for (const line of HOSTILE.slice(0, 12)) {
    await explorer.open({ q: line, columns: line, facets: line, event: line, context: line });
    await expect(explorer.query).toHaveValue(line);
    await expect(page.getByRole("dialog")).toBeVisible();
    expect(await page.locator(MADE).count()).toBe(0);
  }
});
