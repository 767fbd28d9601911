import assert from "node:assert/strict";
import { test } from "node:test";
import { forget, keep, recall } from "../src/transfer/keep.ts";

test("what is kept is there as long as the page is, also where the browser forbids to store it", () => {
  Object.defineProperty(globalThis, "sessionStorage", {
    configurable: true,
    get: () => {
      throw new Error("SecurityError");
    },
  });
  assert.equal(recall("a"), undefined);
  keep("a", "1");
  assert.equal(recall("a"), "1");
  forget("a");
  assert.equal(recall("a"), undefined);
});
