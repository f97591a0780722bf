"""The local driver's promises about what it has forked: once, known again, ended; and launched anew where need be."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from daskd.drivers.local import launch, zygote
from daskd.drivers.local.files import ClusterFiles
from daskd.drivers.local.process import marked
from daskd.drivers.local.site import LocalSite
from daskd.drivers.local.zygote import Asked, Command, Zygote
from daskd.drivers.protocol import Batch, Member, Outcome, Payload, Result, RuntimeSettings, Snapshot, Surroundings
from daskd.model.cluster import Cause, Handle, Role, State
from daskd.model.names import new_instance_id, new_state_id
from daskd.model.spec import ClusterSpec, WorkerGroupSpec
from daskd.security.certificates import issue
from daskd.security.peer import identity_of

pytestmark = pytest.mark.real

CLUSTER = "ctest"


async def until(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """What `condition` gives once it is true; fails the test when it never is."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"never came true: {condition}"
        await asyncio.sleep(0.05)
    return value


class Machine:
    """A local site with one cluster staged on it."""

    def __init__(self, folder: Path) -> None:
        self.state_id = new_state_id()
        self.where = Surroundings(self.state_id, folder / "state", folder / "run")
        self.who = identity_of(os.getuid())
        self.site = LocalSite(self.who, self.where)
        self.files = ClusterFiles(self.where.state_dir / "clusters" / CLUSTER)
        self.home = folder

    async def stage(self) -> None:
        """As the core does before the first launch."""
        made = issue(CLUSTER)
        secret = {"ca.pem": made.ca.encode()}
        for role in ("scheduler", "worker"):
            secret[f"{role}.pem"] = made.certificates[role].encode()
            secret[f"{role}.key"] = made.keys[role].encode()
        await self.site.stage(Payload(CLUSTER, secret))

    async def launch(self, group: WorkerGroupSpec | None = None, **spec: Any) -> tuple[Handle, Outcome]:
        """A scheduler, or a node of `group` that finds none."""
        settings = RuntimeSettings(10.0, 60.0, 1000.0, 100.0, 0.5, 1 << 20, 4)
        asked = ClusterSpec(**{"dashboard": False, "cwd": str(self.home), **spec})
        role = Role.NODE if group else Role.SCHEDULER
        member = Member(new_instance_id(self.state_id), 0, ("default-0",) if group else ())
        address = "tls://127.0.0.1:1" if group else ""
        batch = Batch(CLUSTER, "etl", role, asked, group, (member,), "", address, settings)
        [handle] = await self.site.prepare(batch)
        [outcome] = await self.site.launch(batch, [handle])
        return handle, outcome

    async def observe(self, *handles: Handle) -> Snapshot:
        """A deep look."""
        return await self.site.observe(handles, deep=True)

    def folder(self, handle: Handle) -> Path:
        """An instance's folder."""
        return self.files.instance(handle.id)

    async def supervisor(self, handle: Handle) -> psutil.Process:
        """The supervisor, once it has said who it is."""
        path = self.folder(handle) / "supervisor.json"
        await until(path.exists)
        return psutil.Process(json.loads(path.read_text())["pid"])

    def zygotes(self) -> set[int]:
        """Processes that serve as zygotes: leaders of a session that is no instance's."""
        found = [seen for seen in marked(self.state_id) if seen.cluster and seen.session == seen.process.pid]
        return {seen.process.pid for seen in found if psutil.Process(seen.process.pid).name() == "daskd-zygote"}

    def clean(self) -> None:
        """End whatever bears this state's mark."""
        for path in self.files.folder.glob("instances/*/supervisor.json"):
            self._kill(json.loads(path.read_text())["pid"], str(self.files.folder))
        for seen in marked(self.state_id):
            self._kill(seen.process.pid, "")

    @staticmethod
    def _kill(pid: int, word: str) -> None:
        try:
            if word in " ".join(psutil.Process(pid).cmdline()):
                os.kill(pid, signal.SIGKILL)
        except (psutil.Error, ProcessLookupError):
            return


@pytest.fixture
async def machine() -> AsyncIterator[Machine]:
    folder = Path(tempfile.mkdtemp(prefix="dkl-", dir="/tmp"))
    made = Machine(folder)
    await made.stage()
    yield made
    await made.site.close()
    made.clean()
    shutil.rmtree(folder, ignore_errors=True)


def forked(process: psutil.Process) -> bool:
    """Whether a supervisor is the zygote's fork, and not a program of its own."""
    return "zygote" in process.cmdline()


async def test_launches_at_once_share_one_zygote(machine: Machine) -> None:
    """Several launches of one cluster at the same time start one zygote, and all are forked by it."""
    launched = await asyncio.gather(*(machine.launch() for _ in range(3)))
    assert {outcome.result for _, outcome in launched} == {Result.ACCEPTED}
    supervisors = [await machine.supervisor(handle) for handle, _ in launched]
    assert all(forked(supervisor) for supervisor in supervisors)
    assert {supervisor.ppid() for supervisor in supervisors} == machine.zygotes()
    assert len(machine.zygotes()) == 1


async def test_unstage_leaves_nothing_running(machine: Machine) -> None:
    """When the cluster has ended its zygote ends too."""
    handle, _ = await machine.launch()
    await machine.supervisor(handle)
    await machine.site.terminate([handle])
    await until((machine.folder(handle) / "end.json").exists)
    assert machine.zygotes()
    await machine.site.unstage(CLUSTER)
    await until(lambda: not list(marked(machine.state_id)))


async def test_unstage_ends_a_zygote_that_hangs(machine: Machine) -> None:
    """A stopped zygote answers nothing, and is killed."""
    handle, _ = await machine.launch()
    supervisor = await machine.supervisor(handle)
    [zygote] = machine.zygotes()
    os.kill(zygote, signal.SIGSTOP)
    supervisor.terminate()
    await until((machine.folder(handle) / "end.json").exists)
    await machine.site.unstage(CLUSTER)
    await until(lambda: not list(marked(machine.state_id)))


@pytest.mark.parametrize(
    "group",
    [WorkerGroupSpec(environment={"ONLY": "here"}), WorkerGroupSpec(options={"nice": 5})],
    ids=["environment", "nice"],
)
async def test_a_group_that_is_unlike_the_cluster_is_launched_anew(machine: Machine, group: WorkerGroupSpec) -> None:
    """An environment or a niceness of its own is had only by a program of its own."""
    handle, outcome = await machine.launch(group)
    assert outcome.result is Result.ACCEPTED
    assert not forked(await machine.supervisor(handle))
    assert not machine.zygotes()


async def test_without_a_zygote_the_cause_is_told(machine: Machine) -> None:
    """Where the cluster's Python is missing, the instance ends as failed_to_start with words, forked or not."""
    handle, outcome = await machine.launch(python="/no/such/python")
    assert outcome.result is Result.ACCEPTED
    await until((machine.folder(handle) / "end.json").exists)
    [seen] = (await machine.observe(handle)).seen
    assert seen.end is not None
    assert seen.end.cause is Cause.FAILED_TO_START
    assert "/no/such/python" in seen.end.words


async def test_a_python_without_distributed_is_told(machine: Machine) -> None:
    """A zygote that can't import ends; the launch goes on without it, and exits 81."""
    bare = machine.home / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    handle, _ = await machine.launch(python=str(bare))
    await until((machine.folder(handle) / "end.json").exists)
    [seen] = (await machine.observe(handle)).seen
    assert seen.end is not None
    assert seen.end.code == 81


async def test_a_killed_supervisor_is_told_with_certainty(machine: Machine) -> None:
    """When neither supervisor nor runtime lives, the instance has vanished for certain."""
    handle, _ = await machine.launch()
    (await machine.supervisor(handle)).kill()
    await until(lambda: not [seen for seen in marked(machine.state_id) if seen.process.pid not in machine.zygotes()])
    [seen] = (await machine.observe(handle)).seen
    assert (seen.state, seen.end and seen.end.cause, seen.end and seen.end.certain) == (
        State.ENDED,
        Cause.VANISHED,
        True,
    )


ESCAPE = """
import os, time
from pathlib import Path

if os.fork() == 0:
    Path("escaped.partial").write_text(str(os.getpid()))
    os.replace("escaped.partial", "escaped")
    while True:
        time.sleep(1000)
"""


async def test_what_outlives_its_supervisor_is_seen_and_ended(machine: Machine) -> None:
    """What users' code left in a forked instance's session is no certain end; it is found as a stray, and killed."""
    (machine.home / "escape.py").write_text(ESCAPE)
    handle, _ = await machine.launch(environment={"DASK_DISTRIBUTED__SCHEDULER__PRELOAD": "escape"})
    supervisor = await machine.supervisor(handle)
    await until((machine.home / "escaped").exists)
    left = psutil.Process(int((machine.home / "escaped").read_text()))
    [runtime] = supervisor.children()
    supervisor.kill()
    await until(lambda: gone(runtime))
    snapshot = await machine.observe(handle)
    assert snapshot.seen[0].end is not None
    assert not snapshot.seen[0].end.certain
    assert [stray.id for stray in (await machine.observe()).strays] == [handle.id]
    await machine.site.terminate([handle], force=True)
    await until(lambda: gone(left))


def gone(process: psutil.Process) -> bool:
    """Whether a process has ended."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class Peer:
    """Listens where a zygote would, says `words`, reads what comes if anything, and hangs up."""

    def __init__(self, folder: Path, words: bytes) -> None:
        self._words = words
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(folder / "zygote.sock"))
        self._socket.listen()
        self.got = b""
        self._path = folder / "zygote.sock"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        connection, _ = self._socket.accept()
        self._path.unlink()
        self._socket.close()
        with connection:
            connection.sendall(self._words)
            if self._words:
                self.got = connection.recv(4096)


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="dkl-", dir="/tmp"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (b'{"version": 1, "pid": 1}\n', Asked.UNSURE),
        (b'{"error": "no"}\n', Asked.DECLINED),
        (b"nonsense\n", Asked.DECLINED),
        (b"", Asked.DECLINED),
    ],
    ids=["greeted", "refused", "nonsense", "silent"],
)
def test_only_what_was_sent_after_a_greeting_can_be_half_done(folder: Path, words: bytes, asked: Asked) -> None:
    """Before a zygote has greeted nothing is sent; after that, an answer that never comes leaves it unsure."""
    peer = Peer(folder, words)
    zygote = Zygote(ClusterFiles(folder), lambda _child: None)
    connection = zygote.connect(Command(("/no/such/program",), "/", {}))
    assert (connection.fork(folder / "i-1", None) if connection else Asked.DECLINED) is asked
    if connection:
        connection.close()
    assert bool(peer.got) == (asked is Asked.UNSURE)


async def test_an_unsure_fork_is_accepted_when_its_lock_appears(machine: Machine) -> None:
    """A zygote that died before it answered leaves an instance that is told as accepted once it holds its lock."""
    folder = machine.folder(Handle(driver="local", version=1, id="i-1", announce="i-1", data={}))
    folder.mkdir()
    assert not await asyncio.to_thread(launch.was_taken, folder, 0.1)
    (folder / "lock").touch()
    assert await asyncio.to_thread(launch.was_taken, folder, 0.1)


async def test_a_zygote_that_never_answers_does_not_keep_who_leaves(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A launch that waits for it goes on without it once the site is closed, so that a daemon can end."""
    monkeypatch.setattr(zygote, "START_S", 3600.0)
    hangs = tmp_path / "python"
    hangs.write_text("#!/bin/sh\nexec sleep 3600\n")
    hangs.chmod(0o755)
    launching = asyncio.create_task(machine.launch(python=str(hangs)))
    await until(lambda: any(seen.cluster for seen in marked(machine.state_id)))
    await machine.site.close()
    _, outcome = await launching
    assert outcome.result is Result.ACCEPTED
