// What a tab keeps over a reload. Where the browser forbids that (blocked cookies), it is kept as long as the page is.

const kept = new Map<string, string>();

function storage(): Storage | undefined {
  try {
    return sessionStorage; // even to ask for it may be forbidden
  } catch {
    return undefined;
  }
}

export function recall(key: string): string | undefined {
  try {
    return storage()?.getItem(key) ?? kept.get(key);
  } catch {
    return kept.get(key);
  }
}

export function keep(key: string, value: string): void {
  kept.set(key, value);
  try {
    storage()?.setItem(key, value);
  } catch {
    // Full, or forbidden.
  }
}

export function forget(key: string): void {
  kept.delete(key);
  try {
    storage()?.removeItem(key);
  } catch {
    // Forbidden: there is nothing to forget.
  }
}
