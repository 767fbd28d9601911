// Whether a chosen file is the one that an upload was begun with.

import type { Api, ChunkInfo } from "./api.ts";
import type { Lanes } from "./lanes.ts";
import { OtherFile } from "./problems.ts";
import { sample, type Span } from "./ranges.ts";

/** Chunks that a first check compares, before anything is sent. */
const SAMPLES = 5;
/** Hashing uses other means above this size, see `lane.worker.ts`. */
const STREAMED_ABOVE_BYTES = 128 * 1024 * 1024;

export class Verifier {
  readonly #api: Api;
  readonly #lanes: Lanes;
  readonly #file: File;

  constructor(api: Api, lanes: Lanes, file: File) {
    this.#api = api;
    this.#lanes = lanes;
    this.#file = file;
  }

  /** Compare a few of `chunks`, and answer with those compared. Raises OtherFile when one differs. */
  async sample(href: string, chunks: readonly ChunkInfo[], signal: AbortSignal): Promise<readonly ChunkInfo[]> {
    const picked = sample(chunks, SAMPLES);
    const unknown = picked.filter((chunk) => !chunk.sha256).map((chunk) => chunk.offset);
    const read = unknown.length > 0 ? await this.#api.storedDigests(href, unknown, signal) : [];
    const stored = new Map(read.map((chunk) => [chunk.offset, chunk.sha256]));
    for (const chunk of picked) {
      if (!(await this.same({ ...chunk, sha256: chunk.sha256 ?? stored.get(chunk.offset) ?? null }, signal))) {
        throw new OtherFile("It has the right size, but not the contents of the part that was already sent.");
      }
    }
    return picked;
  }

  /** Whether the file has the bytes of a chunk, by its digest. */
  async same(chunk: ChunkInfo, signal: AbortSignal): Promise<boolean> {
    return chunk.sha256 === (await this.#digest(chunk, signal));
  }

  /** The chunks on the server whose bytes are not the file's. It reads all of them again, and so does this. */
  async bad(href: string, signal: AbortSignal): Promise<Span[]> {
    const found: Span[] = [];
    for (const chunk of await this.#api.storedDigests(href, "all", signal)) {
      if (!(await this.same(chunk, signal))) found.push({ offset: chunk.offset, size: chunk.size });
    }
    return found;
  }

  /** The SHA-256 of the whole file, for uploads of which not every chunk came with a digest. */
  whole(signal: AbortSignal, progress: (bytes: number) => void): Promise<string> {
    return this.#lanes.digest(this.#file, signal, true, progress);
  }

  #digest(span: Span, signal: AbortSignal): Promise<string> {
    const piece = this.#file.slice(span.offset, span.offset + span.size);
    return this.#lanes.digest(piece, signal, span.size > STREAMED_ABOVE_BYTES);
  }
}
