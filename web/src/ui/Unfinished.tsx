// Uploads that wait on the server, whoever began them: this page, another browser, or the command line.

import { useRef, useState } from "preact/hooks";
import type { Library } from "../library.ts";
import type { UploadInfo } from "../transfer/api.ts";
import type { Chosen } from "../transfer/queue.ts";
import { BY_TOUCH } from "./DropZone.tsx";
import { TrashIcon, FileIcon } from "./icons.tsx";
import { Bar, Name, type Question } from "./parts.tsx";
import { IconButton } from "./Transfer.tsx";
import { ago, bytes, percent, shownName, until } from "./words.ts";

interface Props {
  uploads: readonly UploadInfo[];
  library: Library;
  add: (chosen: readonly Chosen[], href?: string) => void;
  ask: (question: Question) => void;
}

export function Unfinished({ uploads, library, add, ask }: Props) {
  const heading = useRef<HTMLHeadingElement>(null);
  return (
    <section aria-labelledby="unfinished">
      <h2 id="unfinished" ref={heading} tabIndex={-1}>
        Unfinished
      </h2>
      <p class="hint">Choose the same file again{BY_TOUCH ? "" : ", or drop it on the page"}: only what is missing is sent.</p>
      <ul class="rows" role="list">
        {uploads.map((upload) => (
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
                carryOut: () => library.deleteUpload(upload),
                focus: heading,
              })
            }
          />
        ))}
      </ul>
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
