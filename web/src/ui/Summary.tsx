// All transfers in one line, and what can be done with all of them.

import type { RefObject } from "preact";
import type { Queue } from "../transfer/queue.ts";
import type { Connection } from "../transfer/session.ts";
import { secondsLeft } from "../transfer/pace.ts";
import { Bar } from "./parts.tsx";
import { bytes, count, duration, percent, rate } from "./words.ts";

interface Props {
  queue: Queue;
  connection: Connection;
  heading: RefObject<HTMLHeadingElement | null>;
  cancelAll: () => void;
}

export function Summary({ queue, connection, heading, cancelAll }: Props) {
  const { uploads } = queue;
  const done = uploads.filter((upload) => upload.phase === "done");
  const failed = uploads.filter((upload) => upload.phase === "failed");
  const retriable = failed.filter((upload) => upload.retriable);
  const paused = uploads.filter((upload) => upload.paused && !upload.over);
  const going = uploads.filter((upload) => !upload.over && !upload.paused);
  const counted = uploads.filter((upload) => upload.phase !== "failed");
  const size = counted.reduce((sum, upload) => sum + upload.file.size, 0);
  const sent = counted.reduce((sum, upload) => sum + (upload.phase === "done" ? upload.file.size : upload.sent), 0);
  const left = going.reduce((sum, upload) => sum + upload.file.size - upload.sent, 0);
  const speed = going.length > 0 ? queue.rate.at(performance.now() / 1000) : 0;
  const seconds = secondsLeft(left, speed);
  const title =
    going.length > 0
      ? connection === "online"
        ? `Uploading ${count(going.length, "file", "files")}`
        : `${count(going.length, "file is", "files are")} waiting`
      : paused.length > 0
        ? "Paused"
        : failed.length > 0
          ? `${count(failed.length, "file", "files")} could not be uploaded`
          : "All uploaded";
  const facts = [
    uploads.length > 1 && `${done.length} of ${uploads.length} files`,
    `${bytes(sent)} of ${bytes(size)}`,
    speed > 0 && rate(speed),
    seconds !== undefined && `${duration(seconds)} left`,
    failed.length > 0 && going.length + paused.length > 0 && `${failed.length} failed`,
  ].filter((fact) => fact !== false);
  return (
    <div class="summary" translate={false}>
      <div class="summary-head">
        <h2 id="transfers" ref={heading} tabIndex={-1}>
          {title}
        </h2>
        <div class="actions">
          {going.length > 1 && (
            <button type="button" onClick={() => queue.pauseAll()}>
              Pause all
            </button>
          )}
          {paused.length > 1 && (
            <button type="button" onClick={() => queue.resumeAll()}>
              Resume all
            </button>
          )}
          {going.length + paused.length > 1 && (
            <button type="button" onClick={cancelAll}>
              Cancel all
            </button>
          )}
          {retriable.length > 1 && (
            <button type="button" onClick={() => queue.retryAll()}>
              Retry all
            </button>
          )}
          {done.length > 0 && (
            <button type="button" onClick={() => queue.clearDone()}>
              Clear finished
            </button>
          )}
          {failed.length > 0 && done.length + failed.length > 1 && (
            <button type="button" onClick={() => queue.clearOver()}>
              Clear all
            </button>
          )}
        </div>
      </div>
      {uploads.length > 1 && (going.length > 0 || paused.length > 0) && (
        <Bar size={size} settled={sent > 0 ? [{ offset: 0, size: sent }] : []} label="All files" text={`${percent(sent, size)} percent`} />
      )}
      {uploads.length > 1 && (
        <p class="facts">
          {facts.map((fact, index) => (
            <span key={index}>{fact}</span>
          ))}
        </p>
      )}
    </div>
  );
}
