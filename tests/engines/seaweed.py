"""An S3-compatible store of our own: SeaweedFS from a wheel, on loopback, gone when the tests are."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session

from tests.support.leaks import KEPT

KEY, SECRET, BUCKET = "testkey", "testsecret", "partwise"
#: What a server's environment needs to reach it.
CREDENTIALS = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
_START_SECONDS = 60.0
# Room on the disk that the store keeps free, 1 % as it comes, is for machines of its own.
_OPTIONS = {
    "ip": "127.0.0.1",
    "ip.bind": "127.0.0.1",
    "webdav": "false",
    "admin.ui": "false",
    "s3.port.iceberg": "0",  # or two of these servers are in each other's way
    "s3.port.lance": "0",
    "master.telemetry": "false",
    "master.electionTimeout": "1s",
    "master.heartbeatInterval": "100ms",
    "volume.preStopSeconds": "0",
}
_PORTS = ("master", "volume", "filer", "s3")


class Seaweed:
    """A running store with one empty bucket."""

    def __init__(self, port: int, command: list[str], log: Path) -> None:
        self.port = port
        self.endpoint = f"http://127.0.0.1:{port}"
        self._command, self._log = command, log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of its process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait until it takes objects. Its port and its data are those of the last time."""
        environment = os.environ | {"GOMEMLIMIT": "600MiB"}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, env=environment)
            KEPT.add(self._process.pid)
        _wait(self, self._process)

    def kill(self) -> None:
        """SIGKILL: asked politely it takes 15 seconds."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(30)

    def url(self, prefix: str, **options: str) -> str:
        """As partwise takes it."""
        more = "".join(f"&{name}={value}" for name, value in options.items())
        return f"s3://{BUCKET}/{prefix}?endpoint={self.endpoint}{more}"


@contextmanager
def seaweed(folder: Path) -> Iterator[Seaweed]:
    """Start a store with its data in ``folder``, which nothing else uses, and end it."""
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
        "actions": ["Admin", "Read", "List", "Tagging", "Write"],
    }
    config = folder / "s3.json"
    config.write_text(json.dumps({"identities": [identity]}))
    numbers = _free_ports(2 * len(_PORTS))
    ports = dict(zip([f"{name}.port{kind}" for name in _PORTS for kind in ("", ".grpc")], numbers, strict=True))
    options = _OPTIONS | {"dir": str(folder), "s3.config": str(config)} | ports
    command = [str(Path(sys.executable).with_name("weed")), "-logtostderr=true", "mini"]
    command += [f"-{name}={value}" for name, value in options.items()]
    store = Seaweed(ports["s3.port"], command, folder / "log")
    try:
        store.start()
        yield store
    finally:
        store.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _wait(store: Seaweed, process: subprocess.Popen[bytes]) -> None:
    """Until the bucket is made and takes an object."""
    session = Session()
    session.set_credentials(KEY, SECRET)
    config = Config(
        retries={"total_max_attempts": 1}, connect_timeout=1, read_timeout=10, s3={"addressing_style": "path"}
    )
    client = session.create_client("s3", endpoint_url=store.endpoint, region_name="us-east-1", config=config)
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            # Made again it is as it was; that it is there says not yet that it takes objects.
            client.create_bucket(Bucket=BUCKET)
        except ClientError as error:
            made = error.response["Error"]["Code"].startswith("BucketAlready")
        except BotoCoreError:
            made = False
        else:
            made = True
        if made:
            try:
                client.put_object(Bucket=BUCKET, Key="probe", Body=b"1")
                client.delete_object(Bucket=BUCKET, Key="probe")
                break
            except (BotoCoreError, ClientError):
                pass
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("the object store did not start")
        time.sleep(0.1)
    client.close()


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
