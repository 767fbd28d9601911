// Byte ranges of a file, and what of it is still to be sent. Pure: no clock, no network.

/** The bytes `[offset, offset + size)`. */
export interface Span {
  readonly offset: number;
  readonly size: number;
}

export const endOf = (span: Span): number => span.offset + span.size;

/** The ranges of a file of `size` bytes that none of `recorded` covers, by offset. `recorded` may be in any order. */
export function gaps(size: number, recorded: readonly Span[]): Span[] {
  const found: Span[] = [];
  let frontier = 0;
  for (const span of [...recorded].sort((a, b) => a.offset - b.offset)) {
    if (span.offset > frontier) found.push({ offset: frontier, size: span.offset - frontier });
    frontier = Math.max(frontier, endOf(span));
  }
  if (frontier < size) found.push({ offset: frontier, size: size - frontier });
  return found;
}

/** Neighbours and overlapping ranges as one, by offset. */
export function merged(spans: readonly Span[]): Span[] {
  const result: Span[] = [];
  for (const span of [...spans].sort((a, b) => a.offset - b.offset)) {
    const last = result.at(-1);
    if (last && span.offset <= endOf(last)) {
      result[result.length - 1] = { offset: last.offset, size: Math.max(endOf(last), endOf(span)) - last.offset };
    } else {
      result.push(span);
    }
  }
  return result;
}

/** A range in a picture, and how much of it (of 1) is there. */
export interface Segment extends Span {
  readonly density: number;
}

const MOST_SEGMENTS = 250;

/** A picture of `spans` in a file of `size` bytes that stays small however many they are; they must not overlap. */
export function segments(spans: readonly Span[], size: number): Segment[] {
  if (spans.length <= MOST_SEGMENTS) return spans.map(({ offset, size }) => ({ offset, size, density: 1 }));
  const width = size / MOST_SEGMENTS;
  const bytes = new Array<number>(MOST_SEGMENTS).fill(0);
  for (const span of spans) {
    for (let bin = Math.floor(span.offset / width); bin < MOST_SEGMENTS && bin * width < endOf(span); bin += 1) {
      bytes[bin]! += Math.min(endOf(span), (bin + 1) * width) - Math.max(span.offset, bin * width);
    }
  }
  return bytes.map((count, bin) => ({ offset: bin * width, size: width, density: count / width })).filter((each) => each.density > 0);
}

/** A range to send; an exact one replaces a chunk, which takes one of the same range. */
export interface Piece {
  readonly span: Span;
  readonly exact: boolean;
}

/**
 * What is left of one file: pieces are cut from the lowest gap, because the server's digest follows behind the
 * contiguous part, and in this order the commit is immediate.
 *
 * A piece is cut only when it is taken, so that its size can follow the speed of the line.
 */
export class Remainder {
  #gaps: Span[] = [];
  /** Pieces that must go again exactly as they are: the server replaces a chunk only by one of the same range. */
  readonly #exact: Span[] = [];

  constructor(missing: readonly Span[]) {
    this.reset(missing);
  }

  /** The server says that `missing` is what it lacks. */
  reset(missing: readonly Span[]): void {
    this.#gaps = [...missing].sort((a, b) => a.offset - b.offset);
  }

  get empty(): boolean {
    return this.#gaps.length === 0 && this.#exact.length === 0;
  }

  get bytes(): number {
    return [...this.#gaps, ...this.#exact].reduce((sum, span) => sum + span.size, 0);
  }

  /** The next piece of at most `limit` bytes (an `exact` one as it is); nothing when all is taken. */
  take(limit: number): Piece | undefined {
    const exact = this.#exact.shift();
    if (exact) return { span: exact, exact: true };
    const gap = this.#gaps.shift();
    if (!gap) return undefined;
    if (gap.size <= limit) return { span: gap, exact: false };
    this.#gaps.unshift({ offset: gap.offset + limit, size: gap.size - limit });
    return { span: { offset: gap.offset, size: limit }, exact: false };
  }

  /** A piece that was taken and did not arrive. */
  putBack(span: Span): void {
    this.#gaps = merged([...this.#gaps, span]);
  }

  /** A recorded chunk whose bytes are not those of the file. */
  replace(span: Span): void {
    this.#exact.push(span);
  }
}

const MIB = 1024 * 1024;
/** A server keeps a record of each chunk; more of them than this help nobody. */
const MOST_CHUNKS = 20_000;
export const SMALLEST_CHUNK = MIB / 4;
/** Of a line that breaks every ten seconds most is used. */
const LONGEST_CHUNK_SECONDS = 3;
/** While nothing is known about the line: on a slow one a break must not cost minutes. */
const FIRST_CHUNK = MIB;

/**
 * Bytes of the next chunk: what the server advises, less on a line so slow that a cut would lose too much.
 *
 * `laneRate` is what one connection moves, in bytes per second; 0 while that is not known.
 */
export function chunkSize(fileSize: number, advised: number, laneRate: number): number {
  const least = Math.max(1, Math.ceil(fileSize / MOST_CHUNKS / SMALLEST_CHUNK)) * SMALLEST_CHUNK;
  let wanted = laneRate > 0 ? advised : Math.min(advised, FIRST_CHUNK);
  if (laneRate > 0) {
    while (wanted > SMALLEST_CHUNK && wanted > laneRate * LONGEST_CHUNK_SECONDS) wanted /= 2;
  }
  return Math.max(least, Math.ceil(wanted));
}

/** Up to `count` of the chunks, spread over the file and with the first and the last: what a quick check compares. */
export function sample<T>(chunks: readonly T[], count: number): T[] {
  if (chunks.length <= count) return [...chunks];
  const step = (chunks.length - 1) / (count - 1);
  return Array.from({ length: count }, (_, index) => chunks[Math.round(index * step)]!);
}
