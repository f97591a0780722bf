"""Events: who did what and when, what the daemon did and why."""

from __future__ import annotations

from dataclasses import dataclass, field

DAEMON = "daskd"
"""The actor of what the daemon does by itself."""


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event that is not yet recorded. `type` is a stable UPPER_SNAKE word, `facts` the message's facts."""

    type: str
    message: str
    actor: str = DAEMON
    facts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Event:
    """A recorded event; `revision` is unique and grows, `time` is unix seconds."""

    revision: int
    time: float
    cluster: str
    cluster_name: str
    owner: str
    actor: str
    type: str
    message: str
    facts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """One step of the store: a cluster's record changed, with the event that told it, if there was one."""

    revision: int
    cluster: str
    event: Event | None
