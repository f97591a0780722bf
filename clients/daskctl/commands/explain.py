"""`daskctl explain`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from ..framing import Example, cluster_argument, command
from ..render import explain as rendering
from ..session import Session


@dataclass(frozen=True)
class ExplainOptions:
    """What `explain` is asked for."""

    name: str


@command(
    "explain",
    ExplainOptions,
    examples=(
        Example("Why a cluster has the workers that it has", "daskctl explain etl"),
        Example("What its first group waits for", "daskctl explain etl -o json | jq '.groups[0].waiting'"),
    ),
)
@cluster_argument
async def explain(options: ExplainOptions, session: Session) -> None:
    """Say why a cluster is as it is: what each group aims at and why, what waits for what."""
    async with session.connect() as daskd:
        explanation = await daskd.explain(options.name)
    session.printer.facts(explanation, partial(rendering.facts, explanation))
