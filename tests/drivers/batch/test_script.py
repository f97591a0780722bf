"""The script of a batch, run by a shell as a batch system would, on a machine that has nothing but Python."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from daskd.drivers.batch.script import body_of, handed_over
from daskd.drivers.batch.slurm import Slurm
from daskd.drivers.batch.slurm_driver import SlurmOptions
from daskd.drivers.batch.system import Jobs
from daskd.drivers.protocol import Batch, Member, RuntimeSettings
from daskd.model.cluster import Role
from daskd.model.spec import ClusterSpec, WorkerGroupSpec
from daskd.security.certificates import issue

MEMBERS = (Member("dabcdeaaaaaaa2", 0, ("w-0",)), Member("dabcdeaaaaaaa3", 1, ("w-1",)))
NOBODY_THERE = "tls://127.0.0.1:1"


def script(
    folder: Path, spec: dict[str, Any] | None = None, options: dict[str, Any] | None = None, **group: Any
) -> str:
    """The script of two nodes whose scheduler does not answer."""
    chosen = SlurmOptions.model_validate(options or {})
    members = WorkerGroupSpec(**{"driver": "slurm", "memory_limit": "100MB", **group})
    batch = Batch(
        cluster="caaaaaaaaaaaaaaaaaaa",
        cluster_name="etl",
        role=Role.NODE,
        spec=ClusterSpec(groups=(members,), **{"python": sys.executable, **(spec or {})}),
        group=members,
        members=MEMBERS,
        scheduler="dabcdeaaaaaaa4",
        address=NOBODY_THERE,
        runtime=RuntimeSettings(5.0, 0.5, 3600.0, 60.0, 0.5, 1 << 20, 2),
    )
    issued = issue(batch.cluster)
    secret = {"ca.pem": issued.ca.encode(), "scheduler.key": b"not a node's"}
    secret |= {"worker.pem": issued.certificates["worker"].encode(), "worker.key": issued.keys["worker"].encode()}
    files = {"folder": str(folder), "state": "abcde", "secret": secret}
    body = body_of(Slurm(), batch, members, chosen, MEMBERS, files)
    jobs = Jobs("x", tuple(member.id for member in MEMBERS), f"{folder}/jobs", batch.runtime.grace)
    return handed_over(Slurm(), chosen, members, body, jobs).stdin


def run(text: str, index: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
    """Run it as the job of that index, without anything of this checkout within reach."""
    clean = {"PATH": os.defpath, "HOME": "/", "SLURM_ARRAY_TASK_ID": str(index), **env}
    return subprocess.run(
        ["sh"], input=text, env=clean, cwd="/", capture_output=True, text=True, timeout=120, check=False
    )


def document(folder: Path, member: Member, name: str) -> Any:
    return json.loads((folder / "instances" / member.id / name).read_text())


def test_a_job_unpacks_and_runs_the_node_of_its_index(tmp_path: Path) -> None:
    """The node of that index runs under a supervisor, keeps its log, and its exit code is the job's."""
    folder = tmp_path / "c1"
    done = run(script(folder), index=1)
    assert done.returncode == 82, done.stdout + done.stderr
    assert document(folder, MEMBERS[1], "end.json")["code"] == 82
    assert document(folder, MEMBERS[1], "spec.json")["workers"] == [{"name": "w-1"}]
    assert "82" in (folder / "instances" / MEMBERS[1].id / "output.1.log").read_text().splitlines()[-1]
    assert not (folder / "instances" / MEMBERS[0].id).exists()


_SRUN = """\
#!/bin/sh
input=$(cat)
while [ "${1#--}" != "$1" ]; do shift; done
for rank in 0 1; do printf '%s\\n' "$input" | SLURM_PROCID=$rank "$@" & ranks="$ranks $!"; done
for each in $ranks; do wait $each || code=$?; done
exit $code
"""


def test_each_node_of_a_job_runs_its_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What starts a program on each node gives each its own workers, folder and end under one instance's id."""
    folder, wide = tmp_path / "c1", Member("dabcdeaaaaaaa2", 0, ("w-0", "w-1", "w-2", "w-3"))
    monkeypatch.setattr(f"{__name__}.MEMBERS", (wide,))
    (tmp_path / "srun").write_text(_SRUN)
    (tmp_path / "srun").chmod(0o755)
    text = script(folder, nodes=2, workers_per_node=2, memory_limit="auto")
    done = run(text, PATH=f"{tmp_path}:{os.defpath}", SLURM_MEM_PER_NODE="100")
    assert done.returncode == 82, done.stdout + done.stderr
    for place, names in ((wide.id, ["w-0", "w-1"]), (f"{wide.id}.1", ["w-2", "w-3"])):
        spec = json.loads((folder / "instances" / place / "spec.json").read_text())
        assert [worker["name"] for worker in spec["workers"]] == names
        assert (spec["instance"], spec["memory_limit"]) == (wide.id, 50 << 20)
        assert json.loads((folder / "instances" / place / "end.json").read_text())["code"] == 82
    assert sorted(path.name for path in folder.iterdir()) == ["instances", "runtime", "tls"]


def test_a_node_that_is_none_of_the_jobs_starts_nothing(tmp_path: Path) -> None:
    """Without a word of its place, or with one that the job has not, a process says so and ends."""
    (tmp_path / "srun").write_text('#!/bin/sh\nwhile [ "${1#--}" != "$1" ]; do shift; done\nexec "$@"\n')
    (tmp_path / "srun").chmod(0o755)
    text = script(tmp_path / "c1", nodes=2)
    for rank in ({}, {"SLURM_PROCID": "2"}, {"SLURM_PROCID": "x"}):
        done = run(text, PATH=f"{tmp_path}:{os.defpath}", **rank)
        assert done.returncode == 1
        assert "none of the 2 nodes" in done.stderr
    assert not (tmp_path / "c1").exists()


def test_what_a_job_writes_is_its_users_alone(tmp_path: Path) -> None:
    """Keys, spec and logs are readable by the owner alone, and the scheduler's key is not among them."""
    folder = tmp_path / "c1"
    run(script(folder))
    files = [path for path in folder.rglob("*") if path.is_file() and "runtime" not in path.parts]
    assert {"worker.key", "spec.json", "launch.json", "output.1.log"} <= {path.name for path in files}
    assert [path for path in files if path.stat().st_mode & 0o077] == []
    assert not list(folder.rglob("scheduler.key"))


def test_the_prologue_makes_the_environment(tmp_path: Path) -> None:
    """Lines of the prologue see the request's own variables, in its folder; what they export reaches the workers."""
    folder = tmp_path / "c1"
    text = script(
        folder,
        spec={"cwd": str(tmp_path), "environment": {"MINE": "request"}, "import_path": ("/lib/ann",)},
        prologue=("export MODULE=loaded-$MINE", "pwd > seen"),
    )
    run(text)
    launch = document(folder, MEMBERS[0], "launch.json")
    assert (launch["env"]["MODULE"], launch["env"]["MINE"]) == ("loaded-request", "request")
    assert launch["env"]["PYTHONPATH"].split(":") == [str(folder / "runtime"), "/lib/ann"]
    assert launch["cwd"] == str(tmp_path)
    assert (tmp_path / "seen").read_text().strip() == str(tmp_path)


def test_jobs_of_one_cluster_share_what_they_unpack(tmp_path: Path) -> None:
    """Several jobs that start at once find one whole runtime, and leave nothing half done."""
    folder = tmp_path / "c1"
    job = tmp_path / "job.sh"
    job.write_text(script(folder))
    clean = {"PATH": os.defpath, "HOME": "/"}
    running = [
        subprocess.Popen(
            ["sh", str(job)], env={**clean, "SLURM_ARRAY_TASK_ID": str(index)}, cwd="/", stderr=subprocess.PIPE
        )
        for index in (0, 1)
    ]
    assert [process.wait(120) for process in running] == [82, 82], [process.communicate()[1] for process in running]
    assert sorted(path.name for path in folder.iterdir()) == ["instances", "runtime", "tls"]


def test_what_arrives_damaged_starts_nothing(tmp_path: Path) -> None:
    """A script that was cut or changed on its way says so, and no file is made."""
    folder = tmp_path / "c1"
    lines = script(folder).splitlines()
    cut = "\n".join([*lines[:-30], *lines[-20:], ""])
    changed = "\n".join([*lines[:-20], lines[-20].swapcase(), *lines[-19:], ""])
    for text in (cut, changed):
        done = run(text)
        assert done.returncode == 80
        assert "damaged" in done.stderr
    assert not folder.exists()


def test_a_node_without_the_python_says_so(tmp_path: Path) -> None:
    """A group's own Python that is not there is no other's to replace: the job ends, and tells which."""
    done = run(script(tmp_path / "c1", python="/nonexistent/python"))
    assert done.returncode == 81
    assert "/nonexistent/python" in done.stderr


def test_a_folder_that_can_not_be_made_is_told(tmp_path: Path) -> None:
    """Where the shared folder can't be written the job fails with its name."""
    (tmp_path / "file").touch()
    done = run(script(tmp_path / "file" / "c1"))
    assert done.returncode == 1
    assert str(tmp_path / "file") in done.stderr


def test_header_lines_can_be_left_out(tmp_path: Path) -> None:
    """Lines that hold one of the texts to skip are gone, the others and the shell stay."""
    options = {"queue": "main", "shebang": "#!/bin/bash -l", "job_directives_skip": ["--mem", "--cpus"]}
    lines = script(tmp_path, options=options).splitlines()
    assert lines[:4] == ["#!/bin/bash -l", "#SBATCH --partition=main", "#SBATCH --ntasks=1", ""]
