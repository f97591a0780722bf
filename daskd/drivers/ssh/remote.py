"""What a host does for the daemon: launch, look, end, read logs, clear away.

The daemon sends this file, with those of the local driver that it imports, to the host's Python for every question
(`program.py`), for nothing of daskd is installed there. Standard library alone. A request is a JSON object with
`verb`, `nonce` and the verb's arguments; so is the answer, which `main` writes behind a line that bears the nonce, for
a login may print what it likes. Below the remote root, which is of mode 0700, a cluster's folder looks as on the
daemon's own machine.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import pwd
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..local import logs, records
from ..local.files import ClusterFiles, read_document, write_private
from ..local.interfaces import address_of, scheduler_place
from ..local.process import MARK, STATE_MARK
from ..local.variables import SYSTEM_PATH, built

MOST_LOG_CHUNKS = 4
VERSION_S = 20.0


class Refusal(Exception):
    """The host can't do what is asked; the text says why and what to do."""


class Place:
    """The daemon's folder on this host.

    Parameters
    ----------
    directory
        As the option has it, such as "~/.daskd".
    state_id
        The mark of the daemon's state.
    name
        What the daemon calls this host: several may share a home directory.
    """

    def __init__(self, directory: str, state_id: str, name: str) -> None:
        self.directory = Path(os.path.expanduser(directory))
        self.state_id = state_id
        self.root = self.directory / state_id / name
        self.clusters = self.root / "clusters"

    def files(self, cluster: str) -> ClusterFiles:
        return ClusterFiles(self.clusters / cluster)

    def vet(self) -> None:
        """See that the folder, where there is one, is this user's alone.

        Raises
        ------
        Refusal
            When others could reach into it.
        """
        try:
            found = os.lstat(self.directory)
        except FileNotFoundError:
            return
        except OSError as error:
            raise Refusal(f"{self.directory} can't be used: {error.strerror}; name another `directory`") from error
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise Refusal(f"{self.directory} is not a folder that its user alone can write: name another `directory`")

    def make(self) -> None:
        """Make the folder.

        Raises
        ------
        Refusal
            When it can't be made, or others could reach into it.
        """
        try:
            self.clusters.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise Refusal(f"{self.clusters} can't be made: {error.strerror}; name another `directory`") from error
        self.vet()

    def room(self) -> int:
        """Bytes that are free for the folder, or where it would be made."""
        there = next(folder for folder in (self.directory, *self.directory.parents) if folder.exists())
        found = os.statvfs(there)
        return found.f_bavail * found.f_frsize

    def tidy(self) -> None:
        """Remove the folders that hold nothing any more."""
        if self.clusters.is_dir() and not os.listdir(self.clusters):
            shutil.rmtree(self.root / "code", ignore_errors=True)
            with suppress(OSError):  # not empty: another host's, another daemon's, or just launched into
                for folder in (self.clusters, self.root, self.root.parent, self.directory):
                    folder.rmdir()


def survey(place: Place, request: Mapping[str, Any]) -> dict[str, Any]:
    """What the host has, whether it can run workers, and what of this daemon's runs on it."""
    place.vet()
    python = find_python(request["pythons"])
    running = {name: cluster for name, cluster in records.running(place.clusters, set(), place.state_id) if cluster}
    takes = {
        name: (read_document(place.files(cluster).instance(name) / "take.json") or {})
        for name, cluster in running.items()
    }
    return {
        "hostname": socket.gethostname(),
        "cores": cores(),
        "memory": memory(),
        "disk": place.room(),
        "python": python,
        "distributed": version_of(python, "distributed") if python and request["version"] else None,
        "running": takes,
    }


def cores() -> int:
    """Processors that this user's processes may use."""
    return len(os.sched_getaffinity(0))


def memory() -> int:
    """Bytes of memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def find_python(candidates: list[str]) -> str:
    """The first that there is: an absolute path, or a name that is looked up in PATH; "" where there is none."""
    for candidate in candidates:
        found = shutil.which(os.path.expanduser(candidate), path=os.environ.get("PATH", SYSTEM_PATH))
        if found:
            return os.path.abspath(found)
    return ""


def version_of(python: str, package: str) -> str | None:
    """The version of a package that a Python has; None where it has none, or does not run."""
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=VERSION_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def launch(place: Place, request: Mapping[str, Any]) -> dict[str, Any]:
    """Begin a supervisor a member. Answers `missing` where the runtime's code must be sent along first."""
    place.make()
    files = place.files(request["cluster"])
    if not files.runtime.exists() and not unpack(place, files, request["digest"], request.get("code")):
        return {"missing": True}
    files.furnish({name: base64.b64decode(data) for name, data in request["secret"].items()})
    python = find_python(request["pythons"])
    if not python:
        raise Refusal(f"it has no Python {' or '.join(request['pythons'])}: name one by the option `python`")
    answers = {member["id"]: begin(place, files, python, request, member) for member in request["members"]}
    return {"members": answers}


def unpack(place: Place, files: ClusterFiles, digest: str, code: str | None) -> bool:
    """Put the runtime's code into a cluster's folder; False where neither the request nor this host has it."""
    kept = place.root / "code" / f"{digest}.zip"
    if code is not None:
        # its digest was checked with the request's
        kept.parent.mkdir(mode=0o700, exist_ok=True)
        write_private(kept, base64.b64decode(code))
        for older in set(kept.parent.glob("*.zip")) - {kept}:
            older.unlink(missing_ok=True)
    if not kept.exists():
        return False
    files.folder.mkdir(mode=0o700, exist_ok=True)
    unfinished = files.folder / f".runtime.{os.getpid()}"
    shutil.unpack_archive(kept, unfinished / "daskd_runtime")
    try:
        unfinished.rename(files.runtime)
    except OSError:  # another launch was faster
        shutil.rmtree(unfinished, ignore_errors=True)
    return True


def begin(
    place: Place, files: ClusterFiles, python: str, request: Mapping[str, Any], member: Mapping[str, Any]
) -> list[str]:
    """Begin one member; its result and words. What has a folder was launched before: nothing happens again."""
    folder = files.instance(member["id"])
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        return ["accepted", "launched before"]
    try:
        write_private(folder / "take.json", json.dumps(member["take"]).encode())
        write_private(folder / "spec.json", json.dumps(spec_of(files, request, member)).encode())
        write_private(folder / "launch.json", json.dumps(launch_of(place, files, python, request, member)).encode())
        supervise(files, folder)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        return ["refused", f"its supervisor can't be started: {error}"]
    return ["accepted", ""]


def spec_of(files: ClusterFiles, request: Mapping[str, Any], member: Mapping[str, Any]) -> dict[str, Any]:
    """What the instance is told: what the daemon said, and what is decided here."""
    role = "scheduler" if request["spec"]["role"] == "scheduler" else "worker"
    tls = {
        "ca": str(files.tls / "ca.pem"),
        "cert": str(files.tls / f"{role}.pem"),
        "key": str(files.tls / f"{role}.key"),
    }
    spec = {**request["spec"], "instance": member["id"], "tls": tls}
    if role == "scheduler":
        return spec | scheduler_place(spec["host"] or "", reached_at())
    spec["workers"] = [{"name": name} for name in member["workers"]]
    spec["local_directory"] = spec["local_directory"] or str(files.scratch)
    if spec["memory_limit"] == "auto":  # the host's by threads, as Dask's nannies reckon it
        spec["memory_limit"] = int(memory() * min(1.0, spec["nthreads"] / cores()))
    spec["host"] = address_of(spec["host"]) if spec["host"] else None
    return spec


def reached_at() -> str:
    """The address of this host at which the daemon reached it; "" where nothing tells."""
    parts = os.environ.get("SSH_CONNECTION", "").split()
    return parts[2] if len(parts) == 4 else ""


def launch_of(
    place: Place, files: ClusterFiles, python: str, request: Mapping[str, Any], member: Mapping[str, Any]
) -> dict[str, Any]:
    """What the supervisor is told."""
    who = pwd.getpwuid(os.geteuid())
    search = [str(files.runtime), *request["import_path"]]
    env = built(who.pw_name, who.pw_dir, who.pw_shell or "/bin/sh", python, request["environment"], search)
    return {
        **request["launch"],
        "instance": member["id"],
        "argv": [python, "-m", "daskd_runtime", request["spec"]["role"], str(files.instance(member["id"]))],
        "cwd": request["cwd"] if request["cwd"] and os.path.isdir(request["cwd"]) else who.pw_dir,
        "env": env | {MARK: member["id"], STATE_MARK: place.state_id},
    }


def supervise(files: ClusterFiles, folder: Path) -> None:
    """Start a supervisor in a session of its own, which the end of this connection leaves alone."""
    subprocess.Popen(
        [sys.executable, "-I", "-S", str(files.supervisor), str(folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={"PATH": os.defpath},
        start_new_session=True,
    )


def observe(place: Place, request: Mapping[str, Any]) -> dict[str, Any]:
    """Facts of each known instance; with `deep` what else of this daemon's runs, and which clusters have files."""
    known: dict[str, str] = request["known"]
    facts = {
        name: dataclasses.asdict(records.facts(place.files(cluster).instance(name), name, place.state_id))
        for name, cluster in known.items()
    }
    answer: dict[str, Any] = {"now": time.time(), "hostname": socket.gethostname(), "facts": facts, "strays": {}}
    if request["deep"]:
        for name, cluster in records.running(place.clusters, set(known), place.state_id):
            answer["strays"][name] = answer["strays"].get(name) or cluster
    return answer


def end(place: Place, request: Mapping[str, Any]) -> dict[str, Any]:
    """Ask for the end of instances; whether there was anything to ask, each."""
    return {
        "asked": {
            name: records.end(place.files(cluster).instance(name), name, place.state_id, request["force"])
            for name, cluster in request["members"].items()
        }
    }


def read_logs(place: Place, request: Mapping[str, Any]) -> dict[str, Any]:
    """What one instance's log holds after the cursor; no chunks: nothing yet."""
    chunks = logs.read(place.files(request["cluster"]).instance(request["id"]), request["cursor"])
    return {"chunks": [chunk for _, chunk in zip(range(MOST_LOG_CHUNKS), chunks)]}  # noqa: B905 - bounded by the first


def unstage(place: Place, request: Mapping[str, Any]) -> dict[str, Any]:
    """Remove a cluster's keys, scratch files and code."""
    place.files(request["cluster"]).unstage()
    return {}


def forget(place: Place, request: Mapping[str, Any]) -> dict[str, Any]:
    """Remove all that is left of a cluster, and what its removal leaves empty."""
    place.files(request["cluster"]).forget()
    place.tidy()
    return {}


VERBS: Mapping[str, Callable[[Place, Mapping[str, Any]], dict[str, Any]]] = {
    "survey": survey,
    "launch": launch,
    "observe": observe,
    "end": end,
    "logs": read_logs,
    "unstage": unstage,
    "forget": forget,
}


def main(request: Mapping[str, Any]) -> None:
    """Answer one request on standard output."""
    os.umask(0o077)
    try:
        place = Place(request["directory"], request["state"], request["host"])
        answer: dict[str, Any] = {"answer": VERBS[request["verb"]](place, request)}
    except Refusal as refusal:
        answer = {"refused": str(refusal)}
    except OSError as error:
        answer = {"refused": str(error)}
    text = json.dumps(answer).encode()
    sys.stdout.buffer.write(b"\n%s %d\n%s" % (request["nonce"].encode(), len(text), text))
    sys.stdout.buffer.flush()
