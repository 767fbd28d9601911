// Reads, hashes and sends pieces of files, off the page's own thread so that the page stays quick.
//
// The digest is made here; the bytes are sent by the browser straight from the disk, which spares copies of them through
// the page. Should the file change in between, the digest no longer fits and the server refuses the piece.

import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToBase64, bytesToHex, type Order, type Report } from "./lane-messages.ts";

/** Larger pieces (other programs' chunks) are hashed as a stream. */
const MOST_IN_MEMORY_BYTES = 128 * 1024 * 1024;
const STREAM_BLOCK_BYTES = 8 * 1024 * 1024;
/** A connection on which nothing moves for so long is taken for dead, */
const SILENCE_MS = 60_000;
/**
 * but to the browser a byte has gone when the system has buffered it: of so many the last may still be on their way, on a
 * connection that moves so many bytes a second.
 */
const MOST_BUFFERED_BYTES = 4 * 1024 * 1024;
const SLOWEST_BYTES_PER_SECOND = 8_000;

const stops = new Map<number, () => void>();
const stopped = new Set<number>();

function report(message: Report): void {
  postMessage(message);
}

async function digest(content: ArrayBuffer): Promise<Uint8Array> {
  // Browsers offer WebCrypto to https and localhost only; elsewhere the same digest is made in script.
  if (globalThis.crypto?.subtle) return new Uint8Array(await crypto.subtle.digest("SHA-256", content));
  return sha256(new Uint8Array(content));
}

/** The bytes of a piece. Firefox gives what is left of a file that was cut off, and no error. */
async function read(blob: Blob): Promise<ArrayBuffer> {
  const content = await blob.arrayBuffer();
  if (content.byteLength !== blob.size) throw new Error("The file is shorter than it was.");
  return content;
}

/** The SHA-256 of a piece, as far as it was not stopped; `progress` hears of what is read as a stream. */
async function digestOf(id: number, blob: Blob, streamed: boolean, progress: (bytes: number) => void): Promise<Uint8Array> {
  if (!streamed && blob.size <= MOST_IN_MEMORY_BYTES) return digest(await read(blob));
  const hash = sha256.create();
  for (let offset = 0; offset < blob.size && !stopped.has(id); offset += STREAM_BLOCK_BYTES) {
    const block = await read(blob.slice(offset, offset + STREAM_BLOCK_BYTES));
    hash.update(new Uint8Array(block));
    progress(block.byteLength);
  }
  return hash.digest();
}

async function hashPiece(order: Order & { kind: "digest" }): Promise<void> {
  const { id, blob, streamed } = order;
  const value = await digestOf(id, blob, streamed, (bytes) => report({ id, kind: "progress", bytes }));
  if (stopped.has(id)) report({ id, kind: "failed", reason: "stopped" });
  else report({ id, kind: "digest", sha256: bytesToHex(value) });
}

/** Small files: what is sent is what the digest was made of, from memory. */
async function sendForm(order: Order & { kind: "send" }, name: string): Promise<void> {
  const { id, blob, url, headers } = order;
  const content = await read(blob);
  const value = bytesToHex(await digest(content));
  if (stopped.has(id)) {
    report({ id, kind: "failed", reason: "stopped" });
    return;
  }
  const form = new FormData();
  form.append("sha256", value);
  form.append("file", new Blob([content], { type: blob.type }), name);
  await put(id, "POST", url, headers, form, value);
}

async function sendPiece(order: Order & { kind: "send" }): Promise<void> {
  const { id, blob, name } = order;
  if (name !== undefined) return sendForm(order, name);
  const value = await digestOf(id, blob, false, () => {});
  if (stopped.has(id)) {
    report({ id, kind: "failed", reason: "stopped" });
    return;
  }
  const headers = { ...order.headers, "Content-Digest": `sha-256=:${bytesToBase64(value)}:` };
  return put(id, "PUT", order.url, headers, blob, bytesToHex(value));
}

/** XMLHttpRequest, because fetch does not tell how much of a body has gone out. */
function put(id: number, method: string, url: string, headers: Record<string, string>, body: Blob | FormData, hex: string): Promise<void> {
  return new Promise((resolve) => {
    const request = new XMLHttpRequest();
    let sent = 0;
    let silence = 0;
    const heard = () => {
      clearTimeout(silence);
      const draining = (1000 * Math.min(sent, MOST_BUFFERED_BYTES)) / SLOWEST_BYTES_PER_SECOND;
      silence = setTimeout(() => request.abort(), SILENCE_MS + draining) as unknown as number;
    };
    const finish = (message: Report) => {
      clearTimeout(silence);
      stops.delete(id);
      report(message);
      resolve();
    };
    request.open(method, url);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => {
      report({ id, kind: "progress", bytes: event.loaded - sent });
      sent = event.loaded;
      heard();
    };
    const failed = () => finish({ id, kind: "failed", reason: stopped.has(id) ? "stopped" : "network" });
    request.onload = () => {
      // To Firefox a connection that was closed without an answer is an answer without a status.
      if (request.status === 0) return failed();
      return finish({
        id,
        kind: "answer",
        status: request.status,
        text: request.responseText,
        retryAfter: request.getResponseHeader("Retry-After"),
        sha256: hex,
      });
    };
    request.onerror = failed;
    request.onabort = failed;
    stops.set(id, () => request.abort());
    heard();
    request.send(body);
  });
}

async function carryOut(order: Order & { kind: "send" | "digest" }): Promise<void> {
  try {
    await (order.kind === "send" ? sendPiece(order) : hashPiece(order));
  } catch {
    // Reading is the only thing above that throws.
    report({ id: order.id, kind: "failed", reason: stopped.has(order.id) ? "stopped" : "unreadable" });
  } finally {
    stopped.delete(order.id);
  }
}

addEventListener("message", (event: MessageEvent<Order>) => {
  const order = event.data;
  if (order.kind === "stop") {
    stopped.add(order.id);
    stops.get(order.id)?.();
  } else {
    void carryOut(order);
  }
});
