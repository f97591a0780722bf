"""What a root daemon and the helper of one owner say to each other: a line of JSON a message, both ways.

A request is `{"id", "op", "descriptors": [names], "arguments"}`; as many descriptors as it names came with a blank line
before it (SCM_RIGHTS). An answer is `{"id", "answer"}` or `{"id", "error"}`. The helper runs as the owner, who can make
it say anything: the daemon bounds and validates what comes from there.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from daskd.drivers.protocol import Batch, Health, LogChunk, Outcome, Payload, Snapshot, Surroundings
from daskd.model.cluster import Handle
from daskd.model.identity import Identity

MOST_LINE = 16 << 20
"""No message is longer, in bytes."""


@dataclass(frozen=True, slots=True)
class Opening:
    """Who the helper works for, and where; its first request."""

    who: Identity
    state_id: str
    state_dir: str
    runtime_dir: str

    @classmethod
    def of(cls, who: Identity, where: Surroundings) -> Opening:
        """As it is sent."""
        return cls(who, where.state_id, str(where.state_dir), str(where.runtime_dir))

    @property
    def surroundings(self) -> Surroundings:
        """As it is used."""
        return Surroundings(self.state_id, Path(self.state_dir), Path(self.runtime_dir))


@dataclass(frozen=True, slots=True)
class Staging:
    """A payload, its files in base64."""

    cluster: str
    secret: dict[str, str]

    @classmethod
    def of(cls, payload: Payload) -> Staging:
        """As it is sent."""
        return cls(payload.cluster, {name: base64.b64encode(data).decode() for name, data in payload.secret.items()})

    @property
    def payload(self) -> Payload:
        """As it is used."""
        return Payload(self.cluster, {name: base64.b64decode(data) for name, data in self.secret.items()})


@dataclass(frozen=True, slots=True)
class Launching:
    """The arguments of `Site.launch`."""

    batch: Batch
    handles: tuple[Handle, ...]


@dataclass(frozen=True, slots=True)
class Observing:
    """The arguments of `Site.observe`."""

    known: tuple[Handle, ...]
    deep: bool


@dataclass(frozen=True, slots=True)
class Terminating:
    """The arguments of `Site.terminate`."""

    handles: tuple[Handle, ...]
    force: bool


@dataclass(frozen=True, slots=True)
class Reading:
    """The arguments of `Site.logs`; one chunk is answered, or None at the end."""

    handle: Handle
    cursor: str
    since: float | None


@dataclass(frozen=True, slots=True)
class Operation:
    """A request's name, and what its arguments and its answer are made of."""

    name: str
    arguments: TypeAdapter[Any]
    answer: TypeAdapter[Any]


_NOTHING = TypeAdapter[Any](None)
_CLUSTER = TypeAdapter[Any](str)
_OUTCOMES = TypeAdapter[Any](list[Outcome])

OPEN = Operation("open", TypeAdapter[Any](Opening), _NOTHING)
CHECK = Operation("check", _NOTHING, TypeAdapter[Any](Health))
STAGE = Operation("stage", TypeAdapter[Any](Staging), _NOTHING)
LAUNCH = Operation("launch", TypeAdapter[Any](Launching), _OUTCOMES)
OBSERVE = Operation("observe", TypeAdapter[Any](Observing), TypeAdapter[Any](Snapshot))
TERMINATE = Operation("terminate", TypeAdapter[Any](Terminating), _OUTCOMES)
LOGS = Operation("logs", TypeAdapter[Any](Reading), TypeAdapter[Any](LogChunk | None))
UNSTAGE = Operation("unstage", _CLUSTER, _NOTHING)
FORGET = Operation("forget", _CLUSTER, _NOTHING)

OPERATIONS: Mapping[str, Operation] = {
    each.name: each for each in (OPEN, CHECK, STAGE, LAUNCH, OBSERVE, TERMINATE, LOGS, UNSTAGE, FORGET)
}


def request(number: int, operation: Operation, arguments: object, descriptors: tuple[str, ...] = ()) -> bytes:
    """A request as a line."""
    document = {
        "id": number,
        "op": operation.name,
        "descriptors": descriptors,
        "arguments": operation.arguments.dump_python(arguments, mode="json"),
    }
    return json.dumps(document).encode() + b"\n"


def answer(number: int, operation: Operation, value: object) -> bytes:
    """An answer as a line."""
    return json.dumps({"id": number, "answer": operation.answer.dump_python(value, mode="json")}).encode() + b"\n"


def failure(number: int, words: str) -> bytes:
    """The answer to what could not be done, as a line."""
    return json.dumps({"id": number, "error": words}).encode() + b"\n"
