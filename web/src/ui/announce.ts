// What someone who does not see the rows should hear: few words, after things have settled for a moment.

import type { Upload } from "../transfer/upload.ts";
import { adviceOn } from "../transfer/problems.ts";
import { count, shownName } from "./words.ts";

/** So that a folder of small files is one sentence a second or two, and not one for each file. */
const GATHER_MS = 1500;

type State = "done" | "failed" | "paused" | "comparing" | "";

const SENTENCES: Readonly<Record<Exclude<State, "">, readonly [one: string, many: string]>> = {
  failed: ["could not be uploaded", "could not be uploaded."],
  done: ["is uploaded and verified.", "are uploaded and verified."],
  paused: ["is paused.", "are paused."],
  comparing: ["is compared with what is on the server.", "are compared with what is on the server."],
};

export class Announcer {
  /** What to say now. */
  said = "";
  readonly #before = new Map<number, State>();
  readonly #changed = new Map<number, Upload>();
  readonly #told: () => void;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** `told` is called when `said` has changed. */
  constructor(told: () => void) {
    this.#told = told;
  }

  /** See what is new with `uploads`. */
  look(uploads: readonly Upload[]): void {
    if (uploads.length === 0) {
      // What was taken off the page is not for the next person to hear.
      this.#changed.clear();
      this.said = "";
    }
    for (const upload of uploads) {
      const state = stateOf(upload);
      if ((this.#before.get(upload.id) ?? "") === state) continue;
      this.#before.set(upload.id, state);
      this.#changed.set(upload.id, upload);
    }
    if (this.#changed.size > 0) this.#timer ??= setTimeout(() => this.#speak(), GATHER_MS);
  }

  #speak(): void {
    this.#timer = undefined;
    const uploads = [...this.#changed.values()];
    this.#changed.clear();
    this.said = sentences(uploads).join(" ");
    this.#told();
  }
}

/** What became of `uploads`, a sentence for each kind of news. */
export function sentences(uploads: readonly Upload[]): string[] {
  const said: string[] = [];
  for (const state of ["failed", "done", "paused", "comparing"] as const) {
    const those = uploads.filter((upload) => stateOf(upload) === state);
    const [first] = those;
    const [one, many] = SENTENCES[state];
    if (!first) continue;
    const reason = state === "failed" && those.length === 1 ? `: ${adviceOn(first.error).title}.` : "";
    said.push(those.length === 1 ? `${shownName(first.name)} ${one}${reason}` : `${count(those.length, "file", "files")} ${many}`);
  }
  return said;
}

function stateOf(upload: Upload): State {
  if (upload.phase === "done" || upload.phase === "failed") return upload.phase;
  if (upload.paused) return "paused";
  return upload.phase === "comparing" ? "comparing" : "";
}
