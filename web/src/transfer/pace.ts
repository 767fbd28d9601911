// Rates, time left, and how long to wait before the next try. Pure: the caller tells the time.

/** A first burst fills buffers, and its rate is that of no line. */
const KNOWN_AFTER_SECONDS = 1.5;
const KNOWN_FOR_SECONDS = 3;
const STALLED_AFTER_SECONDS = 10;

/** The rate over the last few seconds: short enough to follow the line, long enough to be read. */
export class Rate {
  readonly #window: number;
  #marks: { at: number; bytes: number }[] = [];
  /** When something moved last. */
  #last: number | undefined;

  constructor(windowSeconds = 6) {
    this.#window = windowSeconds;
  }

  /** `bytes` moved at `now`, in seconds. */
  add(bytes: number, now: number): void {
    this.#last = now;
    const last = this.#marks.at(-1);
    // Progress comes many times a second: quarters of a second are fine enough.
    if (last && now - last.at < 0.25) last.bytes += bytes;
    else this.#marks.push({ at: now, bytes });
    this.#trim(now);
  }

  /** Bytes per second as of `now`; 0 while that cannot be told: at first, and when nothing moved for a moment. */
  at(now: number): number {
    this.#trim(now);
    const [first, last] = [this.#marks[0], this.#marks.at(-1)];
    if (!first || !last || last.at - first.at < KNOWN_AFTER_SECONDS || now - last.at > KNOWN_FOR_SECONDS) return 0;
    // The bytes of the first mark moved before it.
    const bytes = this.#marks.reduce((sum, mark) => sum + mark.bytes, -first.bytes);
    return Math.max(0, bytes) / Math.max(1, now - first.at);
  }

  /** Whether nothing has moved for so long that it should be said. */
  stalled(now: number): boolean {
    return this.#last !== undefined && now - this.#last > STALLED_AFTER_SECONDS;
  }

  clear(): void {
    this.#last = undefined;
    this.#marks = [];
  }

  #trim(now: number): void {
    while (this.#marks[0] && now - this.#marks[0].at > this.#window) this.#marks.shift();
  }
}

/** Seconds until `bytes` are through, or nothing while that cannot be told. */
export function secondsLeft(bytes: number, rate: number): number | undefined {
  return rate > 0 && bytes > 0 ? bytes / rate : undefined;
}

const FIRST_PAUSE_SECONDS = 0.5;
const LONGEST_PAUSE_SECONDS = 20;

/**
 * Seconds to wait before try number `failures + 1`: doubling, capped, and spread so that many pages do not come
 * back in step. `random` is in [0, 1).
 */
export function pause(failures: number, random: number): number {
  const full = Math.min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** Math.max(0, failures - 1));
  return full * (0.5 + random / 2);
}
