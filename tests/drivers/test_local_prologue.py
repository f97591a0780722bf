"""The shell before an instance: a job script's lines, then the program with what they made of its environment."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from daskd.drivers.local.prologue import SHELL, script

SHOW = "import os, sys; print(os.environ.get('A'), os.environ['PYTHONPATH'], sys.argv[1:])"


def run(folder: Path, *lines: str, python: str = "python3") -> subprocess.CompletedProcess[str]:
    """The lines before a Python that shows what reached it."""
    variables = {"PATH": "/usr/local/bin:/usr/bin:/bin", "PYTHONPATH": "/run time:/more", "A": 'it\'s "1" $HOME'}
    file = folder / "prologue.sh"
    file.write_text(script(lines, [python, "-c", SHOW, "an argument", "$A"], variables, "/run time"))
    return subprocess.run([SHELL, str(file)], env=variables, capture_output=True, text=True, timeout=60, check=False)


def test_the_program_gets_environment_and_arguments_as_they_are(tmp_path: Path) -> None:
    """Quotes, spaces and dollars in them are nobody's code."""
    done = run(tmp_path)
    assert done.stdout == "it's \"1\" $HOME /run time:/run time:/more ['an argument', '$A']\n", done.stderr


def test_what_the_lines_export_reaches_the_program(tmp_path: Path) -> None:
    """The runtime's folder stays where it is looked for first, whatever they make of the path."""
    done = run(tmp_path, "export A=2 PYTHONPATH=/other", "set -- x y")
    assert done.stdout == "2 /run time:/other ['an argument', '$A']\n", done.stderr


def test_a_line_that_fails_stops_nothing(tmp_path: Path) -> None:
    """As in a job script, unless a line says `set -e`."""
    assert run(tmp_path, "false").returncode == 0
    assert run(tmp_path, "set -e", "false").returncode == 1


def test_a_line_may_end_it(tmp_path: Path) -> None:
    """With its own code; what it wrote is the log's."""
    done = run(tmp_path, "echo no licence >&2", "exit 3")
    assert (done.returncode, done.stdout) == (3, "")
    assert "no licence" in done.stderr


@pytest.mark.parametrize("lines", [(), ("export PATH=$PWD_OF_TEST:$PATH",)])
def test_a_python_without_a_path_is_the_one_that_the_lines_bring(tmp_path: Path, lines: tuple[str, ...]) -> None:
    """Its name is looked up when they have run."""
    program = tmp_path / "brought"
    program.write_text("#!/bin/sh\necho brought\n")
    program.chmod(0o755)
    done = run(tmp_path, *(line.replace("$PWD_OF_TEST", str(tmp_path)) for line in lines), python="brought")
    assert (done.returncode, done.stdout) == ((0, "brought\n") if lines else (127, ""))
