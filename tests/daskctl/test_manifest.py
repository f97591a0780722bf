"""Clusters from a file: what can be wanted is read as it is meant, and every mistake is told by its line."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
import yaml

from daskctl.manifest import BadManifest, Manifest, read_manifests
from daskctl.render.changes import lines
from daskctl.render.document import document
from daskd_client.types import (
    AdaptivePolicy,
    Applied,
    Cluster,
    ClusterSpec,
    HeldWorkPolicy,
    IdleAction,
    Phase,
    SchedulerLossAction,
    SchedulerSpec,
    WorkerGroupSpec,
    WorkerGroupStatus,
)

WHOLE = """
name: etl
spec:
  profile: gpu
  idle_timeout: 2h
  on_idle: scale_to_zero
  on_scheduler_loss: fail
  max_lifetime: 3000d
  environment: {A: 1, B: yes, C: "😀"}
  dashboard: false
  held_work: {memory_share: 1}
  scheduler:
    prologue: |
      module load gcc
      export C=3
  groups:
    - name: default
      n_workers: 0
      memory_limit: 0
      resources: {GPU: 2}
      options: {queue: main, nodes: 3, more: {deep: [1, true, null]}}
      death_timeout: 90
      preload: [a, b]
    - name: highmem
      adaptive: {minimum: 0, maximum_memory: 64GiB}
"""


def spec_of(text: str) -> ClusterSpec:
    """The spec of a file with one cluster."""
    (manifest,) = read_manifests(text, "file")
    return manifest.spec


def test_a_file_is_read_as_it_is_meant() -> None:
    """Durations, sizes, text that looks like something else, lines of shell, and a count of 0 that was given."""
    assert read_manifests(WHOLE, "file") == [
        Manifest(
            "etl",
            ClusterSpec(
                profile="gpu",
                idle_timeout=timedelta(hours=2),
                on_idle=IdleAction.SCALE_TO_ZERO,
                on_scheduler_loss=SchedulerLossAction.FAIL,
                max_lifetime=timedelta(days=3000),
                environment={"A": "1", "B": "yes", "C": "😀"},
                dashboard=False,
                held_work=HeldWorkPolicy(memory_share=1),
                scheduler=SchedulerSpec(prologue=("module load gcc", "export C=3")),
                groups=(
                    WorkerGroupSpec(
                        name="default",
                        n_workers=0,
                        memory_limit="0",
                        resources={"GPU": 2},
                        options={"queue": "main", "nodes": 3, "more": {"deep": [1, True, None]}},
                        death_timeout=timedelta(seconds=90),
                        preload=("a", "b"),
                    ),
                    WorkerGroupSpec(name="highmem", adaptive=AdaptivePolicy(minimum=0, maximum_memory="64GiB")),
                ),
            ),
        )
    ]


@pytest.mark.parametrize("write", [yaml.safe_dump, json.dumps], ids=["yaml", "json"])
def test_what_get_prints_is_such_a_file(write) -> None:
    """What it tells beside the spec is passed over, and what is null is not said."""
    shown = Cluster(
        uid="u1", name="etl", phase=Phase.RUNNING, spec=spec_of(WHOLE), groups=(WorkerGroupStatus("default"),)
    )
    assert read_manifests(write(document(shown)), "file") == [Manifest("etl", spec_of(WHOLE))]


def test_several_documents_are_several_clusters() -> None:
    """In order; empty ones between them are none."""
    text = "name: a\nspec: {}\n---\n---\nname: b\nspec: {}\n"
    assert [manifest.name for manifest in read_manifests(text, "file")] == ["a", "b"]


MISTAKES = {
    "no yaml": ("name: [", "file:1: this is neither YAML nor JSON"),
    "nothing": ("", "file: it is empty"),
    "no table": ("- a", "file:1: write a table"),
    "no name": ("spec: {}", "file:1: name: it is missing"),
    "no spec": ("name: a", "file:1: spec: it is missing"),
    "a near key": (
        "name: a\nspec:\n  pyhton: x",
        "file:3: spec.pyhton: there is no such key here: did you mean `python`?",
    ),
    "an unknown key": ("name: a\nspec: {colour: x}", "file:2: spec.colour: there is no such key here: there are: "),
    "a key of a group": (
        "name: a\nspec:\n  groups:\n  - n_worker: 2",
        "file:4: spec.groups[0].n_worker: there is no such key here: did you mean `n_workers`?",
    ),
    "the spec's key outside": ("name: a\nspec: {}\ngroups: []", "file:3: groups: write it under `spec`"),
    "get's key in a file": ("name: a\nspec: {}\nphase: x", "file:3: phase: a file has `name` and `spec`"),
    "twice": ("name: a\nspec: {}\nname: b", "file:3: name: it is there twice"),
    "two clusters": ("name: a\nspec: {}\n---\nname: a\nspec: {}", "file: there are two clusters 'a'"),
    "no number": (
        "name: a\nspec:\n  groups: [{n_workers: many}]",
        "file:3: spec.groups[0].n_workers: 'many' does not fit",
    ),
    "a flag for a number": ("name: a\nspec: {groups: [{n_workers: true}]}", "write a whole number"),
    "no flag": ("name: a\nspec: {dashboard: 1}", "file:2: spec.dashboard: '1' does not fit: write true or false"),
    "no list": ("name: a\nspec: {groups: {}}", "file:2: spec.groups: write a list"),
    "no duration": ("name: a\nspec: {idle_timeout: soon}", "file:2: spec.idle_timeout: 'soon' is no duration"),
    "no choice": ("name: a\nspec: {on_idle: sleep}", "'sleep' is none of delete, scale_to_zero"),
    "no value": ("name: a\nspec: {environment: {A: }}", "file:2: spec.environment.A: there is no value"),
    "half a character": ('name: a\nspec: {python: "\\ud83d"}', "file:2: spec.python: "),
    "no text": ("name: a\nspec: {python: [x]}", "file:2: spec.python: write a single value"),
    "an object of Python's": ("name: a\nspec: {groups: [{options: {a: !!python/name:os.system }}]}", "file:2: "),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistake_is_told_with_its_line(what: str) -> None:
    """With where it stands, and the mend; nothing is run that a file names."""
    text, words = MISTAKES[what]
    with pytest.raises(BadManifest) as caught:
        read_manifests(text, "file")
    assert words in str(caught.value)


def test_all_mistakes_are_told_at_once() -> None:
    """A line each."""
    with pytest.raises(BadManifest) as caught:
        read_manifests("name: a\nspec:\n  pyhton: x\n  dashboard: 1\n---\nspec: {}", "file")
    assert [line.split(":")[1] for line in str(caught.value).splitlines()] == ["3", "4", "6"]


def test_what_was_applied_is_told_a_line_a_change() -> None:
    """With the cluster's name before it; nothing is told, too."""
    cluster = Cluster(name="etl")
    assert lines(Applied(cluster, ("group 'a': added, 2 workers", "x"))) == [
        "etl: group 'a': added, 2 workers",
        "etl: x",
    ]
    assert lines(Applied(cluster)) == ["etl: nothing to change"]
