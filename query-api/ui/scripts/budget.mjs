// Fails when what a browser must fetch before it shows the page outgrows its budget, or when dist/ holds a file that nobody serves.

import { readFileSync, readdirSync } from "node:fs";
import { gzipSync } from "node:zlib";

/** Bytes of JavaScript and CSS, gzipped, that the page may weigh. */
const BUDGET_BYTES = 120 * 1024;
const SERVED = ["app.css", "app.js", "icon.svg", "index.html"];

const dist = new URL("../dist/", import.meta.url);
const files = readdirSync(dist).sort();
if (files.join() !== SERVED.join()) {
  console.error(`dist/ holds ${files.join(", ")}; served are ${SERVED.join(", ")}`);
  process.exit(1);
}
let total = 0;
for (const name of ["app.js", "app.css"]) {
  const bytes = gzipSync(readFileSync(new URL(name, dist)), { level: 9 }).length;
  console.log(`${name}: ${bytes} bytes gzipped`);
  total += bytes;
}
console.log(`together: ${total} of ${BUDGET_BYTES}`);
if (total > BUDGET_BYTES) {
  console.error("the page is over its budget");
  process.exit(1);
}
