// Where files come in: by dropping them anywhere on the page, or by choosing them.

import { useLayoutEffect, useRef, useState } from "preact/hooks";
import type { About } from "../transfer/api.ts";
import type { Chosen } from "../transfer/queue.ts";
import { bytes } from "../transfer/sizes.ts";
import { fromDrop, fromInput } from "./chosen.ts";

type Add = (chosen: readonly Chosen[]) => void;

/** Whether files hang over the window, or were dropped in a way that this browser does not hand over. */
export type Drop = "none" | "dragging" | "refused";

/** Take files that are dropped on any place of the window. */
export function useWindowDrop(add: Add): Drop {
  const [drop, setDrop] = useState<Drop>("none");
  const latest = useRef(add);
  latest.current = add;
  // Before the page is painted: what is dropped on a page that nobody listens to replaces it.
  useLayoutEffect(() => {
    // Each element under the pointer sends its own enter and leave: only when as many have left is the page left.
    let depth = 0;
    const hasFiles = (event: DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;
    // Text may be dropped into a field of the page. All else would replace the page, with the uploads that run.
    const isForField = (event: DragEvent) => event.target instanceof HTMLInputElement && event.target.type !== "file";
    // WebKitGTK gives the names of files alone.
    const isNamesOnly = (event: DragEvent) => !hasFiles(event) && (event.dataTransfer?.types.includes("text/uri-list") ?? false);
    const on: Record<string, (event: DragEvent) => void> = {
      dragenter: (event) => {
        if (!hasFiles(event)) return;
        depth += 1;
        setDrop("dragging");
      },
      dragleave: (event) => {
        if (!hasFiles(event)) return;
        depth = Math.max(0, depth - 1);
        if (depth === 0) setDrop("none");
      },
      dragover: (event) => {
        if (!isForField(event)) event.preventDefault();
      },
      drop: (event) => {
        if (isForField(event)) return;
        event.preventDefault();
        depth = 0;
        setDrop(isNamesOnly(event) ? "refused" : "none");
        if (!event.dataTransfer || !hasFiles(event)) return;
        void fromDrop(event.dataTransfer).then((chosen) => chosen.length > 0 && latest.current(chosen));
      },
    };
    const entries = Object.entries(on) as [keyof WindowEventMap, EventListener][];
    for (const [name, listener] of entries) addEventListener(name, listener);
    return () => {
      for (const [name, listener] of entries) removeEventListener(name, listener);
    };
  }, []);
  return drop;
}

/** Fingers drag nothing in from elsewhere. */
export const BY_TOUCH = matchMedia("(pointer: coarse)").matches;
const INVITATION = BY_TOUCH ? "Choose files to upload" : "Drop files or folders here";

interface Props {
  add: Add;
  drop: Drop;
  /** Whether the page has other things to show. */
  small: boolean;
  limits: About["limits"];
}

/** What the server takes, for people to know before it refuses. */
function sizes(limits: About["limits"]): string {
  const { max_upload_size: most, quota } = limits ?? {};
  const each = most ? `Files of up to ${bytes(most)}.` : "Of any size.";
  return quota ? `${each} Your quota is ${bytes(quota)}.` : each;
}

export function DropZone({ add, drop, small, limits }: Props) {
  const dragging = drop === "dragging";
  const files = useRef<HTMLInputElement>(null);
  const folder = useRef<HTMLInputElement>(null);
  const take = (input: HTMLInputElement) => {
    const chosen = fromInput(input.files);
    if (chosen.length > 0) add(chosen);
    // So that the same file can be chosen again.
    input.value = "";
  };
  const input = (ref: typeof files, id: string, label: string, whole: boolean) => (
    <input
      ref={ref}
      id={id}
      type="file"
      multiple
      hidden
      aria-label={label}
      {...(whole ? { webkitdirectory: true } : {})}
      onChange={(event) => take(event.currentTarget)}
    />
  );
  return (
    <section class={`drop ${small ? "small" : ""} ${dragging ? "over" : ""}`} aria-labelledby="drop-title">
      <Picture />
      <div class="drop-words" translate={false}>
        <h2 id="drop-title">{dragging ? "Let go to upload" : INVITATION}</h2>
        {drop === "refused" ? (
          <p role="alert">This browser does not hand over files that are dropped. Use the button “Choose files”.</p>
        ) : (
          <p>{sizes(limits)} They go in verified parts, so a lost connection or a closed laptop loses nothing.</p>
        )}
      </div>
      <div class="actions">
        <button type="button" class="primary" onClick={() => files.current?.click()}>
          Choose files
        </button>
        <button type="button" onClick={() => folder.current?.click()}>
          Choose a folder
        </button>
      </div>
      {input(files, "choose-files", "Files to upload", false)}
      {input(folder, "choose-folder", "Folder to upload", true)}
    </section>
  );
}

/** Parts that become a whole. */
function Picture() {
  const parts = [0, 1, 2, 3, 4, 5, 6, 7, 8];
  return (
    <svg class="picture" viewBox="14 8 74 74" aria-hidden="true" focusable="false">
      {parts.map((part) => (
        <rect key={part} class={`part part-${part}`} x={18 + (part % 3) * 21} y={18 + Math.floor(part / 3) * 21} width="18" height="18" rx="4" />
      ))}
    </svg>
  );
}
