#!/usr/bin/env python3
"""Imports one finished upload into Pulp: an event as JSON on standard input. Exit status 0: it is done.

It may run again for the same event: the release then answers the same, and Pulp has an artifact of this digest.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

from partwise.client import Client


def main() -> int:
    """Take the file, and give it to Pulp."""
    data = json.load(sys.stdin)["data"]
    file = Path(os.environ["RELEASED"]) / data["artifact"]
    with Client(os.environ["PARTWISE_SERVER"], token=os.environ["PARTWISE_TOKEN"]) as client:
        client.release(data["artifact"], file.name)
    if not file.exists():
        return 0  # Pulp took it before this ran again
    command = [*shlex.split(os.environ["IMPORT"]), str(file), data["sha256"]]
    return subprocess.run(command, check=False).returncode  # noqa: S603 (the operator's own command)


if __name__ == "__main__":
    sys.exit(main())
