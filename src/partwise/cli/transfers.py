"""``partwise upload`` and ``partwise download``."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from partwise.cli.exits import Exit, exit_code
from partwise.cli.output import ProgressView, emit, exit_with_message, plain, rate, say, sentence, tell
from partwise.cli.sizes import format_size
from partwise.client import ArtifactInfo, Client, ClientError, DownloadResult, UploadResult

_RESUME_HINT = "What reached the server stays there: run the same command again to go on."


def upload_files(
    client: Client,
    files: Sequence[tuple[Path, str | None]],
    settings: dict[str, Any],
    *,
    skip_existing: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Upload ``files`` one after another, also past one that fails. Returns the exit code of the first that did.

    With each file comes the name that the server is to note, if that is not its own.
    """
    code = Exit.OK
    done: list[UploadResult] = []
    there = 0
    began = time.monotonic()
    with exit_with_message(_RESUME_HINT), ProgressView(quiet) as view:
        for number, (file, inside) in enumerate(files, 1):
            name = inside or file.name or str(file)
            view.begin(name if len(files) == 1 else f"[{number}/{len(files)}] {name}")
            try:
                if skip_existing and (artifact := client.find_content(file, observer=view)):
                    there += 1
                    _report_existing(file, name, artifact, as_json)
                    continue
                result = client.upload(file, observer=view, **settings | ({"name": inside} if inside else {}))
            except (ClientError, OSError) as error:
                code = code or exit_code(error)
                say(f"partwise: {name}: {sentence(error)}", "red")
                if as_json:
                    emit({"file": str(file), "error": sentence(error), "exit_code": int(exit_code(error))})
                if exit_code(error) is Exit.UNREACHABLE:
                    if view.under_way:
                        say(_RESUME_HINT, "yellow")
                    break
                continue
            done.append(result)
            if as_json:
                emit({"file": str(file), **asdict(result)})
            else:
                report(result)
    if len(files) > 1 and not quiet:
        total = rate(sum(result.size for result in done), time.monotonic() - began)
        more = f"; {there} were there already" if there else ""
        say(f"{len(done)} of {len(files)} files uploaded: {total}{more}")
    return code


def _report_existing(file: Path, name: str, artifact: ArtifactInfo, as_json: bool) -> None:
    if as_json:
        known = {"name": artifact.filename, "size": artifact.size, "sha256": artifact.sha256, "artifact": artifact.href}
        emit({"file": str(file), "existing": True, **known})
        return
    other = f", as {artifact.filename}" if artifact.filename not in (None, name) else ""
    tell(f"{name}: is there already{other}", "green")
    tell(f"  sha256    {artifact.sha256}")
    tell(f"  artifact  {artifact.href}")


def report(result: UploadResult) -> None:
    """Print the result of an upload."""
    tell(f"{result.name}: {rate(result.size, result.seconds)}", "green")
    if result.resumed:
        tell(f"  resumed   {result.chunks_skipped} chunks were there, {result.chunks_sent} sent")
    if result.bytes_copied:
        tell(f"  delta     {format_size(result.bytes_copied)} were there; sent {format_size(result.bytes_sent)}")
    tell(f"  sha256    {result.sha256}")
    tell(f"  artifact  {result.artifact}")


def download_artifacts(
    client: Client,
    references: Sequence[str],
    output: Path | None,
    settings: dict[str, Any],
    *,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Download each artifact named, also past one that fails. Returns the exit code of the first that did.

    ``output`` is a file or an existing folder; None: the artifact's own name in the current folder.
    """
    code = Exit.OK
    with exit_with_message("What came is kept: run the same command again to go on."), ProgressView(quiet) as view:
        for number, reference in enumerate(references, 1):
            view.begin(reference if len(references) == 1 else f"[{number}/{len(references)}] {reference}")
            try:
                artifact = client.find_artifact(reference)
                target = _target(artifact, output)
                if target.exists() and not force:
                    raise FileExistsError(17, "already exists. Use --force to replace it", str(target))
                result = client.download(artifact, target, observer=view, **settings)
            except (ClientError, OSError) as error:
                code = code or exit_code(error)
                say(f"partwise: {sentence(error)}", "red")
                if exit_code(error) is Exit.UNREACHABLE:
                    break
                continue
            if as_json:
                emit(asdict(result))
            else:
                _report_download(target, result)
    return code


def _target(artifact: ArtifactInfo, output: Path | None) -> Path:
    name = _safe_name(artifact.filename) or artifact.sha256
    if output is None:
        return Path(name)
    return output / name if output.is_dir() else output


def _report_download(target: Path, result: DownloadResult) -> None:
    tell(f"{plain(str(target))}: {rate(result.size, result.seconds)}, SHA-256 verified", "green")
    if result.bytes_local:
        local, received = format_size(result.bytes_local), format_size(result.bytes_received)
        tell(f"  delta     {local} were here; received {received}")


def _safe_name(name: str | None) -> str | None:
    """The last component of a name from a server, if it can be a visible file of the current folder."""
    last = re.split(r"[/\\]", name or "")[-1]
    return last if last and last.isprintable() and not last.startswith(".") and len(last.encode()) < 200 else None
