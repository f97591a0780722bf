"""`docs/asyncio.md`: its examples run as they stand, and its class is documented to the last method."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from daskd_client import AsyncDaskd

from ..daemon_process import DaemonProcess, until
from .pages import blocks, page, section


def example(heading: str) -> str:
    """The one snippet of a section of the page."""
    (code,) = blocks(section(page("asyncio.md"), heading), "python")
    return code


@contextmanager
def running(code: str, daemon: DaemonProcess, printed: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A Python that runs the code against the daemon, and prints into a file; killed when the context is left."""
    with printed.open("wb") as out:
        argv = [sys.executable, "-c", code]
        process = subprocess.Popen(argv, env=daemon.env, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def run(code: str, daemon: DaemonProcess, printed: Path) -> str:
    """What the code prints until its end, which must be a good one."""
    with running(code, daemon, printed) as process:
        assert process.wait(120) == 0, printed.read_text()
    return printed.read_text()


def test_a_cluster_is_made_waited_for_and_ended(
    daemon: DaemonProcess, daskctl: Callable[..., Any], tmp_path: Path
) -> None:
    """The example prints where its scheduler is, and leaves nothing that goes on."""
    assert run(example("Making a cluster, and its end"), daemon, tmp_path / "printed").startswith("tls://")
    (cluster,) = daskctl("list", "--all")["clusters"]
    assert (cluster["name"], cluster["delete_requested"]) == ("nightly", True)


def test_a_picture_is_kept_through_a_daemons_death(
    daemon: DaemonProcess, daskctl: Callable[..., Any], tmp_path: Path
) -> None:
    """What was there before and what comes later is printed, whichever daemon it comes from."""
    daskctl("create", "before", "-n", "0")
    printed = tmp_path / "printed"
    with running(example("Keeping a picture of all clusters"), daemon, printed):
        until(lambda: "{'before': 'RUNNING'}" in printed.read_text(), "what existed is told")
        daskctl("create", "during", "-n", "0")
        until(lambda: "'during': 'RUNNING'" in printed.read_text(), "a change is told")
        daemon.restart()
        daskctl("delete", "during")
        last = r"\{'before': 'RUNNING', 'during': 'STOPPED'\}"
        until(lambda: re.search(last, printed.read_text()), "the next daemon's changes are told")
    assert "Traceback" not in printed.read_text()


def test_history_and_logs_are_read(daemon: DaemonProcess, daskctl: Callable[..., Any], tmp_path: Path) -> None:
    """The log that is followed is left at the line that was looked for, while the cluster goes on."""
    daskctl("create", "etl", "-n", "0")
    told = run(example("Reading logs and history"), daemon, tmp_path / "printed").splitlines()
    assert " CREATED " in told[0]
    assert "Scheduler at:" in told[-1]
    assert daskctl("get", "etl")["phase"] == "PHASE_RUNNING"


def test_errors_are_told_apart(daemon: DaemonProcess, tmp_path: Path) -> None:
    """By exception, reason, facts and fields."""
    told = run(example("Telling errors apart"), daemon, tmp_path / "printed").splitlines()
    assert told[0] == "CLUSTER_NOT_FOUND no-such-cluster"
    assert told[1].startswith("groups[0].memory_limit ")


def test_every_snippet_of_the_page_is_run_here() -> None:
    """A new one needs a test."""
    assert len(blocks(page("asyncio.md"), "python")) == 4


def public_methods() -> list[Any]:
    """The methods of the class that a user calls, properties aside."""
    members = inspect.getmembers(AsyncDaskd, inspect.isfunction)
    return [method for name, method in members if not name.startswith("_")]


def told_parameters(method: Any) -> set[str]:
    """The names in the section "Parameters" of a docstring."""
    text = inspect.getdoc(method) or ""
    entries = text.partition("Parameters\n----------\n")[2].partition("\n\n")[0]
    return {name for line in re.findall(r"^\w.*$", entries, re.MULTILINE) for name in line.split(", ")}


@pytest.mark.parametrize("method", public_methods(), ids=lambda method: method.__name__)
def test_every_method_tells_what_it_takes_and_answers_with(method: Any) -> None:
    """Types of all, and words for each parameter; `name`, a cluster's, is told for the whole class."""
    signature = inspect.signature(method)
    given = [parameter for name, parameter in signature.parameters.items() if name != "self"]
    assert signature.return_annotation is not inspect.Signature.empty
    assert all(parameter.annotation is not inspect.Parameter.empty for parameter in given)
    assert {parameter.name for parameter in given} - told_parameters(method) <= {"name"}
    assert told_parameters(method) <= {parameter.name for parameter in given}
    assert inspect.getdoc(method)
