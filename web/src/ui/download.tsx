// Downloads go through the browser's own download list, so that a large file needs no memory here.

import type { Session } from "../transfer/session.ts";
import { DownloadIcon } from "./icons.tsx";
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

function begin(href: string): void {
  const link = document.createElement("a");
  link.href = href;
  link.download = "";
  link.click();
}
