"""The adaptive policy over time: it goes quiet, it does not flap, it wastes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from adaptive_loads import GPU, burst, constant, on, sawtooth, trickle
from adaptive_sim import Distributed, Ours, Outcome, Rule, Scenario, Simulation

from daskd.model.adaptive import Policy

LONG = {"until": 1800.0, "stop_when_done": False}


def run(scenario: Scenario, rule: Callable[[], Rule] = Ours, seed: int = 0) -> Outcome:
    """The outcome of a scenario under a rule."""
    return Simulation(scenario, rule(), seed).run()


@pytest.mark.parametrize("system", ["local", "ssh", "machine"])
@pytest.mark.parametrize(("slots", "seconds"), [(2, 1.0), (6, 20.0), (12, 0.5)])
def test_a_constant_load_goes_quiet(system: str, slots: int, seconds: float) -> None:
    """Under a load that does not change, from some moment on nothing is started and nothing ended."""
    steady = on(system, "constant", constant(slots, seconds, 1800.0), **LONG)
    outcome = run(steady)
    assert outcome.last_action < 1300.0
    assert outcome.final >= min(slots, steady.group.maximum)
    assert outcome.cancelled == 0


@pytest.mark.parametrize(("system", "hold"), [("local", 3.0), ("ssh", 10.0), ("machine", 360.0)])
def test_without_work_the_minimum_is_reached(system: str, hold: float) -> None:
    """Once there is no more to do, only the minimum is left after twice the start time."""
    outcome_of = on(system, "burst", burst(200, 2.0), group={"minimum": 1}, **LONG)
    outcome = run(outcome_of)
    assert outcome.finished is not None
    assert (outcome.final, outcome.recomputed) == (1, 0)
    assert outcome.last_action <= outcome.finished + 1.3 * hold + 5.0


def test_bursts_closer_than_the_hold_restart_nothing() -> None:
    """A load that comes again within the hold finds its last worker there, and nothing flaps."""
    outcome = run(on("machine", "clicks", sawtooth(4, 0.3, 60.0, 40), **{**LONG, "until": 2300.0}))
    assert (outcome.started, outcome.flaps, outcome.cancelled) == (1, 0, 0)


def test_a_trickle_is_served_without_flapping() -> None:
    """A thin stream of random tasks keeps a few workers instead of many short-lived ones."""
    load = on("ssh", "trickle", trickle(2.0, 1.0, 600.0))
    ours, theirs = run(load), run(load, Distributed)
    assert (ours.cancelled, ours.recomputed) == (0, 0)
    assert ours.started < theirs.started / 2
    assert ours.wait < theirs.wait


@pytest.mark.parametrize("seed", range(3))
def test_a_burst_on_slow_machines_cancels_nothing_and_costs_less(seed: int) -> None:
    """Short tasks on machines that take minutes cost a fraction of distributed's and end a little later."""
    load = on("machine", "burst", burst(1000, 1.0))
    ours, theirs = run(load, seed=seed), run(load, Distributed, seed)
    assert ours.cancelled == ours.recomputed == 0
    assert ours.paid < theirs.paid / 2
    assert ours.finished is not None
    assert theirs.finished is not None
    assert ours.finished < 1.35 * theirs.finished


def test_a_target_duration_that_is_given_has_it_the_other_way() -> None:
    """With a target duration of the user's, a burst on slow machines ends as soon as under distributed's."""
    load = on("machine", "burst", burst(1000, 1.0), known={"work": 1.0})
    literal = run(load, lambda: Ours(Policy(target_duration=5.0)))
    theirs = run(load, Distributed)
    assert literal.finished is not None
    assert theirs.finished is not None
    assert literal.finished <= 1.05 * theirs.finished


def test_a_straggler_keeps_its_worker_and_no_other() -> None:
    """One long task among short ones is neither cut off nor a reason to keep everybody."""
    outcome = run(on("ssh", "straggler", burst(200, 5.0) + burst(1, 600.0, prefix="straggler")))
    assert outcome.recomputed == 0
    assert outcome.finished is not None
    assert outcome.finished < 640.0
    assert outcome.least == 0 or outcome.paid < 10_000


def test_seceded_tasks_are_never_cut_off() -> None:
    """Bursts come and go under tasks that have seceded, which run to their end."""
    load = burst(4, 600.0, prefix="outer", secedes=True) + sawtooth(40, 2.0, 100.0, 6)
    outcome = run(on("ssh", "seceded", load))
    assert (outcome.recomputed, outcome.cancelled) == (0, 0)
    assert outcome.finished is not None
    assert outcome.finished < 615.0


def test_work_that_nobody_can_do_costs_nothing() -> None:
    """Tasks for a resource that no worker has start no worker."""
    outcome = run(on("ssh", "unplaceable", burst(200, 1.0, resources=GPU), until=600.0))
    assert (outcome.started, outcome.paid) == (0, 0.0)


def test_results_that_are_held_keep_enough_memory() -> None:
    """Workers go only as far as the others can hold all results at half of their memory."""
    load = on("ssh", "results", burst(80, 5.0, nbytes=10**9, held=1500.0), **{**LONG, "until": 900.0})
    outcome = run(load)
    assert outcome.final == 20
    assert outcome.recomputed == 0


def test_jobs_of_several_workers_come_and_go_whole() -> None:
    """Work on jobs of four workers ends with nothing cancelled."""
    load = on("batch", "jobs", sawtooth(60, 10.0, 40.0, 4), group={"workers_per_instance": 4})
    outcome = run(load)
    assert outcome.finished is not None
    assert (outcome.cancelled, outcome.recomputed) == (0, 0)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("each", [1, 4])
def test_work_of_an_hour_runs_over_jobs_of_five_minutes(each: int, seed: int) -> None:
    """Nothing is cut off by the walltime, no result is lost, and no more jobs are started than lives need."""
    tasks = burst(3000, 20.0, nbytes=20_000_000, held=3600.0)
    load = on("batch", "walltime", tasks, group={"maximum": 20, "workers_per_instance": each}, walltime=300.0)
    outcome = run(load, seed=seed)
    assert outcome.finished is not None
    assert (outcome.recomputed, outcome.lost) == (0, 0)
    assert outcome.finished < 1.35 * 3000 * 20.0 / 20
    lives = outcome.finished / (300 / 2)
    assert outcome.started <= 20 / each * (lives + 1)


def test_results_are_held_over_jobs_of_five_minutes() -> None:
    """With nothing left to compute, successors are started for the results alone, and only as many as they fill."""
    tasks = burst(20, 5.0, nbytes=10**9, held=7200.0)
    load = on("batch", "held", tasks, walltime=300.0, until=3000.0, stop_when_done=False)
    outcome = run(load)
    assert (outcome.recomputed, outcome.lost) == (0, 0)
    assert outcome.final <= 20


def test_jobs_that_end_and_are_not_needed_are_not_succeeded() -> None:
    """A lull neither keeps nor starts anything for the sake of rotation."""
    load = on("batch", "lull", burst(200, 5.0), walltime=300.0, until=1500.0, stop_when_done=False)
    outcome, endless = run(load), run(replace(load, walltime=None))
    assert outcome.final == 0
    assert outcome.started == endless.started


def test_initial_workers_are_there_when_work_comes() -> None:
    """With an initial count the first task waits for nothing."""
    outcome = run(on("machine", "initial", burst(400, 2.0, at=400.0), group={"initial": 20}))
    assert (outcome.first, outcome.started) == (400.0, 20)


def test_reasons_do_not_flicker_under_a_constant_load() -> None:
    """In the second half of a constant load there is one reason, hence no event."""
    rule = Ours()
    load = on("ssh", "constant", constant(6, 20.0, 1800.0), **LONG)
    Simulation(replace(load, until=1790.0), rule).run()
    assert len(set(rule.codes[len(rule.codes) // 2 :])) == 1
