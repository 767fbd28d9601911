// What of one file is on the server, on its way, still to be sent, and still to be compared. Pure: no clock, no network.
//
// A chunk counts as known when this page sent it or compared it with the file; nothing is published before all are known,
// so what others sent cannot mix in unseen.

import { Remainder, endOf, gaps, merged, type Piece, type Span } from "./ranges.ts";

/** A chunk on the server, with the digest that was made as it came, if one was. */
export interface Stored extends Span {
  readonly sha256?: string | null;
}

/** A piece on its way, and how much of it has gone out. */
export interface Flight extends Piece {
  sent: number;
}

export class Plan {
  readonly #size: number;
  /** The known chunks by their offsets. */
  readonly #known = new Map<number, Stored>();
  readonly #flights = new Set<Flight>();
  /** What is on the server, as few ranges as say it. */
  #settled: Span[] = [];
  #left: Remainder;
  #unchecked: Stored[] = [];
  readonly #comparing = new Set<Stored>();

  constructor(size: number) {
    this.#size = size;
    this.#left = new Remainder(gaps(size, []));
  }

  /** Bytes that are on the server or on the wire. */
  get sent(): number {
    let bytes = 0;
    for (const span of this.#settled) bytes += span.size;
    for (const flight of this.#flights) bytes += flight.sent;
    return Math.min(bytes, this.#size);
  }

  /** The ranges that are there, and those on their way with how far they are: what the picture of the file shows. */
  get picture(): { settled: readonly Span[]; moving: readonly Span[] } {
    const moving = [...this.#flights].map(({ span, sent }) => ({ offset: span.offset, size: sent }));
    return { settled: this.#settled, moving };
  }

  /** Whether nothing waits to be sent. */
  get allTaken(): boolean {
    return this.#left.empty;
  }

  /** Whether nothing waits to be compared. */
  get allCompared(): boolean {
    return this.#unchecked.length === 0;
  }

  /** Bytes that are still to be compared. */
  get uncompared(): number {
    return [...this.#comparing, ...this.#unchecked].reduce((bytes, chunk) => bytes + chunk.size, 0);
  }

  /** Of the chunks of the server's list, those that this page has neither sent nor compared. */
  unknown(chunks: readonly Stored[]): Stored[] {
    return chunks.filter((chunk) => this.#known.get(chunk.offset)?.size !== chunk.size);
  }

  /** Go by what the server has now; what is on its way is neither missing nor there. */
  update(chunks: readonly Stored[]): void {
    this.#settled = merged(chunks);
    this.#left.reset(gaps(this.#size, [...chunks, ...[...this.#flights].map((flight) => flight.span)]));
    // Those without a digest are left to the digest of the whole file.
    const comparing = new Set([...this.#comparing].map((chunk) => chunk.offset));
    this.#unchecked = this.unknown(chunks).filter((chunk) => chunk.sha256 && !comparing.has(chunk.offset));
  }

  /** It is published, by whomever: nothing is left to do. */
  finish(): void {
    this.#settled = [{ offset: 0, size: this.#size }];
    this.#left = new Remainder([]);
    this.#unchecked = [];
  }

  /** Another upload, of which nothing is there. */
  clear(): void {
    this.#known.clear();
    this.#settled = [];
    this.#left = new Remainder(gaps(this.#size, []));
    this.#unchecked = [];
  }

  /** The next piece, of at most `limit` bytes; nothing when all is taken. */
  take(limit: number): Flight | undefined {
    const piece = this.#left.take(limit);
    if (!piece) return undefined;
    const flight: Flight = { ...piece, sent: 0 };
    this.#flights.add(flight);
    return flight;
  }

  /** A piece that the server has now, and the digest of what was sent. */
  delivered(flight: Flight, sha256: string): void {
    const { span } = flight;
    this.know({ ...span, sha256 });
    this.#settled = merged([...this.#settled, span]);
    this.#flights.delete(flight);
  }

  /** A piece that did not arrive; nothing happens to one that was delivered. */
  returned(flight: Flight): void {
    if (!this.#flights.delete(flight)) return;
    if (flight.exact) this.#left.replace(flight.span);
    else this.#left.putBack(flight.span);
  }

  /** A chunk to compare with the file; nothing when there is none. Follow with `compared` or `notCompared`. */
  nextUnchecked(): Stored | undefined {
    const chunk = this.#unchecked.shift();
    if (chunk) this.#comparing.add(chunk);
    return chunk;
  }

  /** Whether the file has the same bytes as a chunk of `nextUnchecked`. */
  compared(chunk: Stored, same: boolean): void {
    this.#comparing.delete(chunk);
    if (same) this.know(chunk);
    else this.resend(chunk);
  }

  /** The comparison was broken off. */
  notCompared(chunk: Stored): void {
    if (this.#comparing.delete(chunk)) this.#unchecked.unshift(chunk);
  }

  /** The file has the bytes of `chunk`. */
  know(chunk: Stored): void {
    this.#known.set(chunk.offset, { offset: chunk.offset, size: chunk.size, sha256: chunk.sha256 ?? null });
  }

  /**
   * The chunks whose bytes were read at different times: only when the file still has all of them is what was sent one
   * state of it. None where the file is a single chunk.
   */
  get parts(): Stored[] {
    const parts = [...this.#known.values()].filter((chunk) => chunk.sha256);
    return parts.length > 1 ? parts.sort((a, b) => a.offset - b.offset) : [];
  }

  /** A chunk that is there, but not of this file. */
  resend(chunk: Span): void {
    const span = { offset: chunk.offset, size: chunk.size };
    this.#known.delete(span.offset);
    this.#left.replace(span);
    this.#settled = without(this.#settled, span);
  }
}

/** `spans` less the bytes of `hole`. */
function without(spans: readonly Span[], hole: Span): Span[] {
  return spans.flatMap((span) => {
    const before = { offset: span.offset, size: Math.min(endOf(span), hole.offset) - span.offset };
    const start = Math.max(span.offset, endOf(hole));
    const after = { offset: start, size: endOf(span) - start };
    return [before, after].filter((part) => part.size > 0);
  });
}
