"""PgBouncer, as a Debian package installs it, before the tests' PostgreSQL. An ordinary program on loopback."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.nginx import free_port
from tests.support.until import wait_until

PGBOUNCER = shutil.which("pgbouncer", path=os.environ.get("PATH", os.defpath) + ":/usr/sbin")

_CONFIGURATION = """
[databases]
* = host=127.0.0.1 port={target} user=postgres

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = 30
"""


@contextmanager
def pgbouncer(target: int, mode: str) -> Iterator[int]:
    """One before the PostgreSQL on port ``target``; its own port. ``auth_type = any`` forwards no user name."""
    assert PGBOUNCER is not None
    folder = Path(tempfile.mkdtemp(prefix="pgb-"))
    folder.chmod(0o755)
    port = free_port()
    configuration = folder / "pgbouncer.ini"
    configuration.write_text(_CONFIGURATION.format(target=target, port=port, mode=mode))
    # It refuses to be root.
    user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
    who = {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([PGBOUNCER, str(configuration)], stderr=log, stdout=log, cwd="/", **who)  # type: ignore[call-overload]
    try:
        wait_until(lambda: process.poll() is None and _answers(port), "PgBouncer answers")
        yield port
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(folder)


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
