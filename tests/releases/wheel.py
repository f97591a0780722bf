"""What users install: the wheel, in an environment of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from email import message_from_bytes
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from .environments import ROOT, install, new_environment, run

# pip and the network take the time that they take
pytestmark = pytest.mark.timeout(600)

# a package and the folder that holds it
PACKAGES = {"daskd": ".", "daskd_client": "clients", "daskctl": "clients", "daskd_api": "proto"}

# what goes where Jupyter's server looks for its extensions
SHARED = "daskd-{version}.data/data/etc/jupyter/jupyter_server_config.d/daskd.json"

# imports the packages that the arguments name, whole, and tells what it imported
IMPORT_ALL = """
import importlib, pkgutil, sys
for package in sys.argv[1:]:
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, package + "."):
        if not module.name.endswith("__main__"):
            print(importlib.import_module(module.name).__name__)
"""


@dataclass(frozen=True)
class Installed:
    """An environment as it was after one more installation: its interpreter, what it held, what a program said."""

    python: Path
    distributions: set[str]
    says: str


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the source tree."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT))
    (built,) = folder.glob("daskd-*.whl")
    return built


@pytest.fixture(scope="module")
def client_alone(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """A new environment with the wheel and no extra."""
    python = new_environment(tmp_path_factory.mktemp("client"), str(wheel))
    says = run(str(python), "-I", "-c", "import daskd_client; print(daskd_client.RemoteCluster.__name__)")
    return Installed(python, installed(python), says.strip())


@pytest.fixture(scope="module")
def with_cli(wheel: Path, client_alone: Installed) -> Installed:
    """The same with the extra `cli`."""
    return added(client_alone, f"{wheel}[cli]", "daskctl", "--version")


@pytest.fixture(scope="module")
def with_daemon(wheel: Path, with_cli: Installed) -> Installed:
    """The same with the extra `daemon`."""
    return added(with_cli, f"{wheel}[daemon]", "daskd", "check-config")


def added(to: Installed, requirement: str, *program: str) -> Installed:
    """Install one more thing, and run a program of the environment."""
    install(to.python, requirement)
    says = run(str(to.python.with_name(program[0])), *program[1:])
    return Installed(to.python, installed(to.python), says.strip())


def contents(wheel: Path) -> set[str]:
    """The files of a wheel, its own metadata aside."""
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def asked_for_by(wheel: Path, extra: str) -> set[str]:
    """The names of the distributions that an extra of the wheel adds."""
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        lines = message_from_bytes(archive.read(metadata)).get_all("Requires-Dist", [])
    requirements = [Requirement(line) for line in lines]
    return {one.name.lower() for one in requirements if one.marker and f'extra == "{extra}"' in str(one.marker)}


def installed(python: Path) -> set[str]:
    """The distributions that an environment holds."""
    listing = run(str(python), "-m", "pip", "list", "--format=json", "--disable-pip-version-check")
    return {entry["name"].lower() for entry in json.loads(listing)}


def test_the_wheel_holds_the_packages_and_nothing_else(wheel: Path) -> None:
    """Every file of the four packages is in the wheel, defaults and protos too, and Jupyter's file; no test is."""
    expected = {
        str(file.relative_to(ROOT / folder))
        for package, folder in PACKAGES.items()
        for file in (ROOT / folder / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert contents(wheel) == expected | {SHARED.format(version=version("daskd"))}
    assert {f"{package}/py.typed" for package in PACKAGES} <= expected
    assert {"daskd_client/daskd.yaml", "daskd_api/v1/cluster.proto", "daskd_api/v1/daemon.proto"} <= expected


def test_the_client_alone_brings_nothing_of_the_daemons(wheel: Path, client_alone: Installed) -> None:
    """Without extras the client imports, and nothing that the daemon or the command line needs is installed."""
    others = asked_for_by(wheel, "daemon") | {"rich"}
    assert {"pydantic", "cryptography"} <= others
    assert not others & client_alone.distributions
    assert client_alone.says == "RemoteCluster"


def test_the_cli_extra_brings_a_command_line_that_works(wheel: Path, with_cli: Installed) -> None:
    """With the extra `cli` added `daskctl` starts, and still nothing that the daemon needs is installed."""
    assert not asked_for_by(wheel, "daemon") & with_cli.distributions
    assert with_cli.says.split()[-1] == version("daskd")


def test_the_daemon_extra_brings_a_daemon_that_starts(wheel: Path, with_daemon: Installed) -> None:
    """With the extra `daemon` added `daskd` accepts its own defaults."""
    assert asked_for_by(wheel, "daemon") & with_daemon.distributions
    assert with_daemon.says


def test_the_oldest_python_imports_every_module(wheel: Path, tmp_path: Path) -> None:
    """With Python 3.10, the oldest that the wheel says it runs on, every module of the four packages is imported."""
    oldest = shutil.which("python3.10")
    if oldest is None or subprocess.run([oldest, "--version"], capture_output=True).returncode:
        pytest.skip("needs python3.10")
    python = new_environment(tmp_path / "oldest", f"{wheel}[cli,daemon,ssh]", python=oldest)
    imported = run(str(python), "-I", "-c", IMPORT_ALL, *PACKAGES).split()
    assert {"daskd.daemon", "daskd.runtime.scheduler", "daskd_client.cluster", "daskctl.app"} <= set(imported)
