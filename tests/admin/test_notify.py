"""What the daemon tells systemd, and how it takes up another configuration."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from daskd.config import Config, kept_until_restart
from daskd.notify import Notifier

from ..daemon_process import DaemonProcess, daemon_process, until

MESSAGE_BYTES = 4096


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """A socket that listens as systemd does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(60)
        yield listener


def environ_of(manager: socket.socket, **more: str) -> dict[str, str]:
    """What systemd sets for a service that it listens to."""
    return {"NOTIFY_SOCKET": manager.getsockname(), **more}


def heard(manager: socket.socket) -> dict[str, str]:
    """The next message."""
    return dict(line.split("=", 1) for line in manager.recv(MESSAGE_BYTES).decode().splitlines())


def hear_all(manager: socket.socket) -> None:
    """Messages as long as they come; TimeoutError when they no longer do."""
    for _ in range(100):
        manager.recv(MESSAGE_BYTES)


def test_ready_and_stopping_are_told_with_a_status(manager: socket.socket) -> None:
    """systemd hears of both, and `systemctl status` shows words."""
    notifier = Notifier.from_environ(environ_of(manager), 1)
    notifier.ready("serving")
    notifier.stopping()
    assert heard(manager) == {"READY": "1", "STATUS": "serving"}
    assert heard(manager)["STOPPING"] == "1"


def test_a_reload_bears_its_time(manager: socket.socket) -> None:
    """systemd needs CLOCK_MONOTONIC with RELOADING=1 to tell this reload from another."""
    Notifier.from_environ(environ_of(manager), 1).reloading()
    message = heard(manager)
    assert message["RELOADING"] == "1"
    assert int(message["MONOTONIC_USEC"]) > 0


def test_an_abstract_socket_is_reached() -> None:
    """`@name`, as older systemd in containers has it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("")  # the kernel chooses an abstract name
        listener.settimeout(60)
        name = listener.getsockname()
        Notifier("@" + name[1:].decode()).ready("serving")
        assert heard(listener)["READY"] == "1"


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "7"}, 3.0),
        ({"WATCHDOG_USEC": "3000000"}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "nonsense"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_fed_by_whom_it_watches(environ: dict[str, str], seconds: float | None) -> None:
    """Variables that were meant for another process, or are none, turn it off."""
    assert Notifier.from_environ({"NOTIFY_SOCKET": "/run/n", **environ}, 7).watchdog == seconds


async def test_a_living_loop_feeds_and_a_stuck_one_does_not(manager: socket.socket) -> None:
    """The feed is a task of the loop: no thread goes on feeding while the loop is stuck."""
    notifier = Notifier(manager.getsockname(), watchdog=0.03)
    feeding = asyncio.create_task(notifier.feed())
    for _ in range(3):
        assert (await asyncio.to_thread(heard, manager)) == {"WATCHDOG": "1"}
    # the loop is stuck in here for ten feeds' time: what was queued is read, and then no more comes
    manager.settimeout(0.1)
    with pytest.raises(TimeoutError):
        hear_all(manager)
    feeding.cancel()


async def test_without_systemd_nothing_is_told_and_nothing_fails(tmp_path: Path) -> None:
    """No manager, or one that is gone, is no reason to fail."""
    await Notifier("", watchdog=0.01).feed()
    Notifier(str(tmp_path / "gone")).ready("serving")


def test_what_takes_a_restart_is_named() -> None:
    """A reload can't move sockets or state, and says so by key; what it can is not named."""
    new = Config.model_validate(
        {"daemon": {"state_dir": "/elsewhere", "log_level": "debug"}, "limits": {"max_clusters": 1}}
    )
    assert kept_until_restart(Config(), new) == ("daemon.state_dir",)


def logged(daemon: DaemonProcess, event: str) -> list[dict[str, Any]]:
    """The lines of the daemon's log that say this."""
    lines = [json.loads(line) for line in daemon.log.read_text().splitlines()]
    return [line for line in lines if line["event"].startswith(event)]


@pytest.mark.real
def test_the_daemon_tells_ready_reload_and_stop(manager: socket.socket) -> None:
    """From the first message to the last, as `Type=notify` expects it."""
    with daemon_process() as daemon:
        daemon.start(env=environ_of(manager))
        assert daemon.process is not None
        assert heard(manager)["READY"] == "1"
        daemon.process.send_signal(1)
        assert heard(manager)["RELOADING"] == "1"
        assert heard(manager)["READY"] == "1"
        assert daemon.stop() == 0
        assert heard(manager)["STOPPING"] == "1"


def test_sighup_takes_up_limits_and_profiles(daemon: DaemonProcess, daskctl: Callable[..., Any]) -> None:
    """The next call goes by the new configuration; no restart, no cluster touched."""
    assert daskctl("profiles")["profiles"] == []
    with daemon.config.open("a") as file:
        file.write('\n[profiles.small]\ndescription = "few"\n')
    assert daemon.process is not None
    daemon.process.send_signal(1)
    until(lambda: logged(daemon, "the configuration was read again"), "it is read")
    assert [profile["name"] for profile in daskctl("profiles")["profiles"]] == ["small"]


def test_a_wrong_configuration_leaves_the_old_one(daemon: DaemonProcess, daskctl: Callable[..., Any]) -> None:
    """The daemon says what is wrong, and goes on as before."""
    daemon.config.write_text(daemon.config.read_text() + "\n[limits]\nmax_cluster = 3\n")
    assert daemon.process is not None
    daemon.process.send_signal(1)
    (line,) = until(lambda: logged(daemon, "the configuration is wrong"), "it is refused")
    assert "limits.max_cluster" in line["error"]
    assert daskctl("list")["clusters"] == []
