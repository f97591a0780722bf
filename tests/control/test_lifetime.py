"""A cluster's lifetime: when it is warned of, when it is over."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from cluster_states import NOW, cluster, types
from hypothesis import given
from hypothesis import strategies as st

from daskd.control.ledger import Ledger
from daskd.control.lifetime import NEVER, due, enforce
from daskd.model.cluster import Cluster
from daskd.model.spec import ClusterSpec

HOUR = 3600.0


def living(lifetime: float | None, warning: float | None = None, **fields: Any) -> Cluster:
    """A cluster that was made at `NOW`."""
    spec = ClusterSpec(max_lifetime=lifetime, lifetime_warning=warning)
    return cluster(spec=spec, created=NOW, **fields)


@pytest.mark.parametrize(
    ("of", "age", "warn", "end", "again"),
    [
        (living(None), 1e9, False, False, NEVER),
        (living(HOUR), 0, False, False, HOUR - 360),
        (living(HOUR), HOUR - 361, False, False, 1),
        (living(HOUR), HOUR - 360, True, False, 360),
        (living(HOUR), HOUR - 1, True, False, 1),
        (living(HOUR, expiry_told=NOW + HOUR), HOUR - 1, False, False, 1),
        (living(HOUR, expiry_told=NOW + 2 * HOUR), HOUR - 1, True, False, 1),
        (living(HOUR), HOUR, False, True, NEVER),
        (living(HOUR), 10 * HOUR, False, True, NEVER),
        (living(10 * 24 * HOUR), 0, False, False, 10 * 24 * HOUR - 600),
        (living(HOUR, 60), HOUR - 61, False, False, 1),
        (living(HOUR, 60), HOUR - 60, True, False, 60),
        (living(HOUR, 0), HOUR - 1, False, False, 1),
        (living(HOUR, 2 * HOUR), 0, True, False, HOUR),
        (living(HOUR), -HOUR, False, False, 2 * HOUR - 360),
        (living(HOUR, stop="deleted by ann"), HOUR, False, False, NEVER),
        (living(HOUR, ended=NOW), HOUR, False, False, NEVER),
    ],
)
def test_what_is_due(of: Cluster, age: float, warn: bool, end: bool, again: float) -> None:
    """Ten minutes before the end, or a tenth of it, or as the spec says, it is told, once; then it ends."""
    step = due(of, NOW + age)
    assert (step.warn, step.end, step.again) == (warn, end, pytest.approx(again))


@given(
    lifetime=st.floats(1, 1e7),
    warning=st.none() | st.floats(0, 2e7),
    steps=st.lists(st.floats(-1e6, 1e7), max_size=20),
)
def test_clocks_that_step_end_nothing_early(lifetime: float, warning: float | None, steps: list[float]) -> None:
    """Whatever the clock says: the end comes when it shows the end's time, and the warning once at most."""
    of, told, now = living(lifetime, warning), 0, NOW
    for step in steps:
        now += step
        ledger = Ledger(of, ())
        again = enforce(ledger, now)
        assert bool(ledger.cluster.stop) == (bool(of.stop) or now >= NOW + lifetime)
        assert again > 0
        told += types(ledger).count("LIFETIME_WARNING")
        of = ledger.cluster
    assert told <= 1


@given(lifetime=st.floats(1, 1e7), warning=st.none() | st.just(0.0) | st.floats(0.01, 2e7))
def test_who_looks_when_told_misses_nothing(lifetime: float, warning: float | None) -> None:
    """Looking when the last look said warns in time and ends in time, in no more than four looks."""
    of, now, seen = living(lifetime, warning), NOW, list[str]()
    for _ in range(4):
        ledger = Ledger(of, ())
        again = enforce(ledger, now)
        seen += types(ledger)
        of = ledger.cluster
        if again == NEVER:
            break
        # as far as a float of unix seconds can be told from the next
        now += again + 1e-5
    assert seen == ["LIFETIME_WARNING"] * bool(of.spec.warning) + ["LIFETIME_OVER"]
    assert now - (NOW + lifetime) < 1e-3


def test_the_words_say_how_long() -> None:
    """The reason of the end, and the warning, name the lifetime as people do."""
    ledger = Ledger(living(12 * HOUR), ())
    enforce(ledger, NOW + 12 * HOUR - 600)
    assert "it ends in 10 min, when its lifetime of 12 h is over" in ledger.events[0].message
    ledger = Ledger(replace(living(12 * HOUR), expiry_told=NOW + 12 * HOUR), ())
    enforce(ledger, NOW + 12 * HOUR)
    assert ledger.cluster.stop == "its lifetime of 12 h is over"
