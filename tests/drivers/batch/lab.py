"""A real Slurm on this machine: its own munged, controller and nodes, without systemd. Needs root.

Nodes declare more processors than there are, so that many small jobs run; nothing of it outlives this process.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "setpriv")
PARTITION = "main"
CORES_OF_NODE = 8
LIVING = ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED")

_CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/run/munge.socket
CredType=cred/munge
SlurmctldPort={port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=sched_interval=2,bf_interval=2,sched_min_interval=0,batch_sched_delay=0,requeue_delay=1
InactiveLimit=0
DefMemPerCPU=200
KillWait=3
MinJobAge=300
ReturnToService=2
SlurmdTimeout=30
MpiDefault=none
SwitchType=switch/none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobRequeue=1
MaxArraySize=1001
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
{nodes}
PartitionName={partition} Nodes=node[1-{n}] Default=YES MaxTime=60 State=UP PreemptMode=OFF
PartitionName=requeued Nodes=node[1-{n}] MaxTime=60 State=UP PriorityTier=1 PreemptMode=REQUEUE
PartitionName=cancelled Nodes=node[1-{n}] MaxTime=60 State=UP PriorityTier=1 PreemptMode=CANCEL
PartitionName=urgent Nodes=node[1-{n}] MaxTime=60 State=UP PriorityTier=10 PreemptMode=OFF
"""


Accounts = Callable[["Slurm"], Mapping[str, str]]


class Unavailable(Exception):
    """There is no Slurm here; the text says why."""


def until(condition: Callable[[], object], what: str, timeout: float = 60.0) -> None:
    """Wait until that is true; fails when it is not within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout:g} s: {what}"
        time.sleep(0.1)


def keys(folder: Path) -> list[str]:
    """Private keys below a folder, of which parts may be removed just now."""
    return [f"{where}/{name}" for where, _, names in os.walk(folder) for name in names if name.endswith(".key")]


def free_ports(n: int) -> list[int]:
    """Ports of this machine that nobody has now."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(n)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


@dataclass
class Slurm:
    """The whole of it.

    Attributes
    ----------
    folder
        All its files.
    wrap
        What its daemons' command lines are made of, such as `in_reach` where jobs of other users shall run.
    accounts
        Begins the accounting, once munged listens; answers with what stands in slurm.conf for it.
    changes
        What else stands there in place of what does.
    """

    folder: Path
    wrap: Callable[[Sequence[str]], list[str]] = list
    accounts: Accounts | None = None
    changes: Mapping[str, str] = field(default_factory=dict)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def conf(self) -> Path:
        return self.folder / "slurm.conf"

    def start(self, n: int) -> None:
        """Begin: when this returns so many nodes are idle."""
        for name in ("state", "log", "run", "spool"):
            (self.folder / name).mkdir(mode=0o755)
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        controller, *ports = free_ports(n + 1)
        host = socket.gethostname().partition(".")[0]
        nodes = "\n".join(
            f"NodeName=node{i} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={CORES_OF_NODE} "
            "RealMemory=16000 State=UNKNOWN"
            for i, port in enumerate(ports, 1)
        )
        text = _CONF.format(host=host, folder=self.folder, port=controller, nodes=nodes, partition=PARTITION, n=n)
        self.conf.write_text(changed(text, self.changes))
        munge = [f"--key-file={key}", f"--socket={self.folder}/run/munge.socket"]
        munge += [f"--pid-file={self.folder}/run/munged.pid", f"--log-file={self.folder}/log/munged.log"]
        self.run("munged", "--foreground", "--force", f"--seed-file={self.folder}/run/munge.seed", *munge)
        until((self.folder / "run" / "munge.socket").exists, "munged listens")
        if self.accounts is not None:
            self.conf.write_text(changed(self.conf.read_text(), self.accounts(self)))
        self.start_controller()
        for i in range(1, n + 1):
            (self.folder / "spool" / f"node{i}").mkdir()
            self.start_node(i)
        until(lambda: self._idle() == n, f"{n} nodes are idle: {self._log()}")

    def start_node(self, i: int) -> None:
        """Begin a node's daemon, or begin it again."""
        self.run("slurmd", "-D", "-N", f"node{i}", name=f"node{i}")

    def lose_node(self, i: int) -> None:
        """A node's daemon dies; what the node runs goes on, and Slurm sees neither."""
        process = self.running.pop(f"node{i}")
        process.kill()
        process.wait(60)

    def start_controller(self) -> None:
        """Begin the controller, or begin it again: what runs on nodes is as it was."""
        self.run("slurmctld", "-D", "-i")

    def stop_controller(self) -> None:
        """End it as for a restart: it saves what it knows, where a crash would cost it the youngest jobs."""
        process = self.running.pop("slurmctld")
        process.terminate()
        process.wait(60)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """The controller does not answer within."""
        process = self.running["slurmctld"]
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)

    def run(self, program: str, *arguments: str, name: str = "", env: Mapping[str, str] | None = None) -> None:
        """Start one of its daemons, which dies with this process."""
        with (self.folder / "log" / f"{name or program}.out").open("ab") as log:
            self.running[name or program] = subprocess.Popen(
                self.wrap(["setpriv", "--pdeathsig", "KILL", program, *arguments]),
                env={**os.environ, "SLURM_CONF": str(self.conf), **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _idle(self) -> int:
        done = self.ask("sinfo", "-h", "-N", "-t", "idle", "-o", "%N", check=False)
        return len(set(done.split()))

    def _log(self) -> str:
        path = self.folder / "log" / "slurmctld.log"
        return path.read_text()[-1000:] if path.exists() else "it has no log"

    def ask(self, *argv: str, check: bool = True) -> str:
        """What one of Slurm's commands answers."""
        env = {**os.environ, "SLURM_CONF": str(self.conf)}
        done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=90, check=False)
        assert not check or done.returncode == 0, f"{argv}: {done.stderr}"
        return done.stdout

    def jobs(self, *states: str) -> list[str]:
        """What is in the queue, an element each, such as "7_3"; with `states` only what is in one of them."""
        chosen = [f"--states={','.join(states)}"] if states else []
        return self.ask("squeue", "-h", "-r", *chosen, "-o", "%i").split()

    def owners(self) -> dict[str, str]:
        """Whose is what has not ended, by element."""
        living = f"--states={','.join(LIVING)}"
        lines = self.ask("squeue", "-h", "-r", living, "-o", "%i %u").splitlines()
        return dict(line.split() for line in lines)

    def processes(self) -> dict[int, str]:
        """Command lines of all that jobs run, by pid."""
        mark = f"SLURM_CONF={self.conf}".encode()
        ours = {process.pid for process in self.running.values()}
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) in ours:
                continue
            with suppress(OSError):
                if (entry / "stat").read_text().rpartition(")")[2][1] in "ZX":
                    continue
                variables = (entry / "environ").read_bytes().split(b"\0")
                # of what runs in a job alone
                if mark in variables and any(name.startswith(b"SLURM_JOB_ID=") for name in variables):
                    line = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
                    found[int(entry.name)] = line.decode(errors="replace")
        return found

    def close(self) -> None:
        """End all of it, and all that it ran."""
        for process in reversed(self.running.values()):
            process.kill()
            process.wait(60)
        until(lambda: not self._killed(), "nothing of it runs")

    def _killed(self) -> Sequence[int]:
        """Kill what is left: steps outlive their node's daemon."""
        pids = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if self._is_of_here(pid)]
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return pids

    def _is_of_here(self, pid: int) -> bool:
        with suppress(OSError):
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][1] in "ZX" or pid == os.getpid():
                return False
            if os.readlink(f"/proc/{pid}/cwd").startswith(str(self.folder)):
                return True
            variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            # the daemons of tests have the variable, too, and end by themselves
            started_by_it = any(name.startswith((b"SLURM_JOB_ID=", b"SLURMD_NODENAME=")) for name in variables)
            return started_by_it and f"SLURM_CONF={self.conf}".encode() in variables
        return False


def changed(text: str, changes: Mapping[str, str]) -> str:
    """Lines of "key=value" with other values, and what is new."""
    lines = [line for line in text.splitlines() if line.partition("=")[0] not in changes]
    return "\n".join([*lines, *(f"{key}={value}" for key, value in changes.items()), ""])


@contextmanager
def slurm(
    nodes: int = 2,
    wrap: Callable[[Sequence[str]], list[str]] = list,
    accounts: Accounts | None = None,
    changes: Mapping[str, str] | None = None,
) -> Iterator[Slurm]:
    """A Slurm with so many nodes; all of it is gone afterwards.

    Raises
    ------
    Unavailable
        When it can't be had here.
    """
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if os.geteuid() or missing:
        raise Unavailable(f"it needs root and {', '.join(PROGRAMS)}")
    folder = Path(tempfile.mkdtemp(prefix="dks-", dir="/tmp"))
    folder.chmod(0o755)
    made = Slurm(folder, wrap, accounts, changes or {})
    try:
        made.start(nodes)
        yield made
    finally:
        made.close()
        shutil.rmtree(folder, ignore_errors=True)
