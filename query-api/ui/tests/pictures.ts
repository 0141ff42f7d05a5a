// Makes the pictures of the main views that the documents use, into the folder LOGFLOW_UI_SCREENSHOTS.

import { expect, test, type Explorer } from "./page";
import { mainCommit, run } from "./seed";

const INTO = process.env["LOGFLOW_UI_SCREENSHOTS"] ?? "test-results";
const REPLY = {
  sinks: [
    { address: "sink-0:9102", reachable: true, lag: 41_822, freshness_seconds: 412.4, holds: [{ cause: "index_blocked", items: 5_000, since_seconds: 400, reason: "cluster_block_exception: index [logflow-2023.09.15] blocked by: [FORBIDDEN/8/index write (api)]" }], partitions: 3, ready: false, reasons: ["holds `logflow-2023.09.15`"] },
    { address: "sink-1:9102", reachable: true, lag: 0, freshness_seconds: 1.1, holds: [], partitions: 3, ready: true, reasons: [] },
  ],
  topic: { name: "logs", partitions: 6, end_offsets: 1_284_120 },
  dead_letters: { count: 17, count_is_exact: true, newest: [{ partition: 0, offset: 16, time: new Date(Date.now() - 90_000).toISOString(), topic: "logs", reason_class: "document_parsing_exception", reason: "[1:52] object mapping for [user] tried to parse field [user] as object, but found a concrete value", value: '{"message":"login","user":"bob"}' }] },
};

const VIEWS: Record<string, (explorer: Explorer) => Promise<void>> = {
  explore: (e) => e.openStory(),
  event: async (e) => {
    await e.openStory({ q: `commit:${mainCommit()} level:(error OR warn) refused` });
    await e.rows.nth(2).click();
    await expect(e.page.locator(".details")).toBeVisible();
  },
  trace: async (e) => {
    await e.openStory({ trace: `${run()}-bad-3` });
    await expect(e.page.getByRole("dialog").getByRole("listitem")).toHaveCount(4);
  },
  context: async (e) => {
    await e.openStory({ q: `commit:${mainCommit()} "configuration reloaded"` });
    await e.page.keyboard.press("j");
    await e.page.keyboard.press("c");
    await expect(e.page.getByRole("dialog").locator("[aria-current=true]")).toBeVisible();
  },
  pipeline: async (e) => {
    await e.page.route("**/api/v1/pipeline", (route) => route.fulfill({ json: REPLY }));
    await e.open({ view: "pipeline" });
    await expect(e.page.getByRole("heading", { name: "Dead letters" })).toBeVisible();
  },
  tail: async (e) => {
    const line = (n: number) => `id: 0:${n}\nevent: log\ndata: ${JSON.stringify({ id: `e${n}`, event: { timestamp: new Date(Date.now() - 9_000 + n * 200).toISOString(), level: n % 9 === 4 ? "warn" : n % 13 === 7 ? "error" : "info", message: n % 13 === 7 ? "Failed to charge: connection refused" : `GET /articles/${n} answered 200 in ${3 + (n % 50)} ms`, resourceId: `web-${1 + (n % 2)}` } })}\n\n`;
    let first = true;
    await e.page.route("**/api/v1/tail*", (route) => {
      if (!first) return new Promise(() => undefined);
      first = false;
      return route.fulfill({ contentType: "text/event-stream", body: Array.from({ length: 45 }, (_, n) => line(n)).join("") });
    });
    await e.open({ view: "tail" });
    await expect(e.page.getByRole("grid").locator(".row").first()).toBeVisible();
  },
  empty: (e) => e.openStory({ q: "nosuchword", from: "now-5m", to: "now" }),
  wrong: (e) => e.openStory({ q: "level:error (timeout" }),
  time: async (e) => {
    await e.openStory();
    await e.page.keyboard.press("i");
  },
  columns: async (e) => {
    await e.openStory({ columns: "resourceId,duration_ms,metadata.region,message", wrap: "1", density: "roomy" });
    await e.page.getByRole("button", { name: "Columns" }).click();
  },
  keys: async (e) => {
    await e.openStory();
    await e.page.keyboard.press("?");
  },
};

for (const [name, open] of Object.entries(VIEWS)) {
  for (const colours of ["dark", "light"] as const) {
    for (const [size, viewport] of [["", { width: 1440, height: 900 }], ["-narrow", { width: 360, height: 740 }]] as const) {
      test(`${name} ${colours}${size}`, async ({ explorer }) => {
        await explorer.page.setViewportSize(viewport);
        await explorer.page.emulateMedia({ colorScheme: colours, reducedMotion: "reduce" });
        await open(explorer);
        await explorer.page.waitForLoadState("networkidle").catch(() => undefined);
        await explorer.page.screenshot({ path: `${INTO}/${name}-${colours}${size}.png` });
        await explorer.page.unrouteAll({ behavior: "ignoreErrors" });
      });
    }
  }
}
