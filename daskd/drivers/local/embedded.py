"""Schedulers in the daemon's own process, for users who ask for that: each in a thread with an event loop of its own.

The only module of the daemon that imports the runtime, and with it distributed, and only when such a scheduler is
launched. To the rest of the daemon one of these is an instance like any other: it has a folder with spec, report, log
and end, and is spoken to over its link.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daskd.drivers.protocol import Member, Outcome, Result
from daskd.model.cluster import Handle

from .embedded_logs import InstanceLogs
from .files import write_private
from .launch import Launcher
from .observe import HOLDER
from .process import ProcessId
from .zygote import Connection

if TYPE_CHECKING:
    from daskd.runtime.scheduler_hub import Hub
    from daskd.runtime.spec import SchedulerSpec

CLOSE_S = 5.0
"""How long the schedulers have to close their connections when the daemon ends."""

_LOGS = InstanceLogs()
_STUCK = (
    "it runs in the daemon itself and does not end, as code of its users keeps its thread: restart the daemon; "
    "clusters whose schedulers are processes run on"
)


class RuntimeMissingError(Exception):
    """The runtime can't run in this process; the text says why."""


def load_runtime() -> None:
    """Import what a scheduler takes; some seconds, the first time.

    Raises
    ------
    RuntimeMissingError
        When the daemon's Python lacks it.
    """
    try:
        import distributed  # noqa: F401

        import daskd.runtime.scheduler  # noqa: F401
    except Exception as error:  # an import runs foreign code, which may raise anything
        raise RuntimeMissingError(
            f"distributed can't be imported into the daemon ({type(error).__name__}: {error}): install it into the "
            "daemon's Python, or leave out the placement 'embedded'"
        ) from error
    _LOGS.install()


class EmbeddedScheduler:
    """One scheduler, and the thread that runs it from `start` to the end.

    Parameters
    ----------
    folder
        The instance's.
    spec
        What to run.
    log
        `max_bytes` a file, and how many `files`.
    """

    def __init__(self, folder: Path, spec: SchedulerSpec, log: dict[str, int]) -> None:
        self._folder = folder
        self._spec = spec
        self._log = log
        self._asked = ""
        self._hub: Hub | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        # a thread that users' code keeps must not keep the daemon
        self._thread = threading.Thread(target=self._run, name=f"scheduler {spec.instance}", daemon=True)

    def start(self) -> None:
        """Run it."""
        self._thread.start()

    def ask(self, why: str) -> None:
        """Ask it to close; any thread may. Again: does nothing."""
        self._asked = self._asked or why
        self._call(self._heed)

    def force(self) -> None:
        """End its event loop, if that still turns."""
        self._asked = self._asked or "it was forced to"
        self._call(self._cancel)

    def wait(self, timeout: float) -> bool:
        """Wait so many seconds for its end; whether it came."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _call(self, what: Any) -> None:
        # one without a loop is starting, and heeds what was asked once it can; one with a closed loop has ended
        if self._loop is not None:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(what)

    def _heed(self) -> None:
        if self._hub is not None and self._asked:
            self._hub.close(self._asked)

    def _cancel(self) -> None:
        for task in asyncio.all_tasks(self._loop):
            task.cancel()

    def _started(self, hub: Hub) -> None:
        self._hub = hub
        self._heed()

    def _run(self) -> None:
        from daskd.runtime.exits import ExitCode, last_line
        from daskd.runtime.supervisor import Log, write_end

        begun = time.time()
        log = Log(str(self._folder), self._log["max_bytes"], self._log["files"])
        with _LOGS.of_this_thread(log):
            code, words = self._run_to_end(log)
        line = last_line(code, words)
        log.say(line)
        log.close()
        if code is not ExitCode.OK:
            self._report_failure(line)
        end = {"cause": "exited", "code": int(code), "signal": None, "words": words or f"exited with code {int(code)}"}
        document = {"version": 1, "instance": self._spec.instance, "started": begun, **end}
        write_end(str(self._folder), {**document, "asked": bool(self._asked), "ended": time.time()})

    def _run_to_end(self, log: Any) -> tuple[Any, str]:
        from daskd.runtime.exits import Ended, ExitCode

        try:
            asyncio.run(self._serve())
        except Ended as ended:
            return ended.code, ended.words
        except asyncio.CancelledError:
            return ExitCode.OK, "its event loop was ended"
        # users' code runs in that loop, and may raise anything; the thread must write down that it ended
        except BaseException as error:
            log.say(traceback.format_exc())
            return ExitCode.FAILED, f"{type(error).__name__}: {error}"
        return ExitCode.OK, self._asked

    async def _serve(self) -> None:
        from daskd.runtime.scheduler import serve

        self._loop = asyncio.get_running_loop()
        await serve(self._spec, self._folder, self._started)

    def _report_failure(self, line: str) -> None:
        from daskd.runtime.report import Report
        from daskd.runtime.scheduler import report

        report(self._folder, Report(self._spec.instance, "failed", failure=line))


class EmbeddedSchedulers:
    """All schedulers in this process. Any thread may call."""

    def __init__(self) -> None:
        self._running: dict[str, EmbeddedScheduler] = {}

    def launch(self, folder: Path, instance: str, link: int | None, log: dict[str, int]) -> None:
        """Run the scheduler of an instance's folder; `link` is a descriptor of its own, of its socket or sockets.

        Raises
        ------
        OSError
            When its folder can't be read, or no thread be started.
        """
        from daskd.runtime.spec import SchedulerSpec, SpecError, read_spec

        try:
            spec = read_spec(folder, "scheduler")
        except SpecError as error:
            raise OSError(str(error)) from error
        assert isinstance(spec, SchedulerSpec)
        # the descriptor's number in this process, in the place of the one that was written down
        if spec.sockets_fd is None:
            spec = dataclasses.replace(spec, link_fd=link)
        else:
            spec = dataclasses.replace(spec, sockets_fd=link)
        scheduler = EmbeddedScheduler(folder, spec, log)
        try:
            scheduler.start()
        except RuntimeError as error:
            raise OSError(str(error)) from error
        for key, other in list(self._running.items()):
            if other.wait(0):
                self._running.pop(key, None)
        self._running[instance] = scheduler

    def terminate(self, handle: Handle, force: bool) -> Outcome | None:
        """Ask one for its end; None where it is none of these, or has ended."""
        scheduler = self._running.get(handle.id)
        if scheduler is None:
            return None
        if scheduler.wait(0):
            self._running.pop(handle.id, None)
            return None
        if not force:
            scheduler.ask("told to end")
            return Outcome(handle, Result.ACCEPTED)
        scheduler.force()
        # nothing ends a thread but itself
        return Outcome(handle, Result.UNSURE, _STUCK)

    def close(self) -> None:
        """End all, as far as they do within a bound: the daemon ends, and they with it. Blocks."""
        running = list(self._running.values())
        for scheduler in running:
            scheduler.ask("it ended with the daemon that it ran in")
        deadline = time.monotonic() + CLOSE_S
        for scheduler in running:
            scheduler.wait(max(0.0, deadline - time.monotonic()))


class EmbeddedLauncher(Launcher):
    """Launches a scheduler in this process; its files are those of any other."""

    def __init__(self, schedulers: EmbeddedSchedulers, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._schedulers = schedulers

    def launch(self, member: Member, handle: Handle) -> Outcome:
        """As `Launcher.launch`; refused for good where this Python has no distributed."""
        try:
            load_runtime()
        except RuntimeMissingError as error:
            return Outcome(handle, Result.REFUSED, str(error), lasting=True)
        return super().launch(member, handle)

    def _may_be_forked(self) -> bool:
        return False

    def _write(self, folder: Path, member: Member, link: int | None) -> None:
        write_private(folder / "spec.json", json.dumps(self._scheduler_spec(member, link)).encode())
        me = ProcessId.of(os.getpid())
        assert me is not None
        write_private(folder / HOLDER, json.dumps({"version": 1, **dataclasses.asdict(me)}).encode())

    def _start(self, folder: Path, link: int | None, zygote: Connection | None) -> bool:
        settings = self._batch.runtime
        log = {"max_bytes": settings.log_max_bytes, "files": settings.log_files}
        own = os.dup(link) if link is not None else None
        try:
            self._schedulers.launch(folder, folder.name, own, log)
        except OSError:
            if own is not None:
                os.close(own)
            raise
        return True
