import { defineConfig } from "vite";

export default defineConfig({
  // Relative, so that the page works below any path.
  base: "./",
  // The tests drive the built page; a developer may point `vite dev` at a running server.
  server: { proxy: { "/pulp": "http://127.0.0.1:24817", "/livez": "http://127.0.0.1:24817" } },
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    outDir: "../src/partwise/web/page",
    emptyOutDir: true,
    target: "es2022",
    // The page's policy allows no inline script, and every browser of the target preloads modules itself.
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
  },
  worker: { format: "es" },
});
