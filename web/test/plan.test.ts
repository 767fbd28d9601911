import assert from "node:assert/strict";
import { test } from "node:test";
import { Plan, type Flight, type Stored } from "../src/transfer/plan.ts";
import { chunkSize, type Span } from "../src/transfer/ranges.ts";

const MIB = 1024 * 1024;
const chunk = (offset: number, size: number, sha256: string | null = "x"): Stored => ({ offset, size, sha256 });

/** Take and deliver all that is left, in pieces of `limit` bytes; the pieces. */
function send(plan: Plan, limit: number): Span[] {
  const sent: Span[] = [];
  for (let flight = plan.take(limit); flight; flight = plan.take(limit)) {
    sent.push(flight.span);
    plan.delivered(flight, "x");
  }
  return sent;
}

test("what came back is sent again, what was delivered is not, and what flies is neither missing nor there", () => {
  const plan = new Plan(30);
  const first = plan.take(10)!;
  const second = plan.take(10)!;
  first.sent = 4;
  assert.equal(plan.sent, 4);
  plan.delivered(second, "x");
  plan.returned(second); // too late to matter
  plan.update([chunk(10, 10)]);
  assert.deepEqual(plan.picture, { settled: [{ offset: 10, size: 10, sha256: "x" }], moving: [{ offset: 0, size: 4 }] });
  assert.deepEqual(send(plan, 100), [{ offset: 20, size: 10 }]);
  plan.returned(first);
  assert.deepEqual(send(plan, 100), [{ offset: 0, size: 10 }]);
  assert.ok(plan.allTaken);
  assert.equal(plan.sent, 30);
});

test("chunks that others sent are compared, each once; one of other bytes is sent again as it is", () => {
  const plan = new Plan(40);
  const mine = plan.take(10)!;
  plan.delivered(mine, "x");
  plan.update([chunk(0, 10), chunk(10, 10), chunk(20, 10), chunk(30, 10, null)]);
  assert.equal(plan.uncompared, 20); // one without a digest is left to the digest of the whole file
  const one = plan.nextUnchecked()!;
  plan.update([chunk(0, 10), chunk(10, 10), chunk(20, 10), chunk(30, 10, null)]); // while it is being compared
  plan.compared(one, true);
  const two = plan.nextUnchecked()!;
  assert.deepEqual([one.offset, two.offset], [10, 20]);
  plan.notCompared(two);
  assert.equal(plan.uncompared, 10);
  plan.compared(plan.nextUnchecked()!, false);
  assert.ok(plan.allCompared);
  assert.equal(plan.sent, 30);
  const again = plan.take(1)!;
  assert.deepEqual(again.span, { offset: 20, size: 10 });
  plan.returned(again);
  assert.deepEqual(plan.take(1)!.span, { offset: 20, size: 10 });
});

test("published elsewhere, or begun anew", () => {
  const plan = new Plan(20);
  plan.finish();
  assert.ok(plan.allTaken);
  assert.equal(plan.sent, 20);
  plan.clear();
  assert.deepEqual(send(plan, 20), [{ offset: 0, size: 20 }]);
});

test("a file of 50 GB in thousands of chunks, half of them there, costs little to plan and to draw", () => {
  const size = 50e9;
  const bytes = chunkSize(size, 16 * MIB, 1e9);
  const plan = new Plan(size);
  const there: Stored[] = [];
  for (let offset = 0; offset + bytes <= size; offset += 2 * bytes) there.push(chunk(offset, bytes));
  plan.update(there);
  assert.ok(there.length > 1400);
  for (let next = plan.nextUnchecked(); next; next = plan.nextUnchecked()) plan.compared(next, true);
  const flying: Flight[] = [];
  let most = 0;
  for (let flight = plan.take(bytes); flight; flight = plan.take(bytes)) {
    flying.push(flight);
    if (flying.length === 5) plan.delivered(flying.shift()!, "x");
    most = Math.max(most, plan.picture.settled.length);
  }
  for (const flight of flying) plan.delivered(flight, "x");
  assert.equal(plan.sent, size);
  assert.deepEqual(plan.picture, { settled: [{ offset: 0, size }], moving: [] });
  assert.ok(most <= there.length);
});

test("what was sent in several parts is known with its digests, to be read again; a single chunk is one state by itself", () => {
  const plan = new Plan(30);
  assert.deepEqual(plan.parts, []);
  const first = plan.take(10)!;
  const second = plan.take(20)!;
  plan.delivered(second, "b");
  assert.deepEqual(plan.parts, []);
  plan.delivered(first, "a");
  assert.deepEqual(plan.parts, [chunk(0, 10, "a"), chunk(10, 20, "b")]);
  plan.resend(plan.parts[0]!);
  assert.ok(!plan.allTaken);
  plan.delivered(plan.take(100)!, "c");
  assert.deepEqual(plan.parts, [chunk(0, 10, "c"), chunk(10, 20, "b")]);
});
