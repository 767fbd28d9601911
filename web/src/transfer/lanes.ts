// The workers that read, hash and send, as promises.

import workerUrl from "./lane.worker.ts?worker&url";
import type { Order, Report } from "./lane-messages.ts";
import { sleep } from "./api.ts";
import { pause } from "./pace.ts";
import { Broken, Stopped, Unreachable, Unreadable } from "./problems.ts";

export interface Answer {
  readonly status: number;
  readonly text: string;
  readonly retryAfter: string | null;
  /** Of the bytes that were sent. */
  readonly sha256: string;
}

interface Pending {
  readonly worker: Worker;
  readonly resolve: (report: Report) => void;
  readonly progress: (bytes: number) => void;
}

interface TrustedPolicy {
  createScriptURL(url: string): string;
}

interface TrustedTypes {
  createPolicy(name: string, rules: { createScriptURL(url: string): string }): TrustedPolicy;
}

/** Two keep one disk and one line busy; more only cost memory, since each serves several pieces at a time. */
const WORKERS = Math.max(1, Math.min(4, navigator.hardwareConcurrency || 2));
/** Times that an order is given to a worker that does not start, before the person hears of it. */
const MOST_STARTS = 4;

/** The page's policy lets no script be made from a string; this one URL, fixed when the page is built, is allowed. */
function trustedWorkerUrl(): string {
  const trusted = (globalThis as { trustedTypes?: TrustedTypes }).trustedTypes;
  if (!trusted) return workerUrl;
  return trusted.createPolicy("partwise", { createScriptURL: () => workerUrl }).createScriptURL(workerUrl);
}

export class Lanes {
  readonly #url = trustedWorkerUrl();
  readonly #workers = new Map<number, Worker>();
  readonly #pending = new Map<number, Pending>();
  #next = 0;

  constructor() {
    for (let index = 0; index < WORKERS; index += 1) this.#start(index);
  }

  #start(index: number): Worker {
    const worker = new Worker(this.#url, { type: "module", name: `partwise-${index}` });
    worker.onmessage = (event: MessageEvent<Report>) => this.#hear(event.data);
    // Its script did not load (a network that went away, a release that replaced it), or failed: who waits for it would
    // wait for ever. The next order starts a new one; to start it at once would ask a server that is away without a pause.
    const broken = () => {
      worker.terminate();
      if (this.#workers.get(index) === worker) this.#workers.delete(index);
      for (const [id, pending] of [...this.#pending]) {
        if (pending.worker === worker) this.#hear({ id, kind: "failed", reason: "broken" });
      }
    };
    worker.onerror = broken;
    worker.onmessageerror = broken;
    this.#workers.set(index, worker);
    return worker;
  }

  /** Send one piece, or the whole of the file that `name` names, with its digest. Raises Unreachable, Unreadable, Stopped; any answer of a server is returned. */
  async send(
    url: string,
    headers: Record<string, string>,
    blob: Blob,
    progress: (bytes: number) => void,
    signal: AbortSignal,
    name?: string,
  ): Promise<Answer> {
    const report = await this.#order((id) => ({ id, kind: "send", url, headers, blob, name }), progress, signal);
    if (report.kind !== "answer") throw new Unreachable();
    return report;
  }

  /** The SHA-256 of a piece; `streamed` for one too large for memory. Raises Unreadable, Stopped. */
  async digest(blob: Blob, signal: AbortSignal, streamed = false, progress: (bytes: number) => void = () => {}): Promise<string> {
    const report = await this.#order((id) => ({ id, kind: "digest", blob, streamed }), progress, signal);
    if (report.kind !== "digest") throw new Unreadable();
    return report.sha256;
  }

  /** Give an order, again when its worker did not start: that may pass with the network. */
  async #order(make: (id: number) => Order, progress: (bytes: number) => void, signal: AbortSignal): Promise<Report> {
    let moved = 0;
    const count = (bytes: number) => {
      moved += bytes;
      progress(bytes);
    };
    for (let starts = 1; ; starts += 1) {
      try {
        return await this.#try(make, count, signal);
      } catch (error) {
        // One that ended in the middle would end there again.
        if (!(error instanceof Broken) || moved > 0 || starts === MOST_STARTS) throw error;
        await sleep(pause(starts, Math.random()), signal);
      }
    }
  }

  async #try(make: (id: number) => Order, progress: (bytes: number) => void, signal: AbortSignal): Promise<Report> {
    if (signal.aborted) throw new Stopped();
    const id = this.#next++;
    const worker = this.#workers.get(id % WORKERS) ?? this.#start(id % WORKERS);
    const stop = () => worker.postMessage({ id, kind: "stop" } satisfies Order);
    signal.addEventListener("abort", stop, { once: true });
    const report = await new Promise<Report>((resolve) => {
      this.#pending.set(id, { worker, resolve, progress });
      worker.postMessage(make(id));
    });
    signal.removeEventListener("abort", stop);
    if (report.kind === "failed") {
      if (report.reason === "stopped" || signal.aborted) throw new Stopped();
      if (report.reason === "broken") throw new Broken();
      throw report.reason === "network" ? new Unreachable() : new Unreadable();
    }
    return report;
  }

  #hear(report: Report): void {
    const pending = this.#pending.get(report.id);
    if (!pending) return;
    if (report.kind === "progress") {
      pending.progress(report.bytes);
    } else {
      this.#pending.delete(report.id);
      pending.resolve(report);
    }
  }
}
