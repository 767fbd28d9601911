// What the page and its workers say to each other.

export type Order =
  | {
      readonly id: number;
      readonly kind: "send";
      readonly url: string;
      readonly headers: Record<string, string>;
      readonly blob: Blob;
      /** The file's name, where the bytes are a whole file that a form carries. */
      readonly name?: string | undefined;
    }
  | { readonly id: number; readonly kind: "digest"; readonly blob: Blob; readonly streamed: boolean }
  | { readonly id: number; readonly kind: "stop" };

export type Report =
  | { readonly id: number; readonly kind: "progress"; readonly bytes: number }
  | { readonly id: number; readonly kind: "digest"; readonly sha256: string }
  | {
      readonly id: number;
      readonly kind: "answer";
      readonly status: number;
      readonly text: string;
      readonly retryAfter: string | null;
      readonly sha256: string;
    }
  | { readonly id: number; readonly kind: "failed"; readonly reason: "network" | "unreadable" | "stopped" | "broken" };

export function bytesToHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function bytesToBase64(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes));
}
