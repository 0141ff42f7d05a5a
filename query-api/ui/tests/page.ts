// What every test checks beside its own claim: nothing leaves the origin, nothing breaks the content security policy, nothing throws,
// and nothing that a log line says is done.

import { expect, test as base, type Locator, type Page } from "@playwright/test";
import { mainCommit } from "./seed";

export interface Explorer {
  page: Page;
  /** Opens the page with these parameters of the address. */
  open(params?: Record<string, string>): Promise<void>;
  /** This run's events of the last hour. */
  openStory(params?: Record<string, string>): Promise<void>;
  query: Locator;
  rows: Locator;
  count: Locator;
  /** The search that runs has its answer on the page. */
  settled(): Promise<void>;
  search(q: string): Promise<void>;
  value(field: string, value: string): Locator;
}

export const test = base.extend<{ explorer: Explorer }>({
  explorer: async ({ page, baseURL }, use) => {
    const origin = new URL(baseURL ?? "").origin;
    const faults: string[] = [];
    page.on("request", (request) => {
      const url = request.url();
      if (!url.startsWith(`${origin}/`) && !url.startsWith("data:") && !url.startsWith("blob:")) faults.push(`request to ${url}`);
    });
    page.on("pageerror", (error) => faults.push(`thrown: ${error.message}`));
    page.on("dialog", (dialog) => {
      faults.push(`dialog: ${dialog.message()}`);
      void dialog.dismiss();
    });
    page.on("console", (message) => {
      if (/Content Security Policy|Refused to/.test(message.text())) faults.push(message.text());
    });
    const explorer = explorerOf(page);
    await use(explorer);
    if (!page.isClosed()) {
      expect(await page.evaluate(() => "__hit" in window)).toBe(false);
    }
    expect(faults).toEqual([]);
  },
});

export { expect };

export function explorerOf(page: Page): Explorer {
  const explorer: Explorer = {
    page,
    query: page.getByRole("combobox", { name: "Query" }),
    rows: page.getByRole("grid", { name: "Events" }).locator(".row"),
    count: page.locator(".results .count"),
    async open(params = {}) {
      await page.goto(`/?${new URLSearchParams(params).toString()}`);
    },
    async openStory(params = {}) {
      await explorer.open({ q: `commit:${mainCommit()}`, ...params });
      await explorer.settled();
    },
    async settled() {
      await expect(page.locator(".results[aria-busy=false]")).toBeVisible();
      await expect(page.locator(".results .count strong, .results .problem, .query .fault").first()).toBeVisible();
      // Chromium drops keys that are pressed before the page's first frames are drawn.
      await page.evaluate(() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn))));
    },
    async search(q) {
      await explorer.query.fill(q);
      await explorer.query.press("Enter");
      await expect.poll(() => new URL(page.url()).searchParams.get("q") ?? "").toBe(q);
      await explorer.settled();
    },
    value: (field, value) =>
      page.getByRole("region", { name: `Values of ${field}` }).locator("li", { has: page.getByRole("button", { name: new RegExp(`^${value.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}, `) }) }),
  };
  return explorer;
}

export const param = (page: Page, name: string): string | null => new URL(page.url()).searchParams.get(name);
