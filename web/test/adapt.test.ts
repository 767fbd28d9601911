import assert from "node:assert/strict";
import { test } from "node:test";
import { Parallelism } from "../src/transfer/adapt.ts";

/** Drive it over a line that moves `rate(limit)` bytes per second, for `seconds`. */
function drive(parallelism: Parallelism, seconds: number, rate: (limit: number) => number, start = 0): number[] {
  const seen: number[] = [];
  for (let now = start; now < start + seconds; now += 0.1) {
    parallelism.moved(rate(parallelism.limit) / 10, parallelism.limit, now);
    seen.push(parallelism.limit);
  }
  return seen;
}

test("it climbs to the most while each connection brings more", () => {
  const parallelism = new Parallelism(5);
  drive(parallelism, 20, (limit) => limit * 1e6);
  assert.equal(parallelism.limit, 5);
});

test("it stays near where more brings nothing, and looks again from time to time", () => {
  const parallelism = new Parallelism(16);
  drive(parallelism, 10, (limit) => Math.min(limit, 4) * 1e6);
  const seen = drive(parallelism, 60, (limit) => Math.min(limit, 4) * 1e6, 10);
  assert.deepEqual([...new Set(seen)].sort(), [5, 6]);
});

test("over HTTP/2 it is at sixteen after a few windows", () => {
  const parallelism = new Parallelism(16);
  drive(parallelism, 5, (limit) => limit * 1e6);
  assert.equal(parallelism.limit, 16);
});

test("failures halve it, to one at the least, and it recovers", () => {
  const parallelism = new Parallelism(8, 8);
  parallelism.failed(100);
  parallelism.failed(100.5); // the same break
  assert.equal(parallelism.limit, 4);
  for (let count = 0; count < 5; count += 1) parallelism.failed(200 + 2 * count);
  assert.equal(parallelism.limit, 1);
  drive(parallelism, 60, (limit) => limit * 1e6);
  assert.ok(parallelism.limit > 4, `only ${parallelism.limit}`);
});

test("with too little to send nothing is learnt", () => {
  const parallelism = new Parallelism(8, 3);
  for (let now = 0; now < 30; now += 0.1) parallelism.moved(1e6, 1, now);
  assert.equal(parallelism.limit, 3);
});

test("a lower most holds at once", () => {
  const parallelism = new Parallelism(16, 16);
  parallelism.most = 5;
  assert.equal(parallelism.limit, 5);
});
