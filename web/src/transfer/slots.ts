// Permits to have a chunk on its way. Pure but for promises.

import { Stopped } from "./problems.ts";

interface Waiter {
  readonly rank: number;
  readonly go: () => void;
}

/**
 * As many holders as `limit` says at the moment; who ranks lower goes first, so that files finish in their order
 * instead of all at the end.
 */
export class Slots {
  readonly #limit: () => number;
  #held = 0;
  #waiting: Waiter[] = [];

  constructor(limit: () => number) {
    this.#limit = limit;
  }

  get held(): number {
    return this.#held;
  }

  async acquire(rank: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted) throw new Stopped();
    if (this.#held < this.#limit() && this.#waiting.length === 0) {
      this.#held += 1;
      return;
    }
    await new Promise<void>((resolve, reject) => {
      const stop = () => {
        this.#waiting = this.#waiting.filter((other) => other !== waiter);
        reject(new Stopped());
      };
      const waiter: Waiter = {
        rank,
        go: () => {
          signal.removeEventListener("abort", stop);
          resolve();
        },
      };
      signal.addEventListener("abort", stop, { once: true });
      this.#waiting.push(waiter);
    });
  }

  release(): void {
    this.#held -= 1;
    this.fill();
  }

  /** Let in whom the limit has room for; to be called when the limit may have risen. */
  fill(): void {
    while (this.#waiting.length > 0 && this.#held < this.#limit()) {
      let first = this.#waiting[0]!;
      for (const waiter of this.#waiting) if (waiter.rank < first.rank) first = waiter;
      this.#waiting = this.#waiting.filter((other) => other !== first);
      this.#held += 1;
      first.go();
    }
  }
}
