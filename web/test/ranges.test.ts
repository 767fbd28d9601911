import assert from "node:assert/strict";
import { test } from "node:test";
import { Remainder, chunkSize, gaps, merged, sample, segments, type Span } from "../src/transfer/ranges.ts";

const MIB = 1024 * 1024;
const span = (offset: number, size: number): Span => ({ offset, size });

test("gaps are what no chunk covers, in whatever order the chunks come", () => {
  assert.deepEqual(gaps(10, []), [span(0, 10)]);
  assert.deepEqual(gaps(0, []), []);
  assert.deepEqual(gaps(10, [span(0, 10)]), []);
  assert.deepEqual(gaps(10, [span(6, 2), span(1, 2)]), [span(0, 1), span(3, 3), span(8, 2)]);
});

test("neighbours and overlapping ranges become one", () => {
  assert.deepEqual(merged([span(4, 2), span(0, 4), span(8, 1), span(7, 1)]), [span(0, 6), span(7, 2)]);
  assert.deepEqual(merged([span(0, 9), span(2, 3)]), [span(0, 9)]);
});

test("pieces are cut from the lowest gap, and fill the gaps exactly", () => {
  const left = new Remainder([span(20, 5), span(0, 10)]);
  const taken: Span[] = [];
  for (let piece = left.take(4); piece; piece = left.take(4)) taken.push(piece.span);
  assert.deepEqual(taken, [span(0, 4), span(4, 4), span(8, 2), span(20, 4), span(24, 1)]);
  assert.ok(left.empty);
});

test("a piece that did not arrive is the next to go, in whatever size is right by then", () => {
  const left = new Remainder([span(0, 30)]);
  const first = left.take(10)!.span;
  left.take(10);
  left.putBack(first);
  assert.deepEqual(left.take(4)?.span, span(0, 4));
  assert.equal(left.bytes, 16);
});

test("a chunk to be replaced goes as it is, however small pieces are, and survives a new plan", () => {
  const left = new Remainder([span(0, 8)]);
  left.replace(span(40, 20));
  left.reset([span(8, 8)]);
  assert.deepEqual(left.take(4), { span: span(40, 20), exact: true });
  assert.deepEqual(left.take(4), { span: span(8, 4), exact: false });
});

test("chunks are as advised, smaller on a slow line, larger where there would be too many", () => {
  assert.equal(chunkSize(1e9, 16 * MIB, 0), MIB); // nothing is known of the line
  assert.equal(chunkSize(1e9, MIB / 2, 0), MIB / 2);
  assert.equal(chunkSize(1e9, 16 * MIB, 100e6), 16 * MIB);
  assert.equal(chunkSize(1e9, 16 * MIB, 1e6), 2 * MIB);
  assert.equal(chunkSize(1e9, 16 * MIB, 1), MIB / 4);
  const huge = 10e12;
  assert.ok(huge / chunkSize(huge, 16 * MIB, 1) <= 20_000);
  assert.equal(chunkSize(1e9, 1000, 1e9), MIB / 4);
});

test("a sample has the first and the last, and no more than there are", () => {
  assert.deepEqual(sample([1, 2, 3], 5), [1, 2, 3]);
  assert.deepEqual(sample([...Array(101).keys()], 5), [0, 25, 50, 75, 100]);
});

test("a picture of thousands of ranges has few parts, and loses none of them", () => {
  assert.deepEqual(segments([span(0, 4), span(8, 2)], 10), [
    { offset: 0, size: 4, density: 1 },
    { offset: 8, size: 2, density: 1 },
  ]);
  const every = Array.from({ length: 3000 }, (_, index) => span(index * 20, 10));
  const drawn = segments(every, 60_000);
  assert.equal(drawn.length, 250);
  assert.ok(drawn.every((each) => Math.abs(each.density - 0.5) < 0.05));
  const bytes = segments(every.slice(1000), 60_000).reduce((sum, each) => sum + each.size * each.density, 0);
  assert.ok(Math.abs(bytes - 20_000) < 1e-6);
});
