// Numbers, times and names as a person reads them. Pure.

import { bytes } from "../transfer/sizes.ts";

export { bytes };

export function rate(bytesPerSecond: number): string {
  return `${bytes(Math.round(bytesPerSecond))}/s`;
}

/** How long something takes, in at most two units. */
export function duration(seconds: number): string {
  const whole = Math.max(1, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.round(whole / 60);
  if (whole < 600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${minutes % 60} min`;
  return `${Math.round(hours / 24)} days`;
}

export function count(number: number, one: string, many: string): string {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

/** Down to whole percent, so that 100 % means all. */
export function percent(part: number, whole: number): number {
  return whole > 0 ? Math.min(100, Math.floor((part / whole) * 100)) : 100;
}

/** When something was, seen from `now` (both in milliseconds). */
export function ago(then: number, now: number): string {
  const seconds = (now - then) / 1000;
  if (seconds < 60) return "just now";
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  const day = (time: number) => new Date(time).toDateString();
  const clock = new Date(then).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  if (day(then) === day(now)) return `today, ${clock}`;
  if (day(then) === day(now - 86_400_000)) return `yesterday, ${clock}`;
  return new Date(then).toLocaleDateString([], { day: "numeric", month: "short", year: "numeric" });
}

/** How long it is until `then`, in words. */
export function until(then: number, now: number): string {
  const seconds = (then - now) / 1000;
  return seconds <= 60 ? "in a moment" : `in ${duration(seconds)}`;
}

// Controls and line breaks break a row apart; marks that turn the direction of text around can make
// "annexe.exe" look like a picture. Neither belongs to what a name tells.
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/gu;
const TURNING = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]/gu;

/** A file name that can be shown: what cannot be seen is made visible. It is still only text, never markup. */
export function shownName(name: string): string {
  return name.replace(UNSEEN, "\u2423").replace(TURNING, "\u25af") || "(no name)";
}

/** A name's folders and its last part. */
export function nameParts(name: string): { folder: string; base: string } {
  const slash = name.lastIndexOf("/");
  return { folder: name.slice(0, slash + 1), base: name.slice(slash + 1) };
}

/** A long digest with its middle left out. */
export function shortDigest(sha256: string): string {
  return `${sha256.slice(0, 8)}…${sha256.slice(-8)}`;
}

/** The command that uploads a file to `server`, or goes on with an upload there. For a POSIX shell. */
export function uploadCommand(server: string, name = "", upload = ""): string {
  const { base } = nameParts(name);
  // What cannot be seen, or typed, stands for itself.
  const seen = base === shownName(base) ? base : "";
  const file = seen ? quoted(seen.startsWith("-") ? `./${seen}` : seen) : "FILE";
  return `partwise upload ${file}${upload ? ` --upload ${upload}` : ""} -s ${quoted(server)}`;
}

function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
