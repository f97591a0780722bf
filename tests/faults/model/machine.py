"""The random life of a daemon: what users ask of it, and what befalls it and its clusters, in any order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, ClassVar, Protocol, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from daskd.model.cluster import Role
from daskd_client import AsyncDaskd, ClusterNotRunning
from daskd_client.types import AdaptivePolicy, ClusterSpec, WorkerGroupSpec

from ..checker import Breach, Evidence, breaches_at_rest
from .reference import Expected

T = TypeVar("T")

MOST_CLUSTERS = 3
LOAD = 200
"""Tasks: more than the workers of any policy here can do before more of them would be worth it."""

some = st.integers(0, 8)
seconds = st.sampled_from([0.1, 1.0, 5.0, 30.0, 90.0])


class World(Protocol):
    """A daemon and all around it, simulated or real."""

    @property
    def is_up(self) -> bool:
        """Whether there is a daemon."""

    @property
    def bugs(self) -> list[str]:
        """Errors in the daemon's log that nobody caused."""

    def now(self) -> float:
        """The wall clock, unix seconds."""

    async def start(self) -> None:
        """Start the daemon."""

    async def stop(self) -> None:
        """Stop it in good order."""

    async def kill(self) -> None:
        """kill -9 of it."""

    async def reload(self) -> None:
        """Have it read its configuration again."""

    async def ask(self, call: Callable[[AsyncDaskd], Awaitable[T]]) -> T:
        """What the API answers."""

    async def let(self, seconds: float) -> None:
        """Let time pass."""

    def kill_instance(self, uid: str, role: Role, n: int) -> None:
        """kill -9 of a cluster's scheduler, or of one of its nodes."""

    def kill_worker(self, uid: str, n: int) -> None:
        """kill -9 of a node's worker."""

    def heal(self) -> None:
        """End all faults that last."""

    async def evidence(self) -> Evidence:
        """All there is to know."""

    def wrong_now(self) -> list[Breach]:
        """What must never be."""


class ClusterLife(RuleBasedStateMachine):
    """What befalls any daemon, simulated or real. Whatever it is, all comes to rest as asked.

    Attributes
    ----------
    pauses
        Seconds after which it is looked whether all is at rest, and seconds for which that must hold.
    drivers, most_workers, may_expire
        What is asked for: groups of which drivers, how many workers, lifetimes.
    """

    pauses: ClassVar[tuple[float, ...]] = ()
    quiet: ClassVar[float] = 0.0
    drivers: ClassVar[tuple[str, ...]] = ("local",)
    most_workers: ClassVar[int] = 5
    may_expire: ClassVar[bool] = True
    world: World

    def __init__(self) -> None:
        super().__init__()
        self.clusters: list[Expected] = []

    def run(self, work: Awaitable[T]) -> T:
        """Do it in the world's loop."""
        raise NotImplementedError

    @property
    def living(self) -> list[Expected]:
        """Clusters that must answer calls."""
        now = self.world.now()
        for cluster in self.clusters:
            cluster.passes(now)
        return [cluster for cluster in self.clusters if cluster.may_live]

    def one(self, n: int) -> Expected | None:
        """One of the clusters that live; None: there is none."""
        return self.living[n % len(self.living)] if self.living else None

    def ask(self, call: Callable[[AsyncDaskd], Awaitable[T]]) -> T:
        """Ask the API; a daemon that is down is started."""
        if not self.world.is_up:
            self.run(self.world.start())
        return self.run(self.world.ask(call))

    def spec(self, n: int, each: int, driver: str, lifetime: float | None) -> ClusterSpec:
        """What a user asks for."""
        group = WorkerGroupSpec(n_workers=n, workers_per_node=each, driver=driver, nthreads=1, memory_limit="256MiB")
        return ClusterSpec(groups=(group,), max_lifetime=None if lifetime is None else timedelta(seconds=lifetime))

    @precondition(lambda self: len(self.living) < MOST_CLUSTERS)
    @rule(n=some, each=st.sampled_from([1, 1, 2]), which=some, lifetime=st.sampled_from([None, None, 20.0, 200.0]))
    def create(self, n: int, each: int, which: int, lifetime: float | None) -> None:
        """A user wants a cluster."""
        name, n = f"c{len(self.clusters)}", n % (self.most_workers + 1)
        spec = self.spec(n, each, self.drivers[which % len(self.drivers)], lifetime if self.may_expire else None)
        made = self.ask(lambda daskd: daskd.create(name, spec, request_id=name))
        expires = made.expire_time.timestamp() if made.expire_time is not None else None
        self.clusters.append(Expected(made.uid, name, n, expires=expires))

    def change(self, which: int, call: Callable[[AsyncDaskd, str], Awaitable[Any]]) -> Expected | None:
        """A call about a cluster that may end any moment; answers with what it was about, if it still lives."""
        cluster = self.one(which)
        if cluster is None:
            return None
        try:
            self.ask(lambda daskd: call(daskd, cluster.uid))
        except ClusterNotRunning:
            assert cluster not in self.living
            return None
        return cluster

    @rule(which=some, n=some)
    def scale(self, which: int, n: int) -> None:
        """A user wants another number of workers."""
        n %= self.most_workers + 1
        cluster = self.change(which, lambda daskd, uid: daskd.scale(uid, n))
        if cluster is not None:
            cluster.desired, cluster.bounds = n, None

    @rule(which=some, minimum=st.integers(0, 2), more=st.integers(0, 3))
    def adapt(self, which: int, minimum: int, more: int) -> None:
        """A user lets the number of workers follow the work."""
        policy = AdaptivePolicy(minimum=minimum, maximum=minimum + more, wait_count=2)
        cluster = self.change(which, lambda daskd, uid: daskd.adapt(uid, policy))
        if cluster is not None:
            cluster.bounds = (minimum, minimum + more)

    @rule(which=some)
    def delete(self, which: int) -> None:
        """A user wants it no more."""
        cluster = self.change(which, lambda daskd, uid: daskd.delete(uid))
        if cluster is not None:
            cluster.deleted = True

    @rule(which=some, n=some)
    def kill_node(self, which: int, n: int) -> None:
        """A node is killed."""
        if (cluster := self.one(which)) is not None:
            self.world.kill_instance(cluster.uid, Role.NODE, n)

    @rule(which=some, n=some)
    def kill_worker(self, which: int, n: int) -> None:
        """A worker is killed."""
        if (cluster := self.one(which)) is not None:
            self.world.kill_worker(cluster.uid, n)

    @rule(which=some)
    def kill_scheduler(self, which: int) -> None:
        """A scheduler is killed."""
        if (cluster := self.one(which)) is not None:
            self.world.kill_instance(cluster.uid, Role.SCHEDULER, 0)

    @rule()
    def kill_daemon(self) -> None:
        """The daemon is killed, and for now nobody starts it again."""
        self.run(self.world.kill())

    @precondition(lambda self: self.world.is_up)
    @rule()
    def restart_daemon(self) -> None:
        """The daemon is stopped and started."""
        self.run(self.world.stop())
        self.run(self.world.start())

    @precondition(lambda self: self.world.is_up)
    @rule()
    def reload(self) -> None:
        """The daemon reads its configuration again."""
        self.run(self.world.reload())

    @rule(how_long=seconds)
    def let(self, how_long: float) -> None:
        """Time passes."""
        self.run(self.world.let(min(how_long, self.pauses[-1])))

    @rule()
    def come_to_rest(self) -> None:
        """Nobody interferes any more: soon all is as asked, and stays so, and no bug was met on the way."""
        self.world.heal()
        if not self.world.is_up:
            self.run(self.world.start())
        self.wait_for_rest()
        living, before = self.living, self.run(self.world.evidence())
        self.run(self.world.let(self.quiet))
        self.wait_for_rest()
        after = self.run(self.world.evidence())
        assert living != self.living or set(before.things) == set(after.things), "something was replaced at rest"

    def wait_for_rest(self) -> None:
        """Until all is as it must be; fails when it is not soon."""
        wrong = self.wrong_at_rest()
        for pause in self.pauses:
            if not wrong:
                return
            self.run(self.world.let(pause))
            wrong = self.wrong_at_rest()
        assert not wrong, "\n".join(wrong)

    def wrong_at_rest(self) -> list[str]:
        """What is not yet as it must be."""
        evidence = self.run(self.world.evidence())
        records = {record.uid: record for record in evidence.clusters}
        now = self.world.now()
        for cluster in self.clusters:
            cluster.passes(now)
        misses = [words for each in self.clusters for words in each.misses(now, records.get(each.uid))]
        return [*misses, *map(str, breaches_at_rest(evidence)), *self.world.bugs]

    @invariant()
    def nothing_is_wrong(self) -> None:
        """What must never be is not, whatever is under way."""
        wrong = [*map(str, self.world.wrong_now()), *self.world.bugs]
        assert not wrong, "\n".join(wrong)
