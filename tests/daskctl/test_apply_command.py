"""Clusters from a file, and groups, against a real daemon."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from ..daemon_process import DaemonProcess

FILE = """
name: etl
spec:
  groups:
    - name: default
      n_workers: 1
      memory_limit: 256MiB
    - name: highmem
      n_workers: 1
      memory_limit: 512MiB
      resources: {MEM: 1}
"""

Run = Callable[..., str]


@pytest.fixture
def run(daemon: DaemonProcess) -> Run:
    """Runs daskctl with a text on its standard input; answers with what it prints."""

    def daskctl(*argv: str, given: str = "", code: int = 0) -> str:
        command = [sys.executable, "-m", "daskctl", *argv]
        done = subprocess.run(
            command, env=daemon.env, input=given, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == code, f"{argv}: {done.stdout}\n{done.stderr}"
        return done.stdout if not code else done.stderr

    return daskctl


def test_a_file_makes_a_cluster_and_keeps_it_as_it_says(run: Run, daskctl: Callable[..., Any]) -> None:
    """Applied again it changes nothing; what `get` prints is such a file, of a group scaled to 0 too."""
    assert run("apply", "-f", "-", given=FILE).startswith("etl: cluster 'etl': created")
    assert run("apply", "-f", "-", given=FILE) == "etl: nothing to change\n"
    other = FILE.replace("n_workers: 1\n      memory_limit: 512MiB", "n_workers: 0\n      memory_limit: 512MiB")
    planned = run("apply", "-f", "-", "--dry-run", given=other)
    assert run("apply", "-f", "-", given=other) == planned == "etl: group 'highmem' shall have 0 workers instead of 1\n"
    for _ in range(2):
        shown = run("get", "etl", "-o", "yaml")
        assert run("apply", "-f", "-", given=shown) == "etl: nothing to change\n"
        run("scale", "etl", "--memory", "0", "--no-wait")
    lone = yaml.safe_dump({"name": "etl", "spec": {"groups": yaml.safe_load(FILE)["spec"]["groups"][:1]}})
    assert "group 'highmem': removed" in run("apply", "-f", "-", given=lone)
    assert [event["type"] for event in daskctl("events", "etl")["events"]].count("CREATED") == 1


def test_what_a_file_can_not_change_is_told_line_by_line(run: Run) -> None:
    """Each field by itself, with the mend; a file that is wrong reaches no daemon."""
    run("apply", "-f", "-", given=FILE)
    told = run(
        "apply", "-f", "-", given=FILE.replace("spec:", "spec:\n  python: /opt/python").replace("512", "300"), code=1
    )
    assert "  python: it can only be chosen at creation" in told
    assert "  groups.highmem.memory_limit: it is 536870912, and it can only be chosen when" in told
    assert "standard input:4: spec.pyhton" in run(
        "apply", "-f", "-", given=FILE.replace("spec:", "spec:\n  pyhton: x"), code=2
    )


def test_groups_come_and_go_by_command(run: Run, daskctl: Callable[..., Any]) -> None:
    """Each waits until it is done."""
    daskctl("create", "etl", "-n", "1", "--memory", "256MiB")
    daskctl("group", "add", "etl", "big", "--dry-run", "-n", "1")
    added = daskctl(
        "group", "add", "etl", "big", "-n", "1", "--memory", "256MiB", "--resource", "MEM=1", "--env", "A=1"
    )
    assert [(group["name"], group["running"]) for group in added["groups"]] == [("default", 1), ("big", 1)]
    assert added["spec"]["groups"][1]["resources"] == {"MEM": 1.0}
    scaled = daskctl("scale", "etl", "--cores", "2", "--group", "big")
    assert scaled["groups"][1]["running"] == 2
    removed = daskctl("group", "remove", "etl", "big")
    assert [group["name"] for group in removed["groups"]] == ["default"]
