"""Two users of this machine, made for the tests, and programs that run as they."""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest

LIMITS = Path("/etc/security/limits.d")
needs_limits = pytest.mark.skipif(
    not Path("/etc/pam.d/runuser").exists() or not LIMITS.is_dir(), reason="needs util-linux' PAM service, pam_limits"
)
REPOSITORY = Path(__file__).resolve().parents[2]

# A checkout or an interpreter below a folder that only root can enter, as /root is, is of no use to another user. So
# daemon and clients run in a mount namespace of their own, in which such a folder is replaced by one that holds just
# what is needed. Arguments: HIDDEN, NEEDED, "--", then the command; NEEDED may be several.
_IN_REACH = """
set -eu
hidden=$1; shift
if [ -n "$hidden" ]; then
    aside=$(mktemp -d)
    mount --bind "$hidden" "$aside"
    mount -t tmpfs -o mode=755 tmpfs "$hidden"
    while [ "$1" != -- ]; do
        mkdir -p "$1"
        mount --bind "$aside${1#"$hidden"}" "$1"
        shift
    done
    umount "$aside"
    rmdir "$aside"
fi
while [ "$1" != -- ]; do shift; done
shift
exec "$@"
"""


def _hidden() -> list[str]:
    """The folder that others can't enter, above the interpreter, and what is needed of it; nothing where they can."""
    interpreter = Path(sys.base_prefix).resolve()
    for folder in reversed(interpreter.parents):
        if not folder.stat().st_mode & 0o001:
            return [str(folder), *(str(each) for each in (interpreter, REPOSITORY) if folder in each.parents)]
    return []


def is_in_reach() -> bool:
    """Whether every user can reach this interpreter."""
    return not _hidden()


def in_reach(argv: Sequence[str]) -> list[str]:
    """The command, run where every user can reach this interpreter."""
    return ["unshare", "--mount", "sh", "-c", _IN_REACH, "sh", *(_hidden() or [""]), "--", *argv]


@dataclass(frozen=True)
class Account:
    """A user, with a home that holds one secret."""

    name: str
    uid: int
    home: Path

    @property
    def secret(self) -> Path:
        """A file that nobody else may read."""
        return self.home / "secret"

    def popen(
        self, *argv: str, env: dict[str, str] | None = None, **options: IO[bytes] | int
    ) -> subprocess.Popen[bytes]:
        """Start a command as this user."""
        become = ["setpriv", f"--reuid={self.name}", f"--regid={self.name}", "--init-groups", "--reset-env", "env"]
        path = f"{REPOSITORY}:{REPOSITORY}/clients:{REPOSITORY}/proto"
        variables = {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", **(env or {})}
        settings = [f"{name}={value}" for name, value in variables.items()]
        return subprocess.Popen(
            in_reach([*become, *settings, *argv]),
            cwd="/",
            start_new_session=True,
            **options,  # type: ignore[call-overload]
        )

    def run(
        self, *argv: str, env: dict[str, str] | None = None, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as this user, to its end."""
        process = self.popen(*argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            out, err = process.communicate(timeout=timeout)
        finally:
            process.kill()
        return subprocess.CompletedProcess(argv, process.returncode, out.decode(), err.decode())

    def can(self, code: str) -> bool:
        """Whether Python code, run as this user, goes through without a PermissionError or an empty answer."""
        done = self.run(sys.executable, "-I", "-S", "-c", f"import os, socket, sys\n{code}")
        assert done.returncode == 0 or "PermissionError" in done.stderr, done.stderr
        return done.returncode == 0


def _add(name: str, home: Path) -> Account:
    subprocess.run(
        [
            "useradd",
            "--system",
            "--user-group",
            "--no-create-home",
            "--home-dir",
            str(home),
            "--shell",
            "/bin/sh",
            name,
        ],
        check=True,
        capture_output=True,
    )
    user = pwd.getpwnam(name)
    home.mkdir(mode=0o700)
    (home / "secret").write_text(f"{name}'s")
    for path in (home, home / "secret"):
        os.chown(path, user.pw_uid, user.pw_gid)
    (home / "secret").chmod(0o600)
    return Account(name, user.pw_uid, home)


def _remove(name: str) -> None:
    subprocess.run(["userdel", "--force", name], check=False, capture_output=True)


@contextmanager
def accounts(*names: str) -> Iterator[list[Account]]:
    """Users of these names, gone afterwards. One test run at a time has them."""
    with open("/tmp/daskd-test-accounts.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        homes = Path(tempfile.mkdtemp(prefix="dkh-", dir="/tmp"))
        homes.chmod(0o711)
        try:
            for name in names:
                _remove(name)
            yield [_add(name, homes / name) for name in names]
        finally:
            for name in names:
                _remove(name)
            shutil.rmtree(homes, ignore_errors=True)


@contextmanager
def limits(who: Account, *lines: str) -> Iterator[None]:
    """What /etc/security/limits.d says of one user, for a while."""
    handle, name = tempfile.mkstemp(prefix=f"{who.name}-", suffix=".conf", dir=LIMITS)
    try:
        with os.fdopen(handle, "w") as file:
            file.writelines(f"{who.name} {line}\n" for line in lines)
        os.chmod(name, 0o644)
        yield
    finally:
        os.unlink(name)


@contextmanager
def account(name: str) -> Iterator[Account]:
    """A user whose name begins so, and goes on as no other test run's does; gone afterwards."""
    home = Path(tempfile.mkdtemp(prefix="dkh-", dir="/tmp"))
    home.chmod(0o711)
    whole = f"{name}-{os.getpid()}"
    try:
        yield _add(whole, home / whole)
    finally:
        _remove(whole)
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    # a command of tests whose own process starts programs as other users
    command = in_reach(sys.argv[1:])
    os.execvp(command[0], command)
