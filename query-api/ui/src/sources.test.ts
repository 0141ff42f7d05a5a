// What the sources must not contain, because a log line is written by anybody.

import { readFileSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const root = fileURLToPath(new URL(".", import.meta.url));
const sources = readdirSync(root, { recursive: true, encoding: "utf8" })
  .filter((name) => /\.(ts|svelte)$/.test(name) && !name.endsWith(".test.ts"))
  .map((name) => ({ name, text: readFileSync(root + name, "utf8") }));

const FORBIDDEN: [string, RegExp][] = [
  ["text as markup", /\{@html|innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment|DOMParser/],
  ["code from text", /\beval\(|new Function\(|setTimeout\(\s*["'`]/],
  ["a style attribute, which the content security policy refuses", /<[a-zA-Z][^>]*\sstyle(=|:)/],
  ["an address of another origin", /(fetch|src|import)\(?=?["'`]https?:/],
];

for (const [what, pattern] of FORBIDDEN) {
  test(`no source contains ${what}`, () => {
    expect(sources.length).toBeGreaterThan(20);
    expect(sources.filter((source) => pattern.test(source.text)).map((source) => source.name)).toEqual([]);
  });
}

test("every link that opens another page tells it nothing", () => {
  for (const source of sources) {
    for (const [tag] of source.text.matchAll(/<a\b[^>]*target=[^>]*>/g)) expect(tag, source.name).toContain('rel="noopener noreferrer"');
  }
});

test("every source says in its first lines what it is and where it stands, and is not longer than 500 lines", () => {
  for (const source of sources.filter((source) => !source.name.endsWith(".d.ts"))) {
    expect(source.text.slice(0, 600), source.name).toMatch(/^(\/\/|<!--) [\s\S]*In the flow: /);
    expect(source.text.split("\n").length, source.name).toBeLessThanOrEqual(501);
  }
});
