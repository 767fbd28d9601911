from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import Cli
from tests.support.server import ServerProcess

MIB = 1024 * 1024
Make = Callable[..., Path]


@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, 5 * MIB + 4321])
def test_a_file_goes_up_and_comes_back(cli: Cli, make: Make, tmp_path: Path, size: int) -> None:
    path = make(size)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    up = cli("upload", path, "--chunk-size", "1MiB", "--json").json
    assert (up["name"], up["size"], up["sha256"]) == ("data.bin", size, sha256)
    assert up["artifact"].startswith("/pulp/api/v3/artifacts/")
    assert (up["chunks_sent"], up["chunks_skipped"]) == (-(-size // MIB), 0)
    assert (up["upload"] is None) == (size <= 1), "a small file is sent in one request"
    assert (up["bytes_sent"], up["retries"]) == (size, 0)
    down = cli("download", sha256, "-o", tmp_path / "back", "--json").json
    assert (down["sha256"], down["bytes_received"]) == (sha256, size)
    assert (tmp_path / "back").read_bytes() == path.read_bytes()


def test_chunks_can_be_verified_one_by_one(cli: Cli, make: Make) -> None:
    cli("upload", make(3 * MIB + 1), "--chunk-size", "1MiB", "--verify-chunks")


def test_people_get_name_size_digest_rate_and_artifact(cli: Cli, make: Make) -> None:
    path = make(2 * MIB)
    ran = cli("upload", path, "--name", "disk[1].img")
    assert ran.err == ""
    assert "disk[1].img: 2.0 MiB in" in ran.out
    assert "/s\n" in ran.out
    assert hashlib.sha256(path.read_bytes()).hexdigest() in ran.out
    assert "artifact  /pulp/api/v3/artifacts/" in ran.out


def test_results_reach_a_pipe_while_the_terminal_shows_a_bar(cli: Cli, make: Make) -> None:
    master, slave = pty.openpty()
    # What nobody reads fills the terminal, and would stop the command.
    reader = threading.Thread(target=_read_all, args=(master,))
    reader.start()
    try:
        for options in ([], ["--json"]):
            done = subprocess.run(
                [sys.executable, "-m", "partwise.cli", "upload", make(2 * MIB), *options],
                env=cli.environment,
                stdout=subprocess.PIPE,
                stderr=slave,
                timeout=60,
                check=True,
            )
            assert b"sha256" in done.stdout
    finally:
        os.close(slave)
        reader.join(60)
        os.close(master)


def _read_all(terminal: int) -> None:
    with contextlib.suppress(OSError):  # Linux: the other side is closed
        while os.read(terminal, 4096):
            pass


@pytest.mark.parametrize("redirection", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_stop_nothing(cli: Cli, make: Make, redirection: str) -> None:
    path = make(1000)
    command = f'exec "$0" -m partwise.cli upload "$1" --json {redirection}'
    done = subprocess.run(
        ["sh", "-c", command, sys.executable, path], env=cli.environment, capture_output=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, b"")
    cli("show", hashlib.sha256(path.read_bytes()).hexdigest())


def test_a_locale_that_lacks_a_letter_shows_an_escape(cli: Cli, make: Make) -> None:
    path = make(1000, "d\u00fcsk.img")
    assert "d\\xfcsk.img: " in cli.end(cli.begin("upload", path, PYTHONIOENCODING="ascii")).out


def test_several_are_downloaded_into_a_folder_by_name_or_beginning(cli: Cli, make: Make, tmp_path: Path) -> None:
    paths = [make(1000, "several-1.bin"), make(2000, "several-2.bin")]
    digests = [cli("upload", path, "--json").json["sha256"] for path in paths]
    folder = tmp_path / "folder"
    folder.mkdir()
    ran = cli("download", "several-1.bin", "nowhere.bin", digests[1][:16], "-o", folder, code=7)
    assert "name, id or SHA-256 nowhere.bin" in ran.err
    assert "several-2.bin: 2.0 KiB in" in ran.out
    for path in paths:
        assert (folder / path.name).read_bytes() == path.read_bytes()
    assert "folder" in cli("download", "several-1.bin", "several-2.bin", "-o", tmp_path / "none", code=2).err


def test_of_several_with_one_name_the_newest_is_downloaded(cli: Cli, make: Make, tmp_path: Path) -> None:
    cli("upload", make(1000, "again.bin"), "--no-delta")
    newest = cli("upload", make(1000, "again.bin"), "--no-delta", "--json").json["sha256"]
    assert cli("download", "again.bin", "-o", tmp_path / "out", "--json").json["sha256"] == newest


def test_lists_are_searched_sorted_and_cut_off(cli: Cli, make: Make) -> None:
    for name, size in (("list-b.bin", 3000), ("list-c.bin", 1000), ("list-a.bin", 2000)):
        cli("upload", make(size, name))

    def listed(*options: object) -> list[str]:
        lines = cli("ls", "--artifacts", "--search", "list-", "--json", *options).out.splitlines()
        return [json.loads(line)["filename"][5] for line in lines]

    assert listed() == ["a", "c", "b"]
    assert listed("--reverse") == ["b", "c", "a"]
    assert listed("--sort", "name") == ["a", "b", "c"]
    assert listed("--sort", "size") == ["b", "a", "c"]
    assert listed("--sort", "size", "--reverse", "--limit", "2") == ["c", "a"]
    assert listed("-n", "1") == ["a"]
    assert "time, size or name" in cli("ls", "--sort", "colour", code=2).err


def test_names_are_found_in_both_forms_of_unicode(cli: Cli, make: Make, tmp_path: Path) -> None:
    composed, decomposed = "f\u00fcr-a.bin", "fu\u0308r-b.bin"
    cli("upload", make(100, composed))
    cli("upload", make(200, decomposed))
    for search in ("f\u00fcr-", "fu\u0308r-"):
        lines = cli("ls", "--artifacts", "--search", search, "--json").out.splitlines()
        assert [json.loads(line)["filename"] for line in lines] == [decomposed, composed]
        assert len(cli("ls", "--artifacts", "--search", search, "--json", "-n", "1").out.splitlines()) == 1
    cli("download", "f\u00fcr-b.bin", "-o", tmp_path / "out")
    assert (tmp_path / "out").stat().st_size == 200


def test_a_folder_goes_up_with_the_names_from_there(cli: Cli, make: Make, tmp_path: Path) -> None:
    (tmp_path / "tree" / "sub").mkdir(parents=True)
    for name in ("tree/1.iso", "tree/sub/2.iso", "tree/3.tmp"):
        make(1000, name)
    folder = tmp_path / "tree"
    assert "--recursive" in cli("upload", folder, code=2).err
    assert cli("upload", "-r", folder, "--dry-run").out == "tree/1.iso\ntree/3.tmp\ntree/sub/2.iso\n"
    assert "one file only" in cli("upload", "-r", folder, "--name", "x", code=2).err
    ran = cli("upload", "-r", folder, "--exclude", "*.tmp")
    assert "2 of 2 files uploaded" in ran.err
    assert "tree/sub/2.iso" in cli("ls", "--artifacts", "--search", "tree/").out
    again = cli("upload", "-r", folder, "--skip-existing")
    assert again.out.count("is there already") == 2
    assert "1 of 3 files uploaded" in again.err
    assert "2 were there already" in again.err
    make(1000, "copy.iso").write_bytes((folder / "1.iso").read_bytes())
    ran = cli("upload", tmp_path / "copy.iso", "--skip-existing")
    assert "copy.iso: is there already, as tree/1.iso" in ran.out
    assert cli("upload", tmp_path / "copy.iso", "--skip-existing", "--json").json["existing"] is True


def test_a_file_of_proc_is_refused_and_not_stored_as_empty(cli: Cli) -> None:
    assert "copy it first" in cli("upload", "/proc/cpuinfo", code=2).err


def test_of_several_files_the_others_go_on_past_one_that_fails(cli: Cli, make: Make, tmp_path: Path) -> None:
    paths = [make(1000, "a"), tmp_path / "none", make(2000, "b")]
    ran = cli("upload", *paths, paths[0], "--json", code=2)
    records = {record["file"]: record for record in map(json.loads, ran.out.splitlines())}
    assert records.keys() == {str(path) for path in paths}
    assert records[str(paths[1])]["exit_code"] == 2
    assert "none: No such file" in ran.err
    assert "2 of 3 files uploaded" in ran.err
    assert "1 failed" in ran.err


def test_listing_showing_and_deleting(cli: Cli, make: Make) -> None:
    path = make(1234, "shown.bin")
    up = cli("upload", path, "--chunk-size", "1000", "--json").json
    upload_id, artifact_id = up["upload"].split("/")[-2], up["artifact"].split("/")[-2]
    listed = cli("ls").out
    assert upload_id in listed
    assert up["sha256"] in listed
    assert "shown.bin" in cli("ls", "--artifacts").out
    assert up["sha256"] not in cli("ls", "--uploads").out
    kinds = {json.loads(line)["kind"] for line in cli("ls", "--json").out.splitlines()}
    assert kinds == {"upload", "artifact"}

    assert "completed" in cli("show", upload_id).out
    for reference in (artifact_id, up["sha256"], up["artifact"]):
        assert cli("show", reference, "--json").json["sha256"] == up["sha256"]

    cli("rm", upload_id)
    cli("show", upload_id, code=7)
    cli("show", up["sha256"])
    cli("rm", up["sha256"])
    assert "No artifact" in cli("show", up["sha256"], code=7).err


def test_a_download_takes_the_artifacts_name_and_replaces_nothing_unasked(
    cli: Cli, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(5000, "named.bin")
    sha256 = cli("upload", path, "--json").json["sha256"]
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    cli("download", sha256)
    (tmp_path / "here" / "named.bin").write_bytes(b"mine")
    assert "--force" in cli("download", sha256, code=2).err
    assert (tmp_path / "here" / "named.bin").read_bytes() == b"mine"
    cli("download", sha256, "--force")
    assert (tmp_path / "here" / "named.bin").read_bytes() == path.read_bytes()


def test_a_server_that_is_not_there_is_code_3(cli: Cli, make: Make) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        ran = cli("upload", make(10), "--server", url, "--patience", "0", code=3)
    assert "refused" in ran.err
    assert "was sent" not in ran.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["upload"],
        ["upload", "/dev/null"],
        ["download", "x", "-o", "-"],
        ["upload", "x", "--chunk-size", "1e9"],
        ["upload", "x", "--parallel", "0"],
        ["upload", "x", "y", "--name", "z"],
        ["upload", "x", "--server", "ftp://host"],
        ["serve", "--port", "70000"],
        ["serve", "--log-level", "loud"],
        ["nonsense"],
    ],
)
def test_command_lines_that_make_no_sense_are_code_2(cli: Cli, arguments: list[str]) -> None:
    cli(*arguments, code=2)


def test_a_file_whose_name_is_no_text_goes_up(cli: Cli, tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/na\xffme.bin"
    with open(path, "wb") as file:
        file.write(b"content")
    assert cli("upload", os.fsdecode(path), "--json").json["name"] == "na?me.bin"


def test_a_table_for_a_program_has_a_line_for_each_item(cli: Cli, make: Make) -> None:
    name = "a-name-longer-than-a-terminal-is-wide-" * 3
    cli("upload", make(3), "--name", name, "--chunk-size", "2")
    for kind in ("--uploads", "--artifacts"):
        rows = cli("ls", kind, COLUMNS="40").out.splitlines()
        assert [len(row.split()[0]) in (36, 64) and row.split()[-1] == name for row in rows].count(True) == 1


def test_what_the_server_has_no_room_for_is_code_5(tmp_path: Path, make: Make) -> None:
    with ServerProcess(tmp_path / "data", max_upload_size=1000) as small:
        ran = Cli(small.url, tmp_path / "state")("upload", make(1001), code=5)
    assert "1000" in ran.err


def test_serve_says_where_it_is_and_ends_when_told(cli: Cli, tmp_path: Path) -> None:
    process = cli.begin("serve", "--port", "0", "--data", tmp_path / "served")
    try:
        assert process.stdout is not None
        assert "is ready at http://127.0.0.1:" in process.stdout.readline()
    finally:
        process.send_signal(signal.SIGTERM)
    assert process.wait(30) in (0, -signal.SIGTERM)
    process.communicate()


def test_serve_refuses_to_be_open_to_everyone(cli: Cli, tmp_path: Path) -> None:
    ran = cli("serve", "--host", "0.0.0.0", "--port", "0", "--data", tmp_path / "served", code=1)
    assert "127.0.0.1" in ran.err


def test_the_installed_command_is_the_same(cli: Cli) -> None:
    for command in ([Path(sys.executable).with_name("partwise")], [sys.executable, "-m", "partwise"]):
        ran = subprocess.run([*command, "--version"], capture_output=True, text=True, timeout=30, check=True)
        assert ran.stdout == cli("--version").out
