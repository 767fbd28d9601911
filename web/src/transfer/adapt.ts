// How many chunks to send at once. Pure: the caller tells the time and the bytes.

/** Browsers open at most six connections to one server over HTTP/1.1; one stays free for everything else. */
export const MOST_OVER_HTTP1 = 5;
/** HTTP/2 and 3 carry many requests over one connection. */
export const MOST_OVER_HTTP2 = 16;

const WINDOW_SECONDS = 1.5;
/** A step up is kept when it brings at least this much more. */
const WORTHWHILE = 1.04;
/** Windows to stay at a level found good before the next is tried again: lines change. */
const REST_WINDOWS = 12;
/** Failures within so many seconds have one cause. */
export const ONE_BREAK_SECONDS = 1;

/**
 * Climbs while more connections move more bytes, goes back when they do not, and halves when requests fail.
 *
 * It starts with as many as HTTP/1.1 has, since one connection rarely fills a line, and doubles until that brings nothing
 * more; from then on it tries one more from time to time.
 */
export class Parallelism {
  #limit: number;
  #most: number;
  #since: number | undefined;
  #bytes = 0;
  #before = 0;
  #rest = 0;
  #doubling = true;
  #failed = -Infinity;
  /** The limit before the last step up. */
  #good: number;

  constructor(most: number, start = MOST_OVER_HTTP1) {
    this.#most = Math.max(1, most);
    this.#limit = Math.min(start, this.#most);
    this.#good = this.#limit;
  }

  get limit(): number {
    return this.#limit;
  }

  /** The most that are of use: what the protocol carries, or the server advises. */
  set most(most: number) {
    this.#most = Math.max(1, most);
    this.#limit = Math.min(this.#limit, this.#most);
  }

  /** `bytes` went out at `now` (seconds) while `busy` chunks were on their way. */
  moved(bytes: number, busy: number, now: number): void {
    // With fewer on their way than allowed there is nothing to learn about the limit.
    if (busy < this.#limit || this.#since === undefined) {
      this.#open(now);
      return;
    }
    this.#bytes += bytes;
    const seconds = now - this.#since;
    if (seconds < WINDOW_SECONDS) return;
    this.#judge(this.#bytes / seconds);
    this.#open(now);
  }

  /** A request failed for a reason that fewer connections may cure. What breaks many of them at once counts once. */
  failed(now: number): void {
    if (now - this.#failed < ONE_BREAK_SECONDS) return;
    this.#failed = now;
    this.#limit = Math.max(1, Math.floor(this.#limit / 2));
    this.#good = this.#limit;
    this.#doubling = false;
    this.#before = 0;
    this.#rest = 2;
    this.#since = undefined;
  }

  #open(now: number): void {
    this.#since = now;
    this.#bytes = 0;
  }

  #judge(rate: number): void {
    if (this.#rest > 0) {
      this.#rest -= 1;
      if (this.#rest > 0) return;
    } else if (this.#before > 0 && rate < this.#before * WORTHWHILE) {
      // The last step brought nothing: back, and stay there for a while.
      this.#limit = Math.min(this.#good, this.#limit);
      this.#doubling = false;
      this.#rest = REST_WINDOWS;
      return;
    }
    this.#before = rate;
    this.#good = this.#limit;
    if (this.#limit === this.#most) this.#rest = REST_WINDOWS;
    else this.#limit = Math.min(this.#most, this.#doubling ? this.#limit * 2 : this.#limit + 1);
  }
}
