"""A real HTCondor on this machine: its own pool with one machine in it, without systemd. Needs root.

Its machine says that it has more cores than there are, so that many small jobs run. It lives in a process namespace of
its own, so nothing of it outlives this process. `condor_root.py` installs its programs.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from .condor_root import BIN, ROOT
from .lab import free_ports, until

CORES = 16
MEMORY_MB = 16_000

_CONF = """\
CONDOR_HOST = 127.0.0.1
COLLECTOR_HOST = 127.0.0.1:{port}
DAEMON_LIST = MASTER COLLECTOR NEGOTIATOR SCHEDD STARTD
RELEASE_DIR = {root}/usr
BIN = {root}/usr/bin
SBIN = {root}/usr/sbin
LIB = {root}/usr/lib/condor
LIBEXEC = {root}/usr/libexec/condor
LOCAL_DIR = {folder}
LOG = {folder}/log
SPOOL = {folder}/spool
EXECUTE = {folder}/execute
LOCK = {folder}/lock
RUN = {folder}/run
# who owns its files; this machine has no user condor
CONDOR_IDS = 1.1
NETWORK_INTERFACE = 127.0.0.1
BIND_ALL_INTERFACES = False
USE_SHARED_PORT = False
UID_DOMAIN = test
FILESYSTEM_DOMAIN = test
TRUST_UID_DOMAIN = True
SEC_DEFAULT_AUTHENTICATION = OPTIONAL
SEC_DEFAULT_AUTHENTICATION_METHODS = FS
SEC_CLIENT_AUTHENTICATION_METHODS = FS
ALLOW_READ = *
ALLOW_WRITE = *
ALLOW_DAEMON = *
ALLOW_NEGOTIATOR = *
ALLOW_ADMINISTRATOR = *
ALLOW_ADVERTISE_MASTER = *
ALLOW_ADVERTISE_STARTD = *
ALLOW_ADVERTISE_SCHEDD = *
NUM_CPUS = {cores}
MEMORY = {memory}
SLOT_TYPE_1 = 100%
SLOT_TYPE_1_PARTITIONABLE = True
NUM_SLOTS_TYPE_1 = 1
START = True
SUSPEND = False
PREEMPT = False
KILL = False
RUNBENCHMARKS = False
# a site has minutes where these are seconds
SCHEDD_INTERVAL = 2
SCHEDD_MIN_INTERVAL = 1
NEGOTIATOR_INTERVAL = 2
NEGOTIATOR_MIN_INTERVAL = 1
NEGOTIATOR_CYCLE_DELAY = 1
UPDATE_INTERVAL = 5
PERIODIC_EXPR_INTERVAL = 2
JOB_START_DELAY = 0
MAX_PERIODIC_EXPR_INTERVAL = 2
# no control groups of ours, and no daemon to watch processes
CGROUP_V1 = False
BASE_CGROUP =
CREATE_CGROUP_WITHOUT_ROOT = False
USE_PROCD = False
MOUNT_UNDER_SCRATCH =
MOUNT_PRIVATE_DEV_SHM = False
DISCARD_SESSION_KEYRING_ON_STARTUP = False
MAIL = /bin/true
"""


class Unavailable(Exception):
    """There is no HTCondor here; the text says why."""


@dataclass
class Condor:
    """The whole of it.

    Attributes
    ----------
    folder
        All its files.
    wrap
        What its daemons' command line is made of, such as `in_reach` where jobs of other users shall run.
    """

    folder: Path
    wrap: Callable[[Sequence[str]], list[str]] = list
    process: subprocess.Popen[bytes] | None = None

    @property
    def conf(self) -> Path:
        return self.folder / "condor_config"

    def start(self) -> None:
        """Begin: when this returns its machine takes jobs."""
        for name in ("log", "spool", "execute", "lock", "run"):
            (self.folder / name).mkdir()
            os.chown(self.folder / name, 1, 1)
        (self.folder / "lock").chmod(0o1777)
        [port] = free_ports(1)
        self.conf.write_text(_CONF.format(folder=self.folder, root=ROOT, port=port, cores=CORES, memory=MEMORY_MB))
        # the namespace's first process: with it ends all that is in it. HTCondor's own would not hear of this one's
        # end, for it changes its user; so a shell is the first
        alone = ["unshare", "--pid", "--mount-proc", "--fork", "--kill-child", "sh", "-c", '"$@"; exit', "sh"]
        with (self.folder / "log" / "master.out").open("ab") as log:
            self.process = subprocess.Popen(
                self.wrap(["setpriv", "--pdeathsig", "KILL", *alone, str(ROOT / "usr/sbin/condor_master"), "-f"]),
                env={"PATH": os.defpath, "LANG": "C.UTF-8", "CONDOR_CONFIG": str(self.conf)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until(self._is_up, "its machine takes jobs")

    def _is_up(self) -> bool:
        machines = self.ask("condor_status", "-af", "Name", check=False)
        return bool(machines and self.ask("condor_status", "-schedd", "-af", "Name", check=False))

    def ask(self, program: str, *arguments: str, check: bool = True) -> str:
        """What one of HTCondor's commands answers root, who sees all jobs and may end them."""
        argv = [str(BIN / program), *arguments]
        env = {"PATH": os.defpath, "CONDOR_CONFIG": str(self.conf)}
        done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=90, check=False)
        assert not check or done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
        return done.stdout

    def jobs(self, *statuses: int) -> list[str]:
        """What is in the queue, such as "7.1"; with statuses (2: running) only what has one of them."""
        chosen = " || ".join(f"JobStatus == {status}" for status in statuses) or "true"
        rows = self.ask("condor_q", "-allusers", "-constraint", chosen, "-af", "ClusterId", "ProcId").splitlines()
        return [".".join(row.split()) for row in rows]

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """The daemon of the queue does not answer within."""
        [schedd] = [pid for pid, line in self._running() if line.startswith("condor_schedd ")]
        os.kill(schedd, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(schedd, signal.SIGCONT)

    def kill_starters(self) -> None:
        """kill -9 of its own processes beside the jobs, as when their machine dies."""
        for pid, line in list(self._running()):
            if line.startswith("condor_starter "):
                os.kill(pid, signal.SIGKILL)

    def processes(self) -> dict[int, str]:
        """Command lines of all that jobs run, by pid."""
        mark = f"_CONDOR_SCRATCH_DIR={self.folder}/".encode()
        found = {}
        for pid, line in self._running():
            with suppress(OSError):
                if mark in Path(f"/proc/{pid}/environ").read_bytes():
                    found[pid] = line
        return found

    def _running(self) -> Iterator[tuple[int, str]]:
        """What runs in its process namespace: pids of this one, and command lines."""
        [first] = self._children(self.process.pid) if self.process else [0]
        namespace = os.readlink(f"/proc/{first}/ns/pid") if first else ""
        for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
            with suppress(OSError):
                if os.readlink(f"/proc/{pid}/ns/pid") != namespace:
                    continue
                if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX":
                    line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
                    yield pid, line.decode(errors="replace")

    def _children(self, pid: int) -> list[int]:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def close(self) -> None:
        """End all of it, and all that it ran: that it ends takes its process namespace along."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(60)


@contextmanager
def condor(wrap: Callable[[Sequence[str]], list[str]] = list) -> Iterator[Condor]:
    """An HTCondor with one machine; all of it is gone afterwards.

    Raises
    ------
    Unavailable
        When it can't be had here.
    """
    if os.geteuid() or shutil.which("setpriv") is None or shutil.which("unshare") is None or not BIN.exists():
        raise Unavailable(f"it needs root, setpriv, unshare, and HTCondor in {ROOT}, where make test-systems puts it")
    folder = Path(tempfile.mkdtemp(prefix="dkc-", dir="/tmp"))
    folder.chmod(0o755)
    made = Condor(folder, wrap)
    try:
        made.start()
        yield made
    finally:
        made.close()
        shutil.rmtree(folder, ignore_errors=True)
