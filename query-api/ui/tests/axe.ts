// Holds views against the rules that axe knows, in both colours, and against the width of a telephone.

import AxeBuilder from "@axe-core/playwright";
import type { Page } from "@playwright/test";
import { expect, test, type Explorer } from "./page";

export type Views = Record<string, (explorer: Explorer) => Promise<void>>;

const TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
/** The rules that can find something else when only the colours are others. */
const RULES_OF_COLOUR = ["color-contrast", "link-in-text-block"];

async function violations(page: Page, rules?: string[]): Promise<string[]> {
  const axe = new AxeBuilder({ page });
  // What an open menu covers is seen in the other views.
  if (await page.locator(".panel").count()) axe.include(".panel");
  const found = await (rules ? axe.withRules(rules) : axe.withTags(TAGS)).analyze();
  return found.violations.map((rule) => `${rule.id}: ${rule.nodes.slice(0, 3).map((node) => `${node.html.slice(0, 160)} ${node.failureSummary?.split("\n")[1]?.trim() ?? ""}`).join(" | ")}`);
}

/** Declares the tests of each of these views. */
export function checkAll(views: Views): void {
  for (const [name, open] of Object.entries(views)) {
    test(`${name}: no violation, dark and light`, async ({ explorer }) => {
      await explorer.page.emulateMedia({ reducedMotion: "reduce", colorScheme: "dark" });
      await open(explorer);
      expect(await violations(explorer.page)).toEqual([]);
      await explorer.page.emulateMedia({ reducedMotion: "reduce", colorScheme: "light" });
      expect(await violations(explorer.page, RULES_OF_COLOUR)).toEqual([]);
      await explorer.page.unrouteAll({ behavior: "ignoreErrors" });
    });

    test(`${name}: nothing is wider than 360 pixels`, async ({ explorer }) => {
      await explorer.page.setViewportSize({ width: 360, height: 740 });
      await open(explorer);
      const width = await explorer.page.evaluate(() => Math.max(document.documentElement.scrollWidth, document.body.scrollWidth, ...[...document.querySelectorAll("header, main, dialog[open], .panel")].map((element) => element.getBoundingClientRect().right)));
      expect(width).toBeLessThanOrEqual(360);
      expect(await violations(explorer.page)).toEqual([]);
      await explorer.page.unrouteAll({ behavior: "ignoreErrors" });
    });
  }
}
