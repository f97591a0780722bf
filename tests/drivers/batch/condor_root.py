"""HTCondor's programs for tests, of the Debian release that has them: `python -m tests.drivers.batch.condor_root`.

Debian 12 has no HTCondor, Debian 13 has. So a small Debian 13 is laid out in a folder of this checkout, once, and its
programs are told to take their libraries from there: they run as any other of this machine, and what they start does.
Needs root, debootstrap, patchelf and a Debian mirror.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

RELEASE = "trixie"
CACHE = Path(__file__).resolve().parents[3] / "build" / "condor"
ROOT = CACHE / "root"
BIN = CACHE / "bin"
"""HTCondor's commands, and no other of that Debian's."""

_LOADER = "lib64/ld-linux-x86-64.so.2"
_LIBRARIES = ("usr/lib", "usr/lib/x86_64-linux-gnu")
_MIRROR = re.compile(r"https?://\S+/debian/?(?=\s|$)", re.MULTILINE)


def mirror() -> str:
    """Where this machine has its packages from; DASKD_TEST_MIRROR says otherwise."""
    if said := os.environ.get("DASKD_TEST_MIRROR"):
        return said
    sources = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    for path in sources:
        lines = path.read_text().splitlines() if path.is_file() else []
        if found := _MIRROR.search("\n".join(line for line in lines if not line.startswith("#"))):
            return found[0]
    sys.exit("no Debian mirror in /etc/apt: set DASKD_TEST_MIRROR")


def install(root: Path) -> None:
    """A Debian with HTCondor in that folder. None of its services starts, and no service of this machine changes."""
    subprocess.run(["debootstrap", "--variant=minbase", RELEASE, root, mirror()], check=True)
    policy = root / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
    get = "env DEBIAN_FRONTEND=noninteractive apt-get -y install --no-install-recommends htcondor"
    inside = f'mount -t proc proc "$0/proc" && exec chroot "$0" {get}'
    subprocess.run(["unshare", "--mount", "sh", "-c", inside, root], check=True, stdin=subprocess.DEVNULL)


def own_programs(root: Path) -> Iterator[Path]:
    """HTCondor's programs and libraries."""
    for line in (root / "var/lib/dpkg/info/condor.list").read_text().splitlines():
        path = root / line.lstrip("/")
        if path.is_file() and not path.is_symlink() and path.read_bytes()[:4] == b"\x7fELF":
            yield path


def use_libraries(root: Path, final: Path) -> None:
    """Have HTCondor's programs load what lies in the folder that is going to be called `final`."""
    search = ":".join(str(final / folder) for folder in _LIBRARIES)
    for path in own_programs(root):
        needed = subprocess.run(["patchelf", "--print-needed", path], capture_output=True, check=False)
        if not needed.stdout:
            continue  # it is a whole of its own
        asked = subprocess.run(["patchelf", "--print-interpreter", path], capture_output=True, check=False)
        # of what is no library
        loader = [] if asked.returncode else ["--set-interpreter", str(final / _LOADER)]
        subprocess.run(["patchelf", *loader, "--force-rpath", "--set-rpath", search, path], check=True)


def main() -> None:
    """Make the folder, unless there is one."""
    if BIN.exists():
        return
    unfinished = CACHE / "unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    CACHE.mkdir(parents=True, exist_ok=True)
    install(unfinished)
    use_libraries(unfinished, ROOT)
    shutil.rmtree(ROOT, ignore_errors=True)
    unfinished.rename(ROOT)
    commands = unfinished.with_name("commands")
    shutil.rmtree(commands, ignore_errors=True)
    commands.mkdir()
    for path in (ROOT / "usr/bin").glob("condor_*"):
        (commands / path.name).symlink_to(path)
    commands.rename(BIN)


if __name__ == "__main__":
    main()
