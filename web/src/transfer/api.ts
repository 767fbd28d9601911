// The calls of the server's REST API that the page uses. Chunks go another way, see `lane.worker.ts`.

import { pause } from "./pace.ts";
import { Problem, Stopped, Unreachable } from "./problems.ts";
import type { Span } from "./ranges.ts";
import type { Session } from "./session.ts";

export interface UploadInfo {
  readonly pulp_href: string;
  readonly pulp_created: string;
  readonly pulp_last_updated: string;
  readonly size: number | null;
  readonly received: number;
  readonly state: "open" | "committing" | "completed" | "deleting";
  readonly user: string;
  readonly filename: string | null;
  readonly expires: string;
  readonly artifact: string | null;
  /** The name that the artifact is kept under. */
  readonly artifact_filename?: string | null;
  readonly sha256: string | null;
}

export interface ChunkInfo extends Span {
  readonly sha256?: string | null;
}

/** What the server says about sending: bytes of a chunk, and how many at once. */
export interface Advice {
  readonly chunk_size: number;
  readonly parallel: number;
}

export interface UploadDetail extends UploadInfo, Advice {
  readonly chunks: readonly ChunkInfo[];
}

export interface UploadCreated extends UploadInfo, Advice {}

export interface ArtifactInfo {
  readonly pulp_href: string;
  readonly pulp_created: string;
  readonly file: string;
  readonly size: number;
  readonly sha256: string;
  readonly filename: string | null;
  readonly user: string;
}

export interface Page<T> {
  readonly count: number;
  readonly results: readonly T[];
}

/** Who asks, and what the operator allows them, in bytes; null: no limit. */
export interface About {
  readonly user: string | null;
  readonly limits?: { readonly max_upload_size: number | null; readonly quota: number | null } | null;
}

interface TaskInfo {
  readonly state: "waiting" | "running" | "completed" | "failed" | "canceled";
  readonly error: { readonly description?: string } | null;
}

interface Call {
  readonly json?: unknown;
  readonly query?: Readonly<Record<string, string | number>>;
  readonly signal?: AbortSignal | undefined;
  readonly timeoutSeconds?: number;
}

const TIMEOUT_SECONDS = 30;
const TASK_POLL_SECONDS = 0.5;
/** Reading a large file again takes the server its time. */
const DIGESTS_TIMEOUT_SECONDS = 3600;

export class Api {
  readonly #prefix: string;
  #clockOffset = 0;
  #about: { readonly who: string; readonly value: About } | undefined;
  readonly session: Session;

  constructor(prefix: string, session: Session) {
    this.#prefix = prefix;
    this.session = session;
  }

  createUpload(file: { size: number; name: string; type: string }, signal?: AbortSignal): Promise<UploadCreated> {
    const json = { size: file.size, filename: file.name, ...(file.type ? { media_type: file.type } : {}) };
    return this.#once<UploadCreated>("POST", "uploads/", { json, signal });
  }

  openUploads(search = "", signal?: AbortSignal): Promise<Page<UploadInfo>> {
    const query = { state: "open", limit: 200, ...(search ? { search } : {}) };
    return this.#persist("GET", "uploads/", { query, signal });
  }

  upload(href: string, signal?: AbortSignal): Promise<UploadDetail> {
    return this.#persist("GET", href, { query: { digests: "recorded" }, signal });
  }

  /** The chunks that begin at `offsets`, or all, with the digests of their bytes as the server reads them now. */
  async storedDigests(href: string, offsets: readonly number[] | "all", signal?: AbortSignal): Promise<readonly ChunkInfo[]> {
    const at = offsets === "all" ? "" : `&${offsets.map((offset) => `at=${offset}`).join("&")}`;
    const call = { signal, timeoutSeconds: DIGESTS_TIMEOUT_SECONDS };
    return (await this.#persist<UploadDetail>("GET", `${href}?digests=true${at}`, call)).chunks;
  }

  /** Publish the upload; `sha256` only where not every chunk came with its digest. */
  async commit(href: string, sha256: string | undefined, signal?: AbortSignal): Promise<UploadInfo> {
    const answer = await this.#persist<UploadInfo | { task: string }>("PUT", `${href}commit`, {
      json: sha256 ? { sha256 } : {},
      signal,
      timeoutSeconds: 60,
    });
    if (!("task" in answer)) return answer;
    for (;;) {
      const task = await this.#persist<TaskInfo>("GET", answer.task, { signal });
      if (task.state === "completed") return this.upload(href, signal);
      if (task.state === "failed" || task.state === "canceled") {
        const detail = task.error?.description ?? "The commit failed.";
        const kind = /\b[0-9a-f]{64}\b/.test(detail) ? "artifact-digest-mismatch" : "storage-failed";
        throw new Problem(500, { type: `#${kind}`, detail });
      }
      await sleep(TASK_POLL_SECONDS, signal);
    }
  }

  /** The server's time in milliseconds: this computer's clock may be wrong by hours. */
  now(): number {
    return Date.now() + this.#clockOffset;
  }

  #readClock(date: string | null): void {
    const theirs = Date.parse(date ?? "");
    if (Number.isFinite(theirs)) this.#clockOffset = theirs - Date.now();
  }

  /** Asked once for each person who signs in. */
  async about(signal?: AbortSignal): Promise<About> {
    const who = this.session.headers.Authorization ?? "";
    if (this.#about?.who !== who) this.#about = { who, value: await this.#persist<About>("GET", "status/", { signal }) };
    return this.#about.value;
  }

  /** My artifacts with this digest or exactly this name; of many, the newest few. */
  async mine(query: { sha256: string } | { filename: string }, signal?: AbortSignal): Promise<ArtifactInfo[]> {
    const { user } = await this.about(signal);
    const found = await this.#persist<Page<ArtifactInfo>>("GET", "artifacts/", { query: { ...query, limit: 10 }, signal });
    // Admins see everybody's.
    return found.results.filter((artifact) => artifact.user === user);
  }

  /** Where a form with a whole file is sent. */
  get filesUrl(): string {
    return `${this.#prefix}artifacts/`;
  }

  deleteUpload(href: string): Promise<void> {
    return this.#gone("DELETE", href);
  }

  artifacts(search: string, limit: number, signal?: AbortSignal): Promise<Page<ArtifactInfo>> {
    return this.#once("GET", "artifacts/", { query: { limit, ...(search ? { search } : {}) }, signal });
  }

  uploads(signal?: AbortSignal): Promise<Page<UploadInfo>> {
    return this.#once("GET", "uploads/", { query: { state: "open", limit: 200 }, signal });
  }

  deleteArtifact(href: string): Promise<void> {
    return this.#gone("DELETE", href);
  }

  async #gone(method: string, href: string): Promise<void> {
    try {
      await this.#once(method, href, {});
    } catch (error) {
      if (!(error instanceof Problem && error.gone)) throw error;
    }
  }

  /** For calls that may be repeated: waits for the network, the server and the sign-in, however long that takes. */
  async #persist<T>(method: string, path: string, call: Call): Promise<T> {
    for (let failures = 0; ; ) {
      await this.session.ready(call.signal);
      try {
        return await this.#once<T>(method, path, call);
      } catch (error) {
        const passing = error instanceof Problem && (error.passing || error.status === 401);
        if (!(error instanceof Unreachable) && !passing) throw error;
        failures += 1;
        await sleep(Math.max(pause(failures, Math.random()), error instanceof Problem ? (error.retryAfter ?? 0) : 0), call.signal);
      }
    }
  }

  async #once<T>(method: string, path: string, call: Call): Promise<T> {
    const url = new URL(path.startsWith("/") ? path : this.#prefix + path, location.origin);
    for (const [key, value] of Object.entries(call.query ?? {})) url.searchParams.set(key, String(value));
    const timeout = AbortSignal.timeout((call.timeoutSeconds ?? TIMEOUT_SECONDS) * 1000);
    const who = this.session.headers;
    let answer: Response;
    let text: string;
    try {
      answer = await fetch(url, {
        method,
        cache: "no-store",
        credentials: "same-origin",
        headers: { ...who, ...(call.json === undefined ? {} : { "Content-Type": "application/json" }) },
        ...(call.json === undefined ? {} : { body: JSON.stringify(call.json) }),
        signal: call.signal ? AbortSignal.any([call.signal, timeout]) : timeout,
      });
      text = await answer.text();
    } catch {
      if (call.signal?.aborted) throw new Stopped();
      this.session.lost();
      throw new Unreachable();
    }
    this.#readClock(answer.headers.get("Date"));
    if (answer.ok) {
      if (answer.status === 204) return undefined as T;
      const value = parsed(text);
      if (value !== undefined) return value as T;
      // Not our server: a hotel's sign-in page, or a proxy's notice. It is away for all that we can do.
      this.session.lost();
      throw new Unreachable();
    }
    if (answer.status === 401) this.session.refused(who);
    const problem = Problem.parse(answer.status, text, answer.headers.get("Retry-After"));
    if ([502, 503, 504].includes(answer.status)) this.session.lost();
    throw problem;
  }
}

/** JSON that is an object; nothing for anything else. */
export function parsed(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return value !== null && typeof value === "object" && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

/** Wait; raises Stopped when `signal` says so first. */
export function sleep(seconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(new Stopped());
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, seconds * 1000);
    if (signal?.aborted) stop();
    else signal?.addEventListener("abort", stop, { once: true });
  });
}
