"""The system's daemon under a real systemd, and its users: each cluster is in units of its own, its owner's in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ..daemon_process import until
from .conftest import daskctl
from .machine import Machine
from .test_service import is_ready, main_pid

pytestmark = [pytest.mark.systemd, pytest.mark.timeout(600)]

GIB = 1 << 30
NAMES = ("cathy", "dan")


class User:
    """A user of the container."""

    def __init__(self, box: Machine, name: str) -> None:
        self.name = name
        self.uid = box.run("id", "-u", name).stdout.strip()
        self.prefix = ("runuser", "-u", name, "--", "env", f"HOME=/home/{name}")
        self.daskctl: Callable[..., Any] = daskctl(box, *self.prefix)


@pytest.fixture(scope="module")
def users(box: Machine) -> list[User]:
    """Two users of the container."""
    for name in NAMES:
        box.run("useradd", "--create-home", name)
    return [User(box, name) for name in NAMES]


@pytest.fixture
def served(daskd: Machine, users: list[User]) -> Iterator[Machine]:
    """The system's daemon, which has no cluster of theirs after the test."""
    yield daskd
    daskd.run("systemctl", "start", "daskd")
    for user in users:
        for cluster in user.daskctl("list")["clusters"]:
            user.daskctl("delete", cluster["name"])


def slice_of(uid: str) -> str:
    """The unit of a cluster."""
    return f"daskd-{uid}.slice"


def processes_in(box: Machine, group: str) -> dict[str, str]:
    """The processes of a control group and of those below it, and whose they are."""
    script = 'for pid in $(cat $(find "$1" -name cgroup.procs)); do stat -c "$pid %u" /proc/$pid; done'
    said = box.run("sh", "-c", script, "sh", f"/sys/fs/cgroup/{group}", check=False).stdout
    return dict(line.removeprefix("/proc/").split() for line in said.splitlines())


def of_cluster(box: Machine, uid: str) -> dict[str, str]:
    """The processes in the slice of a cluster."""
    return processes_in(box, f"daskd.slice/{slice_of(uid)}")


def runtimes_outside(box: Machine) -> str:
    """Schedulers, nodes and their supervisors in the daemon's own unit."""
    pids = processes_in(box, "system.slice/daskd.service")
    script = 'for pid; do tr "\\0" " " < /proc/$pid/cmdline; echo; done'
    commands = box.run("sh", "-c", script, "sh", *pids, check=False).stdout
    return "\n".join(line for line in commands.splitlines() if "/clusters/" in line)


def test_each_users_cluster_is_in_units_of_its_own_with_limits(served: Machine, users: list[User]) -> None:
    """All that is a cluster's is in its slice, as its owner, bounded by its spec, and the slice goes with it."""
    made = {user.name: user.daskctl("create", "etl", "-n", "1", "--memory", "1GiB")["uid"] for user in users}
    for user in users:
        unit = slice_of(made[user.name])
        inside = of_cluster(served, made[user.name])
        assert len(inside) >= 3
        assert set(inside.values()) == {user.uid}
        assert int(served.show(unit, "MemoryMax")) == GIB * 5 // 4 + 8 * GIB
        assert int(served.show(unit, "TasksMax")) == 3 * 4096
    assert runtimes_outside(served) == ""
    users[0].daskctl("scale", "etl", "2")
    assert int(served.show(slice_of(made["cathy"]), "MemoryMax")) == 2 * GIB * 5 // 4 + 8 * GIB
    assert int(served.show(slice_of(made["dan"]), "MemoryMax")) == GIB * 5 // 4 + 8 * GIB
    for user in users:
        user.daskctl("delete", "etl")
        until(lambda: is_gone(served, made[user.name]), "its slice is gone")  # noqa: B023 - asked at once


def is_gone(box: Machine, uid: str) -> bool:
    """Whether a cluster has neither processes nor a slice."""
    return not of_cluster(box, uid) and box.show(slice_of(uid), "ActiveState") == "inactive"


def is_launcher(box: Machine, pid: str) -> bool:
    """Whether a process is one that launches for the daemon, and ends with it."""
    return "drivers.local.helper" in box.run("cat", f"/proc/{pid}/cmdline", check=False).stdout


def cluster_itself(box: Machine, uid: str) -> set[str]:
    """The processes of a cluster's slice but for those that launch."""
    return {pid for pid in of_cluster(box, uid) if not is_launcher(box, pid)}


@pytest.mark.parametrize("kill_mode", ["process", "control-group"])
def test_no_stop_restart_or_kill_touches_any_users_cluster(served: Machine, users: list[User], kill_mode: str) -> None:
    """They live on in their units, whatever KillMode says of the daemon's; the next one ends slices with them."""
    served.write("/etc/systemd/system/daskd.service.d/kill.conf", f"[Service]\nKillMode={kill_mode}\n")
    served.run("systemctl", "daemon-reload")
    made = [user.daskctl("create", "etl", "-n", "1")["uid"] for user in users]
    before = [cluster_itself(served, uid) for uid in made]
    assert all(len(each) >= 3 for each in before)
    served.run("systemctl", "restart", "daskd")
    killed = main_pid(served)
    served.run("kill", "-9", str(killed))
    until(lambda: is_ready(served, killed), "the killed daemon is started again")
    served.run("systemctl", "stop", "daskd")
    assert [cluster_itself(served, uid) for uid in made] == before
    served.run("systemctl", "start", "daskd")
    for user, uid, processes in zip(users, made, before, strict=True):
        assert user.daskctl("get", "etl")["phase"] == "PHASE_RUNNING"
        user.daskctl("scale", "etl", "2")
        assert processes < cluster_itself(served, uid)
        user.daskctl("delete", "etl")
        until(lambda: is_gone(served, uid), "its slice is gone")  # noqa: B023 - asked at once


def test_a_slice_of_what_ended_while_no_daemon_ran_goes_too(served: Machine, users: list[User]) -> None:
    """A cluster that was told to end, and whose daemon was killed then, leaves no slice to the next one."""
    cathy = users[0]
    uid = cathy.daskctl("create", "etl", "-n", "1")["uid"]
    cathy.daskctl("delete", "etl", "--no-wait")
    killed = main_pid(served)
    served.run("kill", "-9", str(killed))
    until(lambda: is_ready(served, killed), "the killed daemon is started again")
    until(lambda: is_gone(served, uid), "its slice is gone")


def test_whose_account_has_expired_is_told_so(served: Machine, users: list[User]) -> None:
    """PAM's rules for accounts hold: an expired user starts nothing, and still ends what runs."""
    dan = users[1]
    uid = dan.daskctl("create", "etl", "-n", "1")["uid"]
    served.run("usermod", "--expiredate", "2020-01-01", dan.name)
    try:
        told = served.run(*dan.prefix, "daskctl", "create", "more", check=False)
        assert told.returncode == 1
        assert "User account has expired" in told.stderr
        dan.daskctl("delete", "etl")
        until(lambda: is_gone(served, uid), "its slice is gone")
    finally:
        served.run("usermod", "--expiredate", "", dan.name)


def test_a_users_limits_hold_in_the_systems_service(served: Machine, users: list[User]) -> None:
    """What limits.d says of a user holds in that user's cluster, and not the service's own limits."""
    cathy = users[0]
    served.write("/etc/security/limits.d/cathy.conf", "cathy - nofile 5432\ncathy - nproc 3333\n")
    uid = cathy.daskctl("create", "etl", "-n", "1")["uid"]
    lives = 0
    for pid in cluster_itself(served, uid):
        # one that ended meanwhile has none
        shown = served.run("cat", f"/proc/{pid}/limits", check=False).stdout.splitlines()
        found = {line[:26].strip(): line[26:].split()[:2] for line in shown}
        if found:
            lives += 1
            assert found["Max processes"] == ["3333", "3333"]
            assert found["Max open files"] == ["5432", "5432"]
    assert lives >= 3
