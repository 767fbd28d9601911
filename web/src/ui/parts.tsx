// Small pieces that several parts of the page are made of.

import type { ComponentChildren, RefObject } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { adviceOn } from "../transfer/problems.ts";
import { segments, type Span } from "../transfer/ranges.ts";
import { CheckIcon, CopyIcon } from "./icons.tsx";
import { nameParts, percent, shortDigest, shownName } from "./words.ts";

/** A file's name as text: isolated, so that its script does not turn the line around. */
export function Name({ name, id }: { name: string; id?: string }) {
  const { folder, base } = nameParts(name);
  return (
    <span class="name" translate={false} id={id} title={shownName(name)}>
      {folder && <bdi class="folder">{shownName(folder)}</bdi>}
      <bdi class="base">{shownName(base)}</bdi>
    </span>
  );
}

interface BarProps {
  size: number;
  settled: readonly Span[];
  moving?: readonly Span[];
  label: string;
  text: string;
}

/** How far a file is, as the picture of its parts: they arrive side by side, in any order. */
export function Bar({ size, settled, moving = [], label, text }: BarProps) {
  const done = [...settled, ...moving].reduce((sum, span) => sum + span.size, 0);
  const scale = (value: number) => (size > 0 ? (value / size) * 1000 : 1000);
  const rect = (span: Span, kind: string, density = 1) => (
    <rect key={`${kind}${span.offset}`} class={kind} x={scale(span.offset)} width={Math.max(0.5, scale(span.size))} height="10" fill-opacity={density} />
  );
  return (
    <div class="bar" role="progressbar" aria-label={label} aria-valuemin={0} aria-valuemax={100} aria-valuenow={percent(done, size)} aria-valuetext={text}>
      <svg viewBox="0 0 1000 10" preserveAspectRatio="none" aria-hidden="true" focusable="false">
        {size === 0 && <rect class="settled" width="1000" height="10" />}
        {segments(settled, size).map((segment) => rect(segment, "settled", segment.density))}
        {moving.map((span) => rect(span, "moving"))}
      </svg>
    </div>
  );
}

/** Whether something was copied a moment ago, and how to copy. */
function useCopy(): [copied: boolean, copyText: (text: string) => void] {
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    if (!copied) return undefined;
    const timer = setTimeout(() => setCopied(false), 2000);
    return () => clearTimeout(timer);
  }, [copied]);
  return [copied, (text) => void copy(text).then(setCopied)];
}

interface CopyProps {
  /** What a screen reader says. */
  label: string;
  title: string;
  text: string;
  children: ComponentChildren;
}

/** An icon that copies a text, and shows that it did. */
export function CopyButton({ label, title, text, children }: CopyProps) {
  const [copied, copyText] = useCopy();
  return (
    <button type="button" class="icon-button" aria-label={label} title={title} onClick={() => copyText(text)}>
      {copied ? <CheckIcon /> : children}
      <span class="offscreen" role="status" translate={false}>
        {copied ? "Copied" : ""}
      </span>
    </button>
  );
}

/** A SHA-256, short, that can be copied whole. */
export function Digest({ sha256, of }: { sha256: string; of: string }) {
  const [copied, copyText] = useCopy();
  return (
    <span class="digest" translate={false}>
      <span class="digest-name">SHA-256</span>
      <code title={sha256}>{shortDigest(sha256)}</code>
      <button type="button" class="quiet" aria-label={`Copy the SHA-256 of ${shownName(of)}`} onClick={() => copyText(sha256)}>
        {copied ? <CheckIcon /> : <CopyIcon />}
        <span role="status">{copied ? "Copied" : ""}</span>
      </button>
    </span>
  );
}

/** Put text on the clipboard; answers whether that worked. */
async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Without https there is no clipboard interface: select the text of a field instead, as pages did before it.
    const field = document.createElement("textarea");
    field.value = text;
    field.className = "offscreen";
    document.body.append(field);
    field.select();
    const worked = document.execCommand("copy");
    field.remove();
    return worked;
  }
}

export interface Question {
  readonly title: string;
  readonly text: string;
  readonly yes: string;
  /** What to do on yes. May raise what the server's answer raises: then the dialog stays and says so. */
  readonly carryOut: () => Promise<void>;
  /** Where the focus goes afterwards, since the row that it came from is gone. */
  readonly focus?: RefObject<HTMLElement | null>;
}

/** Asks before something is lost. The browser's own dialog: focus goes in, Escape closes, focus goes back. */
export function Confirm({ question, close }: { question: Question | undefined; close: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>();
  useEffect(() => {
    setError(undefined);
    if (question) dialog.current?.showModal();
    else dialog.current?.close();
  }, [question]);
  const agree = async () => {
    setBusy(true);
    setError(undefined);
    try {
      await question?.carryOut();
      // Closing gives the focus back to where it came from; only then can it be sent elsewhere.
      dialog.current?.close();
      question?.focus?.current?.focus();
      close();
    } catch (raised) {
      setError(raised);
    } finally {
      setBusy(false);
    }
  };
  const advice = error === undefined ? undefined : adviceOn(error);
  return (
    <dialog
      ref={dialog}
      aria-labelledby="confirm-title"
      aria-describedby="confirm-text"
      onCancel={(event) => {
        event.preventDefault();
        close();
      }}
    >
      <h2 id="confirm-title">{question?.title}</h2>
      <p id="confirm-text">{question?.text}</p>
      {advice && (
        <p class="refusal" role="alert">
          {advice.title}. {advice.help}
        </p>
      )}
      <div class="actions">
        <button type="button" onClick={close}>
          Keep
        </button>
        <button type="button" class="danger" aria-disabled={busy} onClick={() => void (busy || agree())}>
          {question?.yes}
        </button>
      </div>
    </dialog>
  );
}
