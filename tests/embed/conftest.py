"""Host applications as processes of their own, each with another server."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.server import Http
from tests.support.until import wait_until

EXAMPLES = Path(__file__).parents[2] / "examples"

#: By the server's name, what Python runs with the module and port of an application.
SERVERS = {
    "bypass": ("{module}.py",),
    "uvicorn": ("-m", "uvicorn", "{module}:app", "--port", "{port}", "--log-level", "warning"),
    "gunicorn": ("-m", "gunicorn", "-k", "partwise.embed.GunicornWorker", "-b", "127.0.0.1:{port}", "{module}:app"),
    "gunicorn-workers": ("-m", "gunicorn", "-k", "asgi", "-w", "2", "-b", "127.0.0.1:{port}", "{module}:app"),
    "uvicorn-workers": (
        "-m",
        "uvicorn",
        "{module}:app",
        "--port",
        "{port}",
        "--workers",
        "2",
        "--log-level",
        "warning",
    ),
    "hypercorn": ("-m", "hypercorn", "{module}:app", "--bind", "127.0.0.1:{port}"),
    "granian": ("-m", "granian", "--interface", "asgi", "{module}:app", "--port", "{port}"),
}


@contextmanager
def hosted(folder: Path, module: str, data: Path, server: str = "bypass", ready: str = "/files/livez") -> Iterator[int]:
    """Run an application of a folder; the port that it listens on."""
    # Not one of those that the kernel gives to connections: another test's could take it first.
    while True:
        port = random.randrange(20_000, 30_000)
        try:
            with socket.create_server(("127.0.0.1", port)):
                break
        except OSError:
            continue
    data.mkdir(exist_ok=True)
    arguments = [part.format(module=module, port=port) for part in SERVERS[server]]
    environment = os.environ | {"EXAMPLE_DATA": str(data), "PORT": str(port), "PYTHONPATH": str(folder)}
    # What a guest must not read.
    environment |= {"PARTWISE_AUTH": "nonsense", "PARTWISE_MAX_UPLOAD_SIZE": "1"}
    process = subprocess.Popen([sys.executable, *arguments], cwd=folder, env=environment)
    try:

        def answers() -> bool:
            assert process.poll() is None, "the application ended"
            try:
                with Http(port) as http:
                    return http("GET", ready).status == 200
            except OSError:
                return False

        wait_until(answers, "the application serves")
        yield port
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


_SETUP = """
import project
from django.contrib.auth import get_user_model
from django.contrib.sessions.backends.db import SessionStore
from django.core.management import call_command
call_command("migrate", run_syncdb=True, verbosity=0)
user = get_user_model().objects.create_superuser("ann", password="x")
session = SessionStore()
session.update({"_auth_user_id": str(user.pk), "_auth_user_backend": "django.contrib.auth.backends.ModelBackend",
                "_auth_user_hash": user.get_session_auth_hash()})
session.save()
print(session.session_key)
"""


def django_session(data: Path) -> str:
    """A session of a new user, in the database of the example's host."""
    environment = os.environ | {"EXAMPLE_DATA": str(data)}
    command = [sys.executable, "-c", _SETUP]
    ran = subprocess.run(
        command, cwd=EXAMPLES / "django", env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


@dataclass(frozen=True)
class SignedIn:
    """A user of a host application, whom it knows by a cookie."""

    port: int
    cookie: tuple[str, str]

    @property
    def url(self) -> str:
        """Of the host, without a final slash."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def field(self) -> str:
        """The Cookie field."""
        return "=".join(self.cookie)


@contextmanager
def signed_in(host: str, data: Path) -> Iterator[SignedIn]:
    """Run the example ``fastapi`` or ``django``, with ann signed in."""
    data.mkdir(exist_ok=True)
    session = django_session(data) if host == "django" else ""
    with hosted(EXAMPLES / host, "project" if host == "django" else "app", data) as port:
        if host == "django":
            yield SignedIn(port, ("sessionid", session))
            return
        with Http(port) as http:
            cookie = http("POST", "/login/ann").headers["Set-Cookie"].partition(";")[0]
        name, _, value = cookie.partition("=")
        yield SignedIn(port, (name, value))
