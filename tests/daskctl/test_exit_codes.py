"""Errors as words and exit codes, without a daemon."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from daskctl.failures import WaitOver, failure
from daskd_client import (
    ClusterFailed,
    ClusterNotFound,
    DaemonUnavailable,
    DaskdError,
    DeadlineExceeded,
    InvalidAddress,
    InvalidSpec,
    NotAllowed,
    Problem,
    Unauthenticated,
    UntrustedDaemon,
)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (ClusterNotFound, 1),
        (InvalidSpec, 1),
        (NotAllowed, 1),
        (Unauthenticated, 1),
        (DeadlineExceeded, 1),
        (ClusterFailed, 1),
        (WaitOver, 1),
        (InvalidAddress, 2),
        (DaemonUnavailable, 3),
        (UntrustedDaemon, 3),
    ],
)
def test_the_kind_of_an_error_is_its_exit_code(kind: type[DaskdError], code: int) -> None:
    """1: the daemon said no; 2: the command line is wrong; 3: there is no daemon to ask."""
    refused = failure(kind("what happened"))
    assert refused.exit_code == code
    assert refused.message == "what happened"


@pytest.mark.parametrize(
    ("message", "fields", "words"),
    [
        ("the spec is wrong", ("a",), "the spec is wrong\n  a: mend a"),
        ("a: mend a", ("a",), "a: mend a"),
        ("2 things: a: mend a; b: mend b", ("a", "b"), "2 things are wrong:\n  a: mend a\n  b: mend b"),
    ],
)
def test_the_words_name_each_field_at_fault_once(message: str, fields: tuple[str, ...], words: str) -> None:
    """With its mend; several on a line each, also where the daemon strung them together."""
    problems = tuple(Problem(field, f"mend {field}") for field in fields)
    assert failure(InvalidSpec(message, problems=problems)).message == words


def test_the_words_of_a_failed_cluster_hold_its_logs_tail() -> None:
    """Which is where the cause stands; what the message said already is not said again."""
    error = ClusterFailed("etl failed: exited with 1", log_tail=("ImportError: no numpy", "exited with 1"))
    assert failure(error).message.splitlines() == [
        "etl failed: exited with 1",
        "The last lines of its log:",
        "  ImportError: no numpy",
    ]


def _daskctl(*arguments: str, address: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DASKD_ADDRESS": address}
    command = [sys.executable, "-m", "daskctl", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("arguments", [("list",), ("get", "etl", "-o", "json"), ("create", "etl", "-n", "1")])
def test_no_daemon_is_exit_code_3_with_the_mend_on_stderr(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Nothing is on stdout, whatever the format."""
    done = _daskctl(*arguments, address=f"unix:{tmp_path}/no.sock")
    assert done.returncode == 3
    assert done.stdout == ""
    assert f"{tmp_path}/no.sock" in done.stderr
    assert "daskd serve" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_address_that_is_none_is_wrong_usage() -> None:
    """It is never tried."""
    done = _daskctl("list", "--address", "somewhere:over:the:rainbow", address="unix:/nowhere.sock")
    assert done.returncode == 2
    assert "rainbow" in done.stderr


def test_an_address_is_taken_before_and_after_the_commands_name(tmp_path: Path) -> None:
    """The nearer one wins, and both win over the environment."""
    before, after = f"unix:{tmp_path}/before.sock", f"unix:{tmp_path}/after.sock"
    assert "before.sock" in _daskctl("--address", before, "list", address="unix:/nowhere.sock").stderr
    assert "after.sock" in _daskctl("--address", before, "list", "--address", after, address="unix:/x.sock").stderr
