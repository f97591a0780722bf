"""What one pass of a reconciler sees: the record, and what was last observed. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from daskd.drivers.protocol import Observation, Room
from daskd.model.adaptive import Snapshot
from daskd.model.cluster import Cluster, Instance, Role

from .link import HubState, HubWorker
from .settings import Settings


@dataclass(frozen=True, slots=True)
class HubView:
    """What the link last said.

    Attributes
    ----------
    instance
        The scheduler's instance that said it.
    state
        None until it has answered once.
    connected
        The last call was answered as it should be.
    heard
        When it last answered, unix seconds of our clock.
    trouble
        What went wrong in the last call; empty when nothing did.
    """

    instance: str = ""
    state: HubState | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    connected: bool = False
    heard: float | None = None
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """What there is to know of a driver's last listing.

    Attributes
    ----------
    begun
        When it was begun, unix seconds; 0: there was none since this cluster's last act.
    settle
        Seconds after a launch within which what it lacks may still turn up.
    """

    begun: float = 0.0
    settle: float = 0.0


@dataclass(frozen=True)
class View:
    """A cluster and all that is known of it.

    Attributes
    ----------
    instances
        Those that have not ended.
    observations
        By instance id; from listings begun after this cluster's last act.
    listings
        Those listings, by driver.
    tails
        The last lines of the logs of instances that ended, by id.
    refused, forced, asked
        When a retirement was last refused, an end last forced, a retirement last asked for, by instance id.
    snapshot
        The scheduler's facts, where they are asked for.
    rooms
        How many more instances may wait for their start, by group; one that is not here has no bound.
    """

    cluster: Cluster
    instances: tuple[Instance, ...]
    settings: Settings
    observations: Mapping[str, Observation] = field(default_factory=dict)
    listings: Mapping[str, Listing] = field(default_factory=dict)
    hub: HubView = HubView()
    tails: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, float] = field(default_factory=dict)
    forced: Mapping[str, float] = field(default_factory=dict)
    asked: Mapping[str, float] = field(default_factory=dict)
    snapshot: Snapshot | None = None
    rooms: Mapping[str, Room] = field(default_factory=dict)

    def listing(self, instance: Instance) -> Listing:
        """The last listing of the instance's driver."""
        return self.listings.get(instance.handle.driver, Listing())

    @property
    def scheduler(self) -> Instance | None:
        """The scheduler's instance, if one lives."""
        return next((instance for instance in self.instances if instance.role is Role.SCHEDULER), None)

    @property
    def nodes(self) -> tuple[Instance, ...]:
        """The nodes that live."""
        return tuple(instance for instance in self.instances if instance.role is Role.NODE)

    @property
    def is_of_scheduler(self) -> bool:
        """Whether the hub's word is that of the scheduler that lives."""
        return self.scheduler is not None and self.hub.instance == self.scheduler.id

    @property
    def hears(self) -> bool:
        """Whether the scheduler that lives answers."""
        return self.hub.connected and self.hub.state is not None and self.is_of_scheduler

    @cached_property
    def hub_workers(self) -> dict[str, HubWorker]:
        """Workers at the hub by name; none while the scheduler that told of them is not the one that lives."""
        if self.hub.state is None or not self.is_of_scheduler:
            return {}
        return {worker.name: worker for worker in self.hub.state.workers}
