"""Starts a supervisor an instance."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import daskd
from daskd.drivers.node_spec import node_spec
from daskd.drivers.protocol import Batch, Member, Outcome, Result, Surroundings
from daskd.model.cluster import Handle, Role
from daskd.model.identity import Identity
from daskd.model.spec import OnSchedulerLoss, Placement

from . import environment, prologue
from .files import ClusterFiles, write_private
from .units import Units
from .zygote import Asked, Command, Connection, Zygote

TAKEN_S = 3.0
"""How long a supervisor that was forked, though nobody said so, has to take its lock."""


def was_taken(folder: Path, within: float = TAKEN_S) -> bool:
    """Whether an instance's supervisor has its lock, at once or `within` seconds."""
    deadline = time.monotonic() + within
    while not (folder / "lock").exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def link_path(where: Surroundings, instance: str) -> Path:
    """The unix socket of a scheduler's link: short, and in a folder that only the daemon can write."""
    return where.runtime_dir / "links" / instance


def dashboard_path(where: Surroundings, instance: str) -> Path:
    """The unix socket of a scheduler's dashboard, beside its link's."""
    return where.runtime_dir / "links" / f"{instance}.http"


def bind_sockets(where: Surroundings, instance: str, with_dashboard: bool) -> socket.socket:
    """A scheduler's sockets, bound by the daemon and to be listened on by the runtime: SO_PEERCRED tells who that is.

    With a dashboard, the sockets of link and dashboard wait in the one that is answered with: one is all that can be
    handed over on the way through helper, zygote and supervisor.
    """
    link = _bound(link_path(where, instance))
    if not with_dashboard:
        return link
    with link, _bound(dashboard_path(where, instance)) as dashboard:
        sender, carrier = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with sender:
            socket.send_fds(sender, [b"\n"], [link.fileno(), dashboard.fileno()])
    return carrier


def _bound(path: Path) -> socket.socket:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        path.unlink()
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    bound.bind(str(path))
    path.chmod(0o600)
    return bound


class Children:
    """Processes that this one started, to be reaped when they end. Any thread may call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: list[subprocess.Popen[bytes]] = []

    def add(self, child: subprocess.Popen[bytes]) -> None:
        """Remember one."""
        with self._lock:
            self._running.append(child)

    def reap(self) -> None:
        """Collect those that ended."""
        with self._lock:
            self._running = [child for child in self._running if child.poll() is None]


class Launcher:
    """Launches the members of one batch.

    Parameters
    ----------
    bind
        A scheduler's bound sockets as `bind_sockets` has them, by the instance's id, and whether the daemon serves
        its dashboard; raises OSError.
    """

    def __init__(
        self,
        who: Identity,
        where: Surroundings,
        files: ClusterFiles,
        batch: Batch,
        children: Children,
        zygote: Zygote,
        bind: Callable[[str, bool], socket.socket],
        units: Units | None,
    ) -> None:
        self._who = who
        self._where = where
        self._files = files
        self._batch = batch
        self._children = children
        self._zygote = zygote
        self._bind = bind
        self._units = units

    def launch(self, member: Member, handle: Handle) -> Outcome:
        """Write what the supervisor and the runtime are told, start the supervisor."""
        folder = self._files.instance(member.id)
        if folder.exists():
            return Outcome(handle, Result.ACCEPTED, "launched before")
        # before there is a folder: one without a supervisor for long is taken for a launch that never was
        zygote = self._zygote.connect(self._zygote_command()) if self._may_be_forked() else None
        with zygote or nullcontext():
            return self._begin(member, handle, folder, zygote)

    def _begin(self, member: Member, handle: Handle, folder: Path, zygote: Connection | None) -> Outcome:
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            return Outcome(handle, Result.ACCEPTED, "launched before")
        except OSError as error:
            return Outcome(handle, Result.REFUSED, f"{folder} can't be made: {error.strerror}")
        sockets = None
        try:
            if self._batch.role is Role.SCHEDULER:
                sockets = self._bind(member.id, bool(self._batch.dashboard_prefix))
            descriptor = sockets.fileno() if sockets else None
            self._write(folder, member, descriptor)
            if not self._start(folder, descriptor, zygote):
                return Outcome(handle, Result.UNSURE, "the cluster's zygote was asked for it, and did not answer")
        except OSError as error:
            return Outcome(handle, Result.REFUSED, f"its supervisor can't be started: {error}")
        finally:
            if sockets:
                sockets.close()
        return Outcome(handle, Result.ACCEPTED)

    def _write(self, folder: Path, member: Member, sockets: int | None) -> None:
        spec = self._scheduler_spec(member, sockets) if self._batch.group is None else self._node_spec(member)
        write_private(folder / "spec.json", json.dumps(spec).encode())
        write_private(folder / "launch.json", json.dumps(self._launch(folder, member)).encode())

    def _launch(self, folder: Path, member: Member) -> dict[str, Any]:
        spec, group, settings = self._batch.spec, self._batch.group, self._batch.runtime
        variables = environment.of_instance(
            self._who, spec, group, self._files.runtime, member.id, self._where.state_id
        )
        argv = [environment.python_of(spec, group), "-m", "daskd_runtime", self._batch.role.value, str(folder)]
        if self._prologue:
            # a Python that is named without a path may be what the prologue is to bring
            argv[0] = (group.python if group is not None else "") or spec.python or argv[0]
            script = prologue.script(self._prologue, argv, variables, str(self._files.runtime))
            write_private(folder / prologue.FILE, script.encode())
            argv = [prologue.SHELL, str(folder / prologue.FILE)]
        if group is not None and group.options.get("nice"):
            argv = ["nice", "-n", str(group.options["nice"]), *argv]
        return {
            "version": 1,
            "instance": member.id,
            "argv": argv,
            "cwd": environment.cwd_of(self._who, spec, group),
            "env": variables,
            "log": {"max_bytes": settings.log_max_bytes, "files": settings.log_files},
            "grace": settings.grace,
        }

    @property
    def _prologue(self) -> tuple[str, ...]:
        group = self._batch.group
        return self._batch.spec.scheduler.prologue if group is None else group.prologue

    def _common_spec(self, member: Member, role: str, certificate: str) -> dict[str, Any]:
        tls = self._files.tls
        return {
            "version": 1,
            "role": role,
            "cluster": self._batch.cluster,
            "cluster_name": self._batch.cluster_name,
            "instance": member.id,
            "runtime_version": daskd.__version__,
            "tls": {
                "ca": str(tls / "ca.pem"),
                "cert": str(tls / f"{certificate}.pem"),
                "key": str(tls / f"{certificate}.key"),
            },
        }

    def _scheduler_spec(self, member: Member, sockets: int | None) -> dict[str, Any]:
        settings = self._batch.runtime
        prefix = self._batch.dashboard_prefix or None
        on_loopback = self._batch.spec.dashboard and not prefix
        port = int(self._batch.address.rpartition(":")[2]) if self._batch.address else 0
        network = self._batch.spec.scheduler.network
        return self._common_spec(member, "scheduler", "scheduler") | {
            "host": "0.0.0.0" if network else "127.0.0.1",  # noqa: S104 - each side shows a certificate
            "contact_host": (settings.contact_host or None) if network else None,
            "link_fd": None if prefix else sockets,
            "sockets_fd": sockets if prefix else None,
            "port": port,
            "dashboard": {"host": "127.0.0.1", "port": 0} if on_loopback else None,
            "dashboard_prefix": prefix,
            "held": {"seconds": settings.held_seconds, "memory_share": settings.held_memory_share},
            "orphan_timeout": settings.orphan_timeout,
            "journal": self._journal(),
            "preload": list(self._batch.spec.scheduler.preload),
            "options": self._batch.spec.scheduler.options,
        }

    def _journal(self) -> dict[str, Any] | None:
        spec = self._batch.spec
        if spec.on_scheduler_loss is not OnSchedulerLoss.RESUME or spec.scheduler.placement is Placement.EMBEDDED:
            return None
        return {"directory": str(self._files.journal), "max_bytes": self._batch.runtime.journal_bytes}

    def _node_spec(self, member: Member) -> dict[str, Any]:
        group = self._batch.group
        assert group is not None
        report = self._files.instance(self._batch.scheduler) / "report.json"
        told = node_spec(self._batch)
        return (
            told
            | self._common_spec(member, "node", "worker")
            | {
                # workers on other machines fetch data from these
                "host": None if self._batch.spec.scheduler.network else "127.0.0.1",
                "scheduler_report": None if self._batch.address else str(report),
                "workers": [{"name": name} for name in member.workers],
                "memory_limit": 0 if group.memory_limit == "auto" else group.memory_limit,
                "local_directory": told["local_directory"] or str(self._files.scratch),
            }
        )

    def _start(self, folder: Path, link: int | None, zygote: Connection | None) -> bool:
        """Start an instance's supervisor; False where it may have started or not."""
        asked = zygote.fork(folder, link) if zygote else Asked.DECLINED
        if asked is Asked.DECLINED:
            self._start_anew(folder, link)
        return asked is not Asked.UNSURE or was_taken(folder)

    def _may_be_forked(self) -> bool:
        """A fork has the cluster's Python, environment, import path and the zygote's niceness, and runs no shell."""
        group = self._batch.group
        own = group is not None and (group.python or group.cwd or group.environment or group.options.get("nice"))
        return not (own or self._prologue)

    def _zygote_command(self) -> Command:
        spec, cluster = self._batch.spec, self._batch.cluster
        env = environment.of_zygote(self._who, spec, self._files.runtime, cluster, self._where.state_id)
        argv = [environment.python_of(spec), "-m", "daskd_runtime", "zygote", str(self._files.folder)]
        return Command(argv=tuple(self._placed(argv, "zygote", env)), cwd=environment.cwd_of(self._who, spec), env=env)

    def _placed(self, argv: list[str], what: str, env: Mapping[str, str]) -> list[str]:
        return argv if self._units is None else self._units.placed(argv, self._batch.cluster, what, env)

    def _start_anew(self, folder: Path, link: int | None) -> None:
        # isolated and without site: nothing of this environment, which an upgrade may replace, is needed later
        argv = [sys.executable, "-I", "-S", str(self._files.supervisor), str(folder)]
        descriptors: tuple[int, ...] = ()
        if link is not None:
            argv += ["--pass-fd", str(link)]
            descriptors = (link,)
        env = {"PATH": os.defpath}
        child = subprocess.Popen(
            self._placed(argv, folder.name, env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env=env,
            start_new_session=True,
            pass_fds=descriptors,
        )
        self._children.add(child)
