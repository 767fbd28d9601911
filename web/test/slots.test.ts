import assert from "node:assert/strict";
import { test } from "node:test";
import { Slots } from "../src/transfer/slots.ts";
import { Stopped } from "../src/transfer/problems.ts";

const never = new AbortController().signal;
const settle = () => new Promise((resolve) => setTimeout(resolve, 0));

test("no more hold a slot than the limit says, and the first file goes first", async () => {
  const slots = new Slots(() => 1);
  const order: string[] = [];
  await slots.acquire(1, never);
  void slots.acquire(3, never).then(() => order.push("third"));
  void slots.acquire(2, never).then(() => order.push("second"));
  await settle();
  assert.deepEqual(order, []);
  slots.release();
  await settle();
  assert.deepEqual(order, ["second"]);
  slots.release();
  await settle();
  assert.deepEqual(order, ["second", "third"]);
});

test("a raised limit lets in who waits", async () => {
  let limit = 1;
  const slots = new Slots(() => limit);
  await slots.acquire(1, never);
  const second = slots.acquire(2, never);
  limit = 2;
  slots.fill();
  await second;
  assert.equal(slots.held, 2);
});

test("who stops waiting leaves the queue and takes no slot", async () => {
  const slots = new Slots(() => 1);
  await slots.acquire(1, never);
  const controller = new AbortController();
  const waiting = slots.acquire(2, controller.signal);
  controller.abort();
  await assert.rejects(waiting, Stopped);
  slots.release();
  assert.equal(slots.held, 0);
});
