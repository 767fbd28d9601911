// My files on the server.

import { useRef } from "preact/hooks";
import { PAGE_SIZE, type Library } from "../library.ts";
import type { ArtifactInfo } from "../transfer/api.ts";
import type { Advice } from "../transfer/problems.ts";
import type { Session } from "../transfer/session.ts";
import { DownloadLink } from "./download.tsx";
import { FileIcon, SearchIcon, TrashIcon } from "./icons.tsx";
import { Digest, Name, type Question } from "./parts.tsx";
import { IconButton } from "./Transfer.tsx";
import { ago, bytes, count, shownName } from "./words.ts";

interface Props {
  library: Library;
  session: Session;
  ask: (question: Question) => void;
  problem: Advice | undefined;
}

export function Files({ library, session, ask, problem }: Props) {
  const heading = useRef<HTMLHeadingElement>(null);
  const { artifacts, search } = library;
  const users = new Set(artifacts.map((artifact) => artifact.user));
  const remove = (artifact: ArtifactInfo) =>
    ask({
      title: "Delete this file?",
      text: `${shownName(nameOf(artifact))} will be deleted from the server for good.`,
      yes: "Delete",
      carryOut: () => library.deleteArtifact(artifact),
      focus: heading,
    });
  return (
    <section aria-labelledby="files">
      <div class="section-head">
        <h2 id="files" ref={heading} tabIndex={-1}>
          Files
        </h2>
        {(library.count > 0 || search) && (
          <label class="search">
            <SearchIcon />
            <span class="offscreen">Search by name</span>
            <input type="search" placeholder="Search by name" value={search} onInput={(event) => library.find(event.currentTarget.value)} />
          </label>
        )}
      </div>
      {problem && (
        <p class="hint" role="alert">
          {problem.title}. {problem.help}
        </p>
      )}
      {!problem && library.count === 0 && <p class="hint">{search ? `No file’s name has “${search}” in it.` : "What you upload appears here."}</p>}
      {artifacts.length > 0 && (
        <ul class="rows" role="list">
          {artifacts.map((artifact) => (
            <li class="row file" key={artifact.pulp_href} aria-labelledby={artifact.pulp_href}>
              <span class="row-icon">
                <FileIcon />
              </span>
              <div class="row-main">
                <Name name={nameOf(artifact)} id={artifact.pulp_href} />
                <p class="facts" translate={false}>
                  <span>{bytes(artifact.size)}</span>
                  <span>{ago(Date.parse(artifact.pulp_created), library.now())}</span>
                  {users.size > 1 && <span>{artifact.user}</span>}
                  <Digest sha256={artifact.sha256} of={nameOf(artifact)} />
                </p>
              </div>
              <div class="row-actions">
                <DownloadLink artifact={artifact.pulp_href} name={nameOf(artifact)} session={session} />
                <IconButton label="Delete" name={nameOf(artifact)} onClick={() => remove(artifact)}>
                  <TrashIcon />
                </IconButton>
              </div>
            </li>
          ))}
        </ul>
      )}
      {library.count > artifacts.length && artifacts.length > 0 && (
        <p class="more">
          <button type="button" onClick={() => library.more()}>
            Show more
          </button>
          <span class="hint">
            {artifacts.length} of {count(library.count, "file", "files")}
          </span>
        </p>
      )}
      {library.count > 0 && library.count <= artifacts.length && artifacts.length > PAGE_SIZE && <p class="hint">That is all.</p>}
    </section>
  );
}

function nameOf(artifact: ArtifactInfo): string {
  return artifact.filename || artifact.sha256.slice(0, 16);
}
