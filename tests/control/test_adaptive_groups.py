"""The adaptive policy with several groups: those of a fixed count, those that fail, and parameters of their own."""

from __future__ import annotations

from dataclasses import replace

import pytest
from adaptive_states import NOW, group, pending, running, snapshot, tasks

from daskd.control.adaptive import decide
from daskd.model.adaptive import (
    Decision,
    Group,
    GroupMemory,
    Instance,
    InstanceState,
    Memory,
    Policy,
    Reason,
    Snapshot,
)

QUICK = (5.0,)
GPU = (("GPU", 1.0),)


def fixed(name: str, count: int, **fields: object) -> Group:
    """A group whose count somebody set."""
    return group(name, count, minimum=count, fixed=True, start_times=QUICK, **fields)


def adaptive(name: str = "burst", **fields: object) -> Group:
    """A group that follows the work."""
    return group(name, **{"start_times": QUICK, **fields})  # type: ignore[arg-type]


def decided(
    groups: list[Group], said: Snapshot, instances: list[Instance] | None = None, memory: Memory | None = None
) -> Decision:
    """The decision about these groups."""
    return decide(groups, said, instances or [], memory or Memory(), NOW)


# preference


def two(said: Snapshot, instances: list[Instance], **gpu: object) -> Decision:
    """The decision about CPU workers and, less preferred, GPU workers."""
    of = [group("cpu", 540, start_times=(5.0,)), group("gpu", resources=(("GPU", 1.0),), start_times=(5.0,))]
    return decide([of[0], replace(of[1], **gpu)], said, instances, Memory(), NOW)  # type: ignore[arg-type]


def test_each_class_starts_workers_that_can_run_it() -> None:
    """Restricted work goes to the group that has the resource, the rest to the preferred group."""
    gpu = tasks(60, 10.0, resources=(("GPU", 1.0),))
    got = two(snapshot(tasks(540, 10.0), gpu), []).groups
    assert got["gpu"].launch == 60
    assert got["cpu"].launch == 540


def test_spare_threads_of_restricted_work_are_used_first() -> None:
    """Threads left over on workers that are started anyway need no workers of their own."""
    gpu = tasks(2, 100.0, resources=(("GPU", 1.0),))
    got = two(snapshot(tasks(6, 20.0), gpu), [], nthreads=4).groups
    assert (got["gpu"].launch, got["cpu"].launch) == (2, 0)


def test_the_next_group_takes_over_beyond_the_preferred_ones_maximum() -> None:
    """What the preferred group may not start is started in the next."""
    of = [group("a", 3, start_times=(5.0,)), group("b", 50, start_times=(5.0,))]
    got = decide(of, snapshot(tasks(10, 100.0)), [], Memory(), NOW).groups
    assert (got["a"].launch, got["b"].launch) == (3, 7)


def test_the_next_group_fills_in_for_one_that_keeps_us_waiting() -> None:
    """A group slower than its patience is asked, and the next one does the work meanwhile."""
    of = [group("slurm", patience=60.0, start_times=(300.0,)), group("ssh", start_times=(5.0,))]
    waiting = pending(10, age=100, group="slurm")
    got = decide(of, snapshot(tasks(10, 100.0)), waiting, Memory(), NOW).groups
    assert (got["slurm"].launch, got["ssh"].launch, got["ssh"].code) == (0, 10, Reason.FILL_IN)
    assert got["ssh"].reason == ("10 more on `ssh`: `slurm` has let us wait for 100 s")


# a fixed count


def test_nothing_is_decided_of_a_group_whose_count_is_fixed() -> None:
    """Somebody's count stands: there is no decision that could launch or end any of it, with word or without."""
    for said in (snapshot(tasks(1000)), snapshot(tasks(1000), at=NOW - 3600)):
        assert set(decided([fixed("always", 3), adaptive()], said).groups) == {"burst"}


@pytest.mark.parametrize("order", [("always", "burst"), ("burst", "always")])
@pytest.mark.parametrize("state", [InstanceState.RUNNING, InstanceState.PENDING, None])
def test_what_a_fixed_group_does_is_not_asked_for_again(order: tuple[str, str], state: InstanceState | None) -> None:
    """Of ten slots' work three are there, on their way, or about to be launched: seven are started elsewhere."""
    instances = pending(3, age=1.0, group="always") if state else []
    if state is InstanceState.RUNNING:
        instances, _ = running(3, group="always")
    groups = {"always": fixed("always", 3), "burst": adaptive()}
    got = decided([groups[name] for name in order], snapshot(tasks(10, 100.0)), instances)
    assert got.groups["burst"].launch == 7


def test_work_that_a_fixed_group_can_do_keeps_nobody_else() -> None:
    """Five slots' work are done by five workers of a fixed count, and those that were started for it go."""
    steady, always = running(5, group="always", prefix="a")
    extra, burst = running(5, group="burst", prefix="b")
    said = snapshot(tasks(5, 100.0, executing=5), workers=[*always, *burst])
    before = Memory(groups={"burst": GroupMemory(needed=((NOW - 3600, 5),))})
    got = decided([adaptive(), fixed("always", 5)], said, [*steady, *extra], before)
    assert len(got.groups["burst"].drain) == 5


# launches that fail


def test_the_next_group_fills_in_where_launches_fail() -> None:
    """What a group can't start another starts, while the first goes on to be asked."""
    groups = [adaptive("first", failing=True), adaptive("second")]
    got = decided(groups, snapshot(tasks(10, 100.0))).groups
    assert (got["first"].launch, got["second"].launch, got["second"].code) == (10, 10, Reason.FILL_IN)
    assert got["second"].reason == "10 more on `second`: `first` fails to start workers"


def test_a_fixed_group_that_fails_to_launch_supplies_what_it_has() -> None:
    """Workers that were asked for and can't be started do no work."""
    there, _ = running(1, group="always")
    got = decided([fixed("always", 4, failing=True), adaptive()], snapshot(tasks(10, 100.0)), there)
    assert got.groups["burst"].launch == 9


def test_a_third_group_fills_in_for_two_slow_ones() -> None:
    """Neither of the pending instances of two groups slower than their patience holds up the third."""
    slow = {"start_times": (300.0,), "patience": 60.0}
    groups = [adaptive("one", **slow), adaptive("two", **slow), adaptive("three")]
    waiting = pending(10, age=250, group="one") + pending(10, age=250, group="two", prefix="q")
    got = decided(groups, snapshot(tasks(10, 100.0)), waiting).groups
    assert got["three"].launch == 10


# work that nobody can run


@pytest.mark.parametrize(
    ("gpu", "words"),
    [
        (fixed("gpu", 0, resources=GPU), "group `gpu` has 0 workers: scale it"),
        (adaptive("gpu", maximum=0, resources=GPU), "group `gpu` may have no worker: raise its maximum"),
        (adaptive("gpu"), "no group has it"),
    ],
    ids=["fixed", "adaptive", "none"],
)
def test_what_would_help_is_said(gpu: Group, words: str) -> None:
    """Tasks that a group could run, had it workers, name that group and its mend; it grows nothing else."""
    got = decided([adaptive(), gpu], snapshot(tasks(50, resources=GPU, example="train-7")))
    assert [item.reason for item in got.unplaceable or ()] == [f"50 tasks need GPU 1: {words} (for example `train-7`)"]
    assert got.groups["burst"].launch == 0


def test_work_of_a_fixed_group_that_has_workers_is_placeable() -> None:
    """What a group of a fixed count can run, at its time, is nothing that cannot run."""
    got = decided([adaptive(), fixed("gpu", 1, resources=GPU)], snapshot(tasks(50, resources=GPU, unserved=50)))
    assert got.unplaceable == ()


def test_work_that_somebody_elses_worker_runs_is_placeable() -> None:
    """Tasks that wait on a worker that no group brought are not told as impossible, running or not."""
    got = decided([adaptive()], snapshot(tasks(50, resources=GPU, executing=0, unserved=0)))
    assert got.unplaceable == ()


def test_without_word_nobody_knows_what_can_run() -> None:
    """A scheduler that is silent says neither that there is such work nor that there is none."""
    got = decided([adaptive()], snapshot(tasks(50, resources=GPU), at=NOW - 3600))
    assert got.unplaceable is None


# parameters


def test_each_group_goes_by_its_own_target_duration() -> None:
    """A tenth of the duration in one group asks for ten times the workers there, and changes the other's nothing."""
    cpu = adaptive("cpu", policy=Policy(target_duration=10.0))
    gpu = adaptive("gpu", resources=GPU, policy=Policy(target_duration=1.0))
    work = snapshot(tasks(100, 1.0), tasks(100, 1.0, resources=GPU))
    got = decided([cpu, gpu], work).groups
    assert (got["cpu"].launch, got["gpu"].launch) == (10, 100)


def test_a_cool_down_holds_a_surplus_and_then_lets_it_go_at_once() -> None:
    """Needed an hour's cool-down less a second ago, all stay and it is said; a second later all go."""
    instances, rows = running(4)
    of = group(start_times=QUICK, policy=Policy(cool_down=3600.0))
    for age, target in ((3599.0, 4), (3600.0, 0)):
        past = Memory(groups={"default": GroupMemory(needed=((NOW - age, 4),))})
        got = decided([of], snapshot(workers=rows), instances, past).groups["default"]
        assert got.target == target
        assert target == 0 or got.reason == "hold 4: not needed for 60 min; the cool-down is 60 min"


def test_a_cool_down_is_not_how_long_a_worker_must_be_idle() -> None:
    """When the surplus has lasted, a worker that did something meanwhile may go."""
    instances, rows = running(2)
    rows = [replace(row, idle_since=NOW - 10) for row in rows]
    past = Memory(groups={"default": GroupMemory(needed=((NOW - 301, 2),))})
    of = group(start_times=QUICK, policy=Policy(cool_down=300.0))
    assert len(decided([of], snapshot(workers=rows), instances, past).groups["default"].drain) == 2


def test_a_group_without_parameters_of_its_own_is_held_as_ever() -> None:
    """One group's cool-down says nothing about another's."""
    a, of_a = running(2, group="a", prefix="a")
    b, of_b = running(2, group="b", prefix="b")
    past = {name: GroupMemory(needed=((NOW - 60, 2),)) for name in "ab"}
    groups = [group("a", start_times=QUICK, policy=Policy(cool_down=3600.0)), group("b", start_times=QUICK)]
    got = decided(groups, snapshot(workers=[*of_a, *of_b]), [*a, *b], Memory(groups=past)).groups
    assert (len(got["a"].drain), len(got["b"].drain)) == (0, 2)
