"""Two releases of one package as tar files: real data whose versions have much in common."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

#: Seconds that one download may take.
_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Releases:
    """A package, its older and its newer release."""

    package: str
    old: str
    new: str

    @property
    def title(self) -> str:
        """The releases in words."""
        return f"wheels of {self.package} {self.old} and {self.new}, each as a tar file"


RELEASES = (Releases("numpy", "2.2.0", "2.2.1"), Releases("Django", "5.1.3", "5.1.4"))


def fetch(releases: Releases, old: Path, new: Path, say: Callable[[str], None]) -> bool:
    """Make the tar files ``old`` and ``new`` of what pip downloads; False: it cannot be downloaded here."""
    for version, path in ((releases.old, old), (releases.new, new)):
        folder = path.with_name("downloaded")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
        command += ["--only-binary", releases.package, "--dest", str(folder), f"{releases.package}=={version}"]
        try:
            subprocess.run(command, stderr=subprocess.DEVNULL, check=True, timeout=_SECONDS)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            say(f"{releases.package} {version} cannot be downloaded: its rows are left out")
            return False
        (archive,) = folder.iterdir()
        _unpack(archive, path)
        shutil.rmtree(folder)
    return True


def _unpack(archive: Path, target: Path) -> None:
    """Make a tar file without compression of a wheel."""
    with zipfile.ZipFile(archive) as wheel, tarfile.open(target, "w") as tar:
        for name in sorted(wheel.namelist()):
            entry = tarfile.TarInfo(name)
            entry.size = wheel.getinfo(name).file_size
            with wheel.open(name) as content:
                tar.addfile(entry, content)
