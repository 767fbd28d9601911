// My files on the server.

import { useRef, useState } from "preact/hooks";
import { PAGE_SIZE, type Library } from "../library.ts";
import type { ArtifactInfo } from "../transfer/api.ts";
import type { Advice } from "../transfer/problems.ts";
import type { Session } from "../transfer/session.ts";
import { CopyLink, DownloadLink } from "./download.tsx";
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
  /** The paths of the files that are ticked, while files are being selected. */
  const [ticked, setTicked] = useState<ReadonlySet<string>>();
  const { artifacts, search } = library;
  const several = new Set(artifacts.map((artifact) => artifact.user)).size > 1;
  const chosen = artifacts.filter((artifact) => ticked?.has(artifact.pulp_href));
  const remove = (artifact: ArtifactInfo) =>
    ask({
      title: "Delete this file?",
      text: `${shownName(nameOf(artifact))} will be deleted from the server for good.`,
      yes: "Delete",
      carryOut: () => library.deleteArtifacts([artifact]),
      focus: heading,
    });
  const removeChosen = () =>
    ask({
      title: `Delete ${count(chosen.length, "file", "files")}?`,
      text: `${count(chosen.length, "file", "files")} of ${bytes(chosen.reduce((sum, each) => sum + each.size, 0))} will be deleted from the server for good.`,
      yes: "Delete",
      carryOut: async () => {
        await library.deleteArtifacts(chosen);
        setTicked(undefined);
      },
      focus: heading,
    });
  const tick = (artifact: ArtifactInfo, on: boolean) => {
    const next = new Set(ticked);
    if (on) next.add(artifact.pulp_href);
    else next.delete(artifact.pulp_href);
    setTicked(next);
  };
  return (
    <section aria-labelledby="files">
      <div class="section-head">
        <h2 id="files" ref={heading} tabIndex={-1}>
          Files
        </h2>
        {artifacts.length > 1 && !ticked && (
          <button type="button" class="quiet" onClick={() => setTicked(new Set())}>
            Select
          </button>
        )}
        {(library.count > 0 || search) && (
          <label class="search">
            <SearchIcon />
            <span class="offscreen">Search by name</span>
            <input type="search" placeholder="Search by name" value={search} onInput={(event) => library.find(event.currentTarget.value)} />
          </label>
        )}
      </div>
      {ticked && (
        <div class="actions selecting" translate={false}>
          <button type="button" onClick={() => setTicked(new Set(artifacts.map((artifact) => artifact.pulp_href)))}>
            Select all {artifacts.length}
          </button>
          <button type="button" class="danger" aria-disabled={chosen.length === 0} onClick={() => chosen.length > 0 && removeChosen()}>
            Delete {count(chosen.length, "file", "files")}
          </button>
          <button type="button" onClick={() => setTicked(undefined)}>
            Done
          </button>
        </div>
      )}
      {problem && (
        <p class="hint" role="alert">
          {problem.title}. {problem.help}
        </p>
      )}
      {!problem && library.count === 0 && <p class="hint">{search ? `No file’s name has “${search}” in it.` : "What you upload appears here."}</p>}
      {artifacts.length > 0 && (
        <ul class={`rows ${ticked ? "ticking" : ""}`} role="list">
          {artifacts.map((artifact) => (
            <Row
              key={artifact.pulp_href}
              artifact={artifact}
              owner={several ? artifact.user : ""}
              now={library.now()}
              session={session}
              ticked={ticked?.has(artifact.pulp_href)}
              tick={(on) => tick(artifact, on)}
              remove={() => remove(artifact)}
            />
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

interface RowProps {
  artifact: ArtifactInfo;
  /** Empty where all files are of one. */
  owner: string;
  now: number;
  session: Session;
  /** Nothing while no files are being selected. */
  ticked: boolean | undefined;
  tick: (on: boolean) => void;
  remove: () => void;
}

function Row({ artifact, owner, now, session, ticked, tick, remove }: RowProps) {
  const name = nameOf(artifact);
  return (
    <li class="row file" aria-labelledby={artifact.pulp_href}>
      <span class="row-icon">
        {ticked === undefined ? (
          <FileIcon />
        ) : (
          <input type="checkbox" checked={ticked} aria-label={`Select ${shownName(name)}`} onChange={(event) => tick(event.currentTarget.checked)} />
        )}
      </span>
      <div class="row-main">
        <Name name={name} id={artifact.pulp_href} />
        <p class="facts" translate={false}>
          <span>{bytes(artifact.size)}</span>
          <span>{ago(Date.parse(artifact.pulp_created), now)}</span>
          {owner && <span>{owner}</span>}
          <Digest sha256={artifact.sha256} of={name} />
        </p>
      </div>
      <div class="row-actions">
        <CopyLink artifact={artifact.pulp_href} name={name} />
        <DownloadLink artifact={artifact.pulp_href} name={name} session={session} />
        <IconButton label="Delete" name={name} onClick={remove}>
          <TrashIcon />
        </IconButton>
      </div>
    </li>
  );
}

function nameOf(artifact: ArtifactInfo): string {
  return artifact.filename || artifact.sha256.slice(0, 16);
}
