// How the page is built: into dist/, under names that never change, so that a build of the same source is the same files.

import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vitest/config";

/** Where `npm run dev` finds the API. */
const QUERY_API = process.env["LOGFLOW_UI_URL"] ?? "http://127.0.0.1:5000";

export default defineConfig({
  base: "./",
  plugins: [svelte()],
  server: { proxy: { "/api": QUERY_API } },
  build: {
    target: "es2022",
    cssTarget: ["chrome125", "firefox128", "safari18"],
    cssCodeSplit: false,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rolldownOptions: {
      output: {
        entryFileNames: "app.js",
        chunkFileNames: "[name].js",
        assetFileNames: "app[extname]",
        codeSplitting: false,
      },
    },
  },
  test: { include: ["src/**/*.test.ts"] },
});
