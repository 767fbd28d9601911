// One file on its way: find or create its upload, send what is missing, publish it. See `queue.ts` for many of them.
//
// The server's list of chunks is the only truth about what is missing. A chunk counts as known when this page sent it or
// compared it with the file; nothing is published before all are known, so what others sent cannot mix in unseen.

import type { Advice, Api, ChunkInfo, UploadDetail, UploadInfo } from "./api.ts";
import { sleep } from "./api.ts";
import type { Answer, Lanes } from "./lanes.ts";
import { forget, recall, remember } from "./memory.ts";
import { Rate, pause } from "./pace.ts";
import { OtherFile, Problem, Stopped, Unreachable } from "./problems.ts";
import { Remainder, chunkSize, endOf, gaps, merged, type Span } from "./ranges.ts";
import type { Slots } from "./slots.ts";
import { Verifier } from "./verify.ts";

export type Phase = "queued" | "preparing" | "comparing" | "sending" | "hashing" | "finishing" | "done" | "failed" | "cancelled";

/** What an upload needs of the page; shared by all uploads. */
export interface Tools {
  readonly api: Api;
  readonly lanes: Lanes;
  readonly slots: Slots;
  /** What one connection moves, in bytes per second, and the size of chunks that the server advises. */
  readonly line: { rate: number; advised: number };
  readonly advised: (advice: Advice) => void;
  readonly changed: () => void;
  /** `bytes` went out, for this page's rate and its parallelism. */
  readonly moved: (bytes: number) => void;
  /** A chunk did not get through. */
  readonly stumbled: () => void;
  /** Uploads that other files of this page are working on. */
  readonly taken: (href: string) => boolean;
}

interface Flight {
  readonly span: Span;
  readonly exact: boolean;
  sent: number;
}

export interface Published {
  readonly artifact: string;
  readonly sha256: string;
  readonly size: number;
}

const MOST_DAMAGED = 3;
const MOST_FAULTS = 5;
const MOST_ROUNDS = 8;
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
  /** Bytes that were there when this page took the upload up. */
  resumedFrom = 0;
  /** How much of the file is hashed, while `phase` is "hashing". */
  hashed = 0;

  readonly #tools: Tools;
  readonly #verifier: Verifier;
  readonly #known = new Map<number, number>();
  readonly #flights = new Set<Flight>();
  #settled: Span[] = [];
  #left = new Remainder([]);
  #unchecked: ChunkInfo[] = [];
  #controller = new AbortController();
  /** Whether others may have sent chunks of it too. */
  #shared = false;
  #stale = false;
  #failures = 0;
  #damaged = 0;
  #faults = 0;

  constructor(file: File, name: string, tools: Tools, href?: string) {
    this.file = file;
    this.name = name;
    this.href = href;
    this.#shared = href !== undefined;
    this.#tools = tools;
    this.#verifier = new Verifier(tools.api, tools.lanes, file);
  }

  /** Bytes that are on the server or on the wire. */
  get sent(): number {
    let bytes = 0;
    for (const span of this.#settled) bytes += span.size;
    for (const flight of this.#flights) bytes += flight.sent;
    return Math.min(bytes, this.file.size);
  }

  /** The ranges that are there, and those on their way with how far they are: what the picture of the file shows. */
  get picture(): { settled: readonly Span[]; moving: readonly Span[] } {
    const moving = [...this.#flights].map(({ span, sent }) => ({ offset: span.offset, size: sent }));
    return { settled: this.#settled, moving };
  }

  get active(): boolean {
    return !this.paused && ["preparing", "comparing", "sending", "hashing", "finishing"].includes(this.phase);
  }

  get over(): boolean {
    return ["done", "failed", "cancelled"].includes(this.phase);
  }

  /** Whether chunks fail at the moment, and are tried again. */
  get stumbling(): boolean {
    return this.#failures > 0;
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
    this.#failures = this.#damaged = this.#faults = 0;
    this.#tools.changed();
  }

  /** Begin anew, as another upload. */
  startOver(): void {
    if (this.href) forget(this.href);
    this.href = undefined;
    this.#shared = false;
    this.#known.clear();
    this.#settled = [];
    this.resumedFrom = 0;
  }

  /** Stop, and have the server drop what it has. */
  async cancel(): Promise<void> {
    this.phase = "cancelled";
    this.#halt();
    if (this.href && !this.result) {
      forget(this.href);
      await this.#tools.api.deleteUpload(this.href);
    }
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
      await this.#prepare(signal);
      for (let round = 1; !(await this.#round(signal)); round += 1) {
        if (round === MOST_ROUNDS) throw new Error("The upload does not become whole: someone else keeps changing it.");
      }
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

  // --- Find or create ---------------------------------------------------------------------------------------------

  async #prepare(signal: AbortSignal): Promise<void> {
    this.#enter("preparing");
    if (this.href === undefined && !(await this.#adopt(signal))) await this.#create(signal);
    else await this.#look(signal);
  }

  /** Go on with an unfinished upload of this file, whoever began it. Answers whether there was one. */
  async #adopt(signal: AbortSignal): Promise<boolean> {
    const remembered = recall().find(
      (item) => item.name === this.name && item.size === this.file.size && item.modified === this.file.lastModified,
    );
    const open = (await this.#tools.api.openUploads(this.#searchable, signal)).results
      .filter((upload) => this.#mayBe(upload) && upload.received > 0)
      .sort((a, b) => Number(b.pulp_href === remembered?.href) - Number(a.pulp_href === remembered?.href) || b.received - a.received);
    for (const upload of open) {
      this.href = upload.pulp_href;
      this.#shared = true;
      try {
        await this.#look(signal);
        return true;
      } catch (error) {
        if (!(error instanceof OtherFile) && !(error instanceof Problem && error.status === 404)) throw error;
        this.startOver();
      }
    }
    this.#enter("preparing");
    return false;
  }

  /** What to search the server's list by: the last part of the name, which other programs send alone. */
  get #searchable(): string {
    return this.name.split("/").at(-1) ?? "";
  }

  #mayBe(upload: UploadInfo): boolean {
    const names = [this.name, this.#searchable];
    return upload.size === this.file.size && names.includes(upload.filename ?? "") && !this.#tools.taken(upload.pulp_href);
  }

  async #create(signal: AbortSignal): Promise<void> {
    const { api } = this.#tools;
    const wish = { size: this.file.size, name: fitting(this.name), type: this.file.type };
    let before: Set<string> | undefined;
    for (let failures = 1; ; failures += 1) {
      await api.session.ready(signal);
      try {
        const made = await api.createUpload(wish, signal);
        this.#tools.advised(made);
        this.#begin(made.pulp_href);
        return;
      } catch (error) {
        const later = error instanceof Unreachable || (error instanceof Problem && (error.passing || error.status === 401));
        if (!later) throw error;
        // The answer may be lost, and the upload made: take an empty one that was not there before, or space would be
        // reserved twice.
        const made = await this.#madeUnseen(before, signal);
        if (made) {
          this.#begin(made);
          return;
        }
        before ??= new Set();
        await sleep(pause(failures, Math.random()), signal);
      }
    }
  }

  async #madeUnseen(before: Set<string> | undefined, signal: AbortSignal): Promise<string | undefined> {
    const remembered = new Set(recall().map((item) => item.href));
    const found = (await this.#tools.api.openUploads(this.#searchable, signal)).results;
    const since = Date.now() - 10 * 60_000;
    return found.find(
      (upload) =>
        this.#mayBe(upload) &&
        upload.received === 0 &&
        !before?.has(upload.pulp_href) &&
        !remembered.has(upload.pulp_href) &&
        Date.parse(upload.pulp_created) > since,
    )?.pulp_href;
  }

  #begin(href: string): void {
    this.href = href;
    remember({ href, name: this.name, size: this.file.size, modified: this.file.lastModified });
    this.#left = new Remainder(gaps(this.file.size, []));
  }

  /** See what the server has. Raises OtherFile when that is not of this file. */
  async #look(signal: AbortSignal): Promise<void> {
    const detail = await this.#tools.api.upload(this.href!, signal);
    if (detail.size !== this.file.size) {
      throw new OtherFile("Its size is not that of the file that the upload was begun with.");
    }
    const news = detail.state === "open" ? detail.chunks.filter((chunk) => this.#known.get(chunk.offset) !== chunk.size) : [];
    if (news.length > 0) {
      this.#enter("comparing");
      const compared = await this.#verifier.sample(this.href!, news, signal);
      for (const chunk of compared) this.#known.set(chunk.offset, chunk.size);
      this.resumedFrom = detail.received;
    }
    remember({ href: this.href!, name: this.name, size: this.file.size, modified: this.file.lastModified });
    this.#tools.advised(detail);
    this.#take(detail);
  }

  /** Plan by what the server has now; what is on its way is neither missing nor there. */
  #take(detail: UploadDetail): void {
    if (detail.state !== "open") {
      this.#settled = [{ offset: 0, size: this.file.size }];
      this.#left = new Remainder([]);
      this.#unchecked = [];
      return;
    }
    const flying = [...this.#flights].map((flight) => flight.span);
    this.#settled = merged(detail.chunks);
    this.#left.reset(gaps(this.file.size, [...detail.chunks, ...flying]));
    this.#unchecked = detail.chunks.filter((chunk) => chunk.sha256 && this.#known.get(chunk.offset) !== chunk.size);
    this.#stale = false;
    this.#tools.changed();
  }

  // --- Send and publish -------------------------------------------------------------------------------------------

  /** Send, compare, publish. Answers whether it is published; if not, there is more to send. */
  async #round(signal: AbortSignal): Promise<boolean> {
    await this.#transfer(signal);
    if (this.#shared) {
      const detail = await this.#tools.api.upload(this.href!, signal);
      this.#take(detail);
      if (!this.#left.empty || this.#unchecked.length > 0) return false;
    }
    return this.#publish(undefined, signal);
  }

  async #publish(sha256: string | undefined, signal: AbortSignal): Promise<boolean> {
    this.#enter("finishing");
    try {
      const upload = await this.#tools.api.commit(this.href!, sha256, signal);
      if (!upload.artifact || !upload.sha256) throw new Error("The server did not say what it published.");
      this.result = { artifact: upload.artifact, sha256: upload.sha256, size: this.file.size };
      forget(this.href!);
      this.#enter("done");
      return true;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (error.kind === "incomplete-upload" || error.kind === "wrong-state") {
        await sleep(error.retryAfter ?? 0, signal);
        await this.#look(signal);
        return false;
      }
      if (error.kind === "unverified-upload" && sha256 === undefined) {
        return this.#publish(await this.#hashWhole(signal), signal);
      }
      if (error.kind === "artifact-digest-mismatch" && this.#damaged < MOST_DAMAGED) {
        this.#damaged += 1;
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
    for (const span of bad) this.#resend(span);
  }

  #resend(span: Span): void {
    this.#known.delete(span.offset);
    this.#left.replace(span);
    this.#settled = without(this.#settled, span);
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
      if (this.#left.empty) {
        if (sending.size === 0) {
          // A comparison may find something to send again.
          await Promise.all(comparing);
          if (this.#left.empty) break;
          continue;
        }
        await Promise.race(sending);
        continue;
      }
      try {
        await this.#tools.slots.acquire(this.id, signal);
      } catch (error) {
        fault ??= error;
        break;
      }
      const work = guard(this.#next(signal)).finally(() => {
        sending.delete(work);
        this.#tools.slots.release();
      });
      sending.add(work);
    }
    await Promise.all([...comparing, ...sending]);
    if (fault !== undefined) throw fault;
  }

  async #compare(signal: AbortSignal): Promise<void> {
    for (let chunk = this.#unchecked.shift(); chunk; chunk = this.#unchecked.shift()) {
      if (await this.#verifier.same(chunk, signal)) this.#known.set(chunk.offset, chunk.size);
      else this.#resend({ offset: chunk.offset, size: chunk.size });
    }
  }

  /** Send one piece; when it does not get through, put it back and wait a little. The caller holds a slot. */
  async #next(signal: AbortSignal): Promise<void> {
    await this.#tools.api.session.ready(signal);
    if (this.#stale) {
      this.#stale = false;
      this.#take(await this.#tools.api.upload(this.href!, signal));
    }
    const taken = this.#left.take(chunkSize(this.file.size, this.#tools.line.advised, this.#tools.line.rate));
    if (!taken) return;
    const flight: Flight = { ...taken, sent: 0 };
    this.#flights.add(flight);
    let wait = 0;
    try {
      const who = this.#tools.api.session.headers;
      const answer = await this.#send(flight, who, signal);
      wait = this.#judge(flight, answer, who);
    } catch (error) {
      this.#putBack(flight);
      if (!(error instanceof Unreachable)) throw error;
      this.#stale = true;
      this.#tools.api.session.lost();
      wait = this.#stumble();
    } finally {
      this.#flights.delete(flight);
      this.#tools.changed();
    }
    if (wait > 0) await sleep(wait, signal);
  }

  async #send(flight: Flight, who: Record<string, string>, signal: AbortSignal): Promise<Answer> {
    const { span } = flight;
    const headers = {
      ...who,
      "Content-Type": "application/octet-stream",
      "Content-Range": `bytes ${span.offset}-${endOf(span) - 1}/${this.file.size}`,
    };
    const began = performance.now();
    const progress = (bytes: number) => {
      flight.sent += bytes;
      this.rate.add(bytes, performance.now() / 1000);
      this.#tools.moved(bytes);
    };
    try {
      return await this.#tools.lanes.send(this.href!, headers, this.file.slice(span.offset, endOf(span)), progress, signal);
    } finally {
      const seconds = (performance.now() - began) / 1000;
      const { line } = this.#tools;
      if (seconds > 0.05 && flight.sent > 0) line.rate = line.rate * 0.7 + (flight.sent / seconds) * 0.3;
    }
  }

  /** What the answer to a chunk means. Answers the seconds to wait before the next one; raises what is final. */
  #judge(flight: Flight, answer: Answer, who: Record<string, string>): number {
    const { span } = flight;
    if (answer.status === 200) {
      this.#known.set(span.offset, span.size);
      this.#settled = merged([...this.#settled, span]);
      this.#failures = this.#faults = 0;
      return 0;
    }
    this.#putBack(flight);
    const problem = Problem.parse(answer.status, answer.text, answer.retryAfter);
    const wait = Math.max(problem.retryAfter ?? 0, this.#stumble());
    if (problem.status === 401) this.#tools.api.session.refused(who);
    else if ([502, 503, 504].includes(problem.status)) this.#tools.api.session.lost();
    else if (["chunk-overlap", "wrong-state", "superseded", "range-busy"].includes(problem.kind)) {
      this.#shared = this.#stale = true;
      if (problem.kind === "wrong-state" && ++this.#faults > MOST_FAULTS) throw problem;
    } else if (problem.kind === "chunk-digest-mismatch") {
      if (++this.#damaged > MOST_DAMAGED) throw problem;
    } else if (problem.status === 500) {
      if (++this.#faults > MOST_FAULTS) throw problem;
    } else if (![408, 429].includes(problem.status)) throw problem;
    return wait;
  }

  #putBack(flight: Flight): void {
    if (flight.exact) this.#left.replace(flight.span);
    else this.#left.putBack(flight.span);
    this.#flights.delete(flight);
  }

  #stumble(): number {
    this.#failures += 1;
    this.#tools.stumbled();
    return pause(this.#failures, Math.random());
  }

  #enter(phase: Phase): void {
    if (this.phase === "cancelled") return;
    this.phase = phase;
    this.#tools.changed();
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

/** A name that the server takes: of one too long the end, which says what it is. */
function fitting(name: string): string {
  const characters = [...name.replaceAll("\0", "")];
  return characters.slice(-1024).join("");
}
