// What an upload needs of the page.

import type { Advice, Api } from "./api.ts";
import type { Lanes } from "./lanes.ts";
import type { Slots } from "./slots.ts";

/** Shared by all uploads. */
export interface Tools {
  readonly api: Api;
  readonly lanes: Lanes;
  readonly slots: Slots;
  /**
   * What one connection moves, in bytes per second (0 while that is not known); the size of chunks that the server
   * advises; and the most that whatever stands before it lets through.
   */
  readonly line: { rate: number; advised: number; most: number };
  readonly advised: (advice: Advice) => void;
  readonly changed: () => void;
  /** `bytes` went out, for this page's rate and its parallelism. */
  readonly moved: (bytes: number) => void;
  /** A chunk did not get through. */
  readonly stumbled: () => void;
  /** Whether the list of unfinished uploads, as the page has it, has one that may be of this file. */
  readonly unfinished: (file: File) => boolean;
  /** Uploads that other files of this page are working on. */
  readonly taken: (href: string) => boolean;
}
