"""`daskd doctor`: what it finds, and that it says how to mend it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from daskd.admin import probes
from daskd.admin.doctor import Level, examine, room
from daskd.store import SqliteStore

from ..daemon_process import DaemonProcess

GIB = 1 << 30


class Place:
    """Folders of a daemon, as its configuration names them."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.runtime = folder / "run"
        self.config = folder / "daskd.toml"
        self.runtime.mkdir(mode=0o700)
        self.configure("")

    def configure(self, more: str) -> None:
        """Write the configuration."""
        self.config.write_text(f'[daemon]\nruntime_dir = "{self.runtime}"\nstate_dir = "{self.state}"\n{more}')

    def found(self, about: str) -> tuple[Level, str]:
        """What the doctor says of one thing: how bad, and all its words."""
        (finding,) = [each for each in examine(self.config, None) if each.about == about]
        return finding.level, finding.line()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A place where nothing is wrong."""
    return Place(tmp_path)


def test_a_healthy_place_has_no_failure(place: Place) -> None:
    """Nothing is made, and nothing is FAIL, before the first start."""
    assert not [finding for finding in examine(place.config, None) if finding.level is Level.FAIL]
    assert not place.state.exists()


def test_a_wrong_configuration_is_told_and_the_rest_is_looked_at(place: Place) -> None:
    """One mistake does not hide the others."""
    place.configure("[limits]\nmax_cluster = 1\n")
    level, words = place.found("configuration")
    assert level is Level.FAIL
    assert "limits.max_cluster" in words
    assert place.found("python")[0] is Level.OK


def test_a_state_that_others_can_write_is_a_failure(place: Place) -> None:
    """With the command that mends it."""
    place.state.mkdir()
    place.state.chmod(0o777)
    level, words = place.found("state")
    assert level is Level.FAIL
    assert "chmod 700" in words


def test_a_damaged_database_is_a_failure(place: Place) -> None:
    """It says to put a backup in its place."""
    place.state.mkdir(mode=0o700)
    (place.state / "daskd.db").write_bytes(b"nonsense" * 1000)
    level, words = place.found("state")
    assert level is Level.FAIL
    assert "backup" in words


async def test_another_machines_state_is_a_failure(place: Place) -> None:
    """As the daemon itself would refuse it."""
    store = await SqliteStore.open(place.state, machine_id="f" * 32, clock=lambda: 1.0)
    await store.close()
    level, words = place.found("state")
    assert level is Level.FAIL
    assert "another machine" in words


def test_a_runtime_directory_that_others_can_write_is_a_failure(place: Place) -> None:
    """Somebody else could put a socket into it."""
    place.runtime.chmod(0o777)
    level, words = place.found("runtime directory")
    assert level is Level.FAIL
    assert "chmod 0700" in words


@pytest.mark.parametrize(
    ("free", "share", "inodes", "level"),
    [
        (50 * GIB, 0.5, 0.5, Level.OK),
        (10 << 20, 0.001, 0.5, Level.FAIL),
        (50 * GIB, 0.5, 0.001, Level.FAIL),
        (500 << 20, 0.5, 0.5, Level.WARN),
        (50 * GIB, 0.02, 0.5, Level.WARN),
        (50 * GIB, 0.5, 0.02, Level.WARN),
    ],
)
def test_a_disk_that_fills_is_told_before_it_is_full(free: int, share: float, inodes: float, level: Level) -> None:
    """Bytes and inodes count, and each level but the best has a mend."""
    finding = room(Path("/state"), free, share, inodes)
    assert finding.level is level
    assert bool(finding.mend) is (level is not Level.OK)


def test_sockets_are_told_apart(tmp_path: Path) -> None:
    """A daemon's, one that a killed daemon left, none, and what is no socket."""
    path = tmp_path / "s"
    assert probes.socket_state(path) is probes.Socket.ABSENT
    path.write_text("")
    assert probes.socket_state(path) is probes.Socket.FOREIGN
    path.unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        assert probes.socket_state(path) is probes.Socket.LISTENING
    assert probes.socket_state(path) is probes.Socket.STALE


def test_a_stale_socket_is_no_failure(place: Place) -> None:
    """The next daemon takes its place: to know, not to mend."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place.runtime / "daskd.sock"))
    assert place.found("socket")[0] is Level.WARN


def test_a_profiles_python_without_distributed_is_told(place: Place, tmp_path: Path) -> None:
    """By profile and program, with the command that installs it; the daemon works without that profile."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho \"No module named 'distributed'\" >&2\nexit 1\n")
    python.chmod(0o755)
    place.configure(f'[profiles.lab.spec]\npython = "{python}"\n')
    level, words = place.found("python of profile lab")
    assert level is Level.WARN
    assert f"{python} -m pip install distributed" in words
    assert "No module named 'distributed'" in words


def test_an_old_distributed_is_told(place: Place, tmp_path: Path) -> None:
    """Older than what the runtime works with."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 2023.5.1\n")
    python.chmod(0o755)
    place.configure(f'[profiles.lab.spec]\npython = "{python}"\n')
    assert "older than 2024.11" in place.found("python of profile lab")[1]


def doctor(daemon: DaemonProcess) -> subprocess.CompletedProcess[str]:
    """Run `daskd doctor` on a daemon's place."""
    argv = [sys.executable, "-m", "daskd", "doctor", "--config", str(daemon.config)]
    argv += ["--state-dir", str(daemon.state_dir)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)


def test_beside_a_running_daemon_all_is_well(daemon: DaemonProcess) -> None:
    """The doctor tells who holds the state and that it listens, disturbs nobody, and ends with 0."""
    assert daemon.process is not None
    done = doctor(daemon)
    assert done.returncode == 0, done.stdout
    assert f"in use by process {daemon.process.pid}" in done.stdout
    assert f"{daemon.socket}: a daemon listens" in done.stdout


def test_a_failure_is_exit_code_1(daemon: DaemonProcess) -> None:
    """For scripts: something keeps daskd from working."""
    daemon.stop()
    os.chmod(daemon.state_dir, 0o777)
    done = doctor(daemon)
    assert done.returncode == 1
    assert "FAIL  state" in done.stdout
