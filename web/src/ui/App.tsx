// The page from top to bottom.

import { useEffect, useReducer, useRef, useState } from "preact/hooks";
import type { Library } from "../library.ts";
import type { Chosen, Queue } from "../transfer/queue.ts";
import type { Connection, Session } from "../transfer/session.ts";
import type { Upload } from "../transfer/upload.ts";
import { DropZone, useWindowDrop } from "./DropZone.tsx";
import { Files } from "./Files.tsx";
import { CloudOffIcon, CopyIcon, Mark } from "./icons.tsx";
import { Confirm, CopyButton, type Question } from "./parts.tsx";
import { SignIn } from "./SignIn.tsx";
import { Summary } from "./Summary.tsx";
import type { Ticker } from "./ticker.ts";
import { Announcer } from "./announce.ts";
import { Transfer } from "./Transfer.tsx";
import { Unfinished } from "./Unfinished.tsx";
import { adviceOn } from "../transfer/problems.ts";
import { serverUrl } from "./download.tsx";
import { count, percent, shownName, uploadCommand } from "./words.ts";

interface Props {
  queue: Queue;
  library: Library;
  session: Session;
  ticker: Ticker;
}

const MOST_ROWS = 100;

export function App({ queue, library, session, ticker }: Props) {
  const [, redraw] = useReducer((version: number) => version + 1, 0);
  useEffect(() => ticker.listen(() => redraw(undefined)), [ticker]);
  const [question, ask] = useState<Question>();
  const transfers = useRef<HTMLHeadingElement>(null);
  const said = useAnnouncements(queue, session, ticker);
  const add = (chosen: readonly Chosen[], href?: string) => queue.add(chosen, href);
  const drop = useWindowDrop(add);
  useRefreshWhenDone(queue, library);
  useTitle(queue);
  useWarningBeforeLeaving(queue);

  const signedOut = session.connection === "signed-out";
  // Another person may sign in: the lists are looked up anew.
  useEffect(() => {
    if (signedOut) library.clear();
  }, [signedOut, library]);
  const uploads = queue.uploads;
  const shown = uploads.length > MOST_ROWS ? byUrgency(uploads) : uploads;
  const mine = new Set(uploads.map((upload) => upload.href));
  const unfinished = library.unfinished.filter((upload) => !mine.has(upload.pulp_href));
  const cancel = (upload: Upload) =>
    ask({
      title: "Cancel this upload?",
      text: `What has arrived of ${shownName(upload.name)} will be deleted from the server. The file on this computer stays.`,
      yes: "Cancel the upload",
      carryOut: () => queue.cancel(upload).finally(() => library.refresh()),
      focus: transfers,
    });
  const cancelAll = () =>
    ask({
      title: "Cancel all uploads?",
      text: `${count(uploads.filter((upload) => !upload.over).length, "upload stops", "uploads stop")}, and what has arrived of them will be deleted from the server. The files on this computer stay.`,
      yes: "Cancel all",
      carryOut: () => queue.cancelAll().finally(() => library.refresh()),
      focus: transfers,
    });
  const signOut = async () => {
    queue.dismissAll();
    library.clear();
    session.signOut();
  };
  const askToSignOut = () => {
    const working = uploads.filter((upload) => !upload.over).length;
    if (working === 0) return void signOut();
    ask({
      title: "Sign out now?",
      text: `${count(working, "upload stops", "uploads stop")}. What has arrived stays on the server: sign in again and choose the same files to go on.`,
      yes: "Sign out",
      carryOut: signOut,
    });
  };

  return (
    <>
      <header>
        <h1>
          <Mark />
          partwise
        </h1>
        <Notice connection={session.connection} />
        {session.user && (
          <bdi class="who" translate={false} title="Signed in">
            {shownName(session.user)}
          </bdi>
        )}
        {session.hasToken && (
          <button type="button" class="quiet" onClick={askToSignOut}>
            Sign out
          </button>
        )}
      </header>
      <main>
        {signedOut && <SignIn session={session} refresh={() => library.refresh()} waiting={uploads.some((each) => each.active)} />}
        {!signedOut && <DropZone add={add} drop={drop} small={uploads.length > 0} limits={library.about?.limits} />}
        {uploads.length > 0 && (
          <section aria-labelledby="transfers">
            <Summary queue={queue} connection={session.connection} heading={transfers} cancelAll={cancelAll} />
            <ul class="rows" role="list">
              {shown.slice(0, MOST_ROWS).map((upload) => (
                <Transfer key={upload.id} upload={upload} queue={queue} session={session} cancel={cancel} />
              ))}
            </ul>
            {shown.length > MOST_ROWS && <p class="hint">and {count(shown.length - MOST_ROWS, "more file", "more files")}</p>}
          </section>
        )}
        {!signedOut && unfinished.length > 0 && <Unfinished uploads={unfinished} library={library} add={add} ask={ask} />}
        {!signedOut && (library.loaded || library.error) && (
          <Files library={library} session={session} ask={ask} problem={library.loaded ? undefined : adviceOn(library.error)} />
        )}
      </main>
      {!signedOut && <Terminal />}
      <Confirm question={question} close={() => ask(undefined)} />
      <div class="offscreen" aria-live="polite" translate={false}>
        {said}
      </div>
    </>
  );
}

/** The same by a command, for scripts and for machines without a browser. */
function Terminal() {
  const command = uploadCommand(serverUrl());
  return (
    <footer translate={false}>
      <p class="hint">
        <span>On the command line:</span> <code>{command}</code>
        <CopyButton label="Copy the command" title="Copy the command" text={command}>
          <CopyIcon />
        </CopyButton>
      </p>
    </footer>
  );
}

/** Of more than can be shown, first what is going on, then what went wrong. */
function byUrgency(uploads: readonly Upload[]): Upload[] {
  const going = uploads.filter((upload) => !upload.over);
  const failed = uploads.filter((upload) => upload.phase === "failed");
  return [...going, ...failed, ...uploads.filter((upload) => upload.phase === "done")];
}

const NOTICES: Readonly<Partial<Record<Connection, string>>> = {
  offline: "No network. Uploads go on by themselves when it is back.",
  unreachable: "The server does not answer. Trying again until it does.",
};

function Notice({ connection }: { connection: Connection }) {
  const text = NOTICES[connection];
  return (
    <p class="notice" role="status" translate={false} hidden={!text}>
      {text && <CloudOffIcon />}
      {text}
    </p>
  );
}

function useAnnouncements(queue: Queue, session: Session, ticker: Ticker): string {
  const [announcer] = useState(() => new Announcer(ticker.tick));
  announcer.look(queue.uploads);
  return session.connection === "signed-out" ? "Sign in to go on." : announcer.said;
}

/** Closing the page stops what is on its way: that may be a slip. Only the browser's own words are shown. */
function useWarningBeforeLeaving(queue: Queue): void {
  const working = queue.uploads.some((upload) => upload.active);
  useEffect(() => {
    if (!working) return undefined;
    const warn = (event: BeforeUnloadEvent) => event.preventDefault();
    addEventListener("beforeunload", warn);
    return () => removeEventListener("beforeunload", warn);
  }, [working]);
}

/** Look at the server's list as soon as something of ours changed it. */
function useRefreshWhenDone(queue: Queue, library: Library): void {
  const over = queue.uploads.filter((upload) => upload.over).length;
  useEffect(() => {
    if (over > 0) library.refreshSoon();
  }, [over, library]);
}

/** How far all is, for those who look at another tab. */
function useTitle(queue: Queue): void {
  const working = queue.uploads.filter((upload) => !upload.over);
  const size = working.reduce((sum, upload) => sum + upload.file.size, 0);
  const sent = working.reduce((sum, upload) => sum + upload.sent, 0);
  const title = working.length > 0 ? `${percent(sent, size)} % – partwise` : "partwise";
  useEffect(() => {
    document.title = title;
  }, [title]);
}
