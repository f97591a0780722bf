"""The environments that users may have: one virtual environment for each list of releases beside this file.

They are kept under `build/releases` between runs, each with a copy of the lists that it was made from; one whose
lists are other ones now is made anew. `make clean` renews all, which the newest needs from time to time.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
ENVIRONMENTS = ROOT / "build" / "releases"
NAMES = ("oldest", "middle", "newest")


def python_of(name: str) -> Path:
    """The interpreter of an environment."""
    return ENVIRONMENTS / name / "bin" / "python"


def source_environment() -> dict[str, str]:
    """The environment variables in which an interpreter imports the client's packages from the source tree."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("clients", "proto"))}


def new_environment(folder: Path, *requirements: str, python: str = sys.executable) -> Path:
    """Make a virtual environment with these arguments of `pip install`; answers with its interpreter.

    Raises
    ------
    RuntimeError
        Something could not be installed; pip's own words say what.
    """
    shutil.rmtree(folder, ignore_errors=True)
    run(python, "-m", "venv", str(folder))
    made = folder / "bin" / "python"
    install(made, *requirements)
    return made


def install(python: Path, *requirements: str) -> None:
    """`pip install` into the environment of an interpreter.

    Raises
    ------
    RuntimeError
        Something could not be installed; pip's own words say what.
    """
    run(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements)


def run(*argv: str) -> str:
    """Run a program; answers with its output.

    Raises
    ------
    RuntimeError
        It failed; the message holds what it wrote.
    """
    done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)} exited with {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def make_all() -> None:
    """Make the environments that are not there or are out of date, side by side: pip mostly waits.

    Raises
    ------
    RuntimeError
        Something could not be installed; pip's own words say what.
    """
    with ThreadPoolExecutor() as pool:
        list(pool.map(_make, NAMES))


def _make(name: str) -> None:
    lists = [HERE / f"{name}.txt", HERE / "testing.txt"]
    made_from = "".join([sys.version, *(path.read_text() for path in lists)])
    stamp = ENVIRONMENTS / name / "made-from"
    if stamp.exists() and stamp.read_text() == made_from:
        return
    new_environment(stamp.parent, *(argument for path in lists for argument in ("--requirement", str(path))))
    stamp.write_text(made_from)
