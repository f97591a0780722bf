"""What a runtime may answer. It runs users' code and can say anything, so every field has bounds."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

MOST_ENTRIES = 20_000
"""Workers, nodes, lost clients of one cluster."""

Short = Annotated[str, StringConstraints(max_length=300)]
Address = Annotated[str, StringConstraints(max_length=300, pattern=r"^[a-z]{2,9}://\S+:[0-9]{1,5}$")]
Url = Annotated[str, StringConstraints(max_length=300, pattern=r"^https?://\S+$")]
Words = Annotated[str, StringConstraints(max_length=4000)]
Count = Annotated[int, Field(ge=0, le=1 << 53)]
Time = Annotated[float, Field(ge=0, le=1e11, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, le=1e18, allow_inf_nan=False)]


class _Document(BaseModel):
    # a newer runtime may say more than this daemon knows of
    model_config = ConfigDict(frozen=True, extra="ignore", strict=False)


class Hello(_Document):
    """Who is at the other end."""

    protocol: int
    runtime_version: Short
    cluster: Short
    instance: Short
    pid: Count = 0
    started: Time = 0
    versions: dict[Short, Short] = Field(default_factory=dict, max_length=100)


class Claimed(_Document):
    """The answer to a claim: the instance that is claimed."""

    instance: Short


class HubNode(_Document):
    """A node that has joined; `versions` are those that do not go with the scheduler's."""

    instance: Short
    group: Short = ""
    incarnation: int = 0
    host: Short = ""
    pid: Count | None = None
    joined: Time
    workers: tuple[Short, ...] = Field(default=(), max_length=1000)
    versions: dict[Short, Short] = Field(default_factory=dict, max_length=100)


class RetireProgress(_Document):
    """How far a worker's retirement is."""

    state: Short
    words: Words = ""


class HubWorker(_Document):
    """A worker as the scheduler sees it. `managed` and `memory` are bytes."""

    name: Short
    instance: Short | None = None
    address: Short
    status: Short
    nthreads: Count = 0
    memory_limit: Count = 0
    resources: dict[Short, Amount] = Field(default_factory=dict, max_length=100)
    processing: Count = 0
    executing: Count = 0
    managed: Count = 0
    memory: Count = 0
    pid: Count | None = None
    host: Short = ""
    since: Time | None = None
    retire: RetireProgress | None = None


class LeftWorker(_Document):
    """A worker that left."""

    name: Short
    instance: Short | None = None
    t: Time
    why: Short = ""


class FactEvent(_Document):
    """Something that happened at the scheduler; `seq` grows."""

    seq: Count
    t: Time
    type: Short
    words: Words = ""
    facts: dict[Short, Any] = Field(default_factory=dict, max_length=50)


class HeldCount(_Document):
    """How much lost clients left."""

    clients: Count = 0
    keys: Count = 0
    bytes: Count = 0


class Resumable(_Document):
    """Whether the cluster's work would survive its scheduler's death; why not, in words."""

    answer: bool = Field(default=False, alias="is")
    words: Words = ""


class HubState(_Document):
    """The state of a cluster as its scheduler tells it."""

    rev: Count
    t: Time
    phase: Short
    address: Address | None = None
    dashboard: Url | None = None
    nodes: tuple[HubNode, ...] = Field(default=(), max_length=MOST_ENTRIES)
    workers: tuple[HubWorker, ...] = Field(default=(), max_length=MOST_ENTRIES)
    left: tuple[LeftWorker, ...] = Field(default=(), max_length=1000)
    tasks: dict[Short, Count] = Field(default_factory=dict, max_length=50)
    clients: Count = 0
    idle_since: Time | None = None
    held: HeldCount = HeldCount()
    resumable: Resumable = Resumable()
    events: tuple[FactEvent, ...] = Field(default=(), max_length=1000)


class Retirement(_Document):
    """The answer to a retirement, by worker."""

    workers: dict[Short, RetireProgress] = Field(max_length=MOST_ENTRIES)


class Fenced(_Document):
    """The answer to a fence, by instance id: "fenced" or "joined"."""

    ids: dict[Short, Short] = Field(max_length=MOST_ENTRIES)


class HeldClient(_Document):
    """What one lost client left."""

    client: Short
    since: Time
    expires: Time | None = None
    keys: Count
    bytes: Count
    states: dict[Short, Count] = Field(default_factory=dict, max_length=50)
    sample: tuple[Words, ...] = Field(default=(), max_length=100)


class HeldDocument(_Document):
    """What lost clients left."""

    clients: tuple[HeldClient, ...] = Field(default=(), max_length=MOST_ENTRIES)


class Discarded(_Document):
    """How much was let go."""

    keys: Count
    bytes: Count
