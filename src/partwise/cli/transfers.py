"""``partwise upload`` and ``partwise download``."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from partwise.cli.batch import Batch
from partwise.cli.board import Line
from partwise.cli.exits import exit_code
from partwise.cli.jobs import Job
from partwise.cli.output import ProgressView, emit, plain, rate, say, sentence, tell_result
from partwise.cli.sizes import format_size
from partwise.client import ArtifactInfo, Client, ClientError, DownloadResult, UploadResult

#: A file to upload, and the name that the server is to note, if that is not its own.
Source = tuple[Path, str | None]


def upload_files(
    client: Client,
    files: Sequence[Source],
    settings: dict[str, Any],
    *,
    jobs: int | None,
    skip_existing: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Upload ``files``, several at once (``jobs``), also past one that fails. Returns the exit code."""

    def transfer(source: Source, view: ProgressView | Line, cancelled: threading.Event) -> int | None:
        file, inside = source
        if skip_existing and (artifact := client.find_content(file, observer=view, cancelled=cancelled)):
            _report_existing(file, _name_of(source), artifact, as_json)
            return None
        named = settings | ({"name": inside} if inside else {})
        result = client.upload(file, observer=view, cancelled=cancelled, **named)
        if as_json:
            emit({"file": str(file), **asdict(result)})
        else:
            report(result)
        return result.size

    def on_error(source: Source, error: ClientError | OSError) -> None:
        say(f"partwise: {_name_of(source)}: {sentence(error)}", "red")
        if as_json:
            emit({"file": str(source[0]), "error": sentence(error), "exit_code": int(exit_code(error))})

    batch = Batch(
        verb="uploading",
        done="uploaded",
        hint="The server keeps the received bytes. Run the same command again to resume.",
        name_of=_name_of,
        transfer=transfer,
        on_error=on_error,
        quiet=quiet,
    )
    return batch.run([Job(number, source, _size_of(source[0])) for number, source in enumerate(files)], jobs)


def _name_of(source: Source) -> str:
    file, inside = source
    return inside or file.name or str(file)


def _size_of(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0  # what is wrong with the file is said when it is opened


def _report_existing(file: Path, name: str, artifact: ArtifactInfo, as_json: bool) -> None:
    if as_json:
        known = {"name": artifact.filename, "size": artifact.size, "sha256": artifact.sha256, "artifact": artifact.href}
        emit({"file": str(file), "existing": True, **known})
        return
    other = f", as {artifact.filename}" if artifact.filename not in (None, name) else ""
    lines = [f"  sha256    {artifact.sha256}", f"  artifact  {artifact.href}"]
    tell_result([f"{name}: is there already{other}", *lines])


def report(result: UploadResult) -> None:
    """Print the result of an upload."""
    lines = [f"{result.name}: {rate(result.size, result.seconds)}"]
    if result.resumed:
        lines.append(f"  resumed   {result.chunks_skipped} chunks were there, {result.chunks_sent} sent")
    if result.bytes_copied:
        lines.append(
            f"  delta     {format_size(result.bytes_copied)} were there; sent {format_size(result.bytes_sent)}"
        )
    if result.kept_as is not None:
        lines.append(f"  kept as   {result.kept_as}, because you had this content already")
    tell_result([*lines, f"  sha256    {result.sha256}", f"  artifact  {result.artifact}"])


def download_artifacts(
    client: Client,
    references: Sequence[str],
    output: Path | None,
    settings: dict[str, Any],
    *,
    jobs: int | None,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Download each artifact named, several at once (``jobs``), also past one that fails. Returns the exit code.

    ``output`` is a file or an existing folder; None: the artifact's own name in the current folder.
    """
    targets = _Targets(force)

    def transfer(reference: str, view: ProgressView | Line, cancelled: threading.Event) -> int:
        # Scripts may begin while the server is being restarted.
        artifact = client.wait_for(lambda: client.find_artifact(reference), observer=view, cancelled=cancelled)
        target = _target(artifact, output)
        targets.take(target)
        if isinstance(view, Line):
            view.resize(artifact.size)
        result = client.download(artifact, target, overwrite=force, observer=view, cancelled=cancelled, **settings)
        if as_json:
            emit(asdict(result))
        else:
            _report_download(target, result)
        return result.size

    def on_error(reference: str, error: ClientError | OSError) -> None:
        say(f"partwise: {sentence(error)}", "red")

    batch = Batch(
        verb="downloading",
        done="downloaded",
        hint="The received bytes are kept. Run the same command again to resume.",
        name_of=str,
        transfer=transfer,
        on_error=on_error,
        quiet=quiet,
    )
    return batch.run([Job(number, reference, 0) for number, reference in enumerate(references)], jobs)


class _Targets:
    """The files that downloads write. Threads may share it."""

    def __init__(self, force: bool) -> None:
        self._force = force
        self._taken: set[Path] = set()
        self._lock = threading.Lock()

    def take(self, target: Path) -> None:
        """Raise FileExistsError where a download would replace a file unasked, or that of another download."""
        with self._lock:
            if target in self._taken:
                raise FileExistsError(17, "is the name of two of these artifacts. Give each an --output", str(target))
            self._taken.add(target)
        if target.exists() and not self._force:
            raise FileExistsError(17, "already exists. Use --force to replace it", str(target))


def _target(artifact: ArtifactInfo, output: Path | None) -> Path:
    name = _safe_name(artifact.filename) or artifact.sha256
    if output is None:
        return Path(name)
    return output / name if output.is_dir() else output


def _report_download(target: Path, result: DownloadResult) -> None:
    lines = [f"{plain(str(target))}: {rate(result.size, result.seconds)}, SHA-256 verified"]
    if result.bytes_local:
        local, received = format_size(result.bytes_local), format_size(result.bytes_received)
        lines.append(f"  delta     {local} were here; received {received}")
    tell_result(lines)


def _safe_name(name: str | None) -> str | None:
    """The last component of a name from a server, if it can be a visible file of the current folder."""
    last = re.split(r"[/\\]", name or "")[-1]
    return last if last and last.isprintable() and not last.startswith(".") and len(last.encode()) < 200 else None
