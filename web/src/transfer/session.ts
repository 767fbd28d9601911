// Whether requests can be made now: the network is there, the server answers, and it knows who asks.

import { forget, keep, recall } from "./keep.ts";
import { pause } from "./pace.ts";
import { Stopped } from "./problems.ts";

export type Connection = "online" | "offline" | "unreachable" | "signed-out";

const TOKEN_KEY = "partwise.token";
const USER_KEY = "partwise.user";
// Relative to the page: a proxy may have put all of it below some path.
const SESSION_PATH = "session";
const PROBE_TIMEOUT_MS = 10_000;

/** What became of a token that someone signed in with. */
export type SignedIn = "yes" | "refused" | "unreachable";

/**
 * One gate for all requests of the page. When one finds no server, all wait, one probe asks until it is back, and all
 * go on: a hundred chunks that each try for themselves would only be in the way of a server that starts.
 */
export class Session {
  /** Called before someone else than before is let in: what the page shows is not for them. */
  onOther: () => void = () => undefined;
  /** Whether people sign in on this page, with a token; else the application or the proxy around it does that. */
  readonly takesTokens: boolean;
  #token: string | undefined;
  /** Whose token it is, or was before the server refused it. */
  #user: string | undefined;
  #connection: Connection = "online";
  #waiting: (() => void)[] = [];
  #probing = false;
  #failures = 0;
  #wake: (() => void) | undefined;
  readonly #changed: () => void;
  readonly #probeUrl: string;
  readonly #statusUrl: string;

  /**
   * `probeUrl` is answered by any server that runs, `statusUrl` says whose token a request has. `changed` is called when
   * anything that a person may want to see has changed.
   */
  constructor(probeUrl: string, statusUrl: string, takesTokens: boolean, changed: () => void) {
    this.takesTokens = takesTokens;
    this.#probeUrl = probeUrl;
    this.#statusUrl = statusUrl;
    this.#changed = changed;
    // Not localStorage: the token goes with the tab, and a page on another tab's history cannot find it.
    this.#token = recall(TOKEN_KEY);
    this.#user = recall(USER_KEY);
    addEventListener("offline", () => this.lost());
    addEventListener("online", () => this.#wake?.());
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.#wake?.();
    });
  }

  get connection(): Connection {
    return this.#connection;
  }

  /** Whether someone was signed in until the server did not know the token any more. */
  get tokenRefused(): boolean {
    return this.#user !== undefined;
  }

  get hasToken(): boolean {
    return this.#token !== undefined;
  }

  /** Whose token it is, as far as that is known. */
  get user(): string | undefined {
    return this.#token === undefined ? undefined : this.#user;
  }

  /** The header fields that say who asks. */
  get headers(): Record<string, string> {
    return this.#token === undefined ? {} : { Authorization: `Bearer ${this.#token}` };
  }

  /** Resolves when requests can be made; raises Stopped when `signal` says so first. */
  async ready(signal?: AbortSignal): Promise<void> {
    while (this.#connection !== "online") {
      await new Promise<void>((resolve, reject) => {
        const stop = () => reject(new Stopped());
        if (signal?.aborted) stop();
        signal?.addEventListener("abort", stop, { once: true });
        this.#waiting.push(() => {
          signal?.removeEventListener("abort", stop);
          resolve();
        });
      });
    }
  }

  /** A request got no answer. */
  lost(): void {
    if (this.#connection === "signed-out") return;
    this.#set(navigator.onLine ? "unreachable" : "offline");
    if (!this.#probing) void this.#probe();
  }

  /** The server asked who we are, and did not take `headers` for an answer. */
  refused(headers: Record<string, string>): void {
    // An answer to what was asked before a sign-in says nothing about it.
    if (headers.Authorization !== this.headers.Authorization) return;
    this.#forgetToken();
  }

  /** Go on with `token`, if the server knows it. */
  async signIn(token: string): Promise<SignedIn> {
    const user = await this.#userOf(token);
    if (user === "refused" || user === "unreachable") return user;
    if (this.#user !== undefined && this.#user !== user.name) this.onOther();
    this.#token = token;
    this.#user = user.name;
    keep(TOKEN_KEY, token);
    keep(USER_KEY, user.name);
    this.#set("online");
    return "yes";
  }

  /** Ask again whether the application around this page knows who asks: it signs people in, and not this page. */
  again(): void {
    this.#set("online");
  }

  async #userOf(token: string): Promise<{ name: string } | "refused" | "unreachable"> {
    try {
      const headers = { Authorization: `Bearer ${token}` };
      const signal = AbortSignal.timeout(PROBE_TIMEOUT_MS);
      const answer = await fetch(this.#statusUrl, { headers, cache: "no-store", credentials: "same-origin", signal });
      if (answer.status === 401) return "refused";
      const { user } = (await answer.json()) as { user?: unknown };
      return typeof user === "string" ? { name: user } : "unreachable";
    } catch {
      return "unreachable";
    }
  }

  /**
   * Have the browser's own downloads, which carry no header fields of ours, let in: the server gives a cookie that opens
   * downloads alone. Asked for before each, since another tab may have signed in as someone else.
   */
  async openDownloads(): Promise<void> {
    if (this.#token === undefined) return;
    await fetch(SESSION_PATH, { method: "POST", headers: this.headers, credentials: "same-origin" });
  }

  signOut(): void {
    if (this.#token !== undefined) {
      const closing = { method: "DELETE", headers: this.headers, credentials: "same-origin" } as const;
      // Without a network the cookie stays until the browser is closed; it opens downloads only.
      fetch(SESSION_PATH, closing).catch(() => undefined);
    }
    this.#user = undefined;
    forget(USER_KEY);
    this.#forgetToken();
  }

  #forgetToken(): void {
    this.#token = undefined;
    forget(TOKEN_KEY);
    this.#set("signed-out");
  }

  #set(connection: Connection): void {
    if (connection === this.#connection) return;
    this.#connection = connection;
    if (connection === "online") {
      const waiting = this.#waiting;
      this.#waiting = [];
      for (const go of waiting) go();
    }
    this.#changed();
  }

  async #probe(): Promise<void> {
    this.#probing = true;
    this.#failures = 0;
    while (this.#connection !== "signed-out" && !(await this.#answers())) {
      this.#failures += 1;
      this.#set(navigator.onLine ? "unreachable" : "offline");
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, pause(this.#failures, Math.random()) * 1000);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      this.#wake = undefined;
    }
    this.#probing = false;
    if (this.#connection !== "signed-out") this.#set("online");
  }

  async #answers(): Promise<boolean> {
    try {
      const signal = AbortSignal.timeout(PROBE_TIMEOUT_MS);
      const answer = await fetch(this.#probeUrl, { cache: "no-store", credentials: "same-origin", signal });
      // A network's sign-in page, or a proxy's notice, is not the server.
      return answer.status < 500 && !/html/i.test(answer.headers.get("Content-Type") ?? "");
    } catch {
      return false;
    }
  }
}
