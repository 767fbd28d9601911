"""``python -m tests.load --minutes 10``: a soak of a server of its own, with what it holds told every minute."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.load.soak import Held, locks_held, remove_uploads, soak
from tests.support.server import ServerProcess


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.load", description=__doc__)
    parser.add_argument("--minutes", type=int, default=5)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ServerProcess(Path(folder) / "data", log_level="warning") as server:
        first = None
        for minute in range(options.minutes):
            seed = options.seed + minute * options.clients
            events = asyncio.run(soak(server, clients=options.clients, seconds=60, seed=seed))
            remove_uploads(server)
            held = Held.by(server.pid)
            print(f"minute {minute + 1}: {dict(events)}, then {held}, {locks_held(server.data)} locks", flush=True)
            first = first or held
            if held.descriptors > first.descriptors + 10 or held.memory > first.memory + (48 << 20):
                print("it leaks", file=sys.stderr)
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
