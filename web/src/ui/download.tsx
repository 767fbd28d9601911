// Downloads go through the browser's own download list, so that a large file needs no memory here.

import type { Session } from "../transfer/session.ts";
import { DownloadIcon, LinkIcon } from "./icons.tsx";
import { CopyButton } from "./parts.tsx";
import { shownName } from "./words.ts";

export function DownloadLink({ artifact, name, session }: { artifact: string; name: string; session: Session }) {
  const href = `${artifact}download/`;
  return (
    <a
      class="icon-button"
      href={href}
      download
      aria-label={`Download ${shownName(name)}`}
      title="Download"
      onClick={(event) => {
        if (!session.hasToken) return;
        event.preventDefault();
        void session.openDownloads().then(() => begin(href));
      }}
    >
      <DownloadIcon />
    </a>
  );
}

/** Copies the address of a download, for another program or another person who may read the file. */
export function CopyLink({ artifact, name }: { artifact: string; name: string }) {
  const address = new URL(`${artifact}download/`, location.href).href;
  return (
    <CopyButton label={`Copy the link to ${shownName(name)}`} title="Copy link" text={address}>
      <LinkIcon />
    </CopyButton>
  );
}

/** Where other programs find the server: the page's own address. */
export function serverUrl(): string {
  return new URL(".", location.href).href.replace(/\/$/, "");
}

function begin(href: string): void {
  const link = document.createElement("a");
  link.href = href;
  link.download = "";
  link.click();
}
