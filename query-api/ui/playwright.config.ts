// Drives the page in Chromium against a running stack: LOGFLOW_UI_URL (the query API) and LOGFLOW_INGEST_URL (the gateway);
// and, where LOGFLOW_KEYS_URL says that there is one, against a second query API that needs keys.

import { defineConfig } from "@playwright/test";

export const UI_URL = process.env["LOGFLOW_UI_URL"] ?? "http://127.0.0.1:5000";
export const INGEST_URL = process.env["LOGFLOW_INGEST_URL"] ?? "http://127.0.0.1:3000";

/** The query API that needs keys. The events are the same. */
export const KEYS_URL = process.env["LOGFLOW_KEYS_URL"];

const screenshots = process.env["LOGFLOW_UI_SCREENSHOTS"];
const speed = process.env["LOGFLOW_UI_SPEED"];

export default defineConfig({
  testDir: "tests",
  // Pictures are made and times are taken on request, and neither is checked.
  testMatch: speed ? "speed.ts" : screenshots ? "pictures.ts" : "*.spec.ts",
  ...(speed ? {} : { globalSetup: "./tests/seed.ts" }),
  testIgnore: KEYS_URL ? [] : "access.spec.ts",
  workers: 1,
  forbidOnly: true,
  retries: 0,
  timeout: 120_000,
  expect: { timeout: 20_000 },
  reporter: [[process.env["CI"] ? "list" : "line"]],
  use: {
    baseURL: UI_URL,
    browserName: "chromium",
    viewport: { width: 1440, height: 900 },
    timezoneId: "Europe/Berlin",
    locale: "en-GB",
    permissions: ["clipboard-read", "clipboard-write"],
    acceptDownloads: true,
    trace: "off",
    launchOptions: {
      executablePath: process.env["CHROMIUM"] ?? "/usr/bin/chromium",
      args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
    },
  },
});
