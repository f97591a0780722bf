"""The daemon's side of a cluster's zygote: starts it, asks it for forks, ends it. Protocol: `docs/runtime.md`."""

from __future__ import annotations

import enum
import json
import os
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .files import ClusterFiles
from .process import ProcessId, marked, send, state_of

START_S = 30.0
"""How long a zygote may take to import all; past that instances are started without it."""
GREETING_S = 0.2
"""How long one that is not to be waited for has to say that it is there."""
ANSWER_S = 10.0
END_S = 3.0
AVOID_S = 600.0
"""How long one that could not be had is not tried again."""

ANSWER_MAX = 4096
EXIT_ANOTHER = 17
_POLL_S = 0.01


class Asked(enum.Enum):
    """What became of a request: forked, surely not forked, or nobody knows."""

    FORKED = "forked"
    DECLINED = "declined"
    UNSURE = "unsure"


@dataclass(frozen=True, slots=True)
class Command:
    """How a zygote is started."""

    argv: tuple[str, ...]
    cwd: str
    env: Mapping[str, str]


class Connection:
    """A connection with a zygote, open until the context is left.

    Raises
    ------
    OSError
        Nobody listens, or somebody else does.
    """

    def __init__(self, folder: Path, timeout: float) -> None:
        directory = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout)
        try:
            # through /proc: a socket's path is bounded, and a cluster's folder may be longer
            self._socket.connect(f"/proc/self/fd/{directory}/zygote.sock")
            peer = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            self.pid, uid, _ = struct.unpack("3i", peer)
            if uid != os.stat(directory).st_uid:
                raise PermissionError(f"the zygote's socket in {folder} is user {uid}'s, who does not own the folder")
        except BaseException:
            self._socket.close()
            raise
        finally:
            os.close(directory)

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def give_up(self) -> None:
        """Have another thread wait no longer for an answer."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def greeted(self, timeout: float) -> bool:
        """Whether the zygote takes a request now: before it says so, none is sent, and none can be half done."""
        answer = self._receive(timeout)
        return answer is not None and answer.get("version") == 1

    def fork(self, instance: Path, link: int | None) -> Asked:
        """Have an instance's supervisor forked, which gets the descriptor `link` under the same number."""
        return self.ask({"directory": str(instance), "descriptor": -1 if link is None else link}, link)

    def ask(self, request: Mapping[str, Any], link: int | None = None, timeout: float = ANSWER_S) -> Asked:
        """Send a request; it arrives whole or not at all."""
        try:
            socket.send_fds(self._socket, [json.dumps(request).encode() + b"\n"], [] if link is None else [link])
        except OSError:
            return Asked.DECLINED
        answer = self._receive(timeout)
        if answer is None:
            return Asked.UNSURE
        return Asked.FORKED if isinstance(answer.get("pid"), int) else Asked.DECLINED

    def _receive(self, timeout: float) -> dict[str, Any] | None:
        """One line, a JSON object; None when none came."""
        deadline = time.monotonic() + timeout
        data = b""
        with suppress(OSError, ValueError, RecursionError):
            while not data.endswith(b"\n") and len(data) < ANSWER_MAX:
                self._socket.settimeout(max(0.001, deadline - time.monotonic()))
                more = self._socket.recv(ANSWER_MAX)
                if not more:
                    return None
                data += more
            document = json.loads(data)
            return document if isinstance(document, dict) else None
        return None


class Zygote:
    """One cluster's.

    Parameters
    ----------
    started : callable
        Told of each process that is started here, which is to be reaped.
    """

    def __init__(self, files: ClusterFiles, started: Callable[[subprocess.Popen[bytes]], None]) -> None:
        self._files = files
        self._started = started
        self._lock = threading.Lock()
        self._avoid_until = 0.0
        self._leaving = threading.Event()
        self._waiting: Connection | None = None

    def leave(self) -> None:
        """Wait for it no longer: this process ends, and its threads must not keep it."""
        self._leaving.set()
        if (waiting := self._waiting) is not None:
            waiting.give_up()

    def connect(self, command: Command) -> Connection | None:
        """A connection with a zygote that takes a request now, and is started if there is none.

        Returns
        -------
        Connection or None
            None where no zygote is to be had. The connection is good for one request, and for seconds.
        """
        with self._lock:  # launches of one cluster at once start one
            if time.monotonic() < self._avoid_until:
                return self._ready(GREETING_S)
            deadline = time.monotonic() + START_S
            child: subprocess.Popen[bytes] | None = None
            while time.monotonic() < deadline and not self._leaving.is_set():
                if connection := self._ready(deadline - time.monotonic()):
                    return connection
                if child is None:
                    child = self._start(command)
                    if child is None:
                        break
                elif child.poll() == EXIT_ANOTHER:
                    child = None
                elif child.returncode is not None:
                    break  # the cold start will say why
                self._leaving.wait(_POLL_S)
            self._avoid_until = time.monotonic() + AVOID_S
            return None

    def _ready(self, timeout: float) -> Connection | None:
        try:
            connection = Connection(self._files.folder, timeout)
        except OSError:
            return None
        self._waiting = connection
        try:
            # one that began to wait when this process had begun to end is not told of it any more
            if not self._leaving.is_set() and connection.greeted(timeout):
                return connection
        finally:
            self._waiting = None
        connection.close()
        return None

    def _start(self, command: Command) -> subprocess.Popen[bytes] | None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            log = os.open(self._files.zygote_log, flags, 0o600)
        except OSError:
            return None
        try:
            child = subprocess.Popen(
                command.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=command.cwd,
                env=command.env,
                start_new_session=True,
            )
        except (OSError, ValueError):  # no such program or folder, or text that is no environment variable
            return None
        finally:
            os.close(log)
        self._started(child)
        return child

    def end(self) -> None:
        """Tell it to end, and wait, but not for long."""
        with suppress(OSError), Connection(self._files.folder, END_S) as connection:
            process = ProcessId.of(connection.pid)
            if process is None or not connection.greeted(END_S):
                return
            connection.ask({"op": "exit"}, timeout=END_S)
            deadline = time.monotonic() + END_S
            while state_of(process) is not None and time.monotonic() < deadline:
                time.sleep(_POLL_S)


class Zygotes:
    """Those of all clusters of one state."""

    def __init__(self, state_id: str, started: Callable[[subprocess.Popen[bytes]], None]) -> None:
        self._state_id = state_id
        self._started = started
        self._of: dict[Path, Zygote] = {}

    def of(self, files: ClusterFiles) -> Zygote:
        """The zygote of the cluster with these files, started or not."""
        return self._of.setdefault(files.folder, Zygote(files, self._started))

    def leave(self) -> None:
        """Wait for none of them any longer; they go on."""
        for zygote in list(self._of.values()):
            zygote.leave()

    def end(self, files: ClusterFiles) -> None:
        """End a cluster's zygote, and kill what is left of the cluster: none of its instances runs any more."""
        self.of(files).end()
        self._of.pop(files.folder, None)
        for seen in marked(self._state_id):
            if seen.cluster == files.folder.name:
                send(seen.process, signal.SIGKILL)
