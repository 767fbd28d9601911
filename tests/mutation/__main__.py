"""Changes the modules that keep data safe, one place at a time, and tells which changes no test notices.

Run as ``make mutation``, or for some modules ``make mutation ARGS="core/ranges.py storage/claims.py"``. The tree itself
stays as it is: a copy of ``src/`` is changed. Exit status 1: some mutants survived.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.mutation.mutants import Mutant, mutants

ROOT = Path(__file__).parents[2]
#: The modules, and the tests that should notice each change.
MODULES: dict[str, tuple[str, ...]] = {
    "core/ranges.py": ("tests/unit/core/test_ranges.py",),
    "core/content_range.py": ("tests/unit/core/test_content_range.py",),
    "core/digests.py": ("tests/unit/core/test_digests.py",),
    "storage/claims.py": ("tests/contract/storage", "tests/unit/storage"),
    "storage/locks.py": ("tests/contract/storage", "tests/unit/storage"),
    "storage/artifact_files.py": ("tests/contract/storage", "tests/unit/storage", "tests/unit/engine/test_damage.py"),
    "engine/chunks.py": ("tests/unit/engine",),
    "engine/commit.py": ("tests/unit/engine",),
}
_SECONDS = 300


def notices(source: Path, tests: tuple[str, ...]) -> bool:
    """Whether a test fails with the modules in ``source``. One that hangs counts as failing."""
    command = [sys.executable, "-m", "pytest", "-n0", "-x", "-q", "-p", "no:cacheprovider", "-m", "not engines", *tests]
    environment = os.environ | {"PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        return True
    return done.returncode != 0


def survivors(name: str, source: Path) -> list[Mutant]:
    """The mutants of one module that no test notices."""
    path, tests = source / "partwise" / name, MODULES[name]
    original = path.read_text()
    if notices(source, tests):
        raise SystemExit(f"{name}: its tests fail without any change. Mend them first.")
    found = []
    try:
        for mutant in mutants(original):
            path.write_text(mutant.source)
            if not notices(source, tests):
                found.append(mutant)
                print(f"survived  {name}:{mutant.line}: {mutant.change}", flush=True)
    finally:
        path.write_text(original)
    return found


def main() -> int:
    """Try the modules that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=f"default: {' '.join(MODULES)}")
    chosen = parser.parse_args().modules or list(MODULES)
    if unknown := set(chosen) - set(MODULES):
        parser.error(f"no such module: {', '.join(sorted(unknown))}. Name one of: {', '.join(MODULES)}")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "src"
        shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
        total = lived = 0
        for name in chosen:
            count, left = len(list(mutants((source / "partwise" / name).read_text()))), len(survivors(name, source))
            print(f"{name}: {count - left} of {count} changes noticed", flush=True)
            total, lived = total + count, lived + left
    print(f"{total - lived} of {total} changes noticed")
    return 1 if lived else 0


if __name__ == "__main__":
    sys.exit(main())
