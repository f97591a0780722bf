"""What a cluster's systemd units are told; `tests/systemd` shows what systemd makes of it."""

from __future__ import annotations

import pytest

from daskd.drivers.local.units import Bounds, Units, bounds_of, slice_of
from daskd.notify import is_unit

GIB = 1 << 30
PROGRAMS = {name: f"/usr/bin/{name}" for name in ("systemd-run", "systemctl", "busctl", "env")}


@pytest.mark.parametrize(
    ("workers", "bounds"),
    [
        ([], Bounds(8 * GIB, 2 * 4096)),
        ([(1, 4 * GIB), (2, GIB)], Bounds(8 * GIB + 6 * GIB * 5 // 4, 5 * 4096)),
        ([(1, GIB), (1, 0)], Bounds(None, 4 * 4096)),
        ([(0, 0)], Bounds(8 * GIB, 2 * 4096)),
    ],
)
def test_bounds_follow_the_workers_limits(workers: list[tuple[int, int]], bounds: Bounds) -> None:
    """A quarter more than the workers' limits, and room for what Dask sets none to; one without a limit lifts all."""
    assert bounds_of(workers) == bounds


def test_each_process_has_a_scope_below_its_clusters_slice() -> None:
    """Two processes of one cluster share its slice and no scope; the command itself comes last, unchanged."""
    units = Units(PROGRAMS, "")
    first, second = (units.placed(["python", "-x"], "cabc", "zygote", {}) for _ in range(2))
    assert first[-3:] == ["--", "python", "-x"]
    assert "--slice=daskd-cabc.slice" in first
    names = {word for command in (first, second) for word in command if word.startswith("--unit=daskd-zygote-")}
    assert len(names) == 2


@pytest.mark.parametrize(
    ("env", "restored"),
    [({}, ["-u", "XDG_RUNTIME_DIR"]), ({"XDG_RUNTIME_DIR": "/own"}, ["XDG_RUNTIME_DIR=/own"])],
)
def test_a_users_manager_leaves_no_trace_in_the_environment(env: dict[str, str], restored: list[str]) -> None:
    """The variable by which the manager is found is put back to what the process is to have."""
    command = Units(PROGRAMS, "/run/user/7").placed(["python"], "cabc", "zygote", env)
    assert command[:2] == ["/usr/bin/env", "XDG_RUNTIME_DIR=/run/user/7"]
    assert command[command.index("--") + 1 :] == ["/usr/bin/env", *restored, "python"]


def test_without_a_manager_there_are_no_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """No systemd, or a user without a manager: clusters are started as ever, without an error."""
    assert Units.find({}, 1000) is None
    monkeypatch.setenv("PATH", "/nonexistent")
    assert Units.find({}, 0) is None


def test_a_cluster_is_part_of_all_clusters() -> None:
    """systemd takes a dash in a slice's name for a level."""
    assert slice_of("cabc") == "daskd-cabc.slice"


def test_a_shell_below_a_service_is_no_unit() -> None:
    """A daemon started by hand leaves its clusters where it is itself."""
    assert is_unit({"SYSTEMD_EXEC_PID": "7", "INVOCATION_ID": "x"}, 7)
    assert is_unit({"NOTIFY_SOCKET": "/run/n"}, 7)
    assert not is_unit({"SYSTEMD_EXEC_PID": "6", "INVOCATION_ID": "x"}, 7)
