"""What a user's type checker sees of the public names: the files of `cases/`, checked by a strict mypy."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import daskd_client
from daskd_client import AsyncDaskd

ROOT = Path(__file__).resolve().parents[2]
CASES = sorted((Path(__file__).parent / "cases").glob("*.py"))

# mypy reads all of distributed first, and has no cache yet
pytestmark = pytest.mark.timeout(600)


def mypy(folder: Path, *files: Path) -> subprocess.CompletedProcess[str]:
    """Check files as a user would who has installed the client: strictly, and by their own settings alone."""
    options = ["--strict", "--config-file", os.devnull, "--follow-imports", "silent", "--cache-dir", str(folder)]
    path = os.pathsep.join(str(ROOT / name) for name in ("clients", "proto"))
    return subprocess.run(
        [sys.executable, "-m", "mypy", *options, *map(str, files)],
        cwd=folder,
        env={**os.environ, "MYPYPATH": path},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )


def test_types_are_as_stated_and_mistakes_are_found(tmp_path: Path) -> None:
    """Every `assert_type` holds, and every line marked as a mistake is one: a mark without one is an error, too."""
    wrong = tmp_path / "wrong.py"
    wrong.write_text('import daskd_client\n\ndaskd_client.AsyncDaskd(1)\ndaskd_client.AsyncDaskd("")  # type: ignore\n')
    done = mypy(tmp_path, *CASES, wrong)
    told = done.stdout.splitlines()
    # that mypy finds what is wrong in a file beside them shows that their silence says something
    assert [re.sub(r"^.*wrong\.py:(\d+).*\[(.*)\]$", r"\1 \2", line) for line in told[:-1]] == [
        "3 arg-type",
        "4 unused-ignore",
    ], done.stdout + done.stderr
    assert len(CASES) == 3


def test_every_public_name_has_a_case() -> None:
    """What can be imported from the package, and every method of the asyncio client."""
    text = "\n".join(case.read_text("utf-8") for case in CASES)
    names = {name for name, _ in inspect.getmembers(AsyncDaskd) if not name.startswith("_")}
    words = set(re.findall(r"\w+", text))
    assert {*daskd_client.__all__, *names} - words == set()
    assert names <= set(re.findall(r"\.(\w+)", text))
