"""What a job does on each of its nodes: unpack what came along, and be the supervisor of the workers there.

The job's script carries this file, with those of the local driver that it imports (`script.py`), for nothing of daskd
is installed there. Standard library alone. A cluster's folder looks as on the daemon's own machine; it lies where all
nodes see it, so what several unpack at once appears whole or not at all.
"""

from __future__ import annotations

import base64
import io
import json
import os
import pwd
import shutil
import signal
import socket
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..local.files import ClusterFiles, read_document, write_private
from ..local.interfaces import address_of, scheduler_place
from ..local.process import MARK, STATE_MARK
from ..local.variables import built

EXIT_FAILED = 1


def place(folder: Path, content: Mapping[str, bytes], node: str) -> None:
    """Make a folder of private files, unless another node has; its own name makes the one before that unique."""
    if folder.exists():
        return
    unfinished = folder.with_name(f".{folder.name}.{node}")
    shutil.rmtree(unfinished, ignore_errors=True)
    for name, data in content.items():
        path = unfinished / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(path, data)
    try:
        unfinished.rename(folder)
    except OSError:
        shutil.rmtree(unfinished, ignore_errors=True)
        if not folder.exists():
            raise


def unzipped(code: bytes) -> dict[str, bytes]:
    """The runtime's files, by their place below the folder that Python's search path names."""
    with zipfile.ZipFile(io.BytesIO(code)) as archive:
        return {f"daskd_runtime/{name}": archive.read(name) for name in archive.namelist()}


def memory_of_node() -> int:
    """Bytes of the node's memory that this job may use."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    granted = os.environ.get("SLURM_MEM_PER_NODE", "")
    return min(total, int(granted) << 20) if granted.isdigit() and int(granted) else total


def memory_limit(request: Mapping[str, Any]) -> int:
    """Bytes of each worker; "auto": its share of what the job was granted on this node."""
    asked = request["spec"]["memory_limit"]
    here = len(request["members"][0]["workers"]) // request["nodes"]
    return int(asked) if asked != "auto" else memory_of_node() // max(1, here)


def rank_of(request: Mapping[str, Any]) -> int:
    """Which of the job's nodes this is.

    Raises
    ------
    ValueError
        When its system does not say, or names one that the job has not.
    """
    nodes, name = request["nodes"], request["rank_variable"]
    if nodes == 1:
        return 0
    said = os.environ.get(name, "")
    if not said.isdigit() or int(said) >= nodes:
        raise ValueError(f"{name}={said!r} is none of the {nodes} nodes of this job")
    return int(said)


def share_of(member: Mapping[str, Any], rank: int, nodes: int) -> dict[str, Any]:
    """A member of the batch as one of its nodes sees it: `workers` are those there, `place` names its folder."""
    each = len(member["workers"]) // nodes
    place = f"{member['id']}.{rank}" if rank else member["id"]
    return {"id": member["id"], "place": place, "workers": member["workers"][rank * each : (rank + 1) * each]}


def is_scheduler(request: Mapping[str, Any]) -> bool:
    """Whether this job is a cluster's scheduler."""
    return bool(request["spec"]["role"] == "scheduler")


def tls_of(files: ClusterFiles, request: Mapping[str, Any]) -> Path:
    """The folder of what this job shows others."""
    return files.scheduler_tls if is_scheduler(request) else files.tls


def spec_of(files: ClusterFiles, request: Mapping[str, Any], member: Mapping[str, Any]) -> dict[str, Any]:
    """What the instance is told: what the daemon said, and what is decided here."""
    role = "scheduler" if is_scheduler(request) else "worker"
    tls = {"ca": "ca.pem", "cert": f"{role}.pem", "key": f"{role}.key"}
    shown = {name: str(tls_of(files, request) / file) for name, file in tls.items()}
    spec = {**request["spec"], "instance": member["id"], "tls": shown}
    if is_scheduler(request):
        return spec | scheduler_place(spec["host"] or "", request["daemon"])
    spec["memory_limit"] = memory_limit(request)
    spec["workers"] = [{"name": name} for name in member["workers"]]
    spec["local_directory"] = spec["local_directory"] or os.environ.get("TMPDIR") or "/tmp"  # noqa: S108 - private below
    spec["host"] = address_of(spec["host"]) if spec["host"] else None
    return spec


def environment_of(files: ClusterFiles, request: Mapping[str, Any], instance: str) -> dict[str, str]:
    """The job's environment, which prologue and modules made, then what was asked for."""
    who = pwd.getpwuid(os.geteuid())
    python = Path(sys.executable)
    path = f"{python.parent}:{os.environ.get('PATH', os.defpath)}"
    given = {**os.environ, "PATH": path, **request["environment"]}
    search = [str(files.runtime), *request["import_path"]]
    env = built(who.pw_name, who.pw_dir, who.pw_shell or "/bin/sh", str(python), given, search)
    return env | {MARK: instance, STATE_MARK: request["state"]}


def furnish(files: ClusterFiles, request: Mapping[str, Any], member: Mapping[str, Any]) -> Path:
    """Write all that the instance needs on this node; its folder."""
    instance, node = member["id"], member["place"]
    folder = files.instance(node)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    place(files.runtime, unzipped(base64.b64decode(request["code"])), node)
    place(tls_of(files, request), {name: base64.b64decode(data) for name, data in request["secret"].items()}, node)
    launch = {
        **request["launch"],
        "instance": instance,
        "argv": [sys.executable, "-m", "daskd_runtime", request["spec"]["role"], str(folder)],
        "cwd": request["cwd"] if request["cwd"] and os.path.isdir(request["cwd"]) else os.path.expanduser("~"),
        "env": environment_of(files, request, instance),
    }
    write_private(folder / "spec.json", json.dumps(spec_of(files, request, member)).encode())
    write_private(folder / "launch.json", json.dumps(launch).encode())
    return folder


def exit_code(folder: Path) -> int:
    """How the instance ended, as a shell would say it: the system's own records are to tell it, too."""
    end = read_document(folder / "end.json") or {}
    code, signum = end.get("code"), end.get("signal")
    if isinstance(signum, int):
        return 128 + signum
    return code if isinstance(code, int) else EXIT_FAILED


def heed_notices() -> None:
    """Take what batch systems send before the end as TERM: SGE's and OAR's notice is USR2, that of a pause USR1."""
    signal.signal(signal.SIGUSR2, lambda _number, _frame: os.kill(os.getpid(), signal.SIGTERM))
    # a handler, for what is ignored would be so in the workers, too
    signal.signal(signal.SIGUSR1, lambda _number, _frame: None)


def main(request: Mapping[str, Any]) -> None:
    """Run this node's part of the job's instance to its end; the first argument is its index in the batch."""
    files = ClusterFiles(Path(request["folder"]))
    umask = os.umask(0o077)
    try:
        member = share_of(request["members"][int(sys.argv[1])], rank_of(request), request["nodes"])
        folder = furnish(files, request, member)
    except ValueError as error:
        sys.stderr.write(f"daskd: {error}\n")
        sys.exit(EXIT_FAILED)
    except OSError as error:
        sys.stderr.write(f"daskd: {files.folder} can't be used on {socket.gethostname()}: {error}\n")
        sys.exit(EXIT_FAILED)
    # users' files get the mode that users expect
    os.umask(umask)
    sys.path.insert(0, str(files.runtime))
    from daskd_runtime import supervisor  # type: ignore[import-not-found]

    # the very process that the system started: what it signals or ends is the supervisor
    heed_notices()
    code = supervisor.run(str(folder), -1)
    sys.exit(code or exit_code(folder))
