"""A real Son of Grid Engine on this machine: its own qmaster and one execution host, without systemd. Needs root.

The host has more slots than the machine has processors, so that many small jobs run; nothing of it outlives this
process.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from .lab import free_ports, until

LIB = Path("/usr/lib/gridengine")
SHARE = Path("/usr/share/gridengine")
PROGRAMS = ("sge_qmaster", "sge_execd", "qsub", "qstat", "qdel", "qconf", "spoolinit", "spooldefaults")
QUEUE = "all.q"
SLOTS = 16
NOTIFY_S = 20

_BOOTSTRAP = """\
admin_user              root
default_domain          none
ignore_fqdn             true
spooling_method         berkeleydb
spooling_lib            libspoolb
spooling_params         {folder}/spooldb
binary_path             /usr/sbin
qmaster_spool_dir       {folder}/spool/qmaster
security_mode           none
listener_threads        2
worker_threads          2
scheduler_threads       1
"""

_CONFIGURATION = {
    "mailer": "/bin/true",
    "load_report_time": "00:00:05",
    "max_unheard": "00:00:30",
    "min_uid": "0",
    "min_gid": "0",
    "reporting_params": "accounting=true reporting=false flush_time=00:00:01 accounting_flush_time=00:00:00",
    "execd_params": "PTF_MIN_PRIORITY=0,ENABLE_ADDGRP_KILL=true",
}

_HOST = """\
hostname {host}
load_scaling NONE
complex_values NONE
user_lists NONE
xuser_lists NONE
projects NONE
xprojects NONE
usage_scaling NONE
report_variables NONE
"""

_ENVIRONMENT = """\
pe_name smp
slots 9999
user_lists NONE
xuser_lists NONE
start_proc_args NONE
stop_proc_args NONE
allocation_rule $pe_slots
control_slaves FALSE
job_is_first_task TRUE
urgency_slots min
accounting_summary FALSE
qsort_args NONE
"""

_QUEUE = {
    "qname": QUEUE,
    "hostlist": "@allhosts",
    "seq_no": 0,
    "load_thresholds": "NONE",
    "suspend_thresholds": "NONE",
    "nsuspend": 1,
    "suspend_interval": "00:05:00",
    "priority": 0,
    "min_cpu_interval": "00:05:00",
    "processors": "UNDEFINED",
    "qtype": "BATCH INTERACTIVE",
    "ckpt_list": "NONE",
    "pe_list": "smp",
    "rerun": "TRUE",
    "slots": SLOTS,
    "tmpdir": "/tmp",
    "shell": "/bin/csh",
    "prolog": "NONE",
    "epilog": "NONE",
    "shell_start_mode": "posix_compliant",
    "starter_method": "NONE",
    "suspend_method": "NONE",
    "resume_method": "NONE",
    "terminate_method": "NONE",
    "notify": f"00:00:{NOTIFY_S}",
    "owner_list": "NONE",
    "user_lists": "NONE",
    "xuser_lists": "NONE",
    "subordinate_list": "NONE",
    "complex_values": "NONE",
    "projects": "NONE",
    "xprojects": "NONE",
    "calendar": "NONE",
    "initial_state": "default",
} | {
    f"{kind}_{what}": "INFINITY"
    for what in ("rt", "cpu", "fsize", "data", "stack", "core", "rss", "vmem")
    for kind in ("s", "h")
}

_SCHEDULER = {
    "schedule_interval": "0:0:1",
    "flush_submit_sec": "1",
    "flush_finish_sec": "1",
    "load_adjustment_decay_time": "0:0:0",
    "job_load_adjustments": "NONE",
    "schedd_job_info": "true",
}


class Unavailable(Exception):
    """There is no SGE here; the text says why."""


def _changed(text: str, changes: dict[str, str]) -> str:
    """Lines of "key value" with other values."""
    lines = (line.partition(" ") for line in text.splitlines() if line.strip())
    return "".join(f"{key} {changes.get(key, value.strip())}\n" for key, _, value in lines)


@dataclass
class Sge:
    """The whole of it.

    Attributes
    ----------
    folder
        All its files.
    wrap
        What its host's daemon is started as, such as `in_reach` where jobs of other users shall run.
    """

    folder: Path
    wrap: Callable[[Sequence[str]], list[str]] = list
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)

    def start(self) -> None:
        """Begin: when this returns its host takes jobs."""
        qmaster, execd = free_ports(2)
        root = self.folder / "root"
        self.variables = {
            "SGE_ROOT": str(root),
            "SGE_CELL": "default",
            "SGE_QMASTER_PORT": str(qmaster),
            "SGE_EXECD_PORT": str(execd),
            "SGE_CLUSTER_NAME": f"p{qmaster}",
            "SGE_ARCH": "lx-amd64",
        }
        self._lay_out(root)
        self.start_qmaster()
        until(lambda: self.ask("qconf", "-sss", check=False), "the qmaster answers")
        self._configure()
        self._run("sge_execd")
        until(lambda: self._is_up(), "its host takes jobs")

    def start_qmaster(self) -> None:
        """Begin the qmaster, or begin it again: what runs is as it was."""
        self._run("sge_qmaster")

    def stop_qmaster(self) -> None:
        """End it as a crash does."""
        process = self.running.pop("sge_qmaster")
        process.kill()
        process.wait(60)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """The qmaster does not answer within."""
        process = self.running["sge_qmaster"]
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)

    def _lay_out(self, root: Path) -> None:
        common = root / "default" / "common"
        for path in (common, self.folder / "spool/qmaster/job_scripts", self.folder / "spool/execd"):
            path.mkdir(mode=0o755, parents=True)
        for name in ("log", "spooldb"):
            (self.folder / name).mkdir()
        for name in ("bin", "lib", "util", "utilbin"):
            (root / name).symlink_to(f"/var/lib/gridengine/{name}")
        host = socket.gethostname()
        (common / "act_qmaster").write_text(f"{host}\n")
        # 127.0.0.1 is to map back to the very name that the qmaster calls itself by
        (common / "host_aliases").write_text(f"{host} localhost\n")
        (common / "bootstrap").write_text(_BOOTSTRAP.format(folder=self.folder))
        # by its group a job's processes are found and ended: two systems of one machine must not share any
        first = 100_000 + 100 * int(self.variables["SGE_QMASTER_PORT"])
        changes = _CONFIGURATION | {"execd_spool_dir": f"{self.folder}/spool/execd"}
        changes["gid_range"] = f"{first}-{first + 99}"
        self._file("configuration", _changed((SHARE / "default-configuration").read_text(), changes))
        self.ask("spoolinit", "berkeleydb", "libspoolb", str(self.folder / "spooldb"), "init")
        resources = SHARE / "util" / "resources"
        for what, where in (
            ("configuration", self.folder / "configuration"),
            ("complexes", resources / "centry"),
            ("usersets", resources / "usersets"),
            ("managers", "root"),
        ):
            self.ask("spooldefaults", what, str(where))

    def _configure(self) -> None:
        host = socket.gethostname()
        self.ask("qconf", "-as", host, check=False)
        self.ask("qconf", "-ah", host, check=False)
        self.ask("qconf", "-Ae", self._file("host", _HOST.format(host=host)), check=False)
        self.ask("qconf", "-Ahgrp", self._file("group", f"group_name @allhosts\nhostlist {host}\n"))
        self.ask("qconf", "-Ap", self._file("environment", _ENVIRONMENT))
        self.ask("qconf", "-Aq", self._file("queue", "".join(f"{key} {value}\n" for key, value in _QUEUE.items())))
        scheduler = _changed(self.ask("qconf", "-ssconf"), _SCHEDULER)
        self.ask("qconf", "-Msconf", self._file("scheduler", scheduler))

    def _file(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def _run(self, program: str) -> None:
        with (self.folder / "log" / f"{program}.out").open("ab") as log:
            self.running[program] = subprocess.Popen(
                self.wrap(["setpriv", "--pdeathsig", "KILL", str(LIB / program)]),
                env={"PATH": os.defpath, "LANG": "C.UTF-8", **self.variables, "SGE_ND": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _is_up(self) -> bool:
        lines = [line.split() for line in self.ask("qstat", "-f", check=False).splitlines()]
        # a queue that takes jobs has no states in the sixth column
        return any(line[:1] and line[0].startswith(f"{QUEUE}@") and len(line) == 5 for line in lines)

    def ask(self, program: str, *arguments: str, check: bool = True) -> str:
        """What one of SGE's commands answers."""
        argv = [str(LIB / program), *arguments]
        env = {"PATH": os.defpath, "TZ": "UTC", **self.variables}
        done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=90, check=False)
        assert not check or done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
        return done.stdout

    def owners(self) -> dict[str, str]:
        """Whose is what has not ended, by job and task."""
        # two lines of heading; each task a line of its own, which is the last word
        lines = (line.split() for line in self.ask("qstat", "-u", "*", "-g", "d").splitlines()[2:])
        return {f"{words[0]}.{words[-1]}": words[3] for words in lines}

    def processes(self) -> dict[int, str]:
        """Command lines of all that jobs run, by pid."""
        found = {}
        for pid in self._job_pids():
            with suppress(OSError):
                line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
                found[pid] = line.decode(errors="replace")
        return found

    def _job_pids(self) -> list[int]:
        mark, found = f"SGE_ROOT={self.variables['SGE_ROOT']}".encode(), []
        for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
            with suppress(OSError):
                if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX":
                    continue
                variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
                # of what runs in a job alone
                if mark in variables and any(name.startswith(b"JOB_SCRIPT=") for name in variables):
                    found.append(pid)
        return found

    def close(self) -> None:
        """End all of it, and all that it ran."""
        for process in reversed(self.running.values()):
            process.kill()
            process.wait(60)
        until(lambda: not self._killed(), "nothing of it runs")

    def _killed(self) -> list[int]:
        """Kill what is left: jobs and their shepherds outlive the host's daemon."""
        pids = [*self._job_pids(), *self._shepherds()]
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return pids

    def _shepherds(self) -> list[int]:
        found = []
        for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
            with suppress(OSError):
                if os.readlink(f"/proc/{pid}/cwd").startswith(str(self.folder)) and pid != os.getpid():
                    found.append(pid)
        return found


@contextmanager
def sge(wrap: Callable[[Sequence[str]], list[str]] = list) -> Iterator[Sge]:
    """An SGE with one host; all of it is gone afterwards.

    Raises
    ------
    Unavailable
        When it can't be had here.
    """
    if os.geteuid() or not all((LIB / program).exists() for program in PROGRAMS) or shutil.which("setpriv") is None:
        raise Unavailable(f"it needs root, setpriv and, in {LIB}, {', '.join(PROGRAMS)}")
    folder = Path(tempfile.mkdtemp(prefix="dkg-", dir="/tmp"))
    folder.chmod(0o755)
    made = Sge(folder, wrap)
    try:
        made.start()
        yield made
    finally:
        made.close()
        shutil.rmtree(folder, ignore_errors=True)
