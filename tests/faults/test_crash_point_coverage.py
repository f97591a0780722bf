"""A step that must survive the daemon's death has a crash point after it: a new one without is noticed here."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import daskd
from daskd.crashpoints import POINTS

ROOT = Path(daskd.__file__).parent

STEPS = frozenset(
    {
        *("create", "update", "commit", "settle"),  # of the store
        *("stage", "launch", "terminate", "unstage"),  # of a site
        *("fence", "retire"),  # of the link
        *("forget", "unlink"),  # of what a cluster left
    }
)
"""Calls that change what is recorded, or what there is."""

PLACES = ("control/acts.py", "control/reconciler.py", "api/changing.py", "api/recording.py")
"""Where the daemon takes such steps one after another."""

REACHED_BY_CALLER = {
    ("_stage", "stage"): "launch.staged, in _prepare",
    ("_submit", "launch"): "launch.launched, in _launch",
    ("_record", "commit"): "launch.recorded, in _launch",
    ("_refused", "settle"): "launch.recorded, in _launch",
    ("_ask_to_end", "terminate"): "terminate.asked, in _terminate",
    ("_fault", "settle"): "terminate.intended, in _terminate",
    ("end_again", "commit"): "terminate.intended, in _terminate",
    ("_stored", "create"): "create.recorded, in _record",
}
"""By function and call: the point that whoever calls the function reaches after it, before any other step."""

LAST = {
    ("_cannot", "settle"): "nothing was done that this tells of",
    ("_stay", "settle"): "it follows retire.asked, and an act ends with it",
    ("_told_of", "commit"): "it follows terminate.asked, and an act ends with it",
    ("clean_up", "unlink"): "removes what a repeat would not find",
    ("clean_up", "forget"): "it follows end.unstaged, and a cluster's life ends with it",
    ("_load", "commit"): "what a start does is done again by the next one",
    ("settle", "commit"): "this is the step `settle` itself",
    ("commit", "update"): "this is the step `commit` itself",
}
"""By function and call: why a step needs no point after it."""


@dataclass(frozen=True)
class Step:
    """A step in the source."""

    file: str
    function: str
    call: str
    line: int


def calls(function: ast.AsyncFunctionDef | ast.FunctionDef) -> list[tuple[int, str, str]]:
    """Steps ("step", name) and points ("point", name) of a function by line."""
    found = []
    for node in ast.walk(function):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id == "reached":
            assert isinstance(node.args[0], ast.Constant)
            found.append((node.lineno, "point", str(node.args[0].value)))
        elif isinstance(node.func, ast.Attribute) and node.func.attr in STEPS:
            found.append((node.lineno, "step", node.func.attr))
    return sorted(found)


def functions(file: str) -> Iterator[ast.AsyncFunctionDef | ast.FunctionDef]:
    """Every function and method of a file."""
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, (ast.AsyncFunctionDef, ast.FunctionDef)):
            yield node


def uncovered(file: str) -> list[Step]:
    """Steps after which the next thing that the function does is another step, or nothing."""
    found = []
    for function in functions(file):
        here = calls(function)
        for (line, kind, name), after in zip(here, [*here[1:], None], strict=False):
            if kind == "step" and (after is None or after[1] == "step"):
                found.append(Step(file, function.name, name, line))
    return found


@pytest.mark.parametrize("file", PLACES)
def test_every_step_has_its_crash_point(file: str) -> None:
    """Each is followed by a point, in its function or its caller, or there is a reason why it needs none."""
    known = {*REACHED_BY_CALLER, *LAST}
    assert [step for step in uncovered(file) if (step.function, step.call) not in known] == []


def test_every_exception_is_one() -> None:
    """No exception is kept for a step that is no more."""
    found = {(step.function, step.call) for file in PLACES for step in uncovered(file)}
    assert {*REACHED_BY_CALLER, *LAST} - found == set()


def test_every_point_is_reached_once() -> None:
    """Each point stands at one place, and none is reached that is not listed."""
    texts = [path.read_text() for path in ROOT.rglob("*.py") if "runtime" not in path.parts]
    reached = [
        node.args[0].value
        for text in texts
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "reached"
        and len(node.args) == 1
        and isinstance(node.args[0], ast.Constant)
    ]
    assert sorted(map(str, reached)) == sorted(POINTS)


def test_only_acts_change_what_runs() -> None:
    """Nowhere else in the core is a driver asked to launch or to end anything but what nobody owns."""
    asking = {
        (path.name, name)
        for path in (ROOT / "control").rglob("*.py")
        for function in functions(str(path.relative_to(ROOT)))
        for _, kind, name in calls(function)
        if kind == "step" and name in ("launch", "terminate", "stage", "unstage")
    }
    assert asking == {
        *(("acts.py", name) for name in ("launch", "terminate", "stage", "unstage")),
        ("leftovers.py", "unstage"),
        ("sites.py", "terminate"),
    }
