// One file on its way: find or create its upload, send what is missing, publish it. See `queue.ts` for many of them.
//
// The server's list of chunks is the only truth about what is missing; `plan.ts` keeps it together with what is on its way.

import { alone } from "./alone.ts";
import { sleep, type UploadDetail } from "./api.ts";
import { Finder } from "./find.ts";
import { Rate } from "./pace.ts";
import { Changing, OtherFile, Problem, Stopped, adviceOn } from "./problems.ts";
import { Plan } from "./plan.ts";
import { MOST_DAMAGED, Sender } from "./send.ts";
import type { Tools } from "./tools.ts";
import { Verifier } from "./verify.ts";
import { Whole } from "./whole.ts";

/** "elsewhere" while another tab sends it. */
export type Phase = "queued" | "preparing" | "elsewhere" | "comparing" | "sending" | "hashing" | "finishing" | "done" | "failed" | "cancelled";

export interface Published {
  readonly artifact: string;
  readonly sha256: string;
  readonly size: number;
}

/** Files of at most so many bytes go before the large ones that they came with: they hold up nobody. */
const SMALL_BYTES = 4 * 1024 * 1024;
/** Times that a file may have changed when it was sent, before it is given up. */
const MOST_CHANGES = 3;
const MOST_ROUNDS = 8;
/** Until an upload that the server does not find is asked for again. */
const GONE_AGAIN_SECONDS = 2;
/** Recorded chunks that are compared at the same time, beside the sending. */
const COMPARE_AT_ONCE = 2;

let counter = 0;

export class Upload {
  readonly id = ++counter;
  readonly file: File;
  /** The file's name, with its folders when a folder was chosen. */
  readonly name: string;
  readonly rate = new Rate();
  href: string | undefined;
  phase: Phase = "queued";
  paused = false;
  error: unknown;
  result: Published | undefined;
  /** What the server has the file as, where it was there already. */
  already: string | undefined;
  /** How much of the file is hashed, while `phase` is "hashing". */
  hashed = 0;

  readonly #tools: Tools;
  readonly #finder: Finder;
  readonly #verifier: Verifier;
  readonly #plan: Plan;
  #controller = new AbortController();
  readonly #sender: Sender;
  readonly #whole: Whole;
  #changes = 0;

  constructor(file: File, name: string, tools: Tools, href?: string) {
    this.file = file;
    this.name = name;
    this.href = href;
    this.#tools = tools;
    this.#finder = new Finder(tools.api, file, name, tools.taken);
    this.#verifier = new Verifier(tools.api, tools.lanes, file);
    this.#plan = new Plan(file.size);
    this.#sender = new Sender(tools, this.#plan, file, this.rate, async (signal) => this.#take(await this.#detail(signal)));
    this.#sender.shared = href !== undefined;
    this.#whole = new Whole(tools, this.#plan, file, name, this.rate);
  }

  /** Bytes that are on the server or on the wire. */
  get sent(): number {
    return this.#plan.sent;
  }

  /** Bytes on the server that are still to be compared with the file. */
  get uncompared(): number {
    return this.#plan.uncompared;
  }

  /** The ranges that are there, and those on their way with how far they are: what the picture of the file shows. */
  get picture(): Plan["picture"] {
    return this.#plan.picture;
  }

  get active(): boolean {
    return !this.paused && ["preparing", "comparing", "sending", "hashing", "finishing"].includes(this.phase);
  }

  get over(): boolean {
    return ["done", "failed", "cancelled"].includes(this.phase);
  }

  /** Whether the server has nothing of it any more: it can be begun anew only. */
  get lost(): boolean {
    return this.error instanceof Problem && this.error.gone;
  }

  /** Whether it failed in a way that may not come again. */
  get retriable(): boolean {
    return this.phase === "failed" && adviceOn(this.error).again;
  }

  /** Whether chunks fail at the moment, and are tried again. */
  get stumbling(): boolean {
    return this.#sender.stumbling;
  }

  pause(): void {
    this.paused = true;
    this.#halt();
  }

  /** Before the queue runs it again. */
  requeue(): void {
    this.paused = false;
    this.phase = "queued";
    this.error = undefined;
    this.#changes = 0;
    this.#sender.reset();
    this.#tools.changed();
  }

  /** Begin anew, as another upload. */
  startOver(): void {
    this.href = undefined;
    this.#sender.shared = false;
    this.#plan.clear();
  }

  /** Stop, and have the server drop what it has; where that fails the upload stays as it is, paused. */
  async cancel(): Promise<void> {
    this.pause();
    if (this.href && !this.result) await this.#tools.api.deleteUpload(this.href);
    this.phase = "cancelled";
  }

  #halt(): void {
    this.#controller.abort();
    this.rate.clear();
    this.#tools.changed();
  }

  /** Work until it is published, or cannot go on, or is told to stop. Never raises. */
  async run(): Promise<void> {
    this.#controller = new AbortController();
    const { signal } = this.#controller;
    try {
      if (await this.#shortcut(signal)) return;
      await this.#prepare(signal);
      const waiting = () => this.#enter("elsewhere");
      await alone(this.href!, signal, waiting, (waited) => this.#complete(waited, signal));
    } catch (error) {
      if (!(error instanceof Stopped) && !signal.aborted) {
        this.error = error;
        this.phase = "failed";
        this.#controller.abort();
      }
    } finally {
      this.rate.clear();
      this.#tools.changed();
    }
  }

  async #complete(waited: boolean, signal: AbortSignal): Promise<void> {
    if (waited) {
      this.#sender.shared = true;
      await this.#look(signal);
    }
    for (let round = 1; !(await this.#round(signal)); round += 1) {
      if (round === MOST_ROUNDS) throw new Error("The upload does not become whole: someone else keeps changing it.");
    }
  }

  /** Whether the file is there without an upload of its own: already, or by one request. */
  async #shortcut(signal: AbortSignal): Promise<boolean> {
    if (this.href !== undefined) return false;
    this.#enter("preparing");
    // The list that the page has may be old, and have other files of this size: what it suggests is asked for.
    if (this.#tools.unfinished(this.file) && (await this.#finder.candidates(signal)).length > 0) return false;
    this.hashed = 0;
    const read = (bytes: number) => {
      this.hashed += bytes;
      this.#enter("hashing");
    };
    const there = await this.#whole.arrive(signal, read, () => this.#enter("sending"));
    if (!there) return false;
    const { artifact, already } = there;
    this.#plan.finish();
    this.already = already ? (artifact.filename ?? "") : undefined;
    this.result = { artifact: artifact.pulp_href, sha256: artifact.sha256, size: artifact.size };
    this.#enter("done");
    return true;
  }

  // --- Find or create ---------------------------------------------------------------------------------------------

  async #prepare(signal: AbortSignal): Promise<void> {
    this.#enter("preparing");
    if (this.href === undefined) await this.#findOrCreate(signal);
    else await this.#look(signal);
  }

  /** Go on with an unfinished upload of this file, whoever began it; else begin a new one. */
  async #findOrCreate(signal: AbortSignal): Promise<void> {
    const candidates = await this.#finder.candidates(signal);
    for (const upload of candidates.filter((each) => each.received > 0)) {
      this.href = upload.pulp_href;
      this.#sender.shared = true;
      try {
        await this.#look(signal);
        return;
      } catch (error) {
        if (!(error instanceof OtherFile) && !(error instanceof Problem && error.gone)) throw error;
        this.startOver();
      }
    }
    this.#enter("preparing");
    const made = await this.#finder.create(candidates, signal);
    if ("chunk_size" in made) this.#tools.advised(made);
    this.href = made.pulp_href;
  }

  /** See what the server has. Raises OtherFile when that is not of this file. */
  async #look(signal: AbortSignal): Promise<void> {
    const detail = await this.#detail(signal);
    if (detail.size !== this.file.size) {
      throw new OtherFile("Its size is not that of the file that the upload was begun with.");
    }
    const news = detail.state === "open" ? this.#plan.unknown(detail.chunks) : [];
    if (news.length > 0) {
      this.#enter("comparing");
      for (const chunk of await this.#verifier.sample(this.href!, news, signal)) this.#plan.know(chunk);
    }
    this.#tools.advised(detail);
    this.#take(detail);
  }

  /** What the server has. That it has nothing is asked for twice: what stands before it, or a store, may err for a moment. */
  async #detail(signal: AbortSignal): Promise<UploadDetail> {
    try {
      return await this.#tools.api.upload(this.href!, signal);
    } catch (error) {
      if (!(error instanceof Problem && error.gone)) throw error;
      await sleep(GONE_AGAIN_SECONDS, signal);
      return this.#tools.api.upload(this.href!, signal);
    }
  }

  #take(detail: UploadDetail): void {
    if (detail.state === "open") this.#plan.update(detail.chunks);
    else this.#plan.finish();
    this.#sender.fresh();
    this.#tools.changed();
  }

  // --- Send and publish -------------------------------------------------------------------------------------------

  /** Send, compare, publish. Answers whether it is published; if not, there is more to send. */
  async #round(signal: AbortSignal): Promise<boolean> {
    await this.#transfer(signal);
    if (this.#sender.shared) {
      this.#take(await this.#detail(signal));
      if (!this.#plan.allTaken || !this.#plan.allCompared) return false;
    }
    if (!(await this.#recheck(signal))) return false;
    return this.#publish(undefined, signal);
  }

  /**
   * Whether the file still has what was sent of it. A browser may let a file be read that changes meanwhile (Firefox
   * does), and then parts of two states would become one artifact: what differs is sent again.
   */
  async #recheck(signal: AbortSignal): Promise<boolean> {
    const parts = this.#plan.parts;
    if (parts.length === 0) return true;
    this.hashed = 0;
    this.#enter("hashing");
    let same = true;
    const check = async (): Promise<void> => {
      for (let part = parts.shift(); part; part = parts.shift()) {
        if (!(await this.#verifier.same(part, signal))) {
          same = false;
          this.#plan.resend(part);
        }
        this.hashed += part.size;
        this.#tools.changed();
      }
    };
    await Promise.all(Array.from({ length: COMPARE_AT_ONCE }, check));
    if (!same && ++this.#changes > MOST_CHANGES) throw new Changing();
    return same;
  }

  async #publish(sha256: string | undefined, signal: AbortSignal): Promise<boolean> {
    this.#enter("finishing");
    try {
      const upload = await this.#tools.api.commit(this.href!, sha256, signal);
      if (!upload.artifact || !upload.sha256) throw new Error("The server did not say what it published.");
      this.result = { artifact: upload.artifact, sha256: upload.sha256, size: this.file.size };
      const kept = upload.artifact_filename ?? null;
      this.already = kept !== null && kept !== upload.filename ? kept : undefined;
      this.#enter("done");
      return true;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (["incomplete-upload", "wrong-state", "bytes-lost", "not-found"].includes(error.kind)) {
        await sleep(error.retryAfter ?? 0, signal);
        await this.#look(signal);
        return false;
      }
      if (error.kind === "unverified-upload" && sha256 === undefined) {
        return this.#publish(await this.#hashWhole(signal), signal);
      }
      if (error.kind === "artifact-digest-mismatch" && this.#sender.damaged < MOST_DAMAGED) {
        this.#sender.damaged += 1;
        await this.#repair(signal);
        return false;
      }
      throw error;
    }
  }

  async #hashWhole(signal: AbortSignal): Promise<string> {
    this.hashed = 0;
    this.#enter("hashing");
    return this.#verifier.whole(signal, (bytes) => {
      this.hashed += bytes;
      this.#tools.changed();
    });
  }

  async #repair(signal: AbortSignal): Promise<void> {
    this.#enter("comparing");
    const bad = await this.#verifier.bad(this.href!, signal);
    if (bad.length === 0) throw new Error("Each part on the server is right, but the whole is not.");
    for (const span of bad) this.#plan.resend(span);
  }

  /** Until nothing is left to send or to compare. */
  async #transfer(outer: AbortSignal): Promise<void> {
    this.#enter("sending");
    const inner = new AbortController();
    const signal = AbortSignal.any([outer, inner.signal]);
    let fault: unknown;
    const guard = (work: Promise<void>): Promise<void> =>
      work.catch((error: unknown) => {
        fault ??= error;
        inner.abort();
      });
    const comparing = Array.from({ length: COMPARE_AT_ONCE }, () => guard(this.#compare(signal)));
    const sending = new Set<Promise<void>>();
    while (fault === undefined) {
      if (this.#plan.allTaken) {
        if (sending.size === 0) {
          // A comparison may find something to send again.
          if (this.#plan.uncompared > 0) this.#enter("comparing");
          await Promise.all(comparing);
          if (this.#plan.allTaken) break;
          this.#enter("sending");
          continue;
        }
        await Promise.race(sending);
        continue;
      }
      try {
        await this.#tools.slots.acquire(this.file.size > SMALL_BYTES ? this.id : 0, signal);
      } catch (error) {
        fault ??= error;
        break;
      }
      const work = guard(this.#sender.next(this.href!, signal)).finally(() => {
        sending.delete(work);
        this.#tools.slots.release();
      });
      sending.add(work);
    }
    await Promise.all([...comparing, ...sending]);
    if (fault !== undefined) throw fault;
  }

  async #compare(signal: AbortSignal): Promise<void> {
    for (let chunk = this.#plan.nextUnchecked(); chunk; chunk = this.#plan.nextUnchecked()) {
      try {
        this.#plan.compared(chunk, await this.#verifier.same(chunk, signal));
      } catch (error) {
        this.#plan.notCompared(chunk);
        throw error;
      }
      this.#tools.changed();
    }
  }

  #enter(phase: Phase): void {
    if (this.phase === "cancelled") return;
    this.phase = phase;
    this.#tools.changed();
  }
}
