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
  assert.equal(rate.at(5), 0);
  rate.add(1e6, 6);
  assert.equal(rate.at(6), 0);
  rate.add(1e6, 7);
  assert.equal(rate.at(7), 1e6);
});

test("a first byte and a long silence are no rate, and the silence is told", () => {
  const rate = new Rate();
  assert.equal(rate.stalled(100), false);
  rate.add(4812, 0);
  assert.equal(rate.at(5.9), 0);
  assert.equal(rate.stalled(9), false);
  assert.equal(rate.stalled(11), true);
  rate.add(1, 12);
  assert.equal(rate.stalled(13), false);
  rate.clear();
  assert.equal(rate.stalled(50), false);
});

test("pauses double up to a bound, and are spread", () => {
  assert.deepEqual([1, 2, 3].map((failures) => pause(failures, 1)), [0.5, 1, 2]);
  assert.equal(pause(50, 1), 20);
  assert.equal(pause(50, 0), 10);
});
