"""From keywords to a spec."""

from __future__ import annotations

import ast
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from distributed import Nanny

from daskd_client import InvalidSpec
from daskd_client.request import (
    Here,
    adaptive_policy,
    cluster_spec,
    here,
    import_path,
    like_here,
    own_import_path,
    worker_group,
)
from daskd_client.types import (
    AdaptivePolicy,
    ClusterSpec,
    HeldWorkPolicy,
    IdleAction,
    SchedulerLossAction,
    SchedulerSpec,
    WorkerGroupSpec,
)


def spec_of(group: dict[str, Any] | None = None, **keywords: Any) -> ClusterSpec:
    return cluster_spec(group=group or {}, **keywords)


def test_nothing_said_is_left_to_the_daemon() -> None:
    """A spec holds only what was said."""
    assert spec_of({"driver": None, "n_workers": None}) == ClusterSpec()


def test_keywords_become_fields() -> None:
    """Each keyword arrives in its field, durations and sizes in any form that Dask takes."""
    worker = {"nthreads": 2, "memory_limit": 2**30, "resources": {"GPU": 1}, "death_timeout": "1m"}
    spec = spec_of(
        {
            "driver": "slurm",
            "n_workers": 8,
            "worker": worker,
            "workers_per_node": 2,
            "options": {"queue": "main"},
            "adaptive": {"maximum": 4, "interval": "500ms"},
        },
        idle_timeout="2h",
        on_idle="scale_to_zero",
        on_scheduler_loss="restart",
        max_lifetime="12h",
        lifetime_warning=90,
        held_work={"keep": 60, "memory_share": 0.25},
    )
    assert spec.groups == (
        WorkerGroupSpec(
            driver="slurm",
            n_workers=8,
            nthreads=2,
            memory_limit=str(2**30),
            workers_per_node=2,
            resources={"GPU": 1},
            death_timeout=timedelta(minutes=1),
            options={"queue": "main"},
            adaptive=AdaptivePolicy(maximum=4, interval=timedelta(seconds=0.5)),
        ),
    )
    assert spec.on_scheduler_loss is SchedulerLossAction.RESTART
    assert (spec.idle_timeout, spec.on_idle) == (timedelta(hours=2), IdleAction.SCALE_TO_ZERO)
    assert (spec.max_lifetime, spec.lifetime_warning) == (timedelta(hours=12), timedelta(seconds=90))
    assert spec.held_work == HeldWorkPolicy(keep=timedelta(minutes=1), memory_share=0.25)


@pytest.mark.parametrize(
    ("given", "written"), [(None, "0"), (0, "0"), ("4GiB", "4GiB"), ("auto", "auto"), (2.5e9, "2500000000")]
)
def test_memory_limits_are_dasks(given: Any, written: str) -> None:
    """A memory limit is bytes or text; None and 0 mean none, as in Dask."""
    assert spec_of({"worker": {"memory_limit": given}}).groups[0].memory_limit == written


@pytest.mark.parametrize(
    ("keywords", "field"),
    [
        ({"group": {"worker": {"ntreads": 1}}}, "groups[0].worker.ntreads"),
        ({"group": {"worker": {"memory_limit": True}}}, "groups[0].worker.memory_limit"),
        ({"group": {"worker": {"memory_limit": 0.5}}}, "groups[0].worker.memory_limit"),
        ({"group": {"worker": {"death_timeout": "soon"}}}, "groups[0].worker.death_timeout"),
        ({"groups": {"a": {}, "b": {"nworkers": 1}}}, "groups[1].nworkers"),
        ({"groups": {"a": {}}, "group": {"n_workers": 1}}, "groups"),
        ({"groups": {"a": 3}}, "groups[0]"),
        ({"group": {"worker": 3}}, "groups[0].worker"),
        ({"idle_timeout": "ten"}, "idle_timeout"),
        ({"max_lifetime": "soon"}, "max_lifetime"),
        ({"on_idle": "sleep"}, "on_idle"),
        ({"on_scheduler_loss": "weep"}, "on_scheduler_loss"),
        ({"environment": {"A": 1}}, "environment['A']"),
        ({"group": {"adaptive": {"max": 1}}}, "groups[0].adaptive.max"),
        ({"held_work": {"keep": "x"}}, "held_work.keep"),
    ],
)
def test_what_is_wrong_is_named_by_its_field(keywords: dict[str, Any], field: str) -> None:
    """A wrong keyword is told by the field that it stands for."""
    with pytest.raises(InvalidSpec) as caught:
        cluster_spec(**{"group": {}, **keywords})
    assert [problem.field for problem in caught.value.problems] == [field]


def test_everything_wrong_is_told_at_once() -> None:
    """The user mends a spec once, not field by field."""
    with pytest.raises(InvalidSpec) as caught:
        spec_of({"worker": {"ntreads": 1, "death_timeout": "x"}}, idle_timeout="y")
    assert len(caught.value.problems) == 3


def test_adapts_durations_are_checked() -> None:
    """`adapt` refuses an interval that is none."""
    with pytest.raises(InvalidSpec, match=r"adaptive\.interval"):
        adaptive_policy(interval="often")


def test_this_process_fills_what_was_not_said() -> None:
    """Interpreter, directory and import path come from here, unless said; another interpreter keeps its own path."""
    process = Here("/py", "/cwd", ("/a",))
    spec, taken = like_here(ClusterSpec(), process)
    assert (spec.python, spec.cwd, spec.import_path) == ("/py", "/cwd", ("/a",))
    assert taken == {"python", "cwd", "import_path"}
    spec, taken = like_here(ClusterSpec(python="/other", cwd="/elsewhere"), process)
    assert (spec.python, spec.cwd, spec.import_path) == ("/other", "/elsewhere", ())
    assert taken == set()


def test_the_import_path_leaves_out_the_interpreters_own(tmp_path: Path) -> None:
    """Of ``sys.path`` only what this process added goes to workers, in order, once, and only what exists."""
    own, site = tmp_path / "lib", tmp_path / "site-packages"
    mine, other = tmp_path / "mine", tmp_path / "other"
    for folder in (own, site / "egg", mine, other, tmp_path / "a:b"):
        folder.mkdir(parents=True)
    folders = (mine, own, site, site / "egg", "", tmp_path / "gone", mine, tmp_path / "a:b")
    entries = [str(folder) for folder in folders]
    assert import_path(entries, str(other), frozenset({str(own), str(site)})) == (str(mine), str(other))


def test_a_bare_interpreter_needs_no_import_path() -> None:
    """All that an interpreter has by itself is known as its own: what is left is the program's folder alone."""
    program = "from daskd_client.request import here; print(here().import_path)"
    paths = [str(Path(__file__).parents[2] / folder) for folder in ("", "clients", "proto")]
    argv = [sys.executable, "-c", f"import sys; sys.path[1:1] = {paths!r}; {program}"]
    env = {"HOME": "/nonexistent"}
    done = subprocess.run(argv, cwd="/", env=env, capture_output=True, text=True, timeout=60, check=True)
    # an editable installation of this very tree makes its folders the interpreter's own
    assert set(ast.literal_eval(done.stdout)) == {str(Path(path)) for path in (*paths, "/")} - own_import_path()


def test_this_process_is_told_as_it_is() -> None:
    """What `here` says is this process's interpreter and directory."""
    process = here()
    assert (process.python, process.cwd) == (sys.executable, str(Path.cwd()))
    assert not own_import_path() & set(process.import_path)


def test_a_group_says_what_its_workers_are_like() -> None:
    """A class or its name, one preload or several, a prologue as text or as lines."""
    worker = {"preload": "a.py", "worker_class": Nanny, "options": {"lifetime": "1h"}}
    content = {"python": Path("/opt/p"), "cwd": "/srv", "prologue": "\nmodule load gcc\nexport A=1\n", "worker": worker}
    assert worker_group("big", content) == WorkerGroupSpec(
        name="big",
        python="/opt/p",
        cwd="/srv",
        preload=("a.py",),
        worker_class="distributed.nanny.Nanny",
        worker_options={"lifetime": "1h"},
        prologue=("module load gcc", "export A=1"),
    )
    same = {**content, "prologue": ["module load gcc", "export A=1"]}
    same["worker"] = {**worker, "preload": ["a.py"], "worker_class": "distributed.nanny.Nanny"}
    assert worker_group("big", same) == worker_group("big", content)


def test_a_scheduler_says_what_it_is_like() -> None:
    """Its preloads, its options, its lines of shell."""
    scheduler = {"preload": ["a", "b"], "options": {"allowed_failures": 9}, "prologue": "x"}
    assert spec_of(scheduler=scheduler).scheduler == SchedulerSpec("", ("a", "b"), {"allowed_failures": 9}, ("x",))


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({"n_worker": 1}, "group.n_worker"),
        ({"worker": {"class": "x.Y"}}, "group.worker.class"),
        ({"worker": {"preload": 5}}, "group.worker.preload"),
        ({"worker": {"preload": [5]}}, "group.worker.preload"),
        ({"prologue": {"a": 1}}, "group.prologue"),
        ({"worker": {"worker_class": type("Mine", (), {"__module__": "__main__"})}}, "group.worker.worker_class"),
        ({"worker": {"worker_class": 5}}, "group.worker.worker_class"),
        ({"worker": {"options": [1]}}, "group.worker.options"),
    ],
)
def test_what_is_wrong_with_a_group_is_named_by_its_field(content: dict[str, Any], field: str) -> None:
    """A class that workers can't import, among them."""
    with pytest.raises(InvalidSpec) as caught:
        worker_group("big", content)
    assert [problem.field for problem in caught.value.problems] == [field]
