"""The end of a cluster's lifetime, and the warning before it. Pure.

It is a wall clock's: a lifetime of twelve hours is over twelve hours after the creation by the daemon's clock, however
long the daemon was away. So a clock that is set forward or back moves the end by as much, and by no more.
"""

from __future__ import annotations

from dataclasses import dataclass

from daskd.model.cluster import Cluster
from daskd.model.quantity import seconds_in_words

from .ledger import Ledger

NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Due:
    """What the lifetime asks for now.

    Attributes
    ----------
    warn, end
        At most one of them.
    again
        Seconds until there is more to do; infinite: never.
    """

    warn: bool = False
    end: bool = False
    again: float = NEVER


def due(cluster: Cluster, now: float) -> Due:
    """What is due at `now`, unix seconds."""
    expires = cluster.expires
    if expires is None or cluster.stop or cluster.ended is not None:
        return Due()
    if now >= expires:
        return Due(end=True)
    # one that was told is told again only of another end
    warning = 0.0 if cluster.expiry_told == expires else cluster.spec.warning
    if warning and now >= expires - warning:
        return Due(warn=True, again=expires - now)
    return Due(again=expires - warning - now)


def enforce(ledger: Ledger, now: float) -> float:
    """Warn of the end, or ask for it; answers with the seconds until there is more to do, infinite for never."""
    cluster = ledger.cluster
    step = due(cluster, now)
    if step.end:
        words = f"its lifetime of {seconds_in_words(cluster.spec.max_lifetime or 0.0)} is over"
        ledger.edit(stop=words)
        ledger.tell("LIFETIME_OVER", words, max_lifetime=cluster.spec.max_lifetime)
    elif step.warn:
        words = (
            f"it ends in {seconds_in_words(round(step.again))}, when its lifetime of "
            f"{seconds_in_words(cluster.spec.max_lifetime or 0.0)} is over: save what you need"
        )
        ledger.edit(expiry_told=cluster.expires)
        ledger.tell("LIFETIME_WARNING", words, max_lifetime=cluster.spec.max_lifetime, expires=cluster.expires)
    return step.again
