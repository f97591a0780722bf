"""The adaptive policy, rule by rule."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from adaptive_states import NOW, group, pending, running, snapshot, tasks

from daskd.control.adaptive import choose_victims, decide
from daskd.model.adaptive import (
    BadMemory,
    Billing,
    ClassRow,
    Group,
    GroupDecision,
    GroupMemory,
    Instance,
    InstanceState,
    Memory,
    Policy,
    PrefixRow,
    Reason,
    Snapshot,
)

POLICY = Policy()
ASLEEP = Memory(groups={"default": GroupMemory(needed=((NOW - 3600, 50),))})


def one(
    said: Snapshot | None,
    instances: list[Instance] | None = None,
    of: Group | None = None,
    policy: Policy = POLICY,
    memory: Memory | None = None,
    now: float = NOW,
) -> GroupDecision:
    """The decision about a single group."""
    decided = decide([replace(of or group(), policy=policy)], said, instances or [], memory or Memory(), now)
    return decided.groups["default"]


# 0: without word from the scheduler


@pytest.mark.parametrize("said", [None, snapshot(tasks(1000), at=NOW - 3.5)], ids=["none", "stale"])
def test_without_word_only_the_minimum_is_seen_to(said: Snapshot | None) -> None:
    """Neither work nor idleness counts once the scheduler has been silent for three intervals."""
    got = one(said, pending(1), group(minimum=3))
    assert (got.launch, got.drain, got.cancel, got.code) == (2, (), (), Reason.NO_WORD)
    assert got.reason.startswith("up 1 to 3, the minimum: no word from the scheduler")


def test_a_snapshot_of_three_intervals_is_still_believed() -> None:
    """A snapshot counts until it is older than three intervals."""
    assert one(snapshot(tasks(1000), at=NOW - 3.0)).launch > 0


# 1: work that nobody can do


def test_tasks_that_no_group_can_run_start_nothing_and_are_told() -> None:
    """Work for a resource that no group has is named with its count and an example."""
    gpu = tasks(50, resources=(("GPU", 1.0),), example="train-7")
    decided = decide([group()], snapshot(gpu), [], Memory(), NOW)
    assert decided.groups["default"].launch == 0
    (lost,) = decided.unplaceable
    assert lost.reason == "50 tasks need GPU 1: no group has it (for example `train-7`)"


@pytest.mark.parametrize(
    ("fields", "placeable"),
    [
        ({"resources": (("GPU", 2.0),)}, True),
        ({"resources": (("GPU", 3.0),)}, False),
        ({"hosts": ("h1", "h9")}, True),
        ({"hosts": ("h9",)}, False),
        ({"workers": ("p0-w",)}, True),
        ({"workers": ("gone",)}, False),
        ({"resources": (("GPU", 3.0),), "executing": 1}, True),
    ],
)
def test_restrictions_are_held_against_resources_hosts_and_workers(fields: dict[str, object], placeable: bool) -> None:
    """A class is unplaceable only if no group's resources, hosts or workers can ever match it."""
    site = group(resources=(("GPU", 2.0),), hosts=frozenset({"h1", "h2"}))
    coming = [replace(pending(1)[0], workers=("p0-w",))]
    decided = decide([site], snapshot(tasks(5, **fields)), coming, Memory(), NOW)
    assert (not decided.unplaceable) is placeable


def test_a_host_in_a_group_that_cannot_know_its_hosts_is_neither_promised_nor_denied() -> None:
    """Where hosts are not known beforehand, nothing is started for one and nothing is called impossible."""
    decided = decide([group()], snapshot(tasks(5, hosts=("n7",))), [], Memory(), NOW)
    assert not decided.unplaceable
    assert decided.groups["default"].launch == 0


# 2, 3, 6: start


@pytest.mark.parametrize(
    ("start", "policy", "launch"),
    [
        (0.0, POLICY, 200),  # distributed's own number: 1,000 s of work over 5 s
        (60.0, POLICY, 134),  # over 60 / 8 s
        (180.0, POLICY, 45),  # over 180 / 8 s
        (180.0, Policy(target_duration=5), 200),
        (180.0, Policy(target_duration=50), 20),
    ],
)
def test_new_workers_are_worth_their_start(start: float, policy: Policy, launch: int) -> None:
    """Work is spread over an eighth of the start time, or over a target duration that the user gave."""
    assert one(snapshot(tasks(1000)), of=group(start_times=(start,)), policy=policy).launch == launch


def test_the_start_time_is_the_median_of_the_last_nine() -> None:
    """Older starts are forgotten, and one odd start changes little."""
    of = group(start_times=(1.0,) * 20 + (180.0,) * 8 + (9000.0,))
    assert one(snapshot(tasks(1000)), of=of).launch == 45


def test_pending_workers_that_are_overdue_make_a_start_longer() -> None:
    """A line that has stopped is seen by the ages of those who wait in it."""
    got = one(snapshot(tasks(1000)), pending(3, age=2000), group(start_times=(), stated_start=60.0))
    assert "takes 33 min to start" in got.reason or got.launch == 0
    assert got.launch < 10


def test_work_that_running_workers_will_have_done_starts_nothing() -> None:
    """Nothing is asked for that would arrive after the work is done."""
    instances, rows = running(10, processing=100)
    assert one(snapshot(tasks(1000, executing=10), workers=rows), instances).launch == 0


def test_pending_workers_count_with_their_arrival() -> None:
    """What is pending already is not asked for again, and the rest is."""
    assert one(snapshot(tasks(1000)), pending(45)).launch == 0
    assert one(snapshot(tasks(1000)), pending(30)).launch == 15


def test_the_first_task_gets_a_worker() -> None:
    """One short task and no worker at all: one is started, however long it takes."""
    got = one(snapshot(tasks(1, 0.01)))
    assert (got.launch, got.target, got.code) == (1, 1, Reason.UP)


def test_never_more_slots_than_tasks() -> None:
    """Three long tasks have no use for a fourth slot."""
    assert one(snapshot(tasks(3, 1e6)), of=group(nthreads=2)).launch == 2


def test_paused_workers_are_no_supply() -> None:
    """A worker that takes no tasks does not stand in for one that would."""
    instances, rows = running(1, status="paused", processing=1)
    assert one(snapshot(tasks(1), workers=rows), instances).launch == 1


def test_up_names_tasks_work_and_start() -> None:
    """The reason for more holds the figures that it was decided by."""
    got = one(snapshot(tasks(1000, 0.99)), of=group(start_times=(180.0,) * 9))
    assert got.reason == "up 0 to 44: 1,000 tasks, 990 s of work, a worker takes 3 min to start (median of 9)"


# 4, 7: durations that are not known


def test_a_guess_does_not_fill_the_maximum() -> None:
    """Work of which nothing is known costs at most an hour of start-up."""
    got = one(snapshot(tasks(5000, None, example="load-3")))
    assert (got.launch, got.code) == (20, Reason.UP_GUESS)
    assert got.reason == "up 0 to 20 (a guess): none of the 5,000 tasks like `load-3` was measured yet"


def test_a_guess_is_doubled_once_its_workers_run() -> None:
    """Work that stays unknown may have twice the workers that run."""
    instances, rows = running(20, processing=250)
    got = one(snapshot(tasks(200_000, None, executing=20), workers=rows), instances)
    assert got.target == 40


def test_where_waiting_is_free_a_guess_may_wait_for_more() -> None:
    """Only the billed part of a start counts against a guess."""
    got = one(snapshot(tasks(1000, None)), of=group(start_times=(60.0,), billing=Billing.FROM_START))
    assert got.launch == 67


@pytest.mark.parametrize(("ran", "launch"), [(2.0, 32), (4.0, 128)])
def test_what_only_runs_yet_counts_its_time_and_later_twice(ran: float, launch: int) -> None:
    """A task that has run for more than half the horizon is expected to run as long again."""
    got = one(snapshot(tasks(80, None, ran)), of=group(start_times=(0.0,)))
    assert got.launch == min(80, launch)


def test_unseen_prefixes_count_as_the_others_of_their_class() -> None:
    """A prefix of which nothing is known is taken to be like those that are known."""
    known, unseen = PrefixRow(10, 30.0, None), PrefixRow(10, None, None)
    got = one(snapshot(ClassRow(20, 0, (known, unseen))), of=group(start_times=(400.0,)))
    assert got.launch == 12  # 600 s over 50 s


# 5, 13: keep and hold


def test_a_surplus_goes_after_three_intervals_and_the_last_ones_after_two_starts_over_their_number() -> None:
    """Of eight idle workers with starts of 60 s, all stay 3 s, four 30 s, one 2 min."""
    instances, rows = running(8)
    of = group(start_times=(60.0,))
    for age, left in [(2.0, 8), (14.0, 8), (16.0, 7), (30.0, 4), (59.0, 2), (119.0, 1), (121.0, 0)]:
        memory = Memory(groups={"default": GroupMemory(needed=((NOW - age, 8),))})
        assert one(snapshot(workers=rows), instances, of, memory=memory).target == left


def test_a_given_wait_count_is_taken_literally() -> None:
    """With a wait count of the user's, all idle workers go after that many intervals."""
    instances, rows = running(8)
    for age, left in [(9.0, 8), (11.0, 0)]:
        memory = Memory(groups={"default": GroupMemory(needed=((NOW - age, 8),))})
        got = one(snapshot(workers=rows), instances, policy=Policy(wait_count=10), memory=memory)
        assert got.target == left


def test_while_tasks_wait_for_others_workers_stay_as_long_as_a_new_one_takes() -> None:
    """Tasks whose inputs are still computed are no reason to let go what they will need."""
    instances, rows = running(8)
    memory = Memory(groups={"default": GroupMemory(needed=((NOW - 50, 8),))})
    of = group(start_times=(60.0,))
    assert one(snapshot(workers=rows, waiting=9), instances, of, memory=memory).target == 8
    assert one(snapshot(workers=rows), instances, of, memory=memory).target == 2


def test_hold_says_until_when() -> None:
    """The reason for holding names the start time and when fewer stay."""
    instances, rows = running(8)
    memory = Memory(groups={"default": GroupMemory(needed=((NOW - 14, 8),))})
    got = one(snapshot(workers=rows), instances, group(start_times=(60.0,)), memory=memory)
    assert got.code is Reason.HOLD
    assert got.reason == (
        "hold 8: not needed for 14 s; a new one takes 60 s, "
        "so 8 stay until 15 s, 4 stay until 30 s, 1 stay until 120 s of it"
    )


def test_what_is_worth_keeping_is_distributeds_own_number() -> None:
    """Workers are kept for work over five seconds, at most one slot a task."""
    instances, rows = running(40)
    got = one(snapshot(tasks(100, 1.0), workers=rows), instances, memory=ASLEEP)
    assert got.target == 20
    assert len(got.drain) == 20


def test_nothing_shrinks_while_a_graph_is_taken_in() -> None:
    """Idle workers stay while the scheduler is busy with a new graph."""
    instances, rows = running(4)
    got = one(snapshot(workers=rows, graph_updates=1), instances, memory=ASLEEP)
    assert (got.target, got.code, got.reason) == (4, Reason.GRAPH, "hold 4: a graph is being taken in")


# 10: memory


def test_full_memory_grows_the_group_only_if_work_is_to_come() -> None:
    """Above 60 % the group grows to 50 %, unless nothing is left to compute."""
    instances, rows = running(4, nbytes=3 * 10**9, processing=1)
    busy = snapshot(tasks(4, 1.0, executing=4), workers=rows)
    got = one(busy, instances)
    assert (got.launch, got.code) == (2, Reason.UP_MEMORY)
    assert got.reason == "up 4 to 6: 12 GB held and more work to come"
    assert one(busy, instances + pending(2)).launch == 0
    assert one(snapshot(workers=rows, more_work=False), instances).launch == 0


def test_full_memory_doubles_the_group_at_most() -> None:
    """However full, a decision never more than doubles a group for its memory."""
    instances, rows = running(4, nbytes=40 * 10**9, processing=1)
    assert one(snapshot(tasks(4, 1.0, executing=4), workers=rows), instances).target == 8


def test_data_keeps_the_workers_that_hold_it() -> None:
    """Idle workers stay where the others could not hold all results at 50 %."""
    instances, rows = running(8, nbytes=10**9, unique=10**9)
    got = one(snapshot(workers=rows), instances, memory=ASLEEP)
    assert got.target == 4
    stay = [item for item in instances if item.id not in got.drain]
    kept = [row for row in rows if row.instance in {item.id for item in stay}]
    full = [replace(row, nbytes=2 * 10**9) for row in kept]
    got = one(snapshot(workers=full), stay, memory=ASLEEP)
    assert (got.target, got.code) == (4, Reason.KEPT_DATA)
    assert got.reason == "kept 4: fewer could not hold 8 GB"


# 11: initial


def test_initial_workers_stay_until_the_first_work_after_they_are_there() -> None:
    """Initial workers are started without work, held, and ordinary once work came."""
    of = group(initial=4, start_times=(0.5,))
    first = decide([of], snapshot(), [], Memory(), NOW)
    assert first.groups["default"].launch == 4
    assert first.groups["default"].code is Reason.UP_INITIAL
    instances, rows = running(4)
    idle = decide([of], snapshot(workers=rows), instances, first.memory, NOW + 1)
    later = snapshot(workers=rows, at=NOW + 500)
    held = decide([of], later, instances, idle.memory, NOW + 500)
    assert held.groups["default"].target == 4
    work = snapshot(tasks(1), workers=rows, at=NOW + 501)
    worked = decide([of], work, instances, held.memory, NOW + 501)
    done = decide([of], snapshot(workers=rows, at=NOW + 510), instances, worked.memory, NOW + 510)
    assert done.groups["default"].target == 0


def test_initial_workers_go_when_no_work_comes() -> None:
    """Ten minutes without work end the initial hold."""
    of = group(initial=4, start_times=(0.5,))
    instances, rows = running(4)
    memory = Memory(groups={"default": GroupMemory(initial_since=NOW - 600)})
    assert one(snapshot(workers=rows), instances, of, memory=memory).target == 0


# 14, 15: who goes


def test_pending_ones_go_first_the_youngest_first() -> None:
    """What has not started yet is cancelled before what runs is drained."""
    old, young = pending(2, age=30, prefix="old"), pending(2, age=10, prefix="young")
    got = one(snapshot(tasks(10, 1.0)), old + young, memory=ASLEEP)
    assert (got.cancel, got.drain) == (("young0", "young1"), ())
    assert got.reason == "down 2: no longer needed, not started yet"


def test_where_waiting_is_free_pending_ones_keep_their_place_for_a_start_time() -> None:
    """A job in a queue that bills nothing is cancelled only once a surplus has lasted for a start."""
    of = group(start_times=(60.0,), billing=Billing.FROM_START)
    for since, cancelled in [(NOW - 59, 0), (NOW - 61, 3)]:
        past = GroupMemory(needed=((NOW - 3600, 3),), surplus_since=since)
        got = one(snapshot(), pending(3, age=30), of, memory=Memory(groups={"default": past}))
        assert len(got.cancel) == cancelled


@pytest.mark.parametrize(
    "row",
    [
        {"processing": 1, "long_running": 1},
        {"actors": 1},
        {"idle_since": NOW - 2.9},
        {"idle_since": None},
        {"idle_since": NOW - 9, "unique": 10**9, "nbytes": 1},
        {"processing": 1, "elapsed": 61.0},
        {"processing": 1, "expected": 61.0},
    ],
    ids=str,
)
def test_a_worker_whose_going_would_cost_too_much_stays(row: dict[str, object]) -> None:
    """Long-running work, actors, a moment's idleness, data, long tasks keep a worker."""
    instances, rows = running(1, **row)
    other, others = running(1, prefix="z")
    got = one(snapshot(workers=rows + others), instances + other, memory=ASLEEP)
    assert "r0" not in got.drain


def test_a_worker_that_a_ready_task_names_stays() -> None:
    """Tasks that may run on one worker alone keep that one, idle or not."""
    instances, rows = running(3)
    got = one(snapshot(tasks(1, workers=("r1-0",)), workers=rows), instances, memory=ASLEEP)
    assert got.drain == ("r0", "r2")


def test_workers_of_an_instance_go_together_or_not_at_all() -> None:
    """One busy worker keeps its whole instance."""
    instances, rows = running(2, each=2)
    rows[0] = replace(rows[0], processing=1, long_running=1, idle_since=None)
    got = one(snapshot(workers=rows), instances, group(workers_per_instance=2), memory=ASLEEP)
    assert (got.drain, got.target) == (("r1",), 2)


def test_idle_ones_with_little_data_go_before_others() -> None:
    """Idle before busy, then the fewest unique bytes, then the nearest end."""
    instances, rows = running(5)
    rows[0] = replace(rows[0], processing=1, idle_since=None)
    rows[1] = replace(rows[1], unique=900)
    instances[3] = replace(instances[3], expected_end=NOW + 5000)
    got = choose_victims(instances, rows, 5)
    assert got.drain == ("r3", "r2", "r4", "r1", "r0")


def test_an_explicit_scale_takes_exactly_as_many_as_asked() -> None:
    """A user's fewer takes busy workers too, actors last, and passes over what is ending already."""
    instances, rows = running(3, processing=1)
    rows[0] = replace(rows[0], actors=1)
    ending = [Instance("e", "default", InstanceState.ENDING, NOW)]
    got = choose_victims(instances + pending(1) + ending, rows, 3)
    assert (got.cancel, got.drain) == (("p0",), ("r1", "r2"))
    everything = choose_victims(instances + ending, rows, 9)
    assert everything.drain == ("r1", "r2", "r0")
    assert choose_victims(instances, rows, 0) == choose_victims([], rows, 3)


def test_down_says_how_idle_and_what_moves() -> None:
    """The reason for fewer names the shortest idleness and the bytes that move."""
    instances, rows = running(1, idle_since=NOW - 12)
    got = one(snapshot(workers=rows), instances, memory=ASLEEP)
    assert (got.code, got.reason) == (Reason.DOWN, "down 1: idle 12 s, 0 B to move")


def test_a_worker_that_has_just_come_up_unseen_is_not_drained() -> None:
    """A started instance whose workers the scheduler does not name yet gets time to register."""
    new = Instance("n", "default", InstanceState.RUNNING, NOW - 200, started=NOW - 2)
    assert one(snapshot(), [new], memory=ASLEEP).drain == ()


# bounds and whole instances


def test_bounds_are_whole_instances() -> None:
    """The maximum is rounded down to whole instances, and the minimum up."""
    of = group(maximum=11, minimum=3, workers_per_instance=4)
    assert one(snapshot(), of=of).launch == 1
    full = one(snapshot(tasks(1000, 100.0)), of=of)
    assert (full.launch, full.target) == (2, 8)


def test_at_the_maximum_it_is_said() -> None:
    """A group that may not grow says how much waits for it."""
    instances, rows = running(4, processing=60)
    got = one(snapshot(tasks(212, executing=4), workers=rows), instances, group(maximum=4))
    assert (got.code, got.reason) == (Reason.AT_MAXIMUM, "steady at the maximum of 4: 212 tasks are ready")


def test_a_maximum_lowered_below_what_runs_lets_go_what_can() -> None:
    """A lower maximum drains what may be drained, and cuts nothing off."""
    instances, rows = running(4, processing=60)
    rows[0] = replace(rows[0], elapsed=100.0)
    got = one(snapshot(tasks(212, executing=4), workers=rows), instances, group(maximum=2))
    assert (got.launch, got.drain) == (0, ("r1", "r2"))


def test_the_minimum_is_launched_and_kept() -> None:
    """Without any work the minimum is started, and stays."""
    got = one(snapshot(), of=group(minimum=2))
    assert (got.launch, got.code, got.reason) == (2, Reason.UP_MINIMUM, "up 0 to 2: the minimum is 2")
    instances, rows = running(3)
    assert one(snapshot(workers=rows), instances, group(minimum=2), memory=ASLEEP).target == 2


# memory


def test_memory_survives_json() -> None:
    """What is read back from JSON is what was written."""
    instances, rows = running(3, processing=2)
    said = snapshot(tasks(9, executing=3), tasks(4, resources=(("GPU", 1.0),)), workers=rows)
    memory = decide([group()], said, instances, Memory(), NOW).memory
    assert memory.classes
    assert Memory.from_json(json.loads(json.dumps(memory.to_json()))) == memory


@pytest.mark.parametrize("raw", [{}, {"classes": [], "groups": {}, "last_word": None}, None])
def test_a_damaged_memory_is_refused(raw: object) -> None:
    """A memory that is not one raises BadMemory."""
    with pytest.raises(BadMemory):
        Memory.from_json(raw)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "fields",
    [{"interval": 0}, {"wait_count": -1}, {"target_duration": float("nan")}, {"memory_aim": 0.9}],
    ids=str,
)
def test_a_parameter_out_of_range_is_refused(fields: dict[str, float]) -> None:
    """A policy that makes no sense can't be made."""
    with pytest.raises(ValueError, match="give"):
        Policy(**fields)  # type: ignore[arg-type]


def test_a_group_with_minimum_above_maximum_is_refused() -> None:
    """Bounds that contradict each other can't be made."""
    with pytest.raises(ValueError, match="minimum 3 is above maximum 2"):
        group(maximum=2, minimum=3)
