// Files that need no upload of their own: their owner has them already, or they are so small that one request carries them.

import { parsed, sleep, type ArtifactInfo } from "./api.ts";
import { fitting } from "./find.ts";
import type { Answer } from "./lanes.ts";
import { pause, type Rate } from "./pace.ts";
import type { Plan } from "./plan.ts";
import { Problem, Unreachable } from "./problems.ts";
import { chunkSize } from "./ranges.ts";
import type { Tools } from "./tools.ts";

/** One request carries so much: it is the size of the first chunks, and less than what proxies take by default (1 MiB). */
const SMALL_BYTES = 1_000_000;
/** To ask whether so few bytes are there already takes as long as to send them. */
const NOT_WORTH_ASKING_BYTES = 64 * 1024;
/** To read so few bytes first takes no time that anyone notices. */
const QUICKLY_READ_BYTES = 16 * 1024 * 1024;
/** Larger files are hashed in script, at some hundred MB/s: of those, sending is as quick as reading. */
const MOST_READ_BYTES = 4 * 1024 * 1024 * 1024;
/** Larger ones are hashed by other means, see `lane.worker.ts`. */
const STREAMED_ABOVE_BYTES = 128 * 1024 * 1024;
/** Names that forms cannot carry, or not as they are: browsers and servers differ on these characters. */
const NOT_FOR_FORMS = /["\\\u0000-\u001f\u007f]/u;
/** Times that a request with a whole file is tried. Then it goes in parts, which get through where this does not. */
const MOST_TRIES = 2;

export class Whole {
  readonly #tools: Tools;
  readonly #plan: Plan;
  readonly #file: File;
  readonly #name: string;
  readonly #rate: Rate;

  constructor(tools: Tools, plan: Plan, file: File, name: string, rate: Rate) {
    this.#tools = tools;
    this.#plan = plan;
    this.#file = file;
    this.#name = fitting(name);
    this.#rate = rate;
  }

  /**
   * The artifact of the file, and whether the server had it under this or another name; nothing when an upload is needed.
   * `read` hears of what is hashed, `sends` that the file is sent. Raises a Problem when the server would refuse it.
   */
  async arrive(
    signal: AbortSignal,
    read: (bytes: number) => void,
    sends: () => void,
  ): Promise<{ artifact: ArtifactInfo; already: boolean } | undefined> {
    await this.#checkSize(signal);
    const stored = await this.#stored(signal, read);
    if (stored) return { artifact: stored, already: true };
    if (!this.#small) return undefined;
    sends();
    const made = await this.#send(signal);
    return made && { artifact: made, already: made.filename !== this.#name };
  }

  async #checkSize(signal: AbortSignal): Promise<void> {
    const limit = (await this.#tools.api.about(signal)).limits?.max_upload_size ?? Infinity;
    if (this.#file.size > limit) throw new Problem(413, { type: "#upload-too-large", limit, size: this.#file.size });
  }

  /** The owner's artifact with the content of the file, where it is quick to find out; `read` hears of what is hashed. */
  async #stored(signal: AbortSignal, read: (bytes: number) => void): Promise<ArtifactInfo | undefined> {
    const { api } = this.#tools;
    const { size } = this.#file;
    if (size <= NOT_WORTH_ASKING_BYTES) return undefined;
    if (size <= QUICKLY_READ_BYTES) {
      const sha256 = await this.#digest(signal, read);
      return (await api.mine({ sha256 }, signal)).find((artifact) => artifact.size === size);
    }
    if (size > MOST_READ_BYTES) return undefined;
    // A large one is read only when it looks as if it were there.
    const alike = (await api.mine({ filename: this.#name }, signal)).filter((artifact) => artifact.size === size);
    if (alike.length === 0) return undefined;
    const sha256 = await this.#digest(signal, read);
    return alike.find((artifact) => artifact.sha256 === sha256);
  }

  /** Whether one request carries it at the present pace of the line. */
  get #small(): boolean {
    const { line } = this.#tools;
    const { size } = this.#file;
    return size <= Math.min(SMALL_BYTES, line.most, chunkSize(size, line.advised, line.rate)) && !NOT_FOR_FORMS.test(this.#name);
  }

  /** Send it in one request. Nothing when that does not get through and it should go in parts; raises what is final. */
  async #send(signal: AbortSignal): Promise<ArtifactInfo | undefined> {
    for (let tries = 1; ; tries += 1) {
      await this.#tools.api.session.ready(signal);
      const made = await this.#try(signal);
      if (made !== "later") return made;
      if (tries === MOST_TRIES) return undefined;
      await sleep(pause(tries, Math.random()), signal);
    }
  }

  async #try(signal: AbortSignal): Promise<ArtifactInfo | "later" | undefined> {
    const { session } = this.#tools.api;
    await this.#tools.slots.acquire(0, signal);
    const who = session.headers;
    try {
      return this.#judge(await this.#request(who, signal), who);
    } catch (error) {
      if (!(error instanceof Unreachable)) throw error;
      session.lost();
      this.#tools.stumbled();
      return "later";
    } finally {
      this.#tools.slots.release();
    }
  }

  async #request(who: Record<string, string>, signal: AbortSignal): Promise<Answer> {
    const { size } = this.#file;
    const flight = this.#plan.take(size);
    const progress = (bytes: number) => {
      // The form around it is not the file.
      const moved = Math.min(bytes, size - (flight?.sent ?? size));
      if (flight) flight.sent += moved;
      this.#rate.add(moved, performance.now() / 1000);
      this.#tools.moved(moved);
    };
    try {
      return await this.#tools.lanes.send(this.#tools.api.filesUrl, who, this.#file, progress, signal, this.#name);
    } finally {
      if (flight) this.#plan.returned(flight);
    }
  }

  #judge(answer: Answer, who: Record<string, string>): ArtifactInfo | "later" | undefined {
    if (answer.status === 201) {
      const made = parsed(answer.text) as ArtifactInfo | undefined;
      // Something else that answers, such as a network's sign-in page, has not stored anything.
      if (made?.pulp_href === undefined || made.sha256 !== answer.sha256) throw new Unreachable();
      return made;
    }
    const problem = Problem.parse(answer.status, answer.text, answer.retryAfter);
    if (problem.status === 401) this.#tools.api.session.refused(who);
    if ([502, 503, 504].includes(problem.status)) this.#tools.api.session.lost();
    if (problem.passing || problem.status === 401) return "later";
    // Damaged on the way, too large for a proxy, or a fault of the server: parts are more patient.
    if (problem.status === 500 || problem.tooLargeForProxy || problem.kind === "chunk-digest-mismatch") return undefined;
    throw problem;
  }

  #digest(signal: AbortSignal, read: (bytes: number) => void): Promise<string> {
    return this.#tools.lanes.digest(this.#file, signal, this.#file.size > STREAMED_ABOVE_BYTES, read);
  }
}
