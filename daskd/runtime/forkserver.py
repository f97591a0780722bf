"""Multiprocessing's forkserver, from which workers are forked: itself forked from this process where that is sound.

An ordinary forkserver is a fresh interpreter that imports all again. Forked from a node that has everything
imported, and that was itself forked from the zygote, it costs nothing and shares the zygote's pages.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
import sys
from collections.abc import Iterator, MutableMapping
from multiprocessing import forkserver, get_context, resource_tracker, util
from typing import Any, NoReturn

import dask.config
import distributed  # noqa: F401 - defines the defaults of what is read here
from distributed.utils import get_mp_context
from distributed.versions import optional_packages, required_packages

from .supervisor import close_inherited, name_process

HASH_SEED = "6640"
"""As nannies have it: all workers must hash alike."""


def complete(environ: MutableMapping[str, str]) -> None:
    """Add what must stand in a worker's environment before its interpreter starts and loads BLAS and the like.

    What is there already wins over Dask's configuration (``distributed.nanny.pre-spawn-environ``).
    """
    wanted = dask.config.get("distributed.nanny.pre-spawn-environ", default={}) or {}
    for name, value in wanted.items():
        if value is not None:
            environ.setdefault(name, str(value))
    if environ.get("PYTHONHASHSEED") in (None, "0", "random"):
        environ["PYTHONHASHSEED"] = HASH_SEED


def load_packages() -> list[str]:
    """Import what distributed looks for at a worker's start; returns the names of those that are there."""
    found = []
    for package in (*required_packages, *optional_packages):
        name = package if isinstance(package, str) else package[0]  # older: with a function beside it
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
            found.append(name)
    return found


def start() -> None:
    """Start the forkserver; call it before this process has an event loop or a thread."""
    get_mp_context()  # sets its own list of modules, once
    packages = load_packages()
    get_context("forkserver").set_forkserver_preload(["distributed", *packages, f"{__package__}.reseed"])
    if not may_fork():
        forkserver.ensure_running()
        return
    child = None
    try:
        with _forking():
            forkserver.ensure_running()
    except _Forked as forked:
        child = forked.with_traceback(None)
    if child is not None:
        child.run()  # out here, or every exception in a worker would name the one above as its context


def threads() -> int:
    """How many threads this process has, those of libraries included."""
    return len(os.listdir("/proc/self/task"))


def may_fork() -> bool:
    """Whether a fork of this process is as good as a new one.

    It has one thread, and its interpreter started with the environment that workers are to start with: the
    hash seed, malloc's and BLAS's settings are read once.
    """
    try:
        with open("/proc/self/environ", "rb") as file:
            entries = os.fsdecode(file.read()).split("\0")
    except OSError:
        return False
    first = dict(entry.split("=", 1) for entry in entries if "=" in entry)
    names: dict[str, str] = {}
    complete(names)
    return threads() == 1 and all(first.get(name) == os.environ.get(name) for name in names)


class _Forked(BaseException):
    """Unwinds a forked child out of multiprocessing, whose locks and descriptors it would else hold for ever."""

    def __init__(self, code: str, descriptors: list[int]) -> None:
        super().__init__()
        self._code = code
        # copies: on its way up multiprocessing closes the parent's
        self._descriptors = {number: os.dup(number) for number in descriptors}

    def run(self) -> NoReturn:
        """Be what a new interpreter was to run: the forkserver, or the resource tracker."""
        status = 1
        try:
            self._settle()
            exec(self._code, {"__name__": "__main__"})  # noqa: S102 - multiprocessing's own words for a new interpreter
            status = 0
        except SystemExit:
            status = 0
        except BaseException:  # the edge of a process, which must not go on as its parent
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(status)

    def _settle(self) -> None:
        """Let go of what is the node's: descriptors, signals, its tie to multiprocessing's other processes."""
        for number, copy in self._descriptors.items():
            os.dup2(copy, number)
        close_inherited(*self._descriptors)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for name in ("_fd", "_pid"):
            if hasattr(resource_tracker._resource_tracker, name):
                setattr(resource_tracker._resource_tracker, name, None)
        name_process("dask-forkserver" if "forkserver" in self._code else "dask-tracker")
        gc.freeze()


@contextlib.contextmanager
def _forking() -> Iterator[None]:
    """Have multiprocessing fork where it would start an interpreter with ``-c`` and a line of code.

    That it starts its processes through `util.spawnv_passfds` is all that is taken for granted of it; where it
    does not, this has no effect, and an ordinary forkserver runs.
    """
    ordinary = util.spawnv_passfds

    def spawn(path: Any, args: Any, passfds: Any) -> int:
        if len(args) < 2 or args[-2] != "-c" or "multiprocessing" not in args[-1]:
            return int(ordinary(path, args, passfds))
        pid = os.fork()
        if pid == 0:
            raise _Forked(args[-1], [int(number) for number in passfds])
        return pid

    util.spawnv_passfds = spawn
    try:
        yield
    finally:
        util.spawnv_passfds = ordinary
