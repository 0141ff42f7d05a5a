// How much the page weighs as it is served, and under which policy. How long it takes is no test's matter: it is measured.

import { gzipSync } from "node:zlib";
import { expect, test } from "./page";

const WEIGHT_MAX_BYTES = 120 * 1024;

test("JavaScript and CSS weigh at most 120 KB, gzipped, and there is nothing else", async ({ explorer, request }) => {
  const { page } = explorer;
  const loaded: string[] = [];
  page.on("request", (asked) => {
    if (!asked.url().includes("/api/")) loaded.push(new URL(asked.url()).pathname);
  });
  await explorer.openStory();
  expect([...new Set(loaded)].sort()).toEqual(["/", "/app.css", "/app.js", "/icon.svg"]);
  let total = 0;
  for (const name of ["app.js", "app.css"]) {
    const body = await (await request.get(`/${name}`)).body();
    total += gzipSync(body, { level: 9 }).length;
  }
  expect(total).toBeLessThanOrEqual(WEIGHT_MAX_BYTES);
});

test("the content security policy allows this origin's files and nothing inline", async ({ request }) => {
  const policy = (await request.get("/")).headers()["content-security-policy"] ?? "";
  expect(policy).toContain("default-src 'none'");
  expect(policy).toContain("script-src 'self'");
  expect(policy).toContain("style-src 'self'");
  expect(policy).not.toMatch(/unsafe-inline|unsafe-eval|https?:/);
});
