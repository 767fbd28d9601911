"""Odd environments: what others set there, closed standard streams, few descriptors, no home, no temporary folder."""

from __future__ import annotations

import json
import os
import resource
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.engines.seaweed import Seaweed
from tests.support.proxy import Proxy
from tests.support.server import Http, ServerProcess
from tests.support.until import wait_until


def serve(*options: str, before: Callable[[], None] | None = None, **environment: str) -> tuple[int, str]:
    """Run the command to its end, which it comes to by itself; its exit status, and standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "partwise.cli", "serve", *options],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=before,
    )
    return done.returncode, done.stderr


class Pod(ServerProcess):
    """One whose environment has what Kubernetes puts there; the test's own port comes as an argument."""

    forked = False
    program = (
        "-c",
        "import os; os.environ['PARTWISE_PORT'] = 'tcp://10.0.0.1:24817'\n"
        "from partwise.server.run import serve\n"
        "from partwise.server.settings import Settings\n"
        "assert Settings().port == 24817\n"
        "serve(Settings(port=0))",
    )


def test_what_kubernetes_sets_and_empty_variables_do_not_count(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Pod(tmp_path / "data", log=log, quota="", log_format="json") as server, Http(server.port) as http:
        http.store(b"x")
    said = [json.loads(line)["event"] for line in log.read_text().splitlines()]
    assert any("PARTWISE_PORT=tcp://10.0.0.1:24817 is ignored" in line for line in said)
    assert any("PARTWISE_QUOTA is empty" in line for line in said)


def test_few_descriptors_are_refused_with_a_sentence(tmp_path: Path) -> None:
    status, said = serve(
        "--port",
        "0",
        "--data",
        str(tmp_path / "data"),
        before=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256)),
    )
    assert status == 1
    assert "may open only 256 files" in said
    assert "LimitNOFILE=" in said
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_closed_standard_streams(tmp_path: Path, workers: int) -> None:
    """``serve <&- >&- 2>&-``: the first files and sockets must not get the numbers of the streams."""
    environment = os.environ | {
        "PARTWISE_DATA": str(tmp_path / "data"),
        "PARTWISE_PORT": "0",
        "PARTWISE_WORKERS": str(workers),
    }
    command = [sys.executable, "-m", "partwise.cli", "serve"]
    process = subprocess.Popen(["/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command], env=environment)
    try:
        port = wait_for_port(process.pid)
        with Http(port) as http:
            stored = http.store(os.urandom(2 << 20))
            assert http("GET", f"{stored['artifact']}download/").status == 200
        for number in (0, 1, 2):
            assert os.readlink(f"/proc/{process.pid}/fd/{number}") == "/dev/null"
    finally:
        process.terminate()
        assert process.wait(30) == 0


def wait_for_port(pid: int) -> int:
    """The port that a process listens on, once it answers."""
    found: list[int] = []

    def answers() -> bool:
        found[:] = listening(pid)
        if not found:
            return False
        with Http(found[0]) as http:
            return http("GET", "/readyz").status == 200

    wait_until(answers, "the server serves")
    return found[0]


def listening(pid: int) -> list[int]:
    """The ports that a process listens on."""
    inodes = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(entry)
        except OSError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [int(row[1].partition(":")[2], 16) for row in rows if row[3] == "0A" and row[9] in inodes]


def test_output_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    environment = os.environ | {"PARTWISE_DATA": str(tmp_path / "data"), "PARTWISE_PORT": "0"}
    with open("/dev/full", "wb") as full:
        process = subprocess.Popen([sys.executable, "-m", "partwise.cli", "serve"], env=environment, stdout=full)
    try:
        wait_for_port(process.pid)
    finally:
        process.terminate()
        process.wait(30)


def test_no_home_and_no_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "none"))
    program = (
        "import tempfile\n"
        "def none(*_): raise FileNotFoundError('no usable temporary folder')\n"
        "tempfile._get_default_tempdir = none\n"
        "from partwise.server.run import serve\n"
        "from partwise.server.settings import Settings\n"
        "serve(Settings())"
    )

    class Bare(ServerProcess):
        forked = False

    Bare.program = ("-c", program)
    with Bare(tmp_path / "data", workers=2) as server, Http(server.port) as http:
        http.store(os.urandom(3 << 20))
        assert http.figures()["partwise_workers_ready"] == 2


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 that signs itself, with its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("makes a certificate with the openssl command")
    key, public = tmp_path / "key.pem", tmp_path / "public.pem"
    what = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    out = ["-keyout", str(key), "-out", str(public)]
    subprocess.run([openssl, "req", "-x509", *curve, *what, *out], check=True, capture_output=True, timeout=30)
    (tmp_path / "both.pem").write_bytes(key.read_bytes() + public.read_bytes())
    return public


@pytest.mark.engines
def test_the_authorities_of_aws_tools_count_for_all_requests(
    tmp_path: Path, certificate: Path, postgres_url: str, s3_url: str, seaweed_server: Seaweed
) -> None:
    """AWS_CA_BUNDLE: bytes go through connections of our own, everything else through botocore's."""
    with TlsProxy(seaweed_server.port, certificate.with_name("both.pem")) as proxy:
        storage = s3_url.replace(f"http://127.0.0.1:{seaweed_server.port}", f"https://127.0.0.1:{proxy.port}")
        assert storage != s3_url
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_CA_BUNDLE", str(certificate))
            server = ServerProcess(tmp_path / "data", catalog=postgres_url, storage=storage)
            with server, Http(server.port) as http:
                data = os.urandom(100_000)
                stored = http.store(data)
                assert http("GET", f"{stored['artifact']}download/").body == data
            patch.setenv("AWS_CA_BUNDLE", str(tmp_path / "none.pem"))
            status, said = serve("--port", "0", PARTWISE_CATALOG=postgres_url, PARTWISE_STORAGE=storage)
            assert status == 1
            assert "none.pem" in said


class TlsProxy(Proxy):
    """Ends TLS before it passes on."""

    def __init__(self, target: int, certificate: Path) -> None:
        super().__init__(target)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        try:
            inside = self._context.wrap_socket(client, server_side=True)
        except OSError:
            client.close()
            server.close()
            return
        with self._changed:
            self._sockets.add(inside)
        super()._serve(inside, server)
        inside.close()
