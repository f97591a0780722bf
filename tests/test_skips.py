"""The plugin that CI runs the tests with: no test is skipped in silence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TESTS = """
import pytest

@pytest.mark.parametrize("number", [1, 2])
def test_skipped(number):
    pytest.skip("not today")

def test_passes():
    pass

@pytest.mark.xfail
def test_expected_to_fail():
    assert False
"""


def run_with(folder: Path, allowed: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the tests above with these allowed skips."""
    (folder / "test_some.py").write_text(TESTS)
    (folder / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    (folder / "allowed").write_text(allowed)
    # not the options that CI runs this very test with
    environment = {key: value for key, value in os.environ.items() if key != "PYTEST_ADDOPTS"}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.skips", "--allowed-skips", "allowed", *options],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("options", [(), ("-n", "1")], ids=["alone", "xdist"])
def test_a_skip_that_nobody_allowed_fails_the_run(tmp_path: Path, options: tuple[str, ...]) -> None:
    """A skipped test that the list does not name fails the run and is told by name and reason."""
    done = run_with(tmp_path, "# nothing\n", *options)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "test_some.py::test_skipped[1]: Skipped: not today" in done.stdout
    assert "test_expected_to_fail" not in done.stdout


def test_a_skip_that_the_list_names_passes(tmp_path: Path) -> None:
    """A skipped test that the list names, whatever its parameters, fails nothing."""
    done = run_with(tmp_path, "test_some.py::test_skipped: it rains\n")
    assert done.returncode == pytest.ExitCode.OK
    assert "2 skipped" in done.stdout


def test_the_list_gives_reasons(tmp_path: Path) -> None:
    """A name without a reason is a usage error that says how a line is written."""
    done = run_with(tmp_path, "test_some.py::test_skipped\n")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "allowed:1: write `tests/path.py::test_name: reason`" in done.stderr
