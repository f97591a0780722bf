"""The environments that users may have: one virtual environment for each list of releases beside this file.

They are kept under `build/releases` between runs, each with a copy of the lists that it was made from; one whose
lists are other ones now is made anew. `make clean` renews all, which the newest needs from time to time.

The oldest is of another Python than this one, where there is another that its releases are built for.
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
OTHER_PYTHONS = ("python3.10", "python3.12")
"""What the oldest may be of: grpcio 1.62 is built for these, and for 3.11."""


def python_of(name: str) -> Path:
    """The interpreter of an environment."""
    return ENVIRONMENTS / name / "bin" / "python"


def interpreter_for(name: str) -> str:
    """The interpreter that an environment is made with."""
    if name == "oldest":
        for other in OTHER_PYTHONS:
            path = shutil.which(other)
            # a name on the path may be a shim, behind which there is none
            if path and version_of(path) not in ("", version_of(sys.executable)):
                return path
    return sys.executable


def version_of(python: str | Path) -> str:
    """An interpreter's version, such as "3.11"; empty where it does not run, or can't make environments."""
    code = "import ensurepip, sys, venv; print('%d.%d' % sys.version_info[:2])"
    done = subprocess.run(
        [str(python), "-c", code], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else ""


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
    python = interpreter_for(name)
    made_from = "".join([python, sys.version, *(path.read_text() for path in lists)])
    stamp = ENVIRONMENTS / name / "made-from"
    if stamp.exists() and stamp.read_text() == made_from:
        return
    requirements = [argument for path in lists for argument in ("--requirement", str(path))]
    new_environment(stamp.parent, *requirements, python=python)
    stamp.write_text(made_from)
