"""The parent of one instance on this machine: starts it, keeps its log, and writes down how it ended.

``python -I -S supervisor.py INSTANCE_DIRECTORY [--pass-fd N]``

One file on the standard library alone (Python 3.8 or later), so that any Python can run it. It
outlives the daemon, is never users' code, and blocks on nothing that the instance does.
``docs/runtime.md`` is the contract of the files that it reads and writes. The zygote forks it instead,
and gives `run` a callable that the forked child goes on as, where otherwise a program is executed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import selectors
import signal
import sys
import time
from typing import Any, Callable, NoReturn  # noqa: UP035 - Python 3.8 can not subscript the other

EXIT_USAGE = 2
EXIT_NOT_STARTED_TWICE = 17

LINE_MAX = 16 * 1024
READ_SIZE = 64 * 1024
DESCENDANTS_GRACE = 1.0
UNKILLABLE_AFTER = 30.0
DRAIN_READS = 32
END_WRITE_ATTEMPTS = 60

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_HANDLED = (signal.SIGTERM, signal.SIGCHLD)
# Python ignores PIPE and XFSZ, the supervisor INT and HUP; an ignored signal would stay so after exec.
_DEFAULT_IN_CHILD = (*_HANDLED, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ)


class LaunchError(Exception):
    """The instance can't be started; its text says why."""


def load_prctl() -> Any:
    """libc's prctl, or None where this Python was built without ctypes."""
    try:
        import ctypes

        return ctypes.CDLL(None, use_errno=True).prctl
    except (ImportError, OSError, AttributeError):
        return None


def name_process(name: str) -> None:
    """Set the name that `ps` and `top` show (at most 15 bytes): of forked processes the command line tells nothing."""
    prctl = load_prctl()
    if prctl is not None:
        prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)


def process_stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from field 3 on (the name before may hold anything), or None."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].decode("ascii").split()
    except OSError:
        return None


def start_ticks(pid: int) -> int:
    """When a process started, in clock ticks since boot; 0 if it is gone."""
    stat = process_stat(pid)
    return int(stat[19]) if stat else 0


def boot_id() -> str:
    """The kernel's id of this boot."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def descendants(ancestor: int) -> list[int]:
    """Ids of the living processes below `ancestor`; zombies are dead and left out."""
    children: dict[int, list[int]] = {}
    zombies = set()
    for name in os.listdir("/proc"):
        stat = process_stat(int(name)) if name.isdigit() else None
        if stat is None:
            continue
        children.setdefault(int(stat[1]), []).append(int(name))
        if stat[0] in ("Z", "X"):
            zombies.add(int(name))
    found: list[int] = []
    queue = [ancestor]
    while queue:
        below = children.get(queue.pop(), [])
        found.extend(below)
        queue.extend(below)
    return [pid for pid in found if pid not in zombies]


def send_signal(pid: int, number: int) -> None:
    """Signal a process; one that has gone meanwhile is no error."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def oom_counter_files(cgroups: str) -> list[str]:
    """Where the kernel counts OOM kills, nearest first, from the text of /proc/self/cgroup."""
    files = []
    for line in cgroups.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if "memory" in controllers.split(","):
            files.append("/sys/fs/cgroup/memory" + path.rstrip("/") + "/memory.oom_control")
        elif not controllers and path != "/":
            files.append("/sys/fs/cgroup" + path.rstrip("/") + "/memory.events")
    return [*files, "/proc/vmstat"]


def oom_kills() -> int:
    """The kernel's count of processes that it killed for want of memory; 0 if it doesn't tell."""
    try:
        with open("/proc/self/cgroup", encoding="utf-8") as file:
            candidates = oom_counter_files(file.read())
    except OSError:
        candidates = ["/proc/vmstat"]
    for path in candidates:
        with contextlib.suppress(OSError), open(path, encoding="ascii") as file:
            for line in file:
                key, _, value = line.strip().partition(" ")
                if key == "oom_kill":
                    return int(value)
    return 0


def write_atomically(directory: str, name: str, content: dict[str, Any]) -> None:
    """Replace a file so that a reader sees the old text or the new, and a crash leaves one of them."""
    path = os.path.join(directory, name)
    partial = path + ".partial"
    fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        json.dump(content, file)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


class Launch:
    """What `launch.json` asks for, checked.

    Raises
    ------
    LaunchError
        If the file can't be read or says something else than the contract.
    """

    def __init__(self, directory: str) -> None:
        path = os.path.join(directory, "launch.json")
        try:
            with open(path, encoding="utf-8") as file:
                content = json.load(file)
            if content["version"] != 1:
                raise ValueError(f"version {content['version']!r} is not 1")
            self.argv = self._texts(content["argv"])
            self.env = dict(zip(self._texts(content["env"]), self._texts(content["env"].values())))  # noqa: B905
            self.cwd, self.instance = self._texts([content["cwd"], content["instance"]])
            self.grace = max(0.0, float(content["grace"]))
            self.max_bytes = max(1024, int(content["log"]["max_bytes"]))
            self.files = max(1, int(content["log"]["files"]))
            if not self.argv:
                raise ValueError("argv is empty")
        except OSError as error:
            raise LaunchError(f"{path} can't be read: {error.strerror}") from error
        except KeyError as error:
            raise LaunchError(f"{path} is damaged: it lacks {error}") from error
        except (ValueError, TypeError, AttributeError) as error:
            raise LaunchError(f"{path} is damaged: {error}") from error

    @staticmethod
    def _texts(values: Any) -> list[str]:
        texts = list(values)
        if not all(isinstance(text, str) and "\0" not in text for text in texts):
            raise ValueError("argv, env, cwd, instance hold text alone, and no NUL")
        return texts


class Log:
    """Log files `output.<seq>.log` in the CRI logging format: `max_bytes` each, the newest `files` kept.

    Writing never raises and never blocks on anything but the disk: lines that find no room are
    dropped and counted, and a line says how many once there is room again.
    """

    def __init__(self, directory: str, max_bytes: int, files: int) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._files = files
        self._seq = 0
        self._fd = -1
        self._size = 0
        self._rest = b""
        self._dropped = 0

    def feed(self, data: bytes) -> None:
        """Take output as it comes, cut it into lines, write those that are complete."""
        stamp = self._stamp()
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            self._write_line(stamp, line)
        while len(self._rest) > LINE_MAX:
            cut = _cut(self._rest, LINE_MAX)
            self._write(stamp + b" stdout P " + self._rest[:cut] + b"\n")
            self._rest = self._rest[cut:]

    def finish(self) -> None:
        """Write the last line, if it came without an end."""
        if self._rest:
            self._write_line(self._stamp(), self._rest)
            self._rest = b""

    def say(self, words: str) -> None:
        """Write words of the supervisor's own, after what the instance left unfinished."""
        self.finish()
        for line in words.splitlines():
            self._write_line(self._stamp(), line.encode("utf-8", "replace"))

    def close(self) -> None:
        """Let go of the file; nothing is written any more."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    @staticmethod
    def _stamp() -> bytes:
        seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
        return b"%s.%09dZ" % (
            time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)).encode(),
            nanoseconds,
        )

    def _write_line(self, stamp: bytes, line: bytes) -> None:
        while len(line) > LINE_MAX:
            cut = _cut(line, LINE_MAX)
            self._write(stamp + b" stdout P " + line[:cut] + b"\n")
            line = line[cut:]
        self._write(stamp + b" stdout F " + line + b"\n")

    def _write(self, record: bytes) -> None:
        if self._dropped:
            words = b"%s stdout F [%d lines of output were dropped here: the disk was full]\n"
            if not self._append(words % (self._stamp(), self._dropped)):
                self._dropped += 1
                return
            self._dropped = 0
        if not self._append(record):
            self._dropped += 1

    def _append(self, record: bytes) -> bool:
        try:
            if self._fd < 0 or (self._size and self._size + len(record) > self._max_bytes):
                self._next_file()
            written = os.write(self._fd, record)
            if written < len(record):
                os.ftruncate(self._fd, self._size)
                return False
        except OSError:
            return False
        self._size += written
        return True

    def _next_file(self) -> None:
        path = os.path.join(self._directory, f"output.{self._seq + 1}.log")
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        fd = os.open(path, flags, 0o600)
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._size, self._seq = fd, 0, self._seq + 1
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self._directory, f"output.{self._seq - self._files}.log"))


def _cut(line: bytes, limit: int) -> int:
    """Where to cut a line, so that no UTF-8 character is cut in two."""
    cut = limit
    while cut > limit - 4 and (line[cut] & 0xC0) == 0x80:
        cut -= 1
    return cut


# What a forked child goes on as, in place of executing a program: it raises, up to whoever called `run`.
GoOn = Callable[[Launch], NoReturn]


def start_child(launch: Launch, output: int, pass_fd: int, umask: int, prctl: Any, go_on: GoOn | None) -> int:
    """Fork, execute the program with `output` as its stdout and stderr, and return the child's process id.

    With `go_on` the child calls that instead, with no descriptor but 0, 1, 2 and `pass_fd` open.

    Raises
    ------
    LaunchError
        If the program could not be executed; the child is reaped.
    """
    told, tell = os.pipe()
    parent = os.getpid()
    # Blocked until the child has default handlers: exec would forget a TERM that a handler noted before.
    signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
    pid = os.fork()
    if pid == 0:
        _become(launch, output, pass_fd, umask, prctl, parent, tell, go_on)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)
    os.close(tell)
    with os.fdopen(told, "rb") as file:
        words = file.read().decode("utf-8", "replace")
    if words:
        os.waitpid(pid, 0)
        raise LaunchError(words)
    return pid


def _become(
    launch: Launch,
    output: int,
    pass_fd: int,
    umask: int,
    prctl: Any,
    parent: int,
    tell: int,
    go_on: GoOn | None,
) -> NoReturn:
    """Turn the forked child into the instance's program, or tell why not; never returns."""
    what = "the process"
    ready = False
    try:
        os.setpgid(0, 0)
        if prctl is not None:
            prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
            if os.getppid() != parent:  # it died before the line above
                os._exit(1)
        null = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((null, 0), (output, 1), (output, 2)):
            os.dup2(source, target)
        what = f"descriptor {pass_fd}, which it should get"
        if pass_fd >= 0:
            os.set_inheritable(pass_fd, True)
        os.umask(umask)
        signal.set_wakeup_fd(-1)
        for number in _DEFAULT_IN_CHILD:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        what = f"working directory {launch.cwd} (name one that exists on this machine)"
        os.chdir(launch.cwd)
        if go_on is None:
            what = f"program {launch.argv[0]} (name one that exists and may be executed)"
            os.execvpe(launch.argv[0], launch.argv, launch.env)  # noqa: S606 - no shell is the point
        ready = True
    except (OSError, ValueError) as error:  # ValueError: text that is no path, or no environment variable
        os.write(tell, f"{what}: {getattr(error, 'strerror', error)}".encode("utf-8", "replace"))
    finally:
        # Whatever happened, two processes must not both go on as the supervisor.
        if not ready:
            os._exit(127)
    close_inherited(pass_fd)  # as executing a program does; the lock is among them
    assert go_on is not None
    go_on(launch)


class Asked:
    """SIGTERM's handler: remembers that it came, also before there is a child to hand it to."""

    received = False

    def __call__(self, _number: int, _frame: Any) -> None:
        self.received = True


class Supervision:
    """The loop: output into the log, signals to the child, the dead reaped.

    `output` and `wakeup` are the reading ends of the child's output and of the pipe that signals wake;
    neither blocks.
    """

    def __init__(self, grace: float, log: Log, asked: Asked, output: int, wakeup: int) -> None:
        self._grace = grace
        self._log = log
        self._asked = asked
        self._output = output
        self._wakeup = wakeup
        self._selector = selectors.DefaultSelector()
        self._selector.register(output, selectors.EVENT_READ)
        self._selector.register(wakeup, selectors.EVENT_READ)
        self.killed = False
        self.left_over: list[int] = []
        self._child = 0
        self._status: int | None = None
        self._kill_at = float("inf")

    def run(self, child: int) -> int:
        """Wait until the child and all that it left behind are gone; return the child's wait status."""
        self._child = child
        term_sent = False
        while not self._reap() and self._status is None:
            if self._asked.received and not term_sent:
                term_sent = True
                send_signal(child, signal.SIGTERM)
                self._kill_at = time.monotonic() + self._grace
            if time.monotonic() >= self._kill_at:
                self.killed = True
                for pid in descendants(os.getpid()):
                    send_signal(pid, signal.SIGKILL)
                self._kill_at = time.monotonic() + 1.0
            self._pump(self._kill_at - time.monotonic())
        self._end_descendants()
        self._drain()
        assert self._status is not None
        return self._status

    def _end_descendants(self) -> None:
        begun = time.monotonic()
        number = signal.SIGTERM
        signalled: set[int] = set()
        while not self._reap():
            waited = time.monotonic() - begun
            if waited > UNKILLABLE_AFTER:
                self.left_over = descendants(os.getpid())
                return
            if number == signal.SIGTERM and (waited > DESCENDANTS_GRACE or self.killed):
                number, signalled = signal.SIGKILL, set()
            # Those whose parents have died meanwhile turn up as new ones: looked for each time.
            for pid in descendants(os.getpid()):
                if pid not in signalled:
                    signalled.add(pid)
                    send_signal(pid, number)
            self._pump(0.1)

    def _reap(self) -> bool:
        """Reap the dead; True when nothing is left to wait for."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                return False
            if pid == self._child:
                self._status = status

    def _pump(self, timeout: float) -> None:
        for key, _ in self._selector.select(max(0.0, min(timeout, 3600.0))):
            if key.fd == self._wakeup:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wakeup, 4096)
            elif not self._read_output():
                self._selector.unregister(self._output)

    def _read_output(self) -> bool:
        data = os.read(self._output, READ_SIZE)
        self._log.feed(data)
        return bool(data)

    def _drain(self) -> None:
        # None of our processes is left, but a stranger may hold the pipe: never wait for its end.
        with contextlib.suppress(BlockingIOError):
            for _ in range(DRAIN_READS):
                self._read_output()
        self._log.finish()


def describe_end(status: int, ooms: int, killed: bool) -> dict[str, Any]:
    """How a child ended, as in `end.json`: by its wait status, OOM kills while it lived, and our own KILL."""
    if os.WIFEXITED(status):
        code = os.WEXITSTATUS(status)
        return {"cause": "exited", "code": code, "signal": None, "words": f"exited with code {code}"}
    number = os.WTERMSIG(status)
    if number == signal.SIGKILL and killed:
        words = "was killed (SIGKILL), since it did not end within its grace period"
    elif number == signal.SIGKILL and ooms > 0:
        words = "was killed by the kernel for want of memory; give it more, or have it hold less"
        return {"cause": "out_of_memory", "code": None, "signal": int(number), "words": words}
    else:
        try:
            name = signal.Signals(number).name
        except ValueError:  # a real-time signal
            name = f"signal {number}"
        words = f"was killed by {name}"
    return {"cause": "signal", "code": None, "signal": int(number), "words": words}


def write_end(directory: str, end: dict[str, Any]) -> None:
    """Write `end.json`, however long the disk is full within reason.

    Raises
    ------
    OSError
        If there is still no room after a minute.
    """
    for attempt in range(1, END_WRITE_ATTEMPTS + 1):
        try:
            write_atomically(directory, "end.json", end)
            return
        except OSError as error:
            if attempt == END_WRITE_ATTEMPTS or error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            time.sleep(1.0)


def take_lock(directory: str) -> bool:
    """Lock the instance for as long as this process lives; False if it was launched already."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
    fd = os.open(os.path.join(directory, "lock"), flags, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        # some file systems of clusters have no locks: there the records below must do
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
    # supervisor.json without a lock: another supervisor was killed. The instance ran once, and once is all.
    return not any(os.path.exists(os.path.join(directory, name)) for name in ("end.json", "supervisor.json"))


def supervise(directory: str, pass_fd: int, umask: int, asked: Asked, go_on: GoOn | None) -> None:
    """Start the instance of `directory`, stay until it has ended, and write how."""
    prctl = load_prctl()
    if prctl is not None:
        prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    end: dict[str, Any] = {"version": 1, "instance": os.path.basename(directory), "started": time.time()}
    log = Log(directory, 1 << 20, 1)
    try:
        launch = Launch(directory)
        end["instance"] = launch.instance
        log = Log(directory, launch.max_bytes, launch.files)
        end.update(_run_child(directory, launch, log, pass_fd, umask, prctl, asked, go_on))
    except LaunchError as error:
        words = f"could not be started: {error}"
        end.update(cause="failed_to_start", code=None, signal=None, words=words)
        log.say(words)
    end.update(asked=asked.received, ended=time.time())
    write_end(directory, end)


def _run_child(
    directory: str,
    launch: Launch,
    log: Log,
    pass_fd: int,
    umask: int,
    prctl: Any,
    asked: Asked,
    go_on: GoOn | None,
) -> dict[str, Any]:
    """Run the child to its end, and say how that was."""
    wakeup, wake = os.pipe()
    output, write_output = os.pipe()
    for fd in (wakeup, wake, output):
        os.set_blocking(fd, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    ooms = oom_kills()
    child = start_child(launch, write_output, pass_fd, umask, prctl, go_on)
    os.close(write_output)
    if pass_fd >= 0:
        os.close(pass_fd)  # a socket that the supervisor held would seem to listen after its server died
    who = {"version": 1, "instance": launch.instance, "pid": os.getpid(), "boot": boot_id()}
    who.update(start=start_ticks(os.getpid()), started=time.time())
    who["child"] = {"pid": child, "start": start_ticks(child)}
    with contextlib.suppress(OSError):  # a full disk must not cost the child its parent
        write_atomically(directory, "supervisor.json", who)
    supervision = Supervision(launch.grace, log, asked, output, wakeup)
    end = describe_end(supervision.run(child), oom_kills() - ooms, supervision.killed)
    if supervision.left_over:
        pids = ", ".join(str(pid) for pid in supervision.left_over)
        end["words"] += f"; the kernel would not end its processes {pids}"
    return end


def parse_arguments(arguments: list[str]) -> tuple[str, int] | None:
    """The instance's directory and the descriptor to pass on (-1: none); None if they are wrong."""
    if len(arguments) == 1:
        return os.path.abspath(arguments[0]), -1
    if len(arguments) == 3 and arguments[1] == "--pass-fd" and arguments[2].isdigit() and int(arguments[2]) > 2:
        return os.path.abspath(arguments[0]), int(arguments[2])
    return None


def close_inherited(*kept: int) -> None:
    """Close every descriptor but 0, 1, 2 and `kept`: what the launcher left open is not the instance's to hold."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in kept:
            with contextlib.suppress(OSError):
                os.close(int(name))


def run(directory: str, pass_fd: int, go_on: GoOn | None = None) -> int:
    """Be the supervisor of `directory` until its instance has ended; returns the exit code.

    Parameters
    ----------
    directory
        The instance's.
    pass_fd
        A descriptor that the instance gets under its number; -1: none. Every other but 0, 1, 2 is closed.
    go_on
        What the instance's process goes on as; None: it executes `argv` of ``launch.json``.
    """
    asked = Asked()
    signal.signal(signal.SIGTERM, asked)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    close_inherited(pass_fd)
    umask = os.umask(0o077)
    if not take_lock(directory):
        return EXIT_NOT_STARTED_TWICE
    supervise(directory, pass_fd, umask, asked, go_on)
    return 0


def main(arguments: list[str]) -> int:
    """Run the supervisor; returns its exit code."""
    parsed = parse_arguments(arguments)
    if parsed is None:
        sys.stderr.write("usage: supervisor.py INSTANCE_DIRECTORY [--pass-fd N]\n")
        return EXIT_USAGE
    return run(*parsed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
