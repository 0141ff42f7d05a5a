// Keys: signing in and out, what a key may not do, and redriving dead letters. Real keys, a real key file, real dead letters.

import { readFile } from "node:fs/promises";
import type { Locator, Page } from "@playwright/test";
import { KEYS_URL, UI_URL } from "../playwright.config";
import { checkAll } from "./axe";
import { become, isFound, keyOf, letters, makeLetter, mendMapping, oddMessage, sendAsShop, withScopes, type KeyId } from "./keys";
import { expect, param, test, type Explorer } from "./page";
import { FAILURES, mainCommit, run, until } from "./seed";

test.use({ baseURL: KEYS_URL ?? "" });

const signIn = (page: Page): Locator => page.getByRole("dialog", { name: "Sign in" });
const keyField = (page: Page): Locator => signIn(page).getByLabel("Key", { exact: true });
const account = (page: Page): Locator => page.getByRole("button", { name: /^Signed in/ });
const ERRORS = (): Record<string, string> => ({ q: `commit:${mainCommit()} level:error`, sort: "oldest" });

async function type(page: Page, key: string): Promise<void> {
  await keyField(page).fill(key);
  await keyField(page).press("Enter");
}

/** Every string that lives in the page's script memory and contains this. */
async function remembered(page: Page, secret: string): Promise<number> {
  const tools = await page.context().newCDPSession(page);
  let text = "";
  tools.on("HeapProfiler.addHeapSnapshotChunk", ({ chunk }) => (text += chunk));
  await tools.send("HeapProfiler.collectGarbage");
  await tools.send("HeapProfiler.takeHeapSnapshot", { reportProgress: false });
  await tools.detach();
  expect(text.length).toBeGreaterThan(100_000);
  return text.split(secret).length - 1;
}

test("a link that is opened before signing in shows its view afterwards, and nothing of the key stays on the page", async ({ explorer }) => {
  const { page } = explorer;
  const key = keyOf("admin");
  const secret = key.slice(key.indexOf(".") + 1);
  const sent: string[] = [];
  page.on("request", (request) => {
    if (`${request.url()} ${JSON.stringify(request.headers())} ${request.postData() ?? ""}`.includes(secret)) sent.push(`${request.method()} ${new URL(request.url()).pathname}`);
  });
  await explorer.open({ ...ERRORS(), columns: "message,spanId" });
  await expect(signIn(page)).toBeVisible();
  await expect(page).toHaveTitle("Sign in · logflow");
  await expect(keyField(page)).toBeFocused();
  await expect(keyField(page)).toHaveAttribute("type", "password");
  // Nothing else can be reached before.
  await page.keyboard.press("Escape");
  await page.keyboard.press("Escape");
  await expect(signIn(page)).toBeVisible();
  const address = page.url();
  await type(page, key);
  await expect(signIn(page)).toBeHidden();
  await explorer.settled();
  await expect(explorer.count).toContainText(`${FAILURES} events`);
  await expect(page.getByRole("columnheader", { name: "spanId" })).toBeVisible();
  expect(page.url()).toBe(address);

  expect(sent).toEqual(["POST /api/v1/session"]);
  const kept = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie, history.state, location.href, document.documentElement.outerHTML, [...document.querySelectorAll("input")].map((input) => input.value)]));
  expect(kept).not.toContain(secret);
  const cookies = await page.context().cookies();
  expect(cookies.map(({ httpOnly, sameSite }) => ({ httpOnly, sameSite }))).toEqual([{ httpOnly: true, sameSite: "Strict" }]);
  expect(await page.evaluate(() => document.cookie)).toBe("");
  expect(await remembered(page, secret)).toBe(0);

  await page.reload();
  await explorer.settled();
  await expect(explorer.count).toContainText(`${FAILURES} events`);
});

test("a key that does not count is told with the way out, and the right one opens the page after it", async ({ explorer }) => {
  const { page } = explorer;
  await explorer.open(ERRORS());
  const alert = signIn(page).getByRole("alert");
  for (const [key, code, way] of [
    ["nonsense", "key_unreadable", "copy all of it again"],
    [`${keyOf("admin")}x`, "key_unknown", "ask whoever runs logflow"],
    ["nobody.at-all", "key_unknown", "Copy all of it again"],
    [keyOf("expired"), "key_expired", "Ask whoever runs logflow for another"],
  ] as const) {
    await type(page, key);
    await expect(alert).toContainText(code);
    await expect(alert).toContainText(way);
    await expect(keyField(page)).toBeFocused();
    await expect(keyField(page)).toHaveAttribute("aria-invalid", "true");
  }
  // Its text is selected, so the next key replaces it.
  await page.keyboard.insertText(`  ${keyOf("reader")} `);
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await expect(signIn(page)).toBeHidden();
  await explorer.settled();
  await expect(explorer.count).toContainText(`${FAILURES} events`);
});

test("who is signed in is shown, signing out leaves nothing, and another key sees its own events", async ({ explorer }) => {
  const { page } = explorer;
  const message = `parcel ${run()}`;
  await sendAsShop([{ level: "info", message, resourceId: "parcels-1" }]);
  await until("the event of the tenant is found", () => isFound("shop", message));
  await become(page, "admin");
  await explorer.openStory();
  await account(page).click();
  const menu = page.getByRole("dialog", { name: /^Signed in/ });
  await expect(menu).toContainText("admin");
  await expect(menu).toContainText("the events of all tenants");
  await expect(menu).not.toContainText("May not");
  const address = page.url();
  await menu.getByRole("button", { name: "Sign out" }).click();
  await expect(signIn(page)).toBeVisible();
  expect(page.url()).toBe(address);
  expect(await page.context().cookies()).toEqual([]);
  await expect(signIn(page)).not.toContainText("ended");
  expect(await page.locator("body").innerHTML()).not.toContain("answered 200");

  await type(page, keyOf("shop"));
  await explorer.settled();
  await expect(explorer.count).toContainText("0 events");
  await explorer.search(`"${message}"`);
  await expect(explorer.rows).toHaveCount(1);
  await account(page).click();
  await expect(menu).toContainText("the events of the tenant shop");
});

test("a session that ends while the page is open is noticed, and signing in again changes nothing of the view", async ({ explorer }) => {
  const { page, query } = explorer;
  await become(page, "admin");
  await explorer.openStory(ERRORS());
  const grid = page.getByRole("grid", { name: "Events" });
  await explorer.rows.nth(30).click();
  await expect(page.locator(".details")).toBeVisible();
  await query.fill("half a quer");
  const scrolled = await grid.evaluate((element) => element.scrollTop);
  const first = await explorer.rows.first().textContent();
  await page.context().clearCookies();
  await expect(signIn(page)).toContainText("Your session has ended.");
  await type(page, keyOf("admin"));
  await expect(signIn(page)).toBeHidden();
  await expect(query).toHaveValue("half a quer");
  await expect(query).toBeFocused();
  await expect(page.locator(".details")).toBeVisible();
  expect(await grid.evaluate((element) => element.scrollTop)).toBe(scrolled);
  await expect(explorer.rows.first()).toHaveText(first ?? "");
});

test("what is refused because the session has ended is asked for again", async ({ explorer }) => {
  const { page } = explorer;
  await become(page, "admin");
  await explorer.openStory();
  const errors = page.getByRole("list", { name: "Levels" }).getByRole("button", { name: /error/ });
  await expect(errors).toBeVisible();
  // Whatever else the page asks would bring the sign-in before the click.
  await page.waitForLoadState("networkidle");
  await page.context().clearCookies();
  await errors.click();
  await expect(signIn(page)).toBeVisible();
  expect(param(page, "q")).toBe(ERRORS()["q"]);
  // Back, meanwhile, brings the view before, and no dialog over this one.
  await page.goBack();
  await page.goForward();
  await type(page, keyOf("admin"));
  await expect(signIn(page)).toBeHidden();
  await explorer.settled();
  await expect(explorer.count).toContainText(`${FAILURES} events`);
});

test("after a session has ended another key sees nothing of what was on the page", async ({ explorer }) => {
  const { page } = explorer;
  await become(page, "admin");
  await explorer.openStory(ERRORS());
  await page.context().clearCookies();
  await page.keyboard.press("r");
  await type(page, keyOf("shop"));
  await expect(account(page)).toContainText("shop");
  await explorer.settled();
  await expect(explorer.count).toContainText("0 events");
  expect(await page.locator("body").innerHTML()).not.toContain("Failed to charge");
});

test("a tab that is looked at again knows that another one signed in", async ({ explorer }) => {
  const { page } = explorer;
  await explorer.open(ERRORS());
  await expect(signIn(page)).toBeVisible();
  await become(page, "reader");
  await page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
  await expect(signIn(page)).toBeHidden();
  await explorer.settled();
  await expect(explorer.count).toContainText(`${FAILURES} events`);
});

test("a key without `tail` is told so where the live tail would be, and none is asked for", async ({ explorer }) => {
  const { page } = explorer;
  await become(page, "reader");
  await explorer.openStory();
  const asked: string[] = [];
  page.on("request", (request) => void (request.url().includes("/tail") && asked.push(request.url())));
  await page.getByRole("link", { name: "Live tail, not with this key" }).click();
  const lack = page.getByRole("region", { name: "No live tail with this key" });
  await expect(lack).toContainText("The key `reader` may not follow the live tail: it lacks the scope `tail`. Whoever runs logflow can add it in the key file.");
  await lack.getByRole("button", { name: "Look again" }).click();
  await expect(page.locator(".said")).toHaveText("The key still lacks it");
  expect(asked).toEqual([]);
  // The operator adds it.
  await withScopes("reader", ["query", "tail"], async () => {
    await lack.getByRole("button", { name: "Look again" }).click();
    await expect(page.getByRole("region", { name: "Live tail" }).getByRole("status")).toHaveText("Live");
  });
});

test("a scope that is taken away while the page is open is told when it is missed", async ({ explorer }) => {
  const { page } = explorer;
  await withScopes("reader", ["query", "tail", "export"], async () => {
    await become(page, "reader");
    await explorer.openStory();
    await expect(page.getByRole("link", { name: "Live tail", exact: true })).toBeVisible();
  });
  await page.getByRole("button", { name: "Export", exact: true }).click();
  await page.getByRole("link", { name: /NDJSON/ }).click();
  await expect(page.getByRole("dialog", { name: "Export, not with this key" })).toContainText("it lacks the scope `export`");
  await page.keyboard.press("Escape");
  await page.keyboard.press("t");
  await expect(page.getByRole("region", { name: "No live tail with this key" })).toBeVisible();
});

test("the live tail ends with the word of the API when the key loses the scope", async ({ explorer }) => {
  const { page } = explorer;
  await withScopes("reader", ["query", "tail"], async () => {
    await become(page, "reader");
    await explorer.openStory();
  });
  // Not known to the page yet.
  await page.keyboard.press("t");
  await expect(page.getByRole("region", { name: "No live tail with this key" })).toContainText("it lacks the scope `tail`");
});

test("a key without `export` is offered none, and one that has it gets the file by its cookie", async ({ explorer }) => {
  const { page } = explorer;
  await become(page, "reader");
  await explorer.openStory(ERRORS());
  await page.getByRole("button", { name: "Export, not with this key" }).click();
  const menu = page.getByRole("dialog", { name: "Export, not with this key" });
  await expect(menu.getByText("The key `reader` may not export events: it lacks the scope `export`.")).toBeFocused();
  await expect(menu.getByRole("link")).toHaveCount(0);

  await become(page, "admin");
  await explorer.openStory(ERRORS());
  await page.getByRole("button", { name: "Export", exact: true }).click();
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: /NDJSON/ }).click()]);
  const lines = (await readFile(await download.path(), "utf8")).trim().split("\n");
  expect(JSON.parse(lines.at(-1) ?? "")).toEqual({ _end: true, events: FAILURES, partial: false, partial_reasons: [] });
  // A download that would be refused is not begun.
  await page.getByRole("button", { name: "Export", exact: true }).click();
  await page.context().clearCookies();
  await page.getByRole("link", { name: /CSV/ }).click();
  await expect(signIn(page)).toBeVisible();
});

test("a key without `query` is told so in place of the search and the pipeline", async ({ explorer }) => {
  const { page } = explorer;
  await become(page, "sender");
  await explorer.open();
  await expect(page.getByRole("region", { name: "No search with this key" })).toContainText("it lacks the scope `query`");
  await page.getByRole("link", { name: "Pipeline" }).click();
  await expect(page.getByRole("region", { name: "No state of the pipeline with this key" })).toBeVisible();
  await page.getByRole("button", { name: "Sign in with another key" }).click();
  await type(page, keyOf("reader"));
  await expect(page.getByRole("heading", { name: "Pipeline", exact: true })).toBeVisible();
});

test("the live tail of a tenant's key follows its tenant's events", async ({ explorer }) => {
  const { page } = explorer;
  await become(page, "shop");
  await explorer.open({ view: "tail", q: `commit:live-${run()}` });
  await expect(page.getByRole("region", { name: "Live tail" }).getByRole("status")).toHaveText("Live");
  await sendAsShop([{ level: "info", message: "sold", resourceId: "till-1", commit: `live-${run()}` }]);
  await expect(page.getByRole("grid", { name: "Live events" }).locator(".row")).toHaveCount(1);
});

test.describe("where no key is needed", () => {
  test.use({ baseURL: UI_URL });
  test("nothing is said of keys", async ({ explorer }) => {
    const { page } = explorer;
    await explorer.openStory();
    await expect(page.getByRole("link", { name: "Live tail", exact: true })).toBeVisible();
    await expect(page.getByRole("button", { name: "Export", exact: true })).toBeVisible();
    await expect(account(page)).toHaveCount(0);
    await expect(signIn(page)).toHaveCount(0);
    expect(await page.locator("header").textContent()).not.toMatch(/key|sign/i);
  });
});

test.describe("dead letters", () => {
  const pipeline = (page: Page): Locator => page.getByRole("region", { name: "Pipeline" });
  const told = (page: Page): Locator => pipeline(page).getByRole("status", { name: "Redrive" });

  async function open(explorer: Explorer, id: KeyId): Promise<void> {
    await become(explorer.page, id);
    await explorer.open({ view: "pipeline" });
    await expect(pipeline(explorer.page).getByRole("heading", { name: "Dead letters" })).toBeVisible();
  }

  /** Where the letter of this event stands, as `PARTITION:OFFSET`. */
  async function placeOf(name: string): Promise<string> {
    const letter = (await letters("admin")).find((letter) => letter.value.includes(oddMessage(name)));
    expect(letter).toBeDefined();
    return `${letter?.partition}:${letter?.offset}`;
  }

  test("a key without `admin` sees the list and no way to redrive it", async ({ explorer }) => {
    const { page } = explorer;
    await makeLetter("read");
    await open(explorer, "reader");
    const place = await placeOf("read");
    await pipeline(page).getByRole("button", { name: place, exact: true }).click();
    await expect(pipeline(page)).toContainText(oddMessage("read"));
    await expect(page.getByRole("button", { name: /Redrive/ })).toHaveCount(0);
    await expect(pipeline(page)).not.toContainText("es-sink dead-letters redrive");
  });

  test("one letter is redriven once somebody has read what that does, and comes back while its cause still stands", async ({ explorer }) => {
    const { page } = explorer;
    await makeLetter("stay");
    await open(explorer, "admin");
    const place = await placeOf("stay");
    const button = page.getByRole("button", { name: `Redrive ${place}`, exact: true });
    await button.click();
    const confirm = page.getByRole("dialog", { name: `Redrive the letter ${place}` });
    await expect(confirm).toContainText("Its record goes back to the topic it came from, once, however often this is interrupted or repeated.");
    await expect(confirm).toContainText("If the cause still stands, it becomes a dead letter again");
    await confirm.getByRole("button", { name: "Cancel" }).click();
    await expect(button).toBeFocused();
    expect(await placeOf("stay")).toBe(place);

    await button.click();
    await confirm.getByRole("button", { name: "Redrive", exact: true }).click();
    await expect(told(page)).toContainText("1 redriven: its record is in its topic again.");
    await expect(told(page)).toBeFocused();
    await expect(button).toHaveCount(0);
    // As it was said: the mapping is as it was.
    await until("it is a letter again", async () => (await letters("admin")).some((letter) => letter.value.includes(oddMessage("stay"))));
    const again = await placeOf("stay");
    expect(again).not.toBe(place);
    await expect(page.getByRole("button", { name: `Redrive ${again}`, exact: true })).toBeVisible();
  });

  test("a letter that somebody else has redriven meanwhile is not redriven twice", async ({ explorer }) => {
    const { page } = explorer;
    await makeLetter("twice");
    await open(explorer, "admin");
    const place = await placeOf("twice");
    await page.getByRole("button", { name: `Redrive ${place}`, exact: true }).click();
    const reply = await page.request.post(`${KEYS_URL}/api/v1/dead-letters/redrive`, { data: { letters: [place] } });
    expect(await reply.json()).toMatchObject({ redriven: 1 });
    await page.getByRole("dialog").getByRole("button", { name: "Redrive", exact: true }).click();
    await expect(told(page)).toContainText("Nothing was redriven");
  });

  test("a tenant's key sees and redrives its tenant's letters alone", async ({ explorer }) => {
    const { page } = explorer;
    await makeLetter("others");
    await makeLetter("own", "shop");
    await mendMapping("own");
    await open(explorer, "shop");
    const others = await placeOf("others");
    const own = await placeOf("own");
    await expect(page.getByRole("button", { name: `Redrive ${own}`, exact: true })).toBeVisible();
    await expect(page.getByRole("button", { name: others, exact: true })).toHaveCount(0);
    await page.getByRole("button", { name: "Redrive all" }).click();
    const confirm = page.getByRole("dialog", { name: "Redrive all open letters" });
    await expect(confirm).toContainText("of the tenant shop");
    await confirm.getByRole("button", { name: "Redrive", exact: true }).click();
    await expect(told(page)).toContainText("redriven");
    await expect(page.getByRole("button", { name: own, exact: true })).toHaveCount(0);
    await until("its event is found", () => isFound("shop", oddMessage("own")));
    expect(await placeOf("others")).toBe(others);
  });

  test("a key that lost `admin` meanwhile redrives nothing and is told why", async ({ explorer }) => {
    const { page } = explorer;
    await makeLetter("lost");
    await withScopes("reader", ["query", "admin"], () => open(explorer, "reader"));
    const place = await placeOf("lost");
    await page.getByRole("button", { name: `Redrive ${place}`, exact: true }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Redrive", exact: true }).click();
    await expect(pipeline(page).getByRole("alert")).toContainText("the API key lacks the scope `admin`; the operator can add it in the key file");
    await expect(page.getByRole("button", { name: /Redrive/ })).toHaveCount(0);
    expect(await placeOf("lost")).toBe(place);
  });

  test("all letters are redriven once their cause is mended, leave the list, and are found by a search", async ({ explorer }) => {
    const { page } = explorer;
    for (const name of ["first", "second", "third"]) await makeLetter(name);
    for (const name of ["first", "second", "third", "read", "stay", "twice", "others", "lost"]) await mendMapping(name);
    await open(explorer, "admin");
    await expect(pipeline(page)).toContainText(await placeOf("third"));
    await page.getByRole("button", { name: "Redrive all" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Redrive", exact: true }).click();
    await expect(told(page)).toContainText(/\d+ redriven: their records are in their topics again\./);
    for (const name of ["first", "second", "third"]) await until(`the odd ${name} is found`, () => isFound("admin", oddMessage(name)));
    const left = await letters("admin");
    expect(left.filter((letter) => letter.value.includes(run()))).toEqual([]);
    await explorer.openStory({ q: `"${oddMessage("second")}"` });
    await expect(explorer.rows).toHaveCount(1);
  });

  checkAll({
    "dead letters to redrive": async (explorer) => {
      if (!(await letters("admin")).some((letter) => letter.value.includes(oddMessage("axe")))) await makeLetter("axe");
      await open(explorer, "admin");
      await pipeline(explorer.page).getByText("From a shell").click();
      await pipeline(explorer.page).getByRole("button", { name: await placeOf("axe"), exact: true }).click();
    },
    "a redrive to confirm": async (explorer) => {
      await open(explorer, "admin");
      await explorer.page.getByRole("button", { name: "Redrive all" }).click();
      await expect(explorer.page.getByRole("dialog", { name: "Redrive all open letters" })).toBeVisible();
    },
    "a redrive that has ended": async (explorer) => {
      await open(explorer, "admin");
      await explorer.page.getByRole("button", { name: "Redrive all" }).click();
      await explorer.page.getByRole("dialog").getByRole("button", { name: "Redrive", exact: true }).click();
      await expect(told(explorer.page)).toContainText("redriven");
    },
  });
});

checkAll({
  "the sign-in": async ({ page, open }) => {
    await open();
    await expect(signIn(page)).toBeVisible();
  },
  "a refused sign-in": async ({ page, open }) => {
    await open();
    await type(page, "nobody.at-all");
    await expect(signIn(page).getByRole("alert")).toContainText("key_unknown");
  },
  "a session that has ended": async ({ page, open }) => {
    await become(page, "reader");
    await open();
    await expect(account(page)).toBeVisible();
    await page.context().clearCookies();
    await page.keyboard.press("r");
    await expect(signIn(page)).toContainText("has ended");
  },
  "who is signed in": async ({ page, openStory }) => {
    await become(page, "shop");
    await openStory();
    await account(page).click();
    await expect(page.getByRole("dialog", { name: /^Signed in/ })).toBeVisible();
  },
  "an export that is not allowed": async ({ page, openStory }) => {
    await become(page, "reader");
    await openStory();
    await page.getByRole("button", { name: "Export, not with this key" }).click();
  },
  "a page of a key that may little": async ({ page, openStory }) => {
    await become(page, "reader");
    await openStory();
  },
  "a live tail that is not allowed": async ({ page, open }) => {
    await become(page, "reader");
    await open({ view: "tail" });
    await expect(page.getByRole("region", { name: "No live tail with this key" })).toBeVisible();
  },
  "a search that is not allowed": async ({ page, open }) => {
    await become(page, "sender");
    await open();
    await expect(page.getByRole("region", { name: "No search with this key" })).toBeVisible();
  },
});

test("a link that is opened before signing in keeps its parameters", async ({ explorer }) => {
  const { page } = explorer;
  await explorer.open({ view: "tail", q: "level:error" });
  await expect(signIn(page)).toBeVisible();
  await type(page, keyOf("admin"));
  await expect(page.getByRole("region", { name: "Live tail" }).getByRole("status")).toHaveText("Live");
  expect(param(page, "q")).toBe("level:error");
});
