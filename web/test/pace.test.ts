import assert from "node:assert/strict";
import { test } from "node:test";
import { Rate, pause, secondsLeft } from "../src/transfer/pace.ts";

test("the rate is that of the last seconds", () => {
  const rate = new Rate(4);
  for (let now = 0; now <= 10; now += 0.1) rate.add(100, now);
  assert.ok(Math.abs(rate.at(10) - 1000) < 100, `${rate.at(10)}`);
  assert.equal(rate.at(30), 0);
  assert.equal(secondsLeft(100, rate.at(30)), undefined);
});

test("one burst is not taken for a speed that no line has", () => {
  const rate = new Rate(4);
  rate.add(1e6, 5);
  assert.ok(rate.at(5) <= 1e6);
});

test("pauses double up to a bound, and are spread", () => {
  assert.deepEqual([1, 2, 3].map((failures) => pause(failures, 1)), [0.5, 1, 2]);
  assert.equal(pause(50, 1), 20);
  assert.equal(pause(50, 0), 10);
});
