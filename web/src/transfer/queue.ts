// All files of the page: which of them work, how many chunks go at once, and how fast it is all together.

import { MOST_OVER_HTTP1, MOST_OVER_HTTP2, Parallelism } from "./adapt.ts";
import type { Api, UploadInfo } from "./api.ts";
import { eachOf } from "./each.ts";
import { Lanes } from "./lanes.ts";
import { Rate } from "./pace.ts";
import { Slots } from "./slots.ts";
import type { Tools } from "./tools.ts";
import { Upload } from "./upload.ts";

/** Files that are worked on at the same time: while one is created or published, the others fill the line. */
const MOST_FILES = 6;
const DEFAULT_CHUNK_BYTES = 16 * 1024 * 1024;

export interface Chosen {
  readonly file: File;
  /** The name, with folders where a folder was chosen. */
  readonly name: string;
}

export class Queue {
  uploads: Upload[] = [];
  readonly rate = new Rate();
  /** What the server's list of unfinished uploads has, as far as that is known. */
  unfinished: () => readonly UploadInfo[] = () => [];
  readonly #tools: Tools;
  readonly #parallelism = new Parallelism(mostConnections());
  readonly #slots = new Slots(() => this.#parallelism.limit);
  readonly #running = new Set<Upload>();
  readonly #changed: () => void;

  /** `changed` is called, often, when anything that is shown has changed. */
  constructor(api: Api, changed: () => void) {
    this.#changed = changed;
    this.#tools = {
      api,
      lanes: new Lanes(),
      slots: this.#slots,
      line: { rate: 0, advised: DEFAULT_CHUNK_BYTES, most: Infinity },
      changed,
      moved: (bytes) => this.#moved(bytes),
      stumbled: () => this.#parallelism.failed(performance.now() / 1000),
      advised: (advice) => {
        this.#tools.line.advised = advice.chunk_size;
        this.#parallelism.most = Math.min(mostConnections(), Math.max(advice.parallel, MOST_OVER_HTTP1));
      },
      unfinished: (file) => this.unfinished().some((upload) => upload.size === file.size && !this.uploads.some((each) => each.href === upload.pulp_href)),
      taken: (href) => this.uploads.some((upload) => upload.href === href && !upload.over),
    };
  }

  /** Send `chosen`, in their order; `href` names the upload that the only one of them goes on with. */
  add(chosen: readonly Chosen[], href?: string): void {
    const made = chosen.map(({ file, name }) => new Upload(file, name, this.#tools, href));
    this.uploads = [...this.uploads, ...made];
    this.#start();
  }

  pause(upload: Upload): void {
    upload.pause();
  }

  resume(upload: Upload): void {
    upload.requeue();
    this.#start();
  }

  startOver(upload: Upload): void {
    upload.startOver();
    this.resume(upload);
  }

  /** Raises what the server's answer raises; then the upload stays, paused. */
  async cancel(upload: Upload): Promise<void> {
    await upload.cancel();
    this.uploads = this.uploads.filter((other) => other !== upload);
    this.#changed();
  }

  /** Take it off the page; the server keeps what it has. */
  dismiss(upload: Upload): void {
    upload.pause();
    this.uploads = this.uploads.filter((other) => other !== upload);
    this.#changed();
  }

  pauseAll(): void {
    for (const upload of this.uploads) if (!upload.over && !upload.paused) upload.pause();
  }

  /** Take all off the page, so that the next person does not see them; the server keeps what it has. */
  dismissAll(): void {
    this.pauseAll();
    this.uploads = [];
    this.#changed();
  }

  resumeAll(): void {
    for (const upload of this.uploads) if (upload.paused) upload.requeue();
    this.#start();
  }

  /** Try what failed again, where that may help. */
  retryAll(): void {
    for (const upload of this.uploads.filter((each) => each.retriable)) {
      if (upload.lost) upload.startOver();
      upload.requeue();
    }
    this.#start();
  }

  /** Stop all that is not over, and have the server drop what it has. Raises what the server's first refusal raises. */
  async cancelAll(): Promise<void> {
    this.pauseAll();
    await eachOf(this.uploads.filter((upload) => !upload.over), (upload) => this.cancel(upload));
  }

  clearDone(): void {
    this.uploads = this.uploads.filter((upload) => upload.phase !== "done");
    this.#changed();
  }

  /** Take off the page what is over; the server keeps what it has. */
  clearOver(): void {
    this.uploads = this.uploads.filter((upload) => !upload.over);
    this.#changed();
  }

  #start(): void {
    this.#changed();
    if (this.#running.size >= MOST_FILES) return;
    const next = this.uploads.find((upload) => upload.phase === "queued" && !upload.paused && !this.#running.has(upload));
    if (!next) return;
    this.#running.add(next);
    void next.run().finally(() => {
      this.#running.delete(next);
      this.#start();
    });
    this.#start();
  }

  #moved(bytes: number): void {
    const now = performance.now() / 1000;
    this.rate.add(bytes, now);
    this.#parallelism.moved(bytes, this.#slots.held, now);
    this.#slots.fill();
    this.#changed();
  }
}

/** By the protocol that the page itself came with. */
function mostConnections(): number {
  const entry = performance.getEntriesByType("navigation")[0] as PerformanceNavigationTiming | undefined;
  return /^h[23]/.test(entry?.nextHopProtocol ?? "") ? MOST_OVER_HTTP2 : MOST_OVER_HTTP1;
}
