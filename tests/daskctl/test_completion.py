"""Shell completion."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from daskctl.commands.completion import SHELLS, VARIABLE


def _daskctl(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "daskctl", *arguments]
    return subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60, check=True
    )


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_of_a_shell_asks_daskctl_by_the_variable(shell: str) -> None:
    """And is about the program's own name."""
    script = _daskctl("completion", shell).stdout
    assert f"{VARIABLE}={shell}_complete" in script
    assert "daskctl" in script


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_takes_the_script() -> None:
    """And has a completion for daskctl then."""
    script = _daskctl("completion", "bash").stdout
    done = subprocess.run(
        ["bash", "--norc", "-c", f"{script}\ncomplete -p daskctl"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "daskctl" in done.stdout


def test_commands_and_options_are_completed() -> None:
    """As click does it."""
    done = _daskctl(**{VARIABLE: "bash_complete", "COMP_WORDS": "daskctl dr", "COMP_CWORD": "1"})
    assert done.stdout == "plain,drivers\n"


def test_a_name_is_completed_to_nothing_and_without_a_word_where_no_daemon_answers(tmp_path: Path) -> None:
    """A prompt is no place for errors."""
    done = _daskctl(
        **{
            VARIABLE: "bash_complete",
            "COMP_WORDS": f"daskctl --address unix:{tmp_path}/no.sock get e",
            "COMP_CWORD": "4",
        }
    )
    assert (done.stdout.strip(), done.stderr) == ("", "")
