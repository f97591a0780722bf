"""The zygote: one process a cluster that has everything imported, and forks its instances.

``python -m daskd_runtime zygote CLUSTER_DIRECTORY``

It listens on ``zygote.sock`` in the cluster's directory. A forked instance is what a launched one is: a
supervisor, and below it the runtime with exactly the environment and the working directory of its
``launch.json``; both outlive the zygote. It has no thread and no event loop, for it forks.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import importlib
import json
import multiprocessing
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from . import supervisor
from .spec import SpecError, read_spec

SOCKET = "zygote.sock"
LOCK = "zygote.lock"
GUESSED = "DASKD_GUESSED"
"""Names of variables that the launcher set as Dask's own configuration has them, which the owner's may change."""

IDLE_S = 600.0
LOOK_S = 5.0
REQUEST_S = 5.0
REQUEST_MAX = 4096
EXIT_FAILED = 1
EXIT_ANOTHER = 17

_ROLES = ("scheduler", "node")


class Refused(Exception):
    """Nothing was forked; the text says why."""


class Another(Refused):
    """A zygote serves this cluster already."""


class Born(BaseException):
    """Unwinds a forked child out of the zygote's and the supervisor's stack, to go on as the runtime."""

    def __init__(self, launch: supervisor.Launch) -> None:
        super().__init__()
        self.launch = launch


def serve(directory: str) -> list[str] | None:
    """Fork instances for those who ask, until nobody has for ten minutes.

    Returns
    -------
    list of str or None
        None in the zygote, when it is to end. In a forked child the arguments of the runtime that it is now.
    """
    directory = os.path.abspath(directory)
    try:
        with listening(directory) as listener:
            Zygote(directory, listener).serve()
    except Born as child:
        settle(child.launch)
        return child.launch.argv[-2:]
    except Refused as refusal:
        sys.stderr.write(f"daskd zygote: {refusal}\n")
        sys.exit(EXIT_ANOTHER if isinstance(refusal, Another) else EXIT_FAILED)
    return None


def exact_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment that all instances' workers are to start with: `environ` less what was guessed in it."""
    forkserver = importlib.import_module(".forkserver", __package__)
    guessed = environ.get(GUESSED, "").split(",")
    exact = {name: value for name, value in environ.items() if name not in (GUESSED, *guessed)}
    forkserver.complete(exact)
    return exact


def settle(launch: supervisor.Launch) -> None:
    """Make a forked child what an interpreter started with `launch` is."""
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(launch.env)
    sys.argv[1:] = launch.argv[-2:]
    multiprocessing.current_process().authkey = os.urandom(32)
    importlib.import_module("dask.config").refresh()
    supervisor.name_process(f"dask-{launch.argv[-2]}")


@contextlib.contextmanager
def listening(directory: str) -> Iterator[socket.socket]:
    """The listening socket of the one zygote of a cluster.

    Raises
    ------
    Another
        There is one.
    """
    lock = os.open(os.path.join(directory, LOCK), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Another("another zygote serves this cluster") from None
    folder = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    _remove_socket(folder)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    umask = os.umask(0o177)
    # through /proc: a socket's path is bounded, and a cluster's directory may be longer
    listener.bind(f"/proc/self/fd/{folder}/{SOCKET}")
    os.umask(umask)
    listener.listen(64)
    try:
        yield listener
    except Born:
        raise  # the child's descriptors are its own affair
    except BaseException:
        _remove_socket(folder)
        raise
    _remove_socket(folder)


def _remove_socket(folder: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(SOCKET, dir_fd=folder)


def receive(connection: socket.socket) -> tuple[bytes, list[int]]:
    """One line, and the descriptors that came with it."""
    data, descriptors, flags, _ = socket.recv_fds(connection, REQUEST_MAX, 1)
    while data and not data.endswith(b"\n") and len(data) < REQUEST_MAX:
        more = connection.recv(REQUEST_MAX - len(data))
        if not more:
            break
        data += more
    if flags & socket.MSG_CTRUNC:
        data = b""
    return data, descriptors


class Zygote:
    """Answers one request after another; see `serve`."""

    def __init__(self, directory: str, listener: socket.socket) -> None:
        self._directory = directory
        self._listener = listener
        self._inode = self._socket_inode()
        self._forkserver: Any = None
        self._loaded = False
        self._pages = False
        self._ended = False

    def serve(self) -> None:
        """Import, then serve until told to end, asked for nothing for long, or left without a socket.

        Raises
        ------
        Refused
            What was imported can't be forked.
        """
        supervisor.name_process("daskd-zygote")
        gc.disable()  # what is imported stays: to look for garbage in it only takes time
        self._import()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps the supervisors
        until = time.monotonic() + IDLE_S
        while not self._ended and time.monotonic() < until and self._socket_inode() == self._inode:
            self._listener.settimeout(LOOK_S if self._loaded else 0.0)
            try:
                connection, _ = self._listener.accept()
            except (TimeoutError, BlockingIOError):
                self._load_all()  # nobody waits: the time to import what only nodes need
                continue
            except ConnectionError:  # whoever connected has gone
                continue
            until = time.monotonic() + IDLE_S
            self._answer(connection)

    def _import(self) -> None:
        """Import what every instance needs, under the environment that its libraries are to find."""
        self._forkserver = importlib.import_module(".forkserver", __package__)
        exact = exact_environment(os.environ)
        if exact != {name: value for name, value in os.environ.items() if name != GUESSED}:
            argv = [sys.executable, "-m", str(__package__), "zygote", self._directory]
            os.execve(sys.executable, argv, exact)  # noqa: S606 - no shell is the point
        for module in (".scheduler", ".node", ".reseed"):
            importlib.import_module(module, __package__)
        self._prepare_forks()

    def _load_all(self) -> None:
        if not self._loaded:
            self._forkserver.load_packages()
            self._prepare_forks()
            self._loaded = True

    def _load_pages(self) -> None:
        """Import Dask's dashboards once, which else every scheduler and every worker would do at its start."""
        if not self._pages:
            for module in ("scheduler", "worker"):
                with contextlib.suppress(ImportError):  # no bokeh, no pages
                    importlib.import_module(f"distributed.dashboard.{module}")
            self._prepare_forks()
            self._pages = True

    def _prepare_forks(self) -> None:
        if self._forkserver.threads() != 1:
            self._ended = True
            raise Refused("a library started a thread when it was imported, which a fork would lack")
        gc.freeze()  # so that the children's collectors leave the shared pages alone

    def _socket_inode(self) -> int:
        try:
            return os.lstat(os.path.join(self._directory, SOCKET)).st_ino
        except OSError:
            return 0

    def _answer(self, connection: socket.socket) -> None:
        """One connection: greet, read, fork, tell. A forked child leaves it by `Born`, and does none of the rest."""
        descriptors: list[int] = []
        answer: dict[str, Any] | None = None
        try:
            self._greet(connection)
            request, descriptors = receive(connection)
            answer = self._perform(request, descriptors, connection)
        except Refused as refusal:
            answer = {"error": str(refusal)}
        except (ConnectionError, TimeoutError):  # whoever asked has gone, or is too slow
            pass
        for descriptor in descriptors:
            os.close(descriptor)
        with contextlib.suppress(OSError):
            if answer is not None:
                connection.sendall(json.dumps(answer).encode() + b"\n")
        connection.close()

    def _greet(self, connection: socket.socket) -> None:
        """Say that a request will be taken from here on: whoever was not greeted knows that nothing was forked."""
        connection.settimeout(REQUEST_S)
        peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        if struct.unpack("3i", peer)[1] not in (os.geteuid(), 0):
            raise Refused("it serves the user alone that it runs as")
        connection.sendall(json.dumps({"version": 1, "pid": os.getpid()}).encode() + b"\n")

    def _perform(self, data: bytes, descriptors: list[int], connection: socket.socket) -> dict[str, Any]:
        """Do what a request says.

        Raises
        ------
        Refused
            It says something else than the contract.
        """
        try:
            request = json.loads(data)
            if request.get("op") == "exit":
                self._ended = True
                return {"pid": os.getpid()}
            directory, number = str(request["directory"]), int(request.get("descriptor", -1))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Refused(f"the request is damaged: {type(error).__name__}: {error}") from error
        self._check(directory)
        if (number > 2) != bool(descriptors):
            raise Refused("a descriptor's number without the descriptor, or the other way about")
        return {"pid": self._fork(directory, number, descriptors, connection)}

    def _check(self, directory: str) -> None:
        """See that a directory is an instance's of this cluster, and one of those that can be forked."""
        if os.path.dirname(directory) != os.path.join(self._directory, "instances"):
            raise Refused(f"{directory} is no instance of this cluster")
        try:
            argv = supervisor.Launch(directory).argv
        except supervisor.LaunchError as error:
            raise Refused(str(error)) from error
        if argv[1:3] != ["-m", __package__] or argv[4:] != [directory] or argv[3] not in _ROLES:
            raise Refused(f"{directory} does not launch this cluster's runtime alone")
        try:
            spec = read_spec(directory, argv[3])
        except SpecError as error:
            raise Refused(str(error)) from error
        if spec.has_pages:
            self._load_pages()
        if argv[3] == "node":
            self._load_all()

    def _fork(self, directory: str, number: int, descriptors: list[int], connection: socket.socket) -> int:
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid:
            return pid
        code = supervisor.EXIT_USAGE
        try:
            # what these objects hold is closed by number soon, and must not be closed again
            self._listener.detach()
            connection.detach()
            become_supervisor(descriptors, number)
            code = supervisor.run(directory, number, _go_on)
        except Born:
            raise
        except BaseException:  # whatever happened, two processes must not both go on as the zygote
            os._exit(EXIT_FAILED)
        os._exit(code)


def become_supervisor(descriptors: list[int], number: int) -> None:
    """Make a forked child what a supervisor starts as: a session of its own, and nothing of the zygote's."""
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    gc.enable()
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    for target in (0, 1, 2):
        os.dup2(null, target)
    for descriptor in descriptors:
        if descriptor != number:
            os.dup2(descriptor, number)
    supervisor.name_process("daskd-supervise")


def _go_on(launch: supervisor.Launch) -> NoReturn:
    raise Born(launch)
