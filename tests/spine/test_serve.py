"""`daskd serve`: what it refuses, in words that name the mend; how it stops; what it logs."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ..daemon_process import DaemonProcess, daemon_process, until


def serve(*argv: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run `daskd serve`, which is expected to refuse."""
    return subprocess.run(
        [sys.executable, "-m", "daskd", "serve", *argv],
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_second_daemon_on_the_same_state_is_refused(daemon: DaemonProcess, tmp_path: Path) -> None:
    """The second daemon says who holds the state, and ends with 1."""
    other = Path(daemon.folder, "other")
    other.mkdir(mode=0o700)
    done = serve("--config", str(daemon.config), "--state-dir", str(daemon.state_dir), "--listen", f"unix:{other}/s")
    assert done.returncode == 1
    assert daemon.process is not None
    assert str(daemon.process.pid) in done.stderr
    assert "state" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_socket_that_a_daemon_listens_on_is_refused(daemon: DaemonProcess) -> None:
    """Another state, the same socket: refused, and the first daemon still answers."""
    state = Path(daemon.folder, "other-state")
    done = serve("--config", str(daemon.config), "--state-dir", str(state))
    assert done.returncode == 1
    assert "another daemon listens" in done.stderr
    with socket.socket(socket.AF_UNIX) as probe:
        probe.connect(str(daemon.socket))


def test_a_stale_socket_file_is_replaced() -> None:
    """What a killed daemon left in the socket's place is no obstacle."""
    with daemon_process() as daemon:
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(daemon.socket))
        before = daemon.socket.stat().st_ino
        daemon.start(wait=False)
        until(lambda: daemon.socket.stat().st_ino != before, "the stale socket is replaced")
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(daemon.socket))


def test_sigterm_stops_cleanly_and_takes_the_sockets_away(daemon: DaemonProcess) -> None:
    """Exit code 0, no socket file left, the state unlocked."""
    assert daemon.stop() == 0
    assert not daemon.socket.exists()
    daemon.start()


def test_sigterm_leaves_clusters_running(daemon: DaemonProcess, daskctl: Callable[..., Any]) -> None:
    """A stopped daemon's cluster runs on, and is the next daemon's."""
    daskctl("create", "etl", "-n", "1")
    before = daemon.processes()
    assert daemon.stop() == 0
    assert daemon.processes() == before
    daemon.start()
    assert daskctl("get", "etl")["name"] == "etl"


@pytest.mark.parametrize(
    ("argument", "words"),
    [("127.0.0.1:port", "HOST:PORT"), ("unix:relative", "absolute path"), ("nonsense", "unix:")],
)
def test_addresses_that_cant_be_listened_on_are_a_usage_error(argument: str, words: str) -> None:
    """Exit code 2, and the form that an address has."""
    done = serve("--listen", argument)
    assert done.returncode == 2
    assert words in done.stderr


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("0.0.0.0:0", "tls.certificate"),
        ("127.0.0.1:0", "loopback_without_tls_though_others_could_pose_as_daskd"),
    ],
)
def test_tcp_without_tls_is_refused_at_start(address: str, words: str) -> None:
    """Where others could read or take tokens nothing is opened; the words name the mend."""
    with daemon_process() as daemon:
        done = serve("--config", str(daemon.config), "--state-dir", str(daemon.state_dir), "--listen", address)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_runtime_directory_that_is_a_link_is_refused(tmp_path: Path) -> None:
    """In /tmp anybody could have made it: a link is no folder of ours."""
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "run").symlink_to(tmp_path / "real")
    config = tmp_path / "daskd.toml"
    config.write_text(f'[daemon]\nruntime_dir = "{tmp_path / "run"}"\n')
    done = serve("--config", str(config), "--state-dir", str(tmp_path / "state"))
    assert done.returncode == 1
    assert "symbolic link" in done.stderr


def test_check_config_names_file_key_and_near_one(tmp_path: Path) -> None:
    """An unknown key is an error that names the one that was meant."""
    config = tmp_path / "daskd.toml"
    config.write_text("[clusters]\nstart_timeot = 5\n")
    argv = [sys.executable, "-m", "daskd", "check-config", "--config", str(config)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert str(config) in done.stderr
    assert "clusters.start_timeot" in done.stderr
    assert "start_timeout" in done.stderr


def test_crash_points_are_refused_outside_test_mode() -> None:
    """An environment that would kill the daemon is no environment to serve in."""
    done = serve(env={"DASKD_CRASH_POINT": "launch.intended"})
    assert done.returncode == 1
    assert "DASKD_TEST_MODE" in done.stderr


def test_every_log_line_is_json_and_names_request_or_pass(daemon: DaemonProcess, daskctl: Callable[..., Any]) -> None:
    """A pipe gets JSON; what a call did bears its request id, what a pass did its reconcile id."""
    daskctl("create", "etl", "-n", "1")
    lines = [json.loads(line) for line in daemon.log.read_text().splitlines()]
    created = next(line for line in lines if line["event"] == "cluster created")
    assert created["request_id"]
    changed = [line for line in lines if line.get("event_type") == "PHASE_CHANGED"]
    assert changed
    assert all(line["reconcile_id"] and "request_id" not in line for line in changed)


def test_state_and_sockets_are_the_owners_alone(daemon: DaemonProcess, daskctl: Callable[..., Any]) -> None:
    """Nothing that a daemon writes can be read by another user, its sockets aside, which ask who calls."""
    daskctl("create", "etl", "-n", "1")
    open_to_others = []
    for root, folders, files in os.walk(daemon.state_dir):
        for name in [*folders, *files]:
            path = Path(root, name)
            if not path.is_symlink() and stat.S_IMODE(path.lstat().st_mode) & 0o077:
                open_to_others.append(str(path))
    # a folder that others can't enter hides what is below it; the state directory itself is one
    assert stat.S_IMODE(daemon.state_dir.stat().st_mode) == 0o700
    keys = [path for path in daemon.state_dir.rglob("*") if path.suffix == ".key" or path.parent.name == "credentials"]
    assert keys
    assert not set(map(str, keys)) & set(open_to_others)


def test_no_secret_is_in_a_log_an_argv_or_an_event(daemon: DaemonProcess, daskctl: Callable[..., Any]) -> None:
    """Keys, tokens and the values of a request's environment are nowhere that others could read them."""
    daskctl("create", "etl", "-n", "1", "--env", "PASSWORD=open-sesame")
    credentials = json.loads(next((daemon.state_dir / "credentials").iterdir()).read_text())
    secrets = ["open-sesame", *(key.splitlines()[1] for key in credentials["keys"].values())]
    told = daemon.log.read_text() + json.dumps(daskctl("events", "etl")) + json.dumps(daskctl("logs", "etl"))
    for pid in daemon.processes():
        told += Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    assert not [secret for secret in secrets if secret in told]
