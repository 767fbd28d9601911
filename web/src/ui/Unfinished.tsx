// Uploads that wait on the server, whoever began them: this page, another browser, or the command line.

import { useRef, useState } from "preact/hooks";
import type { Library } from "../library.ts";
import type { UploadInfo } from "../transfer/api.ts";
import type { Chosen } from "../transfer/queue.ts";
import { BY_TOUCH } from "./DropZone.tsx";
import { serverUrl } from "./download.tsx";
import { FileIcon, TerminalIcon, TrashIcon } from "./icons.tsx";
import { Bar, CopyButton, Name, type Question } from "./parts.tsx";
import { IconButton } from "./Transfer.tsx";
import { ago, bytes, count, percent, shownName, until, uploadCommand } from "./words.ts";

interface Props {
  uploads: readonly UploadInfo[];
  library: Library;
  add: (chosen: readonly Chosen[], href?: string) => void;
  ask: (question: Question) => void;
}

/** Unfinished uploads that are shown at first: the files below should stay in view. */
const FEW = 5;

export function Unfinished({ uploads, library, add, ask }: Props) {
  const heading = useRef<HTMLHeadingElement>(null);
  const [all, setAll] = useState(false);
  const shown = all ? uploads : uploads.slice(0, FEW);
  const removeAll = () => {
    const growing = uploads.filter((upload) => library.growing.has(upload.pulp_href)).length;
    ask({
      title: `Delete ${uploads.length} unfinished uploads?`,
      text:
        `What has arrived of them, ${bytes(uploads.reduce((sum, upload) => sum + upload.received, 0))}, will be deleted from the server.` +
        (growing > 0 ? ` ${count(growing, "of them is", "of them are")} being sent from elsewhere.` : ""),
      yes: "Delete all",
      carryOut: () => library.deleteUploads(uploads),
      focus: heading,
    });
  };
  return (
    <section aria-labelledby="unfinished">
      <div class="section-head">
        <h2 id="unfinished" ref={heading} tabIndex={-1}>
          Unfinished
        </h2>
        {uploads.length > 1 && (
          <button type="button" class="quiet" onClick={removeAll}>
            Delete all
          </button>
        )}
      </div>
      <p class="hint">Choose the same file again{BY_TOUCH ? "" : ", or drop it on the page"}: only what is missing is sent.</p>
      <ul class="rows" role="list">
        {shown.map((upload) => (
          <Row
            key={upload.pulp_href}
            upload={upload}
            now={library.now()}
            growing={library.growing.has(upload.pulp_href)}
            add={add}
            remove={() =>
              ask({
                title: "Delete this unfinished upload?",
                text: `What has arrived of ${shownName(nameOf(upload))} will be deleted from the server.`,
                yes: "Delete",
                carryOut: () => library.deleteUploads([upload]),
                focus: heading,
              })
            }
          />
        ))}
      </ul>
      {uploads.length > FEW && (
        <p class="more" translate={false}>
          <button type="button" aria-expanded={all} onClick={() => setAll(!all)}>
            {all ? "Show fewer" : `Show all ${uploads.length}`}
          </button>
        </p>
      )}
    </section>
  );
}

function nameOf(upload: UploadInfo): string {
  return upload.filename ?? "Upload without a name";
}

interface RowProps {
  upload: UploadInfo;
  now: number;
  growing: boolean;
  add: Props["add"];
  remove: () => void;
}

function Row({ upload, now, growing, add, remove }: RowProps) {
  const input = useRef<HTMLInputElement>(null);
  const [refusal, setRefusal] = useState("");
  const name = nameOf(upload);
  const size = upload.size ?? 0;
  const id = `unfinished-${upload.pulp_href}`;
  const take = (file: File) => {
    if (file.size !== size) {
      setRefusal(`${shownName(file.name)} has ${exact(file.size)}, but this upload is of a file of ${exact(size)}.`);
      return;
    }
    setRefusal("");
    add([{ file, name: upload.filename ?? file.name }], upload.pulp_href);
  };
  return (
    <li class="row unfinished" aria-labelledby={id}>
      <span class="row-icon">
        <FileIcon />
      </span>
      <div class="row-main">
        <Name name={name} id={id} />
        <Bar
          size={size}
          settled={upload.received > 0 ? [{ offset: 0, size: upload.received }] : []}
          label={shownName(name)}
          text={`${percent(upload.received, size)} percent arrived`}
        />
        <p class="facts" translate={false}>
          <span>
            {bytes(upload.received)} of {bytes(size)}
          </span>
          <span>{growing ? "being sent from elsewhere" : `last active ${ago(Date.parse(upload.pulp_last_updated), now)}`}</span>
          <span>expires {until(Date.parse(upload.expires), now)}</span>
        </p>
        {refusal && (
          <p class="refusal" role="alert">
            {refusal}
          </p>
        )}
      </div>
      <div class="row-actions">
        {upload.size !== null && (
          <button type="button" aria-label={`Choose file to continue ${shownName(name)}`} onClick={() => input.current?.click()}>
            Choose file
          </button>
        )}
        <CopyButton
          label={`Copy the command that continues ${shownName(name)}`}
          title="Copy the command that continues it"
          text={uploadCommand(serverUrl(), upload.filename ?? "", upload.pulp_href.split("/").at(-2))}
        >
          <TerminalIcon />
        </CopyButton>
        <IconButton label="Delete" name={name} onClick={remove}>
          <TrashIcon />
        </IconButton>
        <input
          ref={input}
          type="file"
          hidden
          aria-label={`The file of ${shownName(name)}`}
          onChange={(event) => {
            const file = event.currentTarget.files?.[0];
            event.currentTarget.value = "";
            if (file) take(file);
          }}
        />
      </div>
    </li>
  );
}

function exact(size: number): string {
  return `${size.toLocaleString("en")} bytes`;
}
