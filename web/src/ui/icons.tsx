// The few drawings of the page: strokes in the colour of the text, never read out.

import type { ComponentChildren } from "preact";

function icon(children: ComponentChildren) {
  return () => (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      {children}
    </svg>
  );
}

export const PauseIcon = icon(<path class="heavy" d="M9 6.5v11M15 6.5v11" />);
export const PlayIcon = icon(<path class="full" d="M8.5 6v12l9.5-6z" />);
export const CloseIcon = icon(<path d="M6.5 6.5l11 11M17.5 6.5l-11 11" />);
export const RetryIcon = icon(<path d="M19 12a7 7 0 1 1-2.2-5.1M19 4v4.5h-4.5" />);
export const DownloadIcon = icon(<path d="M12 4v11M7.5 11l4.5 4.5 4.5-4.5M5 19.5h14" />);
export const CopyIcon = icon(<path d="M9 9h10v11H9zM15 9V4H5v11h4" />);
export const LinkIcon = icon(<path d="M10 14a4 4 0 0 0 5.7 0l3.1-3.1a4 4 0 0 0-5.7-5.7L12 6.3M14 10a4 4 0 0 0-5.7 0l-3.1 3.1a4 4 0 0 0 5.7 5.7l1.1-1.1" />);
export const TerminalIcon = icon(<path d="M4 5h16v14H4zM7.5 9.5l3 2.5-3 2.5M12.5 15h4" />);
export const CheckIcon = icon(<path d="M5 12.5l4.5 4.5L19 7.5" />);
export const TrashIcon = icon(<path d="M5 7h14M10 7V4.5h4V7M7 7l.8 12.5h8.4L17 7M10.3 10.5v5.5M13.7 10.5v5.5" />);
export const FileIcon = icon(<path d="M7 3.5h7l4 4v13H7zM14 3.5v4h4" />);
export const AlertIcon = icon(<path d="M12 4l8.5 15.5h-17zM12 10v4.5M12 17v.3" />);
export const SearchIcon = icon(<path d="M10.5 4.5a6 6 0 1 1 0 12 6 6 0 0 1 0-12zM15 15l5 5" />);
export const FolderIcon = icon(<path d="M3.5 6h6l2 2.5h9V19h-17z" />);
export const CloudOffIcon = icon(<path d="M4 4l16 16M8 8.5A5 5 0 0 0 7.5 18H17M10 6.6A5.5 5.5 0 0 1 17 11a3.7 3.7 0 0 1 3 5.5" />);

/** The mark of the project: a whole made of parts. */
export function Mark() {
  return (
    <svg class="mark" viewBox="0 0 32 32" aria-hidden="true" focusable="false">
      <rect width="32" height="32" rx="8" class="mark-ground" />
      <rect x="7" y="7" width="8" height="8" rx="2" class="mark-part" />
      <rect x="17" y="7" width="8" height="8" rx="2" class="mark-part" />
      <rect x="7" y="17" width="8" height="8" rx="2" class="mark-part" />
      <rect x="17" y="17" width="8" height="8" rx="2" class="mark-part mark-last" />
    </svg>
  );
}
