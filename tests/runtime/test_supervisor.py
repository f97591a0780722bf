"""The supervisor's promises, kept by real processes."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

SUPERVISOR = Path(__file__).parents[2] / "daskd" / "runtime" / "supervisor.py"
RECORD = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z) stdout ([FP]) (.*)", re.DOTALL)


def wait_for(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    """What `condition` gives once it is true; fails the test when it never is."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError(f"never came true: {condition}")


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    return stat.rpartition(b")")[2].split()[0] not in (b"Z", b"X")


def marked(mark: str) -> list[int]:
    """Ids of living processes with `mark` in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and mark.encode() in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return [pid for pid in found if alive(pid)]


class Instance:
    """An instance's directory, and what can be done with it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.mark = f"DASKD_INSTANCE={directory}"
        self.process: subprocess.Popen[bytes] | None = None

    def write(self, argv: list[str], **changes: Any) -> None:
        launch = {
            "version": 1,
            "instance": "i-1",
            "argv": argv,
            "cwd": str(self.directory),
            "env": {"DASKD_INSTANCE": str(self.directory), "PATH": "/usr/bin:/bin"},
            "log": {"max_bytes": 1 << 20, "files": 4},
            "grace": 20.0,
        }
        (self.directory / "launch.json").write_text(json.dumps({**launch, **changes}))

    def popen(self, *more: str, **kwargs: Any) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-I", "-S", str(SUPERVISOR), str(self.directory), *more]
        null = subprocess.DEVNULL
        return subprocess.Popen(argv, stdin=null, stdout=null, stderr=null, start_new_session=True, **kwargs)

    def start(self, argv: list[str], **changes: Any) -> dict[str, Any]:
        """Launch, and wait until the child runs."""
        self.write(argv, **changes)
        self.process = self.popen()
        return wait_for(lambda: self.read("supervisor.json"))

    def run(self, argv: list[str], **changes: Any) -> dict[str, Any]:
        """Launch, and wait for the end."""
        self.write(argv, **changes)
        self.process = self.popen()
        return self.end()

    def end(self) -> dict[str, Any]:
        assert self.process is not None
        assert self.process.wait(60) == 0
        end = self.read("end.json")
        assert end is not None
        return end

    def read(self, name: str) -> dict[str, Any] | None:
        try:
            return json.loads((self.directory / name).read_text())
        except FileNotFoundError:
            return None

    def logs(self) -> list[Path]:
        return sorted(self.directory.glob("output.*.log"), key=lambda path: int(path.name.split(".")[1]))

    def records(self) -> list[tuple[bytes, bytes]]:
        """(F or P, text) of every log record; each must have the CRI format."""
        records = []
        for path in self.logs():
            whole = path.read_bytes().rpartition(b"\n")[0]  # a line is there once its end is
            for line in whole.split(b"\n") if whole else []:
                match = RECORD.fullmatch(line)
                assert match, line
                records.append((match[2], match[3]))
        return records

    def lines(self) -> list[str]:
        whole = b"".join(text + (b"\n" if kind == b"F" else b"") for kind, text in self.records())
        return whole.decode().splitlines()

    def clean(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
        for pid in marked(self.mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    made = Instance(tmp_path)
    yield made
    made.clean()


def sh(script: str) -> list[str]:
    return ["/bin/sh", "-c", script]


def python(script: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", script]


def test_exit_code_is_told(instance: Instance) -> None:
    """A child's exit code, words, times and instance stand in end.json, and its output in the log."""
    before = time.time()
    end = instance.run(sh("echo hello; echo world >&2; exit 7"))
    assert (end["cause"], end["code"], end["signal"], end["asked"]) == ("exited", 7, None, False)
    assert (end["version"], end["instance"]) == (1, "i-1")
    assert "7" in end["words"]
    assert before - 1 <= end["started"] <= end["ended"] <= time.time() + 1
    assert instance.lines() == ["hello", "world"]


def test_signal_is_told(instance: Instance) -> None:
    """A child that a signal ended is told with the signal's number and name."""
    end = instance.run(sh("kill -SEGV $$"))
    assert (end["cause"], end["code"], end["signal"]) == ("signal", None, signal.SIGSEGV)
    assert "SIGSEGV" in end["words"]


def test_kill_from_elsewhere_is_not_called_out_of_memory(instance: Instance) -> None:
    """A KILL without the kernel's evidence of an OOM kill is a signal like any other."""
    who = instance.start(sh("exec sleep 1000"))
    os.kill(who["child"]["pid"], signal.SIGKILL)
    end = instance.end()
    assert (end["cause"], end["signal"], end["asked"]) == ("signal", signal.SIGKILL, False)


@pytest.fixture
def small_cgroup(tmp_path: Path) -> Iterator[Path]:
    """A memory cgroup of 64 MiB."""
    cgroup = Path("/sys/fs/cgroup/memory") / f"daskd-test-{os.getpid()}-{tmp_path.name}"
    try:
        cgroup.mkdir()
        (cgroup / "memory.limit_in_bytes").write_text(str(64 << 20))
    except OSError:
        pytest.skip("needs the right to make a memory cgroup (version 1)")
    yield cgroup
    wait_for(lambda: not (cgroup / "cgroup.procs").read_text())
    cgroup.rmdir()


def test_out_of_memory_is_told_with_the_kernels_evidence(instance: Instance, small_cgroup: Path) -> None:
    """A child that the kernel killed for want of memory ends as out_of_memory."""
    instance.write(python("x = [bytearray(b'x' * (1 << 20)) for _ in range(500)]"))
    join = f'echo $$ > {small_cgroup}/cgroup.procs && exec "$@"'
    argv = ["/bin/sh", "-c", join, "sh", sys.executable, "-I", "-S", str(SUPERVISOR), str(instance.directory)]
    instance.process = subprocess.Popen(argv, start_new_session=True)
    end = instance.end()
    assert (end["cause"], end["signal"], end["asked"]) == ("out_of_memory", signal.SIGKILL, False)


@pytest.mark.parametrize(
    ("argv", "changes", "words"),
    [
        (["/no/such/program"], {}, "program /no/such/program"),
        (["/etc/hostname"], {}, "program /etc/hostname"),
        (["/bin/true"], {"cwd": "/no/such/place"}, "working directory /no/such/place"),
        (["/bin/true"], {"cwd": "/no/100%s"}, "working directory /no/100%s"),
        (["/bin/true"], {"env": {"A=B": "c"}}, "environment"),
        ([], {}, "argv is empty"),
        (["/bin/true"], {"version": 2}, "version 2"),
        (["/bin/true"], {"log": {}}, "max_bytes"),
    ],
)
def test_what_cannot_start_is_an_end_with_words(
    instance: Instance, argv: list[str], changes: dict[str, Any], words: str
) -> None:
    """What can't be used or read ends as failed_to_start, told in end.json and log."""
    end = instance.run(argv, **changes)
    assert (end["cause"], end["code"], end["signal"]) == ("failed_to_start", None, None)
    assert words in end["words"]
    assert instance.lines() == [end["words"]]


def test_second_launch_exits_17_while_the_first_lives_and_after(instance: Instance) -> None:
    """An instance is launched at most once: beside a living supervisor and after its end."""
    who = instance.start(sh("echo started; exec sleep 1000"))
    assert instance.popen().wait(20) == 17
    assert alive(who["child"]["pid"])
    os.kill(who["child"]["pid"], signal.SIGTERM)
    instance.end()
    assert instance.popen().wait(20) == 17
    assert instance.lines() == ["started"]


def test_launch_after_a_killed_supervisor_exits_17(instance: Instance) -> None:
    """What a killed supervisor started is not started a second time."""
    instance.start(sh("echo started; exec sleep 1000"))
    assert instance.process is not None
    instance.process.kill()
    instance.process.wait(10)
    assert instance.popen().wait(20) == 17
    assert not (instance.directory / "end.json").exists()


def test_two_launches_at_once_start_one(instance: Instance) -> None:
    """Of supervisors started together one runs the instance and the others exit 17."""
    instance.write(sh("echo once"))
    codes = sorted(process.wait(30) for process in [instance.popen() for _ in range(5)])
    assert codes == [0, 17, 17, 17, 17]
    assert instance.lines() == ["once"]


def test_supervisor_json_names_the_processes(instance: Instance) -> None:
    """supervisor.json holds pid and start of supervisor and child, and the boot, while the lock is held."""
    who = instance.start(sh("exec sleep 1000"))
    assert instance.process is not None
    assert who["pid"] == instance.process.pid
    assert (who["version"], who["instance"]) == (1, "i-1")
    assert who["boot"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    for told in (who, who["child"]):
        stat = Path(f"/proc/{told['pid']}/stat").read_text().rpartition(")")[2].split()
        assert told["start"] == int(stat[19])
    assert Path(f"/proc/{who['child']['pid']}/stat").read_text().rpartition(")")[2].split()[1] == str(who["pid"])
    with (instance.directory / "lock").open() as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_term_ends_the_child_within_its_grace(instance: Instance) -> None:
    """SIGTERM reaches the child, which may end in its own way, and the end says that it was asked."""
    instance.start(sh('trap "echo bye; exit 3" TERM; echo ready; while :; do sleep 0.05; done'))
    wait_for(lambda: instance.lines() == ["ready"])
    assert instance.process is not None
    instance.process.terminate()
    end = instance.end()
    assert (end["cause"], end["code"], end["asked"]) == ("exited", 3, True)
    assert instance.lines() == ["ready", "bye"]


def test_kill_after_grace_reaches_descendants(instance: Instance) -> None:
    """A child and a daemonised grandchild that ignore TERM are killed after the grace period."""
    ignoring = "import signal,time,os;signal.signal(15, signal.SIG_IGN);{}print('up', flush=True);time.sleep(1000)"
    forked = ignoring.format("os.fork() or (os.setsid(), os.fork() and os._exit(0));")
    instance.start(python(forked), grace=0.3)
    wait_for(lambda: instance.lines() == ["up", "up"])
    assert instance.process is not None
    instance.process.terminate()
    end = instance.end()
    assert (end["cause"], end["signal"], end["asked"]) == ("signal", signal.SIGKILL, True)
    assert "grace" in end["words"]
    assert marked(instance.mark) == []


def test_term_before_the_child_started_is_not_lost(instance: Instance) -> None:
    """A TERM at any moment of the start ends the instance or prevents it, and never leaves it running."""
    instance.write(sh("exec sleep 1000"))
    for delay in range(12):
        for name in ("end.json", "supervisor.json", "lock"):
            (instance.directory / name).unlink(missing_ok=True)
        process = instance.process = instance.popen()
        wait_for(lambda: (instance.directory / "lock").exists())
        deadline = time.perf_counter() + delay * 0.0005
        while time.perf_counter() < deadline:
            pass
        process.terminate()
        end = instance.end()
        assert (end["cause"], end["signal"], end["asked"]) == ("signal", signal.SIGTERM, True)
    assert marked(instance.mark) == []


def test_interrupt_and_hangup_are_ignored_by_the_supervisor_alone(instance: Instance) -> None:
    """INT and HUP do nothing to the supervisor, and the child has their default actions."""
    who = instance.start(sh("exec sleep 1000"))
    assert instance.process is not None
    instance.process.send_signal(signal.SIGINT)
    instance.process.send_signal(signal.SIGHUP)
    status = Path(f"/proc/{who['child']['pid']}/status").read_text()
    masks = {key: int(value, 16) for key, value in re.findall(r"(SigIgn|SigBlk):\s*(\w+)", status)}
    # libc's own real-time signals aside, which a parent such as make leaves ignored
    ours = 1 << (signal.SIGINT - 1) | 1 << (signal.SIGHUP - 1)
    assert {key: mask & ours for key, mask in masks.items()} == {"SigIgn": 0, "SigBlk": 0}
    assert alive(who["child"]["pid"])
    os.kill(who["child"]["pid"], signal.SIGHUP)
    assert instance.end()["signal"] == signal.SIGHUP


LEAVES_TWO_BEHIND = """
import os, signal, sys, time
ready, tell = os.pipe()
for obedient in (True, False):
    if os.fork() == 0:
        os.setsid()
        told = lambda *_: (print('told', flush=True), os._exit(0))
        signal.signal(signal.SIGTERM, told if obedient else signal.SIG_IGN)
        os.write(tell, b'.')
        time.sleep(1000)
count = 0
while count < 2:
    count += len(os.read(ready, 2))
os._exit(4)
"""


def test_descendants_left_behind_are_ended_and_reaped(instance: Instance) -> None:
    """What the child leaves behind is told to end, else killed, reaped, and its last words are kept."""
    end = instance.run(python(LEAVES_TWO_BEHIND))
    assert (end["cause"], end["code"]) == ("exited", 4)
    assert instance.lines() == ["told"]
    assert marked(instance.mark) == []


def test_orphans_of_a_living_child_become_no_zombies(instance: Instance) -> None:
    """A grandchild whose parent died is reaped by the supervisor while the child lives on."""
    who = instance.start(sh("(sh -c 'echo $$' &) ; exec sleep 1000"))
    orphan = int(wait_for(instance.lines)[0])
    wait_for(lambda: not Path(f"/proc/{orphan}").exists())
    assert alive(who["child"]["pid"])


def test_killed_supervisor_takes_its_child_along(instance: Instance) -> None:
    """kill -9 of the supervisor ends the child."""
    who = instance.start(sh('trap "" TERM HUP; while :; do sleep 0.05; done'))
    assert instance.process is not None
    instance.process.kill()
    instance.process.wait(10)
    wait_for(lambda: not alive(who["child"]["pid"]))


def test_environment_is_exact(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """The child has the environment of launch.json, and nothing of the launcher's."""
    monkeypatch.setenv("LEAKED", "secret")
    env = {"ONLY": "this", "UNICODE": "ä€"}
    end = instance.run(["/usr/bin/env"], env=env)
    assert end["code"] == 0
    assert sorted(instance.lines()) == ["ONLY=this", "UNICODE=ä€"]


def test_nothing_else_is_inherited(instance: Instance) -> None:
    """The child gets /dev/null, a process group of its own, the launcher's file mask, no descriptor more."""
    read, write = os.pipe()
    try:
        instance.write(sh("umask; ls -l /proc/$$/fd | grep -c -- '->'; readlink /proc/$$/fd/0; pwd; exec sleep 1000"))
        instance.process = instance.popen(pass_fds=(read, write), umask=0o027)
        who = wait_for(lambda: instance.read("supervisor.json"))
        lines = wait_for(lambda: len(instance.lines()) == 4 and instance.lines())
    finally:
        os.close(read)
        os.close(write)
    assert lines == ["0027", "3", "/dev/null", str(instance.directory)]
    assert os.getpgid(who["child"]["pid"]) == who["child"]["pid"]
    assert {path.stat().st_mode & 0o777 for path in instance.logs()} == {0o600}


def test_passed_descriptor_reaches_the_child_alone(instance: Instance) -> None:
    """The descriptor of --pass-fd is the child's under its number, and the supervisor keeps no copy."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        number = theirs.fileno()
        script = f"import socket,time; socket.socket(fileno={number}).sendall(b'hi'); time.sleep(1000)"
        instance.write(python(script))
        instance.process = instance.popen("--pass-fd", str(number), pass_fds=(number,))
        ours.settimeout(20)
        assert ours.recv(2) == b"hi"
        theirs.close()
        who = wait_for(lambda: instance.read("supervisor.json"))
        held = [os.readlink(path) for path in Path(f"/proc/{who['pid']}/fd").iterdir()]
        assert not [target for target in held if target.startswith("socket:")]
        os.kill(who["child"]["pid"], signal.SIGKILL)
        assert ours.recv(1) == b""
    instance.end()


def test_log_is_bounded_and_keeps_the_newest(instance: Instance) -> None:
    """Of much output the newest files alone are kept, none over its bound, their lines without a gap."""
    count = 40_000
    log = {"max_bytes": 64 * 1024, "files": 3}
    end = instance.run(python(f"for n in range({count}): print('line', n)"), log=log)
    assert end["code"] == 0
    logs = instance.logs()
    assert len(logs) == 3
    assert all(path.stat().st_size <= 64 * 1024 for path in logs)
    numbers = [int(line.split()[1]) for line in instance.lines()]
    assert numbers == list(range(count - len(numbers), count))
    assert len(numbers) > 1000


def test_long_lines_are_cut_and_can_be_put_together(instance: Instance) -> None:
    """A line over 16 KiB comes as parts, none over 16 KiB, none splitting a character, whole when joined."""
    text = "aä€😀" * 20_000
    script = r"import sys; sys.stdout.buffer.write(('aä€😀' * 20000 + '\nshort\nno end').encode())"
    instance.run(python(script))
    records = instance.records()
    assert all(len(part) <= 16 * 1024 for _, part in records)
    assert all(part.decode() for _, part in records)
    assert instance.lines() == [text, "short", "no end"]
    assert [kind for kind, _ in records][-3:] == [b"F", b"F", b"F"]


def test_output_that_is_not_text_is_kept(instance: Instance) -> None:
    """Bytes that are no UTF-8 reach the log unchanged."""
    instance.run(python("import sys; sys.stdout.buffer.write(bytes(b for b in range(256) if b != 10))"))
    assert instance.records() == [(b"F", bytes(b for b in range(256) if b != 10))]


def test_full_disk_drops_lines_counts_them_and_hurts_nobody(instance: Instance) -> None:
    """On a full disk lines are dropped, the child goes on, and a line tells how many once there is room."""
    mount = instance.directory / "small"
    mount.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(mount)]
    if subprocess.run(options, capture_output=True).returncode != 0:
        pytest.skip("needs the right to mount a small file system")
    small = Instance(mount)
    go = instance.directory / "go"
    script = (
        "import array,fcntl,os,termios,time\n"
        "def unread():\n"
        "    size = array.array('i', [0]); fcntl.ioctl(1, termios.FIONREAD, size); return size[0]\n"
        "for n in range(4000):\n"
        "    print('line', n, flush=True)\n"
        # The last line is read only when all before it has been dealt with.
        "    while n >= 3998 and unread(): time.sleep(0.01)\n"
        f"open({str(instance.directory / 'done')!r}, 'w').close()\n"
        f"while not os.path.exists({str(go)!r}): time.sleep(0.02)\n"
        "print('after', flush=True); time.sleep(1000)\n"
    )
    try:
        ballast = mount / "ballast"
        ballast.write_bytes(b"x" * 16 * 1024)
        who = small.start(python(script))
        wait_for((instance.directory / "done").exists)
        wait_for(lambda: len(small.lines()) > 100)
        ballast.unlink()
        go.touch()
        lines = wait_for(lambda: (kept := small.lines()) and kept[-1] == "after" and kept)
        dropped = [int(line[1:].split()[0]) for line in lines if "dropped" in line]
        assert len([line for line in lines if line.startswith("line")]) + sum(dropped) == 4000
        assert sum(dropped) > 0
        os.kill(who["child"]["pid"], signal.SIGKILL)
        assert small.end()["signal"] == signal.SIGKILL
    finally:
        small.clean()
        subprocess.run(["umount", "-l", str(mount)], check=True)


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    """A call that is no call of the contract exits 2 and starts nothing."""
    argv = [sys.executable, "-I", "-S", str(SUPERVISOR), str(tmp_path), "--pass-fd", "x"]
    assert subprocess.run(argv, capture_output=True).returncode == 2
    assert list(tmp_path.iterdir()) == []
