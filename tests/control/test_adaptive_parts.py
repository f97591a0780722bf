"""The parts that the adaptive policy is made of."""

from __future__ import annotations

import pytest
from adaptive_states import group
from hypothesis import given
from hypothesis import strategies as st

from daskd.control.adaptive.estimate import start_time
from daskd.control.adaptive.load import MAX_STAIRS, climb, in_force, peak
from daskd.control.adaptive.reasons import seconds, size
from daskd.control.adaptive.supply import fresh
from daskd.model.adaptive import ClassRow

AGES = st.lists(st.floats(0, 1e4), max_size=20)


@given(st.lists(st.floats(0, 1e4), max_size=12), AGES, st.floats(0, 1e4), st.integers(0, 9))
def test_a_start_time_never_falls_while_time_passes_and_launches_do_not_move_it(
    starts: list[float], ages: list[float], later: float, launched: int
) -> None:
    """The same pending instances, older, with others just launched, never make starts look shorter."""
    kind = group(start_times=tuple(starts))
    before = start_time(kind, ages)
    assert start_time(kind, [*ages, *[0.0] * launched]) == before
    assert start_time(kind, [*(age + later for age in ages), *[later] * launched]) >= before


def test_one_straggler_does_not_make_all_starts_slow() -> None:
    """Among nine starts of ten seconds an instance that hangs for an hour changes nothing."""
    assert start_time(group(start_times=(10.0,) * 9), [3600.0]) == 10.0


def test_a_line_that_has_stopped_makes_starts_slow() -> None:
    """When as many wait for long as started lately, their ages are the start time."""
    assert start_time(group(start_times=(10.0,) * 3), [3600.0, 3700.0, 3800.0, 3900.0]) == 3700.0


@given(st.lists(st.tuples(st.floats(0, 50), st.integers(0, 10_000)), min_size=1, max_size=300))
def test_a_staircase_is_bounded_and_forgets_no_peak(steps: list[tuple[float, int]]) -> None:
    """However the level moves, few stairs are kept, they fall, and the peak is theirs."""
    stairs: tuple[tuple[float, int], ...] = ()
    now = 0.0
    for gap, level in steps:
        now += gap
        stairs = climb(stairs, now, level, 1e9)
    assert len(stairs) <= MAX_STAIRS
    assert [level for _, level in stairs] == sorted((level for _, level in stairs), reverse=True)
    assert peak(stairs, now, 1e9) == max(level for _, level in steps)


def test_of_each_stair_stands_what_is_allowed_at_its_age() -> None:
    """Older peaks count with less."""
    stairs = ((0.0, 100), (50.0, 12), (100.0, 10))
    assert in_force(stairs, 100.0, 10, lambda age: 200 // age if age else 0) == 12
    assert in_force(stairs, 100.0, 10, lambda age: 0) == 10


@pytest.mark.parametrize(("need", "slots"), [((), 4), ((("GPU", 1.0),), 2), ((("GPU", 0.5),), 4), ((("X", 1.0),), 0)])
def test_slots_are_threads_or_what_resources_allow(need: tuple[tuple[str, float], ...], slots: int) -> None:
    """A slot is a thread, or less where a resource says so."""
    kind = group(nthreads=4, resources=(("GPU", 2.0),))
    assert fresh(kind, 1).slots(ClassRow(1, resources=need)) == slots


def test_slots_that_are_taken_leave_threads_and_resources_to_others() -> None:
    """Taking three GPU slots of two workers with two each leaves one GPU and five threads."""
    kind = group(nthreads=4, resources=(("GPU", 2.0),))
    left = fresh(kind, 2).take(ClassRow(3, resources=(("GPU", 1.0),)), 3)
    assert sum(item.workers * item.threads for item in left) == 5
    assert sum(item.workers * dict(item.resources)["GPU"] for item in left) == 1


@pytest.mark.parametrize(("value", "words"), [(0.5, "0.5 s"), (12.4, "12 s"), (179.0, "179 s"), (600.0, "10 min")])
def test_spans_read_well(value: float, words: str) -> None:
    """Spans are told in the unit that suits them."""
    assert seconds(value) == words


@pytest.mark.parametrize(("value", "words"), [(0, "0 B"), (31 * 10**9, "31 GB"), (1_230_000, "1.23 MB")])
def test_sizes_read_well(value: int, words: str) -> None:
    """Sizes are told in the unit that suits them."""
    assert size(value) == words
