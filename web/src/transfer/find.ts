// The upload of a file: an unfinished one that is on the server already, whoever began it, or a new one.

import { sleep, type Api, type UploadCreated, type UploadInfo } from "./api.ts";
import { pause } from "./pace.ts";
import { Problem, Unreachable } from "./problems.ts";

/** The longest name that the server takes, in characters. */
const LONGEST_NAME = 1024;
/** Of a name, what the server's list is searched by: enough to be rare, and never too long for an address. */
const SEARCHED_CHARACTERS = 60;

export class Finder {
  readonly #api: Api;
  readonly #file: File;
  /** As the server gets it. */
  readonly #name: string;
  /** The last part of the name, which other programs send alone. */
  readonly #base: string;
  readonly #taken: (href: string) => boolean;

  /** `name` may have folders in it; `taken` knows the uploads that other files of this page are working on. */
  constructor(api: Api, file: File, name: string, taken: (href: string) => boolean) {
    this.#api = api;
    this.#file = file;
    this.#name = fitting(name);
    this.#base = this.#name.split("/").at(-1) ?? "";
    this.#taken = taken;
  }

  /** Unfinished uploads that may be of this file, by name and size; those with the most bytes first. */
  async candidates(signal: AbortSignal): Promise<UploadInfo[]> {
    const search = [...this.#base].slice(-SEARCHED_CHARACTERS).join("");
    const names = [this.#name, this.#base];
    return (await this.#api.openUploads(search, signal)).results
      .filter((upload) => upload.size === this.#file.size && names.includes(upload.filename ?? "") && !this.#taken(upload.pulp_href))
      .sort((a, b) => b.received - a.received);
  }

  /** A new upload. `before` are the candidates that are known not to be it. */
  async create(before: readonly UploadInfo[], signal: AbortSignal): Promise<UploadCreated | UploadInfo> {
    const known = new Set(before.map((upload) => upload.pulp_href));
    const wish = { size: this.#file.size, name: this.#name, type: this.#file.type };
    for (let failures = 1; ; failures += 1) {
      await this.#api.session.ready(signal);
      try {
        return await this.#api.createUpload(wish, signal);
      } catch (error) {
        const later = error instanceof Unreachable || (error instanceof Problem && (error.passing || error.status === 401));
        if (!later) throw error;
        // The answer may be lost, and the upload made: take the empty one that was not there before, or its space would be
        // reserved twice.
        const made = (await this.candidates(signal)).find((upload) => upload.received === 0 && !known.has(upload.pulp_href));
        if (made) return made;
        await sleep(pause(failures, Math.random()), signal);
      }
    }
  }
}

/** A name that the server takes: of one too long the end, which says what it is. */
export function fitting(name: string): string {
  return [...name.replaceAll("\0", "")].slice(-LONGEST_NAME).join("");
}
