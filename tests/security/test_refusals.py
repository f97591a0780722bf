"""How many refusals of one caller are told."""

from __future__ import annotations

from daskd.security.refusals import BURST, EVERY_S, RefusalBudget


class Clock:
    """A clock that is set by hand."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_flood_is_told_as_a_number() -> None:
    """After a burst one in `EVERY_S` seconds is told, with how many were left out before it."""
    clock = Clock()
    budget = RefusalBudget(clock)
    assert [budget.spend(1) for _ in range(BURST + 3)] == [0] * BURST + [None] * 3
    clock.now += EVERY_S
    assert budget.spend(1) == 3
    assert budget.spend(1) is None


def test_one_callers_flood_leaves_others_their_own() -> None:
    """A user's budget is that user's; who can't say who it is has one too."""
    budget = RefusalBudget(Clock())
    for _ in range(BURST + 1):
        budget.spend(None)
    assert budget.spend(None) is None
    assert budget.spend(1) == 0


def test_a_clock_that_is_set_back_takes_nothing() -> None:
    """Time that goes backwards neither adds to a budget nor takes from it."""
    clock = Clock()
    budget = RefusalBudget(clock)
    budget.spend(1)
    clock.now -= 500
    assert [budget.spend(1) for _ in range(BURST)] == [0] * (BURST - 1) + [None]
