// One file on its way, or just arrived.

import { useRef } from "preact/hooks";
import type { Queue } from "../transfer/queue.ts";
import { secondsLeft } from "../transfer/pace.ts";
import { OtherFile, Unreadable, adviceOn } from "../transfer/problems.ts";
import type { Connection, Session } from "../transfer/session.ts";
import type { Upload } from "../transfer/upload.ts";
import { CopyLink, DownloadLink } from "./download.tsx";
import { AlertIcon, CheckIcon, CloseIcon, FileIcon, PauseIcon, PlayIcon, RetryIcon } from "./icons.tsx";
import { Bar, Digest, Name } from "./parts.tsx";
import { bytes, duration, percent, rate, shownName } from "./words.ts";

interface Props {
  upload: Upload;
  queue: Queue;
  session: Session;
  cancel: (upload: Upload) => void;
}

export function Transfer({ upload, queue, session, cancel }: Props) {
  const id = `upload-${upload.id}`;
  const { phase, name } = upload;
  const state = phase === "done" ? "done" : phase === "failed" ? "failed" : upload.paused ? "paused" : "going";
  return (
    <li class={`row ${state}`} aria-labelledby={id} data-phase={phase} data-state={state}>
      <span class="row-icon">{state === "done" ? <CheckIcon /> : state === "failed" ? <AlertIcon /> : <FileIcon />}</span>
      <div class="row-main">
        <Name name={name} id={id} />
        {state === "done" && upload.result ? (
          <p class="facts" translate={false}>
            <span>{bytes(upload.result.size)}</span>
            {upload.already !== undefined && <span>{alreadyThere(upload.already, name)}</span>}
            <Digest sha256={upload.result.sha256} of={name} />
          </p>
        ) : state === "failed" ? (
          <Failure upload={upload} queue={queue} />
        ) : (
          <Progress upload={upload} session={session} />
        )}
      </div>
      <div class="row-actions">
        {state === "done" && upload.result && <CopyLink artifact={upload.result.artifact} name={name} />}
        {state === "done" && upload.result && <DownloadLink artifact={upload.result.artifact} name={name} session={session} />}
        {state === "going" && (
          <IconButton label="Pause" name={name} onClick={() => queue.pause(upload)}>
            <PauseIcon />
          </IconButton>
        )}
        {state === "paused" && (
          <IconButton label="Resume" name={name} onClick={() => queue.resume(upload)}>
            <PlayIcon />
          </IconButton>
        )}
        {(state === "going" || state === "paused") && (
          <IconButton label="Cancel" name={name} onClick={() => cancel(upload)}>
            <CloseIcon />
          </IconButton>
        )}
        {(state === "done" || state === "failed") && (
          <IconButton label="Take off this list:" name={name} onClick={() => queue.dismiss(upload)}>
            <CloseIcon />
          </IconButton>
        )}
      </div>
    </li>
  );
}

/** That nothing was sent, and under which name the server has it when that is another. */
function alreadyThere(as: string, name: string): string {
  return as === "" || as === name ? "already on the server" : `already on the server as ${shownName(as)}`;
}

interface ButtonProps {
  label: string;
  name: string;
  onClick: () => void;
  children: preact.ComponentChildren;
}

export function IconButton({ label, name, onClick, children }: ButtonProps) {
  const words = `${label} ${shownName(name)}`;
  return (
    <button type="button" class="icon-button" aria-label={words} title={label.replace(/:$/, "")} onClick={onClick}>
      {children}
    </button>
  );
}

function Progress({ upload, session }: { upload: Upload; session: Session }) {
  const { settled, moving } = upload.picture;
  const { size } = upload.file;
  const facts = describe(upload, session);
  return (
    <>
      <Bar size={size} settled={settled} moving={moving} label={shownName(upload.name)} text={facts.join(", ")} />
      <p class="facts" translate={false}>
        {facts.map((fact, index) => (
          <span key={index}>{fact}</span>
        ))}
      </p>
    </>
  );
}

const WAITING: Readonly<Record<Exclude<Connection, "online">, string>> = {
  "signed-out": "Waiting for you to sign in",
  offline: "Waiting for the network",
  unreachable: "Waiting for the server",
};

/** What an upload is doing, from the most telling to the least. */
function describe(upload: Upload, session: Session): string[] {
  const { size } = upload.file;
  const there = `${bytes(upload.sent)} of ${bytes(size)}`;
  // What is on the wire has not arrived: all is there when the server says so.
  const share = `${Math.min(99, percent(upload.sent, size))} %`;
  if (upload.paused) return ["Paused", there];
  if (session.connection !== "online") return [WAITING[session.connection], there];
  switch (upload.phase) {
    case "queued":
      return ["Waiting its turn", bytes(size)];
    case "preparing":
      return ["Getting ready", bytes(size)];
    case "comparing":
      return ["Comparing with what is on the server", upload.uncompared > 0 ? `${bytes(upload.uncompared)} to go` : there];
    case "elsewhere":
      return ["Being sent in another tab", there];
    case "hashing":
      return ["Checking the file", `${percent(upload.hashed, size)} %`];
    case "finishing":
      return ["Verifying on the server", bytes(size)];
    default: {
      const now = performance.now() / 1000;
      if (upload.picture.moving.length === 0 && !upload.stumbling && upload.sent < size) return ["Waiting its turn", there];
      const speed = upload.rate.at(now);
      const seconds = secondsLeft(size - upload.sent, speed);
      const facts = [share, there];
      if (upload.stumbling) facts.push("trying again");
      else if (speed > 0) facts.push(rate(speed));
      else if (upload.rate.stalled(now)) facts.push("stalled");
      if (seconds !== undefined && speed > 0) facts.push(`${duration(seconds)} left`);
      return facts;
    }
  }
}

function Failure({ upload, queue }: { upload: Upload; queue: Queue }) {
  const { error } = upload;
  const advice = adviceOn(error);
  const input = useRef<HTMLInputElement>(null);
  const choose = error instanceof Unreadable || error instanceof OtherFile;
  return (
    <div class="failure" translate={false}>
      <p>
        <strong>{advice.title}.</strong> {advice.help}
      </p>
      <div class="actions">
        {advice.again && (
          <button type="button" onClick={() => (upload.lost ? queue.startOver(upload) : queue.resume(upload))}>
            <RetryIcon />
            {upload.lost ? "Start over" : "Try again"}
          </button>
        )}
        {choose && (
          <button type="button" onClick={() => input.current?.click()}>
            Choose the file again
          </button>
        )}
        {choose && (
          <input
            ref={input}
            type="file"
            hidden
            aria-label="The file again"
            onChange={(event) => {
              const file = event.currentTarget.files?.[0];
              if (!file) return;
              queue.dismiss(upload);
              queue.add([{ file, name: file.name }], upload.href);
            }}
          />
        )}
      </div>
    </div>
  );
}
