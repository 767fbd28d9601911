// What can go wrong between the page and the server, as errors that say what to do next.

import { bytes } from "./sizes.ts";

/** The problem types of this server; their path may begin with that of a proxy. */
const OUR_TYPE = /(?:\/docs\/errors|^)#([a-z0-9-]+)$/;

/** The server refused, with problem details (RFC 9457). */
export class Problem extends Error {
  readonly status: number;
  /** The stable name of the kind of problem, such as `quota-exceeded`; empty when the answer had none. */
  readonly kind: string;
  /** Seconds that the server asks to wait. */
  readonly retryAfter: number | undefined;
  readonly body: Record<string, unknown>;

  constructor(status: number, body: Record<string, unknown>, retryAfter?: number) {
    super(typeof body.detail === "string" ? body.detail : `The server answered ${status}.`);
    this.name = "Problem";
    this.status = status;
    this.kind = typeof body.type === "string" ? (OUR_TYPE.exec(body.type)?.[1] ?? "") : "";
    this.retryAfter = retryAfter;
    this.body = body;
  }

  /** Something between the page and the server, or the server while it starts: the same request may pass soon. */
  get passing(): boolean {
    return [408, 429, 502, 503, 504].includes(this.status);
  }

  /** Whether the server itself says so. What stands before it, a proxy or a firewall, answers without a kind. */
  get ours(): boolean {
    return this.kind !== "";
  }

  /** What was asked for does not exist. A 404 that is not ours says nothing about that. */
  get gone(): boolean {
    return this.status === 404 && this.kind === "not-found";
  }

  /** What stands before the server does not take pieces as large as the one that was sent. */
  get tooLargeForProxy(): boolean {
    return this.status === 413 && !this.ours;
  }

  static parse(status: number, text: string, retryAfter?: string | null): Problem {
    let body: Record<string, unknown> = {};
    try {
      const parsed: unknown = JSON.parse(text);
      if (parsed && typeof parsed === "object") body = parsed as Record<string, unknown>;
    } catch {
      // A proxy's page of HTML says nothing that the status does not.
    }
    const seconds = Number(retryAfter ?? NaN);
    return new Problem(status, body, Number.isFinite(seconds) ? seconds : undefined);
  }
}

/** No answer came: the network, a proxy or the server is away. */
export class Unreachable extends Error {
  constructor() {
    super("The server cannot be reached.");
    this.name = "Unreachable";
  }
}

/** The browser cannot read the file: it was changed, moved or deleted since it was chosen. */
export class Unreadable extends Error {
  constructor() {
    super("The file can no longer be read.");
    this.name = "Unreadable";
  }
}

/** The file is changed again and again while it is sent. */
export class Changing extends Error {
  constructor() {
    super("The file keeps changing while it is sent.");
    this.name = "Changing";
  }
}

/** The script that reads and sends files did not load, or ended. */
export class Broken extends Error {
  constructor() {
    super("A part of this page did not load.");
    this.name = "Broken";
  }
}

/** The chosen file is not the one that the upload was begun with. */
export class OtherFile extends Error {
  constructor(message: string) {
    super(message);
    this.name = "OtherFile";
  }
}

/** Stopped by the person, or by the page itself. */
export class Stopped extends Error {
  constructor() {
    super("Stopped.");
    this.name = "Stopped";
  }
}

/** What happened, and what helps. */
export interface Advice {
  readonly title: string;
  readonly help: string;
  /** Whether the same thing may work when it is tried again. */
  readonly again: boolean;
}

const ADVICE: Readonly<Record<string, Advice>> = {
  "quota-exceeded": {
    title: "Your quota has no room for this file",
    help: "Delete files or unfinished uploads below that you no longer need, then try again.",
    again: true,
  },
  "too-many-uploads": {
    title: "Too many unfinished uploads",
    help: "Finish or delete some of those below, then try again.",
    again: true,
  },
  "upload-too-large": {
    title: "The file is larger than this server takes",
    help: "Ask who runs the server to raise the limit.",
    again: false,
  },
  "out-of-space": {
    title: "The server’s disk is full",
    help: "Nothing that arrived is lost. Try again once whoever runs the server has made room.",
    again: true,
  },
  "storage-failed": {
    title: "The server cannot write to its disk",
    help: "What arrived is kept. Try again, and tell whoever runs the server if it stays so.",
    again: true,
  },
  "not-found": {
    title: "The upload is gone from the server",
    help: "It expired or was deleted. Start over to send the file again.",
    again: true,
  },
  "chunk-digest-mismatch": {
    title: "Parts arrive damaged",
    help: "Something between this computer and the server changes the bytes. Try another network.",
    again: true,
  },
  "artifact-digest-mismatch": {
    title: "The server’s copy differs from the file",
    help: "Nothing was published. Try again; if the file is being changed by a program, close that first.",
    again: true,
  },
};

const FOREIGN: Advice = {
  title: "The server takes no changes from this page",
  help: "Without sign-in it serves its own pages on its own machine only. Behind a proxy it needs tokens: tell whoever runs it.",
  again: true,
};

/** The sizes that a refusal is about, as a sentence. */
function numbers({ kind, body: { limit, size } }: Problem): string {
  if (typeof limit !== "number") return "";
  if (kind === "quota-exceeded") return `Your quota is ${bytes(limit)}. `;
  if (kind !== "upload-too-large") return "";
  return typeof size === "number" ? `It has ${bytes(size)}, and the limit is ${bytes(limit)}. ` : `The limit is ${bytes(limit)}. `;
}

/** Any error in words for the person. */
export function adviceOn(error: unknown): Advice {
  if (error instanceof Unreadable) {
    return {
      title: "The file can no longer be read",
      help: "It was changed, moved or deleted after you chose it. Choose it again to go on.",
      again: false,
    };
  }
  if (error instanceof Changing) {
    return {
      title: "The file keeps changing",
      help: "A program writes to it while it is sent. Nothing was published. Close that program, then try again.",
      again: true,
    };
  }
  if (error instanceof Broken) {
    return {
      title: "A part of this page did not load",
      help: "Check the connection and try again; if it stays so, reload the page. What arrived is kept.",
      again: true,
    };
  }
  if (error instanceof OtherFile) return { title: "This is another file", help: error.message, again: false };
  if (error instanceof Problem) {
    const known = error.kind.startsWith("foreign-") ? FOREIGN : ADVICE[error.kind];
    if (known) return { ...known, help: `${numbers(error)}${known.help}` };
    if (error.status === 401) return { title: "You are signed out", help: "Sign in, then try again.", again: true };
    if (error.tooLargeForProxy) {
      return {
        title: "Something before the server takes only tiny parts",
        help: "Ask who runs the server to let its proxy pass bodies of any size.",
        again: true,
      };
    }
    if (!error.ours) {
      return {
        title: "Something before the server refused",
        help: `A proxy or firewall answered ${error.status} in its place. What arrived is kept. Try again, or ask who runs it.`,
        again: true,
      };
    }
    return { title: "The server refused", help: error.message, again: true };
  }
  if (error instanceof Unreachable) {
    return { title: "The server cannot be reached", help: "Check the connection, then try again.", again: true };
  }
  const message = error instanceof Error ? error.message : String(error);
  return { title: "Something went wrong", help: message, again: true };
}
