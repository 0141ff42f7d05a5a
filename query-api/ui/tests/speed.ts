// Takes the times that people wait: for the page with an empty cache, and for the rows of a search. Judges none of them.
//
// `cargo xtask page-speed` starts the stack, fills it, plans (LOGFLOW_UI_SPEED) and judges.

import { writeFileSync } from "node:fs";
import { expect, test, type Page } from "@playwright/test";

interface Plan {
  from: string;
  to: string;
  loads: number;
  searches: { q: string; shows: string }[];
  /** The file for what was measured. */
  samples: string;
}

declare global {
  interface Window {
    firstRows?: number;
    searched?: Promise<number>;
  }
}

const PAUSE_MS = 300;

/** Notes when the first rows had been painted. Runs in the page, before anything of it does. */
function noteFirstRows(): void {
  const look = new MutationObserver(() => {
    if (!document.querySelector(".results[aria-busy=false] #hit-0")) return;
    look.disconnect();
    // The task after a frame begins when that frame is painted.
    requestAnimationFrame(() => setTimeout(() => (window.firstRows = performance.now())));
  });
  look.observe(document, { subtree: true, childList: true, attributes: true, attributeFilter: ["aria-busy"] });
}

/** Notes how long after the next press of Enter the rows of the search have been painted: other rows than before, by a new reply. */
function noteSearch(shows: string): void {
  // The browser keeps 250 of them, and drops what comes then.
  performance.clearResourceTimings();
  window.searched = new Promise((resolve) => {
    const onEnter = (event: KeyboardEvent): void => {
      if (event.key !== "Enter") return;
      removeEventListener("keydown", onEnter, true);
      let asked = false;
      const look = new MutationObserver(() => {
        const busy = document.querySelector(".results")?.getAttribute("aria-busy");
        asked ||= busy === "true";
        if (!asked || busy !== "false" || !document.querySelector("#hit-0")?.textContent?.includes(shows)) return;
        look.disconnect();
        requestAnimationFrame(() => setTimeout(() => resolve(performance.now() - event.timeStamp)));
      });
      look.observe(document, { subtree: true, childList: true, characterData: true, attributes: true, attributeFilter: ["aria-busy"] });
    };
    addEventListener("keydown", onEnter, true);
  });
}

const rest = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, PAUSE_MS));

/** What the search has asked for beside the rows is there too, so that it does not burden the next one. */
async function quiet(page: Page): Promise<void> {
  await page.waitForLoadState("networkidle");
  await rest();
}

test("how long people wait", async ({ browser, baseURL }) => {
  const plan = JSON.parse(process.env["LOGFLOW_UI_SPEED"] ?? "{}") as Plan;
  test.setTimeout((plan.loads + plan.searches.length) * 20_000);
  const address = `${baseURL}/?${new URLSearchParams({ from: plan.from, to: plan.to }).toString()}`;

  const loads = [];
  for (let n = 1; n <= plan.loads; n += 1) {
    const context = await browser.newContext();
    const page = await context.newPage();
    await page.addInitScript(noteFirstRows);
    await page.goto(address);
    await page.waitForFunction(() => window.firstRows !== undefined);
    loads.push(
      await page.evaluate(() => ({
        first_paint_ms: performance.getEntriesByName("first-contentful-paint")[0]?.startTime,
        first_rows_ms: window.firstRows,
      })),
    );
    await quiet(page);
    await context.close();
    console.log(`load ${n} of ${plan.loads}`);
  }

  const searches = [];
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(address);
  await expect(page.locator("#hit-0")).toBeVisible();
  const query = page.getByRole("combobox", { name: "Query" });
  for (const [n, { q, shows }] of plan.searches.entries()) {
    await quiet(page);
    await page.evaluate(noteSearch, shows);
    await query.fill("");
    await query.pressSequentially(q);
    await query.press("Enter");
    const rows_ms = await page.evaluate(() => window.searched);
    const total = await page.locator(".results .count strong").textContent();
    const api_ms = await page.evaluate(() => (performance.getEntriesByType("resource") as PerformanceResourceTiming[]).findLast((entry) => entry.name.endsWith("/api/v1/search"))?.duration);
    searches.push({ q, rows_ms, api_ms, total });
    console.log(`search ${n + 1} of ${plan.searches.length}`);
  }
  await context.close();
  writeFileSync(plan.samples, JSON.stringify({ loads, searches }));
});
