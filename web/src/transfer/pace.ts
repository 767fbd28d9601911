// Rates, time left, and how long to wait before the next try. Pure: the caller tells the time.

/** The rate over the last few seconds: short enough to follow the line, long enough to be read. */
export class Rate {
  readonly #window: number;
  #marks: { at: number; bytes: number }[] = [];

  constructor(windowSeconds = 6) {
    this.#window = windowSeconds;
  }

  /** `bytes` moved at `now`, in seconds. */
  add(bytes: number, now: number): void {
    const last = this.#marks.at(-1);
    // Progress comes many times a second: quarters of a second are fine enough.
    if (last && now - last.at < 0.25) last.bytes += bytes;
    else this.#marks.push({ at: now, bytes });
    this.#trim(now);
  }

  /** Bytes per second as of `now`; 0 when nothing moved in the window. */
  at(now: number): number {
    this.#trim(now);
    const first = this.#marks[0];
    if (!first) return 0;
    const bytes = this.#marks.reduce((sum, mark) => sum + mark.bytes, 0);
    return Math.max(0, bytes) / Math.max(1, now - first.at);
  }

  clear(): void {
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
