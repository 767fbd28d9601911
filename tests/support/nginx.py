"""A real nginx before a real server, as the operations guide has it."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "nginx.md"
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")


def guide_block(mark: str, page: Path) -> str:
    """The file that a page shows below the comment ``mark``."""
    found = re.search(rf"<!-- {mark} -->\n```\w+\n(.*?)```", page.read_text(), re.DOTALL)
    assert found is not None
    return found[1]


def guide_site(server_port: int, listen: str, certificate: tuple[Path, Path] | None = None) -> str:
    """The guide's site, before another port and listening elsewhere; ``certificate`` with its key, if any."""
    text = (
        guide_block("nginx", GUIDE)
        .replace("127.0.0.1:24817", f"127.0.0.1:{server_port}")
        .replace("listen 443 ssl http2", listen)
    )
    assert listen in text
    text = re.sub(r" *ssl_certificate.*\n", "", text)
    if certificate is None:
        return text
    return text.replace("location /", "ssl_certificate {}; ssl_certificate_key {};\nlocation /".format(*certificate), 1)


def plain_site(server_port: int, listen: str) -> str:
    """What someone has who read no guide: bodies of at most 1 MiB, which nginx keeps until they are whole."""
    passing = f"proxy_pass http://127.0.0.1:{server_port}; proxy_set_header Host $http_host;"
    return f"server {{ {listen}; location / {{ {passing} }} }}\n"


@contextmanager
def nginx(folder: Path, port: int, site: str) -> Iterator[None]:
    """Runs it with ``site``, which listens on ``port`` of 127.0.0.1; what it writes goes into ``folder``."""
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    # Started by root, its worker would be nobody, who may not write into a test's folder.
    user = "user root;\n" if os.getuid() == 0 else ""
    config = folder / "nginx.conf"
    config.write_text(
        f"{user}daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{temporary}{site}}}\n"
    )
    assert NGINX is not None
    with subprocess.Popen([NGINX, "-c", str(config), "-p", str(folder)], stderr=subprocess.PIPE) as process:
        try:
            deadline = time.monotonic() + 30
            while True:
                assert process.poll() is None, process.stderr and process.stderr.read()
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except OSError:
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
            yield
        finally:
            process.terminate()
            process.communicate(timeout=30)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])
