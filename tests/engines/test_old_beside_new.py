"""An old server and a new one serve one database and one data folder, over every migration since the old one.

The old tree is a commit of this repository. Where the history does not reach it, these tests are skipped.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest

from partwise.catalog import open_catalog
from partwise.catalog.versions import newest_version
from tests.contract.catalog.test_counts import counted, recounted
from tests.support.server import API, Answer, Http, ServerProcess, sha256

#: "Migrate where the operator says so, and notice a newer schema": its schema is 0011.
OLD_COMMIT, OLD_SCHEMA = "0340833c5847684e94069bd848bb407eb9c1654f", "0011"

_ROOT = Path(__file__).resolve().parents[2]
_SERVE = "from partwise.server.run import serve; from partwise.server.settings import Settings; serve(Settings())"
PART = 300_007


@pytest.fixture(scope="module")
def old_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    archive = subprocess.run(["git", "archive", OLD_COMMIT, "src"], cwd=_ROOT, capture_output=True)
    if archive.returncode != 0:
        pytest.skip(f"the history does not reach the old tree, {OLD_COMMIT[:7]}")
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as tar:
        tar.extractall(folder, filter="data")
    versions = folder / "src" / "partwise" / "catalog" / "migrations" / "versions"
    assert max(path.name for path in versions.glob("r*.py")).startswith(f"r{OLD_SCHEMA}")
    return folder / "src"


class OldServer(ServerProcess):
    """A server of the old tree."""

    forked = False


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.engines)])
def records(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Settings of a catalog that is still to be made."""
    if request.param == "sqlite":
        yield {"catalog": f"sqlite:///{tmp_path / 'records.sqlite3'}"}
        return
    server = request.getfixturevalue("postgres_server")
    name = server.create()
    yield {"catalog": server.url(name)}
    server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def start_old(data: Path, source: Path, records: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> OldServer:
    old = OldServer(data, catalog=records["catalog"])
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", str(source))
        old.start()
    return old


def new_command(*words: str, records: dict[str, str], source: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {f"PARTWISE_{name.upper()}": value for name, value in records.items()}
    if source is not None:
        environment["PYTHONPATH"] = str(source)
    return subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True, timeout=120)


def upload(data: bytes, name: str, *servers: Http) -> Answer:
    """Send a file in two parts, each request to the next of ``servers``; the answer to the commit."""
    turn = iter([*servers] * 4)
    href = next(turn).create(len(data), filename=name)
    for offset in (PART, 0):
        answer = next(turn).put(href, offset, data[offset : offset + PART], len(data))
        assert answer.status == 200, answer.body
    answer = next(turn).commit(href, data)
    assert (answer.status, answer.json["sha256"]) == (200, sha256(data)), answer.body
    return answer


async def assert_counts_are_right(url: str) -> None:
    catalog = open_catalog(url)
    await catalog.start()
    try:
        assert await catalog.runner.read(counted) == await catalog.runner.read(recounted)
        assert await catalog.newer_schema() is None
    finally:
        await catalog.stop()


async def test_no_row_is_wrong_while_both_serve(
    tmp_path: Path, old_source: Path, records: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    files = {f"Disk-{number}.iso": os.urandom(2 * PART) for number in range(5)}
    names = iter(files)
    old_server = start_old(data, old_source, records, monkeypatch)
    try:
        with Http(old_server.port) as old:
            upload(files[name := next(names)], name, old)
            begun = old.create(2 * PART, filename=(begun_name := next(names)))
            assert old.put(begun, 0, files[begun_name][:PART], 2 * PART).status == 200
            gone = old.store(b"gone soon")["artifact"]

            upgraded = new_command("-m", "partwise.cli", "upgrade", "--data", str(data), records=records)
            assert upgraded.returncode == 0, upgraded.stderr
            assert f"{newest_version()}: " in upgraded.stdout + upgraded.stderr
            with ServerProcess(data, catalog=records["catalog"]) as new_server, Http(new_server.port) as new:
                assert new.put(begun, PART, files[begun_name][PART:], 2 * PART).status == 200
                assert old.commit(begun, files[begun_name]).status == 200
                upload(files[name := next(names)], name, old, new)
                upload(files[name := next(names)], name, new, old)
                upload(files[name := next(names)], name, old)
                for first, second in ((old, new), (new, old)):
                    href = first.create(10)
                    assert second("DELETE", href).status == 204
                assert new("DELETE", gone).status == 204
                assert old("DELETE", new.store(b"gone, too")["artifact"]).status == 204
                listed = [http("GET", f"{API}artifacts/").json["results"] for http in (old, new)]
                assert listed[0] == listed[1]
                assert {one["filename"]: one["sha256"] for one in listed[1]} == {
                    name: sha256(content) for name, content in files.items()
                }
                for one, http in zip(listed[1], (old, new, old, new, old), strict=True):
                    assert http("GET", one["file"]).body == files[one["filename"]]
                    # What the old one wrote is found by the index that it knows nothing of.
                    assert new("GET", f"{API}artifacts/?search={one['filename'].lower()}").json["count"] == 1
                assert new("GET", f"{API}artifacts/?search=disk").json["count"] == len(files)
    finally:
        assert old_server.stop() == 0
    await assert_counts_are_right(records["catalog"])
    checked = new_command("-m", "partwise.cli", "check", "--data", str(data), records=records)
    assert checked.returncode == 0, checked.stdout + checked.stderr

    # There is no way back, and the old one says so.
    refused = new_command("-c", _SERVE, records=records | {"data": str(data), "port": "0"}, source=old_source)
    assert refused.returncode not in (0, None)
    assert f"schema {newest_version()}, made by a newer partwise" in refused.stderr
    await assert_counts_are_right(records["catalog"])
