// The pieces of one upload on their way: which one goes next, and what its answer means.

import { ONE_BREAK_SECONDS } from "./adapt.ts";
import { parsed, sleep } from "./api.ts";
import type { Answer } from "./lanes.ts";
import { pause, type Rate } from "./pace.ts";
import type { Flight, Plan } from "./plan.ts";
import { Problem, Unreachable } from "./problems.ts";
import { SMALLEST_CHUNK, chunkSize, endOf } from "./ranges.ts";
import type { Tools } from "./tools.ts";

/** Times that a piece may arrive damaged, before the person hears of it. */
export const MOST_DAMAGED = 3;
const MOST_FAULTS = 5;
/** Chunks that a storage may refuse before people are told that it fails: of all connections, for about a minute. */
const MOST_STORAGE_FAULTS = 20;

export class Sender {
  /** Whether others may have sent chunks of it too. */
  shared = false;
  /** How often bytes arrived as others. */
  damaged = 0;
  readonly #tools: Tools;
  readonly #plan: Plan;
  readonly #file: File;
  readonly #rate: Rate;
  readonly #look: (signal: AbortSignal) => Promise<void>;
  #stale = false;
  #failures = 0;
  #faults = 0;
  /** When it stumbled last, in seconds. */
  #stumbled = -Infinity;

  /** `look` has the plan follow what the server has; `rate` hears of what moves. */
  constructor(tools: Tools, plan: Plan, file: File, rate: Rate, look: (signal: AbortSignal) => Promise<void>) {
    this.#tools = tools;
    this.#plan = plan;
    this.#file = file;
    this.#rate = rate;
    this.#look = look;
  }

  /** Whether chunks fail at the moment, and are tried again. */
  get stumbling(): boolean {
    return this.#failures > 0;
  }

  /** The plan is what the server says. */
  fresh(): void {
    this.#stale = false;
  }

  /** Forget what failed. */
  reset(): void {
    this.#failures = this.damaged = this.#faults = 0;
  }

  /** Send one piece; when it does not get through, put it back and wait a little. The caller holds a slot. */
  async next(href: string, signal: AbortSignal): Promise<void> {
    await this.#tools.api.session.ready(signal);
    if (this.#stale) {
      this.#stale = false;
      await this.#look(signal);
    }
    const { line } = this.#tools;
    const flight = this.#plan.take(Math.min(line.most, chunkSize(this.#file.size, line.advised, line.rate)));
    if (!flight) return;
    let wait = 0;
    try {
      const who = this.#tools.api.session.headers;
      const answer = await this.#send(href, flight, who, signal);
      wait = this.#judge(flight, answer, who);
    } catch (error) {
      this.#plan.returned(flight);
      if (!(error instanceof Unreachable)) throw error;
      this.#stale = true;
      this.#tools.api.session.lost();
      wait = this.#stumble();
    } finally {
      this.#tools.changed();
    }
    if (wait > 0) await sleep(wait, signal);
  }

  async #send(href: string, flight: Flight, who: Record<string, string>, signal: AbortSignal): Promise<Answer> {
    const { span } = flight;
    const headers = {
      ...who,
      "Content-Type": "application/octet-stream",
      "Content-Range": `bytes ${span.offset}-${endOf(span) - 1}/${this.#file.size}`,
    };
    const began = performance.now();
    const progress = (bytes: number) => {
      flight.sent += bytes;
      this.#rate.add(bytes, performance.now() / 1000);
      this.#tools.moved(bytes);
    };
    try {
      return await this.#tools.lanes.send(href, headers, this.#file.slice(span.offset, endOf(span)), progress, signal);
    } finally {
      const seconds = (performance.now() - began) / 1000;
      const { line } = this.#tools;
      const rate = flight.sent / Math.max(seconds, 0.05);
      // Of tiny pieces the time is that of the answer and not of the line.
      const telling = flight.sent >= SMALLEST_CHUNK || (flight.sent < span.size && seconds > 1);
      if (telling && rate > 0) line.rate = line.rate > 0 ? line.rate * 0.7 + rate * 0.3 : rate;
    }
  }

  /** What the answer to a chunk means. Answers the seconds to wait before the next one; raises what is final. */
  #judge(flight: Flight, answer: Answer, who: Record<string, string>): number {
    if (answer.status === 200) {
      // Something else that answers 200, such as a network's sign-in page, has not stored anything.
      if (parsed(answer.text)?.pulp_href === undefined) throw new Unreachable();
      this.#plan.delivered(flight, answer.sha256);
      this.#failures = this.#faults = 0;
      return 0;
    }
    this.#plan.returned(flight);
    const problem = Problem.parse(answer.status, answer.text, answer.retryAfter);
    if (problem.tooLargeForProxy && !flight.exact && flight.span.size > SMALLEST_CHUNK) {
      this.#tools.line.most = Math.max(SMALLEST_CHUNK, Math.floor(flight.span.size / 2));
      return 0;
    }
    const wait = Math.max(problem.retryAfter ?? 0, this.#stumble());
    if (problem.status === 401) this.#tools.api.session.refused(who);
    else if ([502, 503, 504].includes(problem.status)) {
      this.#tools.api.session.lost();
      // A storage that is away comes back; of one that cannot be written to people are told in the end.
      if (problem.kind === "storage-failed" && ++this.#faults > MOST_STORAGE_FAULTS) throw problem;
    }
    else if (["chunk-overlap", "wrong-state", "superseded", "range-busy", "not-found"].includes(problem.kind)) {
      // Before the next piece the server is asked what it has; should the upload be gone, that says so.
      this.shared = this.#stale = true;
      if (["wrong-state", "not-found"].includes(problem.kind) && ++this.#faults > MOST_FAULTS) throw problem;
    } else if (problem.kind === "chunk-digest-mismatch") {
      if (++this.damaged > MOST_DAMAGED) throw problem;
    } else if (problem.status === 500) {
      if (++this.#faults > MOST_FAULTS) throw problem;
    } else if (![408, 429].includes(problem.status)) throw problem;
    return wait;
  }

  /** Seconds to wait after a failure; what breaks several requests at once counts once. */
  #stumble(): number {
    const now = performance.now() / 1000;
    if (now - this.#stumbled >= ONE_BREAK_SECONDS) {
      this.#stumbled = now;
      this.#failures += 1;
    }
    this.#tools.stumbled();
    return pause(this.#failures, Math.random());
  }
}
