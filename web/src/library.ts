// What the server has of mine: files and unfinished uploads, looked at again and again while the page is seen.

import type { About, Api, ArtifactInfo, UploadInfo } from "./transfer/api.ts";
import { eachOf } from "./transfer/each.ts";
import { pause } from "./transfer/pace.ts";
import { Stopped } from "./transfer/problems.ts";

const EVERY_SECONDS = 4;
const SOON_MS = 1000;
export const PAGE_SIZE = 20;

export class Library {
  artifacts: readonly ArtifactInfo[] = [];
  /** How many there are in all that the search finds. */
  count = 0;
  unfinished: readonly UploadInfo[] = [];
  /** Whether the server has been asked successfully at least once. */
  loaded = false;
  search = "";
  error: unknown;
  /** Uploads that received bytes between the last two looks: somebody sends them. */
  growing: ReadonlySet<string> = new Set();
  #limit = PAGE_SIZE;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #controller = new AbortController();
  #failures = 0;
  #looked = -SOON_MS;
  about: About | undefined;
  readonly #api: Api;
  readonly #changed: () => void;

  constructor(api: Api, changed: () => void) {
    this.#api = api;
    this.#changed = changed;
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.refresh();
    });
  }

  /** Look now, and go on looking. */
  refresh(): void {
    clearTimeout(this.#timer);
    this.#looked = performance.now();
    this.#controller.abort();
    this.#controller = new AbortController();
    void this.#look(this.#controller.signal);
  }

  /** Look within a second: for news that may come many times a second. */
  refreshSoon(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.refresh(), Math.max(0, this.#looked + SOON_MS - performance.now()));
  }

  /** The server's time in milliseconds. */
  now(): number {
    return this.#api.now();
  }

  find(search: string): void {
    this.search = search;
    this.#limit = PAGE_SIZE;
    this.refresh();
  }

  more(): void {
    this.#limit += PAGE_SIZE;
    this.refresh();
  }

  /** What was shown is not for the next person to see. */
  clear(): void {
    clearTimeout(this.#timer);
    this.#controller.abort();
    this.artifacts = [];
    this.unfinished = [];
    this.about = undefined;
    this.count = 0;
    this.loaded = false;
    this.search = "";
    this.error = undefined;
  }

  /** Delete all of them that can be deleted; raises what the first refusal raises. */
  async deleteArtifacts(artifacts: readonly ArtifactInfo[]): Promise<void> {
    await eachOf(artifacts, (artifact) => this.#api.deleteArtifact(artifact.pulp_href)).finally(() => this.refresh());
  }

  /** The same for unfinished uploads. */
  async deleteUploads(uploads: readonly UploadInfo[]): Promise<void> {
    await eachOf(uploads, (upload) => this.#api.deleteUpload(upload.pulp_href)).finally(() => this.refresh());
  }

  async #look(signal: AbortSignal): Promise<void> {
    try {
      await this.#api.session.ready(signal);
      const [uploads, artifacts, about] = await Promise.all([
        this.#api.uploads(signal),
        this.#api.artifacts(this.search, this.#limit, signal),
        this.#api.about(signal),
      ]);
      this.about = about;
      const before = new Map(this.unfinished.map((upload) => [upload.pulp_href, upload.received]));
      this.growing = new Set(
        uploads.results.filter((now) => (before.get(now.pulp_href) ?? now.received) < now.received).map((now) => now.pulp_href),
      );
      this.unfinished = uploads.results;
      this.artifacts = artifacts.results;
      this.count = artifacts.count;
      this.loaded = true;
      this.error = undefined;
      this.#failures = 0;
    } catch (error) {
      if (error instanceof Stopped || signal.aborted) return;
      this.error = error;
      this.#failures += 1;
    }
    this.#changed();
    if (signal.aborted) return;
    const wait = this.#failures > 0 ? pause(this.#failures + 2, Math.random()) : EVERY_SECONDS;
    // A page that nobody sees asks nothing; it looks when it is seen again.
    if (!document.hidden) this.#timer = setTimeout(() => this.refresh(), wait * 1000);
  }
}
