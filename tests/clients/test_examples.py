"""The examples of README and protocol pages, run as they stand there against a server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients.conftest import NPM
from tests.support.server import API, Http, ServerProcess, sha256

pytestmark = pytest.mark.clients

ROOT = Path(__file__).parents[2]
PULP = "docs/protocols/pulp.md"


def example(page: str, name: str, port: int) -> str:
    """The code behind ``<!-- story:NAME -->``, with the port of a server of the test's own."""
    text = (ROOT / page).read_text()
    found = re.search(rf"<!-- story:{name} -->\n```\w+\n(.*?)```", text, re.DOTALL)
    assert found, f"{page} has no example {name}"
    assert "24817" in found[1]
    return found[1].replace("24817", str(port))


def run(folder: Path, programs: Path, *command: str | Path) -> str:
    """Run an example in a folder; what it printed."""
    environment = os.environ | {"XDG_CACHE_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    environment["PATH"] = f"{programs}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def made_an_artifact(http: Http, data: bytes) -> None:
    (artifact,) = http("GET", f"{API}artifacts/?sha256={sha256(data)}").json["results"]
    assert http("GET", f"{artifact['pulp_href']}download/").body == data


def test_readme(http: Http, server: ServerProcess, tmp_path: Path) -> None:
    programs = Path(sys.executable).parent
    for name in ("curl", "httpie"):  # the second goes on with the first one's files
        run(tmp_path, programs, "bash", "-euo", "pipefail", "-c", example("README.md", name, server.port))
        data = (tmp_path / "file").read_bytes()
        made_an_artifact(http, data)
        (artifact,) = http("GET", f"{API}artifacts/?sha256={sha256(data)}").json["results"]
        assert http("DELETE", artifact["pulp_href"]).status == 204


def test_tus(http: Http, server: ServerProcess, tmp_path: Path) -> None:
    page = "docs/protocols/tus.md"
    said = run(tmp_path, Path("/bin"), "bash", "-euo", "pipefail", "-c", example(page, "tus", server.port))
    assert "upload-offset: 400000" in said.lower()
    assert "repr-digest: sha-256=:" in said.lower()
    made_an_artifact(http, (tmp_path / "file").read_bytes())


def run_tus_js(folder: Path, node: Path, code: str, data: bytes) -> str:
    """The client's user has ``tus`` and ``file``; in Node.js the latter is a buffer, here with the name of a file."""
    (folder / "big.iso").write_bytes(data)
    program = NPM / f"example-{os.getpid()}.mjs"  # packages are found beside it
    program.write_text(
        'import { readFileSync } from "node:fs"\nimport * as tus from "tus-js-client"\n'
        'const file = Object.assign(readFileSync(process.argv[2]), { name: "big.iso" })\n' + code
    )
    try:
        return run(folder, node.parent, node, program, folder / "big.iso")
    finally:
        program.unlink()


def test_tus_js_client(http: Http, server: ServerProcess, node: Path, tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    said = run_tus_js(tmp_path, node, example("docs/protocols/tus.md", "tus-js-client", server.port), data)
    assert f"{server.url}/tus/" in said
    made_an_artifact(http, data)
    (artifact,) = http("GET", f"{API}artifacts/?sha256={sha256(data)}").json["results"]
    assert artifact["filename"] == "big.iso"


def test_resumable(node: Path, tmp_path: Path) -> None:
    page, data = "docs/protocols/resumable.md", os.urandom(3_000_000)
    with ServerProcess(tmp_path / "data", dialects="resumable,pulp") as server, Http(server.port) as http:
        said = run(tmp_path, Path("/bin"), "bash", "-euo", "pipefail", "-c", example(page, "resumable", server.port))
        assert "upload-offset: 400000" in said.lower()
        assert "repr-digest: sha-256=:" in said.lower()
        made_an_artifact(http, (tmp_path / "file").read_bytes())
        code = example(page, "resumable-tus-js-client", server.port)
        assert f"{server.url}/resumable/" in run_tus_js(tmp_path, node, code, data)
        made_an_artifact(http, data)
        (artifact,) = http("GET", f"{API}artifacts/?sha256={sha256(data)}").json["results"]
        assert artifact["filename"] == "big.iso"


def test_drf(python_clients: Path, tmp_path: Path) -> None:
    """With requests, as its clients are written."""
    data = os.urandom(3_500_000)
    (tmp_path / "file").write_bytes(data)
    with ServerProcess(tmp_path / "data", dialects="drf,pulp") as server, Http(server.port) as http:
        code = example("docs/protocols/drf.md", "drf", server.port)
        said = run(tmp_path, python_clients, python_clients / "python", "-c", code).strip()
        assert http("GET", said.removeprefix(server.url)).body == data


def test_pulp_cli(http: Http, server: ServerProcess, python_clients: Path, tmp_path: Path) -> None:
    said = run(tmp_path, python_clients, "bash", "-euo", "pipefail", "-c", example(PULP, "pulp-cli", server.port))
    data = (tmp_path / "file").read_bytes()
    assert said.count(sha256(data)) >= 3
    made_an_artifact(http, data)


def test_pulpcore_client(http: Http, server: ServerProcess, python_clients: Path, tmp_path: Path) -> None:
    code = example(PULP, "pulpcore-client", server.port)
    said = run(tmp_path, python_clients, python_clients / "python", "-c", code)
    (artifact,) = http("GET", f"{API}artifacts/?sha256={said.strip()}").json["results"]
    assert artifact["size"] == 3_000_000


def test_box(python_clients: Path, tmp_path: Path) -> None:
    data = os.urandom(2_500_001)
    (tmp_path / "file").write_bytes(data)
    with ServerProcess(tmp_path / "data", dialects="box,pulp") as server, Http(server.port) as http:
        code = example("docs/protocols/box.md", "box", server.port)
        said = run(tmp_path, python_clients, python_clients / "python", "-c", code)
        assert sha256(data) in said
        made_an_artifact(http, data)
