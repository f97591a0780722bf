"""The adaptive policy's inputs from a record, and what of its decision is recorded and told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from adaptive_states import snapshot, tasks
from cluster_states import LONG_AGO, NOW, SETTINGS, cluster, node, scheduler, types, view

from daskd.control import policy
from daskd.control.ledger import Ledger
from daskd.control.plan import Chosen
from daskd.control.settings import Settings
from daskd.model import adaptive as words
from daskd.model.cluster import Adaptive, Cluster, Group, Unplaceable
from daskd.model.spec import AdaptivePolicy, ClusterSpec, WorkerGroupSpec

GPU = (("GPU", 1.0),)
STARTS = {"local": 0.5}
LOST = tasks(50, resources=GPU, example="train-7")


def of_groups(*groups: tuple[WorkerGroupSpec, Group], **fields: Any) -> Cluster:
    """A cluster of these groups."""
    specs, statuses = zip(*groups, strict=True)
    return cluster(**{"spec": ClusterSpec(groups=specs), "groups": statuses, **fields})


def grows(name: str, **parameters: Any) -> tuple[WorkerGroupSpec, Group]:
    """A group that follows the work."""
    asked = AdaptivePolicy(**{"maximum": 10, **parameters})
    return WorkerGroupSpec(name=name), Group(name, adaptive=Adaptive(asked, since=LONG_AGO))


def stays(name: str, count: int, each: int = 1, **fields: Any) -> tuple[WorkerGroupSpec, Group]:
    """A group of a fixed count."""
    return WorkerGroupSpec(name=name, workers_per_node=each), Group(name, desired=count, **fields)


def applied(
    of: Cluster, said: words.Snapshot | None, *nodes: Any, beat: bool = False
) -> tuple[Ledger, Chosen, words.Decision]:
    """What a decision makes of a record."""
    instances = (scheduler(), *nodes)
    ledger = Ledger(of, instances)
    chosen, decision = policy.apply(
        ledger, view(of, instances), said, words.Memory(), starts=STARTS, now=NOW, beat=beat
    )
    return ledger, chosen, decision


def looked(of: Cluster, said: words.Snapshot, beat: bool = False) -> Ledger:
    """What a look makes of the record of a cluster without an adaptive group."""
    ledger = Ledger(of, (scheduler(),))
    policy.look(ledger, view(of, (scheduler(),)), said, starts=STARTS, now=NOW, beat=beat)
    return ledger


def test_each_group_has_its_own_parameters_over_the_configurations() -> None:
    """What one group gives is no other's; what it leaves open is the configuration's."""
    settings = replace(SETTINGS, adaptive=words.Policy(wait_count=7, interval=2.0))
    of = of_groups(grows("a", target_duration=30.0, cool_down=60.0), grows("b", wait_count=1, interval=0.5))
    a, b = (group.policy for group in policy.groups_of(of, settings, STARTS))
    assert (a.target_duration, a.cool_down, a.wait_count, a.interval) == (30.0, 60.0, 7, 2.0)
    assert (b.target_duration, b.cool_down, b.wait_count, b.interval) == (None, None, 1, 0.5)
    assert policy.pace_of(of, settings).interval == 0.5


def test_groups_stand_in_the_order_of_the_record_without_those_that_go() -> None:
    """The first is preferred; one that is being removed supplies nothing and is given nothing."""
    spec, status = stays("c", 3)
    of = of_groups(grows("b"), stays("a", 2), (spec, replace(status, removing=True)))
    assert [(group.name, group.fixed) for group in policy.groups_of(of, SETTINGS, STARTS)] == [
        ("b", False),
        ("a", True),
    ]


def test_a_fixed_count_is_counted_in_whole_instances_as_it_is_launched() -> None:
    """Three workers, two an instance, are two instances and four workers."""
    (group,) = policy.groups_of(of_groups(stays("a", 3, each=2)), SETTINGS, STARTS)
    assert (group.minimum, group.ceiling) == (4, 4)


def test_workers_at_the_hub_are_sorted_by_name_once() -> None:
    """A decision asks for them once an instance: what a pass sees does not change under it."""
    seen = view(cluster(), (scheduler(), node()))
    assert seen.hub_workers is seen.hub_workers
    assert set(seen.hub_workers) == {"n0-0"}


def test_only_what_follows_the_work_is_recorded_and_chosen() -> None:
    """The count of a fixed group is nobody's but its user's."""
    ledger, chosen, _ = applied(of_groups(grows("burst"), stays("always", 1)), snapshot(tasks(10, 100.0)), node())
    assert (ledger.cluster.group("burst").desired, ledger.cluster.group("always").desired) == (9, 1)
    assert chosen.groups == {"burst"}


def test_who_is_drained_with_work_is_told_apart_from_the_idle() -> None:
    """An idle one stays if it got work since the snapshot; one that had work then is drained of it."""
    nodes = [node(n, group="default") for n in range(2)]
    rows = [words.WorkerRow(f"n{n}-0", f"n{n}", processing=n, idle_since=None if n else LONG_AGO) for n in range(2)]
    of = of_groups(grows("default", maximum=0))
    _, chosen, _ = applied(of, snapshot(tasks(1, 1.0, executing=1), workers=rows), *nodes)
    assert (set(chosen.drain), chosen.busy) == ({"n0", "n1"}, {"n1"})


@pytest.mark.parametrize("is_adaptive", [True, False])
def test_work_that_nobody_can_run_is_told_once_and_when_it_is_over(is_adaptive: bool) -> None:
    """One event when a restriction comes, none while it stays, one when all are gone: adaptive or not."""
    of = of_groups(grows("a") if is_adaptive else stays("a", 1))

    def then(before: Cluster, said: words.Snapshot) -> Ledger:
        return applied(before, said)[0] if is_adaptive else looked(before, said)

    first = then(of, snapshot(LOST))
    assert "TASKS_UNPLACEABLE" in types(first)
    assert first.cluster.unplaceable[0].words == "50 tasks need GPU 1: no group has it (for example `train-7`)"
    again = then(first.cluster, snapshot(LOST))
    assert "TASKS_UNPLACEABLE" not in types(again)
    over = then(again.cluster, snapshot())
    assert (over.cluster.unplaceable, "TASKS_PLACEABLE" in types(over)) == ((), True)


@pytest.mark.parametrize(
    ("ready", "beat", "count"), [(60, False, 50), (60, True, 60), (101, False, 101), (24, False, 24)]
)
def test_the_number_of_such_tasks_is_recorded_when_it_is_another(ready: int, beat: bool, count: int) -> None:
    """At once where it more than doubled or halved, else with the next beat, and never with an event."""
    known = (Unplaceable(50, "GPU 1", "train-7", "50 tasks need GPU 1"),)
    ledger = looked(of_groups(stays("a", 1), unplaceable=known), snapshot(replace(LOST, ready=ready)), beat)
    assert (ledger.cluster.unplaceable[0].count, ledger.events) == (count, [])


def test_a_silent_scheduler_takes_nothing_back() -> None:
    """What nobody can run stands while there is no word of it."""
    known = (Unplaceable(50, "GPU 1", "train-7", "50 tasks need GPU 1"),)
    for is_adaptive in (True, False):
        of = of_groups(grows("a") if is_adaptive else stays("a", 1), unplaceable=known)
        old = snapshot(at=NOW - 3600)
        ledger = applied(of, old)[0] if is_adaptive else looked(of, old)
        assert (ledger.cluster.unplaceable, "TASKS_PLACEABLE" in types(ledger)) == (known, False)


def test_where_nothing_is_adaptive_the_scheduler_is_asked_seldom() -> None:
    """Every half minute, or when it says that something waits; more often while something cannot run."""
    of = of_groups(stays("a", 1))
    assert policy.pace_of(of, Settings()).interval == 30.0
    known = replace(of, unplaceable=(Unplaceable(1, "GPU 1"),))
    assert policy.pace_of(known, Settings()).interval == 5.0


def test_a_group_that_failed_thrice_is_not_counted_on() -> None:
    """One failed launch is bad luck; three in a row, and another group fills in."""
    for failures, fails in ((2, False), (3, True)):
        (group,) = policy.groups_of(of_groups(stays("a", 1, failures=failures)), SETTINGS, STARTS)
        assert group.failing is fails
