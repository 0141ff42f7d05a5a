// Asking: the query bar, the time range, the histogram, the facets, and the address that holds them.

import { expect, param, test } from "./page";
import { FAILURES, mainCommit } from "./seed";

test("a query is completed from the fields and values that are there", async ({ explorer }) => {
  const { page, query } = explorer;
  await explorer.openStory();
  await expect(page.getByRole("region", { name: "Other fields" }).getByRole("button", { name: /duration_ms/ })).toBeVisible();
  await query.fill(`commit:${mainCommit()} dura`);
  const options = page.getByRole("listbox", { name: "Completions" }).getByRole("option");
  await expect(options.first()).toContainText("duration_ms");
  await query.fill(`commit:${mainCommit()} lev`);
  await query.press("Tab");
  await expect(query).toHaveValue(`commit:${mainCommit()} level:`);
  await query.pressSequentially("err");
  await expect(options.first()).toContainText("error");
  await query.press("ArrowDown");
  await query.press("Enter");
  await expect(query).toHaveValue(`commit:${mainCommit()} level:error `);
  await query.press("Enter");
  await expect(explorer.count).toContainText(`${FAILURES} events`);
});

test("a wrong query is told where it is wrong, and the hits before stay", async ({ explorer }) => {
  const { page, query } = explorer;
  await explorer.openStory();
  const before = await explorer.rows.first().textContent();
  await query.fill('level:error (timeout OR "refused"');
  await query.press("Enter");
  const fault = page.locator("#query-fault");
  await expect(fault).toContainText(/column \d+/);
  await expect(query).toHaveAttribute("aria-invalid", "true");
  const column = Number(/column (\d+)/.exec((await fault.textContent()) ?? "")?.[1]);
  // The caret stands under the character that the API named.
  const [caret, text] = await page.evaluate(() => {
    const ghost = document.querySelector("#query-fault .ghost")!.getBoundingClientRect();
    const input = document.querySelector<HTMLInputElement>("#query")!;
    return [ghost.right, input.getBoundingClientRect().left + parseFloat(getComputedStyle(input).paddingLeft) + parseFloat(getComputedStyle(input).borderLeftWidth)];
  });
  const character = await page.evaluate(() => {
    const canvas = document.createElement("canvas").getContext("2d")!;
    canvas.font = getComputedStyle(document.querySelector("#query")!).font;
    return canvas.measureText("m").width;
  });
  expect(Math.abs(caret! - text! - (column - 1) * character)).toBeLessThan(character / 2);
  await expect(explorer.rows.first()).toHaveText(before ?? "");
  await explorer.search(`commit:${mainCommit()} level:error`);
  await expect(fault).toBeHidden();
});

test("time ranges are picked, typed and pasted, in UTC or local time", async ({ explorer }) => {
  const { page } = explorer;
  await explorer.openStory();
  const picker = page.getByRole("button", { name: /^Time range/ });
  await picker.click();
  await page.getByRole("button", { name: "Last 15 minutes" }).click();
  await expect.poll(() => param(page, "from")).toBe("now-15m");
  await picker.click();
  await page.getByLabel("From").fill("2023-09-15 10:20:30,500");
  await page.getByLabel("To", { exact: true }).fill("2023-09-15 11:00");
  await page.getByRole("button", { name: "Apply" }).click();
  await expect.poll(() => param(page, "from")).toBe("2023-09-15T10:20:30.500Z");
  await expect(picker).toContainText("2023-09-15 10:20:30.500 – 11:00 UTC");
  await picker.click();
  await page.getByLabel(/paste/).fill("2023-09-15");
  await page.keyboard.press("Enter");
  await expect.poll(() => param(page, "to")).toBe("2023-09-15T23:59:59.999999999Z");
  await picker.click();
  await page.getByLabel(/paste/).fill("next tuesday");
  await page.keyboard.press("Enter");
  await expect(page.getByRole("alert")).toContainText("no date");
  await page.getByLabel("local time").check();
  await expect.poll(() => param(page, "tz")).toBe("local");
  await page.getByLabel(/paste/).fill("2023-09-15 12:00 - 2023-09-15 13:00");
  await page.keyboard.press("Enter");
  await expect.poll(() => param(page, "from")).toBe("2023-09-15T10:00:00.000Z");
  await expect(picker).toContainText("12:00 – 13:00 local");
});

test("the histogram is zoomed by keyboard and led back by undo", async ({ explorer }) => {
  const { page } = explorer;
  await explorer.openStory();
  const plot = page.getByRole("slider", { name: /histogram/ });
  await expect(page.locator("svg .segment").first()).toBeAttached();
  expect(await page.locator("svg .bar, svg .segment.level-info").count()).toBeLessThanOrEqual(120);
  await plot.focus();
  await plot.press("Home");
  for (let i = 0; i < 12; i += 1) await plot.press("ArrowRight");
  await expect(plot).toHaveAttribute("aria-valuetext", /events/);
  for (let i = 0; i < 5; i += 1) await plot.press("Shift+ArrowRight");
  await plot.press("Enter");
  await expect.poll(() => param(page, "from")).toMatch(/Z$/);
  await explorer.settled();
  const first = param(page, "from");
  await page.keyboard.press("-");
  await expect.poll(() => param(page, "from")).not.toBe(first);
  await page.keyboard.press("z");
  await expect.poll(() => param(page, "from")).toBe(first);
  await page.reload();
  await explorer.settled();
  await page.getByRole("button", { name: "Undo zoom" }).click();
  await expect.poll(() => param(page, "from")).toBeNull();
});

test("the legend filters for a level and out of it", async ({ explorer }) => {
  const { page, query } = explorer;
  await explorer.openStory();
  const level = page.getByRole("list", { name: "Levels" }).getByRole("button", { name: /debug/ });
  await level.click();
  await expect(query).toHaveValue(`commit:${mainCommit()} level:debug`);
  await explorer.settled();
  await level.click();
  await expect(query).toHaveValue(`commit:${mainCommit()}`);
  await level.click({ modifiers: ["Alt"] });
  await expect(query).toHaveValue(`commit:${mainCommit()} -level:debug`);
});

test("facets count values, include, exclude, and search within", async ({ explorer }) => {
  const { page, query } = explorer;
  await explorer.openStory();
  await explorer.value("level", "warn").getByRole("button").first().click();
  await expect(query).toHaveValue(`commit:${mainCommit()} level:warn`);
  await explorer.value("level", "warn").getByRole("button").first().click();
  await expect(query).toHaveValue(`commit:${mainCommit()}`);
  await explorer.value("resourceId", "web-1").getByRole("button", { name: "Filter out web-1" }).click();
  await expect(query).toHaveValue(`commit:${mainCommit()} -resourceId:web-1`);
  await explorer.settled();
  await expect(explorer.value("resourceId", "web-1")).toHaveCount(0);
  await explorer.value("resourceId", "web-2").getByRole("button").first().click({ modifiers: ["Alt"] });
  await expect(query).toHaveValue(`commit:${mainCommit()} -resourceId:web-1 -resourceId:web-2`);
  // Any field has values.
  await page.getByLabel("Find a field").fill("region");
  await page.getByRole("button", { name: /metadata.region/ }).click();
  await expect(explorer.value("metadata.region", "eu-west")).toBeVisible();
  await expect.poll(() => param(page, "facets")).toBe("level,resourceId,commit,metadata.region");
  await page.getByLabel("Find a field").fill("traceId");
  await page.getByRole("button", { name: /^traceId/ }).click();
  const wanted = await page.getByRole("region", { name: "Values of traceId" }).getByRole("button", { name: /events$/ }).last().getAttribute("aria-label");
  const trace = (wanted ?? "").split(",")[0] ?? "";
  await page.getByLabel("Search the values of traceId").fill(trace);
  await expect(page.getByRole("region", { name: "Values of traceId" }).getByRole("button", { name: /events$/ }).first()).toHaveAccessibleName(new RegExp(`^${trace}`));
});

test("the address is the whole state: back works, and a reload changes nothing", async ({ explorer }) => {
  const { page, query } = explorer;
  await explorer.openStory();
  await explorer.search(`commit:${mainCommit()} level:error`);
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Newest first" }).click();
  await page.getByRole("button", { name: "Wrap long lines" }).click();
  await explorer.settled();
  await explorer.rows.nth(2).click();
  await expect(page.locator(".details")).toBeVisible();
  const [address, row] = [page.url(), await explorer.rows.nth(2).textContent()];
  await page.reload();
  await explorer.settled();
  await expect(page.locator(".details")).toBeVisible();
  await expect(explorer.rows.nth(2)).toHaveText(row ?? "");
  expect(page.url()).toBe(address);
  await page.goBack();
  await expect(page.getByRole("button", { name: "Newest first" })).toBeVisible();
  await page.goBack();
  await expect(query).toHaveValue(`commit:${mainCommit()}`);
  await page.goForward();
  await expect(query).toHaveValue(`commit:${mainCommit()} level:error`);
});

test("a newer search cancels the one before", async ({ explorer }) => {
  const { page } = explorer;
  await explorer.openStory();
  let release: () => void = () => undefined;
  const held = new Promise<void>((resolve) => (release = resolve));
  await page.route("**/api/v1/search", async (route) => {
    if (route.request().postData()?.includes("level:debug")) await held;
    await route.continue().catch(() => undefined);
  });
  const cancelled = page.waitForEvent("requestfailed", (request) => request.postData()?.includes("level:debug") ?? false);
  await explorer.query.fill(`commit:${mainCommit()} level:debug`);
  await explorer.query.press("Enter");
  await expect(page.locator(".results[aria-busy=true]")).toBeVisible();
  await explorer.search(`commit:${mainCommit()} level:error`);
  expect((await cancelled).failure()?.errorText).toContain("ERR_ABORTED");
  release();
  await expect(explorer.count).toContainText(`${FAILURES} events`);
});

test("a search gets a name and is found again", async ({ explorer }) => {
  const { page, query } = explorer;
  await explorer.openStory({ q: `commit:${mainCommit()} level:warn` });
  await page.getByRole("button", { name: "Saved searches" }).click();
  await page.getByLabel("Name of this search").fill("slow replies");
  await page.getByRole("button", { name: "Save", exact: true }).click();
  await page.getByRole("button", { name: "Copy the link to slow replies" }).click();
  await expect(page.locator(".said")).toHaveText("Link copied");
  expect(await page.evaluate(() => navigator.clipboard.readText())).toContain("level:warn");
  await page.keyboard.press("Escape");
  await explorer.search("");
  await page.reload();
  await page.getByRole("button", { name: "Saved searches" }).click();
  await page.getByRole("link", { name: "slow replies" }).click();
  await expect(query).toHaveValue(`commit:${mainCommit()} level:warn`);
  await page.getByRole("button", { name: "Saved searches" }).click();
  await page.getByRole("button", { name: "Forget slow replies" }).click();
  await expect(page.getByText("None yet.")).toBeVisible();
});
