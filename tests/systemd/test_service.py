"""The system's daemon under a real systemd: it comes, goes, hangs and dies, and clusters run on."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ..daemon_process import until
from .conftest import IMPORTS, daskctl
from .load import TASKS
from .machine import Machine

pytestmark = [pytest.mark.systemd, pytest.mark.timeout(600)]

LOAD = Path(__file__).with_name("load.py")


def main_pid(box: Machine) -> int:
    """The daemon's process, 0 while there is none."""
    return int(box.show("daskd", "MainPID"))


def processes(box: Machine) -> set[str]:
    """The processes below daskd.slice: those of clusters."""
    folder = box.run("sh", "-c", "cat $(find /sys/fs/cgroup/daskd.slice -name cgroup.procs)", check=False)
    return set(folder.stdout.split())


def is_ready(box: Machine, before: int) -> bool:
    """Whether another daemon than that process serves."""
    return main_pid(box) not in (0, before) and box.show("daskd", "ActiveState") == "active"


def test_a_started_daemon_is_ready_when_systemctl_returns(daskd: Machine) -> None:
    """`systemctl start` waits for READY=1: a call right after it is answered, and the status says where."""
    assert daskctl(daskd)("list")["clusters"] == []
    assert "serving on unix:/run/daskd/daskd.sock" in daskd.show("daskd", "StatusText")
    assert daskd.show("daskd", "SubState") == "running"


def test_the_journal_has_the_daemons_log(daskd: Machine) -> None:
    """`journalctl -u daskd` shows what the daemon says."""
    invocation = daskd.show("daskd", "InvocationID")
    journal = daskd.run("journalctl", "--output=cat", f"_SYSTEMD_INVOCATION_ID={invocation}").stdout
    assert '"event": "ready"' in journal


def test_a_cluster_is_in_units_of_its_own_with_limits(daskd: Machine) -> None:
    """Its processes are below a slice of daskd.slice, bounded by the spec, and gone with the cluster."""
    uid = daskctl(daskd)("create", "etl", "-n", "1", "--memory", "1GiB")["uid"]
    unit = f"daskd-{uid}.slice"
    assert processes(daskd)
    assert int(daskd.show(unit, "MemoryMax")) == (1 << 30) * 5 // 4 + (8 << 30)
    assert int(daskd.show(unit, "TasksMax")) == 3 * 4096
    daskctl(daskd)("scale", "etl", "2")
    assert int(daskd.show(unit, "MemoryMax")) == 2 * (1 << 30) * 5 // 4 + (8 << 30)
    daskctl(daskd)("delete", "etl")
    until(lambda: not processes(daskd), "nothing is left in its units")


@pytest.mark.parametrize("kill_mode", ["process", "control-group"])
def test_no_stop_restart_or_kill_touches_a_busy_cluster(daskd: Machine, kill_mode: str) -> None:
    """Work goes on through restart, kill -9 and stop; by units of its own, not by the net of KillMode=process."""
    daskd.write("/etc/systemd/system/daskd.service.d/kill.conf", f"[Service]\nKillMode={kill_mode}\n")
    daskd.run("systemctl", "daemon-reload")
    assert daskd.show("daskd", "KillMode") == kill_mode
    daskctl(daskd)("create", "etl", "-n", "2")
    before = processes(daskd)
    load = daskd.popen("env", f"PYTHONPATH={IMPORTS}", sys.executable, str(LOAD), "etl")
    try:
        assert load.stdout is not None
        assert load.stdout.readline() == "busy\n"
        daskd.run("systemctl", "restart", "daskd")
        killed = main_pid(daskd)
        daskd.run("kill", "-9", str(killed))
        until(lambda: is_ready(daskd, killed), "the killed daemon is started again")
        daskd.run("systemctl", "stop", "daskd")
        assert processes(daskd) == before
        assert load.communicate("go\n", timeout=120)[0] == f"{sum(range(TASKS))}\n"
    finally:
        load.kill()
        load.wait(60)
    daskd.run("systemctl", "start", "daskd")
    assert daskctl(daskd)("get", "etl")["phase"] == "PHASE_RUNNING"
    assert processes(daskd) == before


def test_a_stuck_daemon_is_restarted_and_no_cluster_touched(daskd: Machine) -> None:
    """A loop that turns no more feeds no watchdog: systemd starts another daemon, which has the cluster."""
    daskctl(daskd)("create", "etl", "-n", "1")
    before, stuck = processes(daskd), main_pid(daskd)
    daskd.run("kill", "-STOP", str(stuck))
    until(lambda: is_ready(daskd, stuck), "the stuck daemon is replaced", timeout=120)
    invocation = daskd.run("journalctl", "--output=cat", "-u", "daskd", "-g", "watchdog", check=False).stdout
    assert "Watchdog timeout" in invocation or "result 'watchdog'" in invocation
    assert daskctl(daskd)("get", "etl")["phase"] == "PHASE_RUNNING"
    assert processes(daskd) == before


def test_reload_takes_up_a_good_configuration_and_refuses_a_bad_one(daskd: Machine) -> None:
    """`systemctl reload` fails with a wrong file, the daemon goes on; a right one holds from then on."""
    pid = main_pid(daskd)
    daskd.write("/etc/daskd/daskd.toml", "[profiles.small]\nmax_worker = 1\n")
    assert daskd.run("systemctl", "reload", "daskd", check=False).returncode != 0
    assert daskctl(daskd)("profiles")["profiles"] == []
    daskd.write("/etc/daskd/daskd.toml", "[profiles.small]\nmax_workers = 1\n")
    daskd.run("systemctl", "reload", "daskd")
    until(lambda: daskctl(daskd)("profiles")["profiles"], "the profile is there")
    assert main_pid(daskd) == pid
    daskd.write("/etc/daskd/daskd.toml", "")


def test_a_lingering_users_own_daemon(box: Machine) -> None:
    """`systemctl --user` starts a user's daemon without a login; its clusters have units at the user's manager."""
    box.run("useradd", "--create-home", "ann")
    box.run("loginctl", "enable-linger", "ann")
    uid = box.run("id", "-u", "ann").stdout.strip()
    until(lambda: _has_manager(box, uid), "ann's manager is up")
    ann = ("runuser", "-u", "ann", "--", "env", f"XDG_RUNTIME_DIR=/run/user/{uid}")
    box.run(*ann, "systemctl", "--user", "start", "daskd")
    created = daskctl(box, *ann)("create", "etl", "-n", "1")
    cgroup = box.run("sh", "-c", f"cat $(find /sys/fs/cgroup/user.slice -path '*{created['uid']}*' -name cgroup.procs)")
    before = sorted(cgroup.stdout.split())
    assert before
    box.run(*ann, "systemctl", "--user", "restart", "daskd")
    assert daskctl(box, *ann)("get", "etl")["phase"] == "PHASE_RUNNING"
    after = box.run("sh", "-c", f"cat $(find /sys/fs/cgroup/user.slice -path '*{created['uid']}*' -name cgroup.procs)")
    assert sorted(after.stdout.split()) == before
    daskctl(box, *ann)("delete", "etl")
    box.run(*ann, "systemctl", "--user", "stop", "daskd")


def _has_manager(box: Machine, uid: str) -> bool:
    return box.run("test", "-S", f"/run/user/{uid}/systemd/private", check=False).returncode == 0


def test_the_units_are_without_a_fault(box: Machine) -> None:
    """`systemd-analyze verify` says nothing, and the exposure is not above what the documentation defends."""
    assert box.run("systemd-analyze", "verify", "--man=no", "daskd.service", "daskd.slice").stderr == ""
    box.run("systemd-analyze", "security", "--threshold=80", "daskd.service")
