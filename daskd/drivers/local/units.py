"""Clusters in systemd units of their own: a slice a cluster, and below it a scope for each process started from here.

A scope, and not a service: the process stays this one's child, with its descriptors and exactly its environment. What
is in a scope, the daemon's own unit does not touch when it stops, restarts or dies.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

TIMEOUT_S = 10.0
"""How long the manager may take to answer."""

HEADROOM = 1.25
"""What a worker may use of its memory limit before its slice is full: its nanny ends it at 95 % of the limit, if it can
see what the worker uses. The slice is the net for what no nanny sees: subprocesses, shared memory."""

UNBOUND_BYTES = 8 << 30
"""For what Dask sets no limit to: a cluster's scheduler, its nannies, its zygote."""

TASKS_A_PROCESS = 4096
"""Threads that a scheduler or a worker may have on average: many more than libraries start, far less than a bomb."""

# Tasks are bounded by the slice: a scope's own default is too few for a large cluster. And where one worker runs out of
# memory, the others live on; before 253 scopes had no other policy, and don't know this one's name.
_SCOPE_BEFORE_253 = ("TasksMax=infinity",)
_SCOPE = (*_SCOPE_BEFORE_253, "OOMPolicy=continue")

_BUSCTL_START = (
    "call",
    "org.freedesktop.systemd1",
    "/org/freedesktop/systemd1",
    "org.freedesktop.systemd1.Manager",
    "StartTransientUnit",
    "ssa(sv)a(sa(sv))",
)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a cluster may use: bytes of memory (None: any), processes and threads."""

    memory: int | None
    tasks: int


def bounds_of(workers: Iterable[tuple[int, int]]) -> Bounds:
    """What a cluster may use.

    Parameters
    ----------
    workers
        Of each node: how many workers, and the memory limit of one in bytes, 0 for none.
    """
    known = list(workers)
    unlimited = any(count and not limit for count, limit in known)
    total = sum(count * limit for count, limit in known)
    return Bounds(
        memory=None if unlimited else int(total * HEADROOM) + UNBOUND_BYTES,
        tasks=TASKS_A_PROCESS * (2 + sum(count for count, _ in known)),
    )


class Units:
    """The units of clusters, at the system's manager or a user's; made by `find`.

    Parameters
    ----------
    programs
        Where `systemd-run`, `systemctl`, `busctl` and `env` are.
    user_runtime_dir
        XDG_RUNTIME_DIR of the user whose manager it is; "": the system's.
    properties
        Of each scope.
    """

    def __init__(
        self, programs: Mapping[str, str], user_runtime_dir: str, properties: Sequence[str] = _SCOPE_BEFORE_253
    ) -> None:
        self._programs = programs
        self._user_runtime_dir = user_runtime_dir
        self._properties = properties
        self._bounds: dict[str, Bounds] = {}

    @classmethod
    def find(cls, environ: Mapping[str, str], uid: int) -> Units | None:
        """The manager of this uid (root's is the system's), if it makes scopes for us. Blocks up to `TIMEOUT_S`."""
        found = {name: shutil.which(name) for name in ("systemd-run", "systemctl", "busctl", "env")}
        programs = {name: path for name, path in found.items() if path is not None}
        runtime_dir = environ.get("XDG_RUNTIME_DIR", "") if uid else ""
        if len(programs) < len(found) or (uid and not runtime_dir):
            log.warning(
                "clusters have no systemd units of their own: systemd's programs or the user's manager are missing"
            )
            return None
        said: str | None = None
        # its own: sites of several users may be opened at once
        probe = f"probe{secrets.token_hex(4)}"
        for properties in (_SCOPE, _SCOPE_BEFORE_253):
            units = cls(programs, runtime_dir, properties)
            said = units._run(units.placed([programs["env"], "true"], probe, "probe", {}))
            if said is None:
                units.dissolve(probe)
                return units
        log.warning("clusters have no systemd units of their own: systemd refuses", said=said)
        return None

    def placed(self, argv: Sequence[str], cluster: str, what: str, env: Mapping[str, str]) -> list[str]:
        """A command that runs `argv` in a scope of its own, below the cluster's slice.

        Parameters
        ----------
        what
            Goes into the scope's name, for those who look at `systemctl status`.
        env
            The environment that `argv` is to have, and that the command is started with.
        """
        scope = f"daskd-{what}-{secrets.token_hex(4)}.scope"
        command = [
            self._programs["systemd-run"],
            *self._manager(),
            "--scope",
            "--quiet",
            "--collect",
            f"--unit={scope}",
        ]
        command += [
            f"--slice={slice_of(cluster)}",
            *(f"--property={each}" for each in self._properties),
            f"--description=Dask cluster {cluster}",
        ]
        if not self._user_runtime_dir:
            return [*command, "--", *argv]
        # systemd-run finds the user's manager by a variable that the process itself may not have, or have otherwise
        name, given = "XDG_RUNTIME_DIR", env.get("XDG_RUNTIME_DIR")
        restored = ["-u", name] if given is None else [f"{name}={given}"]
        found = [self._programs["env"], f"{name}={self._user_runtime_dir}"]
        return [*found, *command, "--", self._programs["env"], *restored, *argv]

    def bound(self, cluster: str, bounds: Bounds) -> None:
        """Let a cluster use that much and no more; a manager that refuses is told in the log. Blocks."""
        if self._bounds.get(cluster) == bounds:
            return
        memory = (1 << 64) - 1 if bounds.memory is None else bounds.memory
        properties = ["Description", "s", f"Dask cluster {cluster}", "MemoryMax", "t", str(memory)]
        properties += ["TasksMax", "t", str(bounds.tasks)]
        start = [self._programs["busctl"], *self._manager(), *_BUSCTL_START, slice_of(cluster), "fail"]
        if self._run([*start, "3", *properties, "0"]) is not None:
            # it is there already; that of a transient unit is changed as long as it lives
            change = [self._programs["systemctl"], *self._manager(), "set-property", "--runtime", slice_of(cluster)]
            said = self._run([*change, f"MemoryMax={bounds.memory or 'infinity'}", f"TasksMax={bounds.tasks}"])
            if said is not None:
                log.warning("a cluster's slice could not be bounded", cluster=cluster, said=said)
                return
        self._bounds[cluster] = bounds

    def dissolve(self, cluster: str) -> None:
        """Stop a cluster's slice, and whatever is left below it. Blocks."""
        self._bounds.pop(cluster, None)
        said = self._run([self._programs["systemctl"], *self._manager(), "stop", slice_of(cluster)])
        if said is not None:
            log.warning("a cluster's slice could not be stopped", cluster=cluster, said=said)

    def _manager(self) -> list[str]:
        return ["--user"] if self._user_runtime_dir else ["--system"]

    def _run(self, argv: Sequence[str]) -> str | None:
        """None when it worked; else what was said."""
        environment = {"PATH": os.defpath}
        if self._user_runtime_dir:
            environment["XDG_RUNTIME_DIR"] = self._user_runtime_dir
            environment["DBUS_SESSION_BUS_ADDRESS"] = f"unix:path={Path(self._user_runtime_dir, 'bus')}"
        try:
            done = subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=environment,
                timeout=TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"no answer within {TIMEOUT_S:g} s"
        except OSError as error:
            return str(error)
        if done.returncode == 0:
            return None
        return done.stderr.decode(errors="replace").strip() or f"exit code {done.returncode}"


def slice_of(cluster: str) -> str:
    """The slice of a cluster; the dash in its name makes it a part of daskd.slice."""
    return f"daskd-{cluster}.slice"
