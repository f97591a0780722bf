"""Print what each load takes under distributed's adaptive rule and under ours, mean of three seeds.

Usage: python benchmarks/adaptive_scenarios.py [part of a scenario's name]
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from statistics import fmean

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "tests" / "control")]

# the simulator is the tests' own, which are no package
from adaptive_loads import scenarios  # noqa: E402
from adaptive_sim import Distributed, Ours, Outcome, Rule, Scenario, Simulation  # noqa: E402

SEEDS = 3


def measure(scenario: Scenario, rule: Callable[[], Rule]) -> list[Outcome]:
    """The outcomes of all seeds."""
    return [Simulation(scenario, rule(), seed).run() for seed in range(SEEDS)]


def mean(outcomes: list[Outcome], figure: Callable[[Outcome], float | None]) -> str:
    """A figure's mean, or never if it never came."""
    values = [figure(outcome) for outcome in outcomes]
    known = [value for value in values if value is not None]
    return f"{fmean(known):,.1f}" if len(known) == len(values) else "never"


def main() -> None:
    """Print a table in Markdown, each cell: distributed -> ours."""
    part = " ".join(sys.argv[1:])
    print("| scenario | finished, s | first, s | wait, s | paid, worker-s | started | cancelled | flaps |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    figures: list[Callable[[Outcome], float | None]] = [
        lambda o: o.finished,
        lambda o: o.first,
        lambda o: o.wait,
        lambda o: o.paid,
        lambda o: o.started,
        lambda o: o.cancelled,
        lambda o: o.flaps,
    ]
    for scenario in scenarios():
        if part in scenario.name:
            theirs, ours = measure(scenario, Distributed), measure(scenario, Ours)
            cells = [f"{mean(theirs, figure)} -> {mean(ours, figure)}" for figure in figures]
            print("|", " | ".join([scenario.name, *cells]), "|", flush=True)


if __name__ == "__main__":
    main()
