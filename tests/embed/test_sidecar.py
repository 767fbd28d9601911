"""The example beside Pulp, with a real nginx; a small program stands in for Pulp."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.embed.conftest import EXAMPLES
from tests.support.nginx import NGINX, free_port, nginx
from tests.support.server import API, Http, ServerProcess, sha256
from tests.support.tokens import make_token
from tests.support.until import wait_until

FOLDER = EXAMPLES / "pulp-sidecar"
_PASSWORDS = {"ann": "apple", "bob": "pear"}

#: What stands in for Pulp's import: it verifies the file and takes it into its own storage.
_IMPORT = """
import hashlib, os, sys
path, digest = sys.argv[1:]
assert hashlib.sha256(open(path, "rb").read()).hexdigest() == digest
os.rename(path, os.path.join(os.environ["STORE"], digest))
"""

pytestmark = [
    pytest.mark.skipif(NGINX is None, reason="there is no nginx here"),
    pytest.mark.files_only("an object store has no files to release"),
]


def basic(name: str, password: str | None = None) -> str:
    secret = f"{name}:{_PASSWORDS[name] if password is None else password}"
    return f"Basic {base64.b64encode(secret.encode()).decode()}"


@contextmanager
def pulp() -> Iterator[int]:
    """Knows its users' passwords."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            good = self.headers["Authorization"] in [basic(name) for name in _PASSWORDS]
            self.send_response(200 if good else 401)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def site(port: int, partwise: int, pulp_port: int) -> str:
    """The example's, with other ports."""
    text = (FOLDER / "nginx.conf").read_text()
    for old, new in {
        "listen 8080": f"listen 127.0.0.1:{port}",
        ":24817": f":{partwise}",
        ":24800": f":{pulp_port}",
    }.items():
        assert old in text
        text = text.replace(old, new)
    return text


def test_users_of_pulp_upload_and_pulp_gets_the_files(tmp_path: Path) -> None:
    config = tomllib.loads((FOLDER / "partwise.toml").read_text())
    released, store, data = tmp_path / "released", tmp_path / "store", os.urandom(3 << 20)
    for folder in (released, store, tmp_path / "nginx"):
        folder.mkdir()
    settings = config | {"release_folder": released}
    del settings["data"]
    port = free_port()
    with ServerProcess(tmp_path / "data", **settings) as server, pulp() as pulp_port:
        token = make_token(server, "sidecar", "--admin")
        environment = os.environ | {
            "PARTWISE_SERVER": f"{server.url}/partwise{API}",
            "PARTWISE_TOKEN": token,
            "RELEASED": str(released),
            "STORE": str(store),
            "IMPORT": f"{sys.executable} {_script(tmp_path)}",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        command = [sys.executable, "-m", "partwise.cli", "events", "--follow", "--type", "upload.completed"]
        command += ["--cursor", str(tmp_path / "cursor"), "--exec", f"{sys.executable} {FOLDER / 'import_artifact.py'}"]
        with nginx(tmp_path / "nginx", port, site(port, server.port, pulp_port)):
            follower = subprocess.Popen(command, env=environment)
            try:
                _upload(port, data)
                wait_until(lambda: (store / sha256(data)).exists(), "Pulp has the file")
                assert (store / sha256(data)).read_bytes() == data
                assert list(released.iterdir()) == []
                wait_until((tmp_path / "cursor").exists, "the event is done")
            finally:
                follower.send_signal(signal.SIGINT)
                assert follower.wait(30) == 130


def _script(folder: Path) -> Path:
    path = folder / "import.py"
    path.write_text(_IMPORT)
    return path


def _upload(port: int, data: bytes) -> None:
    api, ann = f"/partwise{API}", {"Authorization": basic("ann")}
    with Http(port) as http:
        for nobody in ({}, {"Authorization": basic("ann", "wrong")}, {"X_Remote_User": "ann"}):
            assert http("GET", f"{api}uploads/", **nobody).status == 401, nobody
        created = http("POST", f"{api}uploads/", {"size": len(data), "filename": "a.rpm"}, **ann)
        assert (created.status, created.json["user"]) == (201, "ann")
        href = created.json["pulp_href"]
        # Whoever claims to be another is still who Pulp says.
        forged = http("GET", href, Authorization=basic("bob"), X_Remote_User="ann")
        assert forged.status == 404
        assert http.put(href, 0, data, len(data), **ann).status == 200
        assert http("PUT", f"{href}commit", {"sha256": sha256(data)}, **ann).status == 200
