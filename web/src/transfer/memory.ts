// What this browser remembers of unfinished uploads, so that the same file, chosen again, goes on.

export interface Remembered {
  readonly href: string;
  readonly name: string;
  readonly size: number;
  /** The file's time of last change, in milliseconds: another time means that it may be another file by now. */
  readonly modified: number;
}

const KEY = "partwise.unfinished";
const MOST = 500;

function isRemembered(value: unknown): value is Remembered {
  const item = value as Partial<Remembered> | null;
  return typeof item?.href === "string" && typeof item.name === "string" && typeof item.size === "number" && typeof item.modified === "number";
}

export function recall(): Remembered[] {
  try {
    const parsed: unknown = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(parsed) ? parsed.filter(isRemembered) : [];
  } catch {
    return [];
  }
}

export function remember(item: Remembered): void {
  save([item, ...recall().filter((other) => other.href !== item.href)].slice(0, MOST));
}

export function forget(href: string): void {
  save(recall().filter((other) => other.href !== href));
}

function save(items: readonly Remembered[]): void {
  try {
    localStorage.setItem(KEY, JSON.stringify(items));
  } catch {
    // Storage may be full or forbidden: the server's list of open uploads is enough to go on by.
  }
}
