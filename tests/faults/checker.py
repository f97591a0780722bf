"""The invariants of the design, checked by comparing the store, what exists, what the API says, and the history.

Pure: who has the evidence of a daemon, however it was come by, has its breaches. `evidence.py` gathers it.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from daskd.model.cluster import ENDED, Cluster, Group, Instance, Phase, Record, Role, State
from daskd_client import types as api


class Rule(enum.Enum):
    """What must hold; the value says it."""

    LAUNCHED_ONCE = "no instance is launched twice"
    ONE_SCHEDULER = "no cluster has two schedulers"
    DEAD_IS_DEAD = "nothing lives that is recorded as ended"
    OWNED = "nothing lives that no record knows"
    THERE = "nothing is recorded as alive that is not there"
    CERTAIN = "nothing stays in doubt"
    AS_DESIRED = "what there is is what is desired"
    ENDS = "what is to end has ended, and left nothing"
    SHOWN = "the API says what is recorded"
    COUNTED = "revisions grow, and no event has another's"
    TOLD_BEGIN = "the history begins with the creation"
    TOLD_PHASE = "the history tells each change of phase"
    TOLD_DESIRED = "the history tells how many workers are desired"
    TOLD_STOP = "the history tells why a cluster ends"
    TOLD_END = "the history tells what became of each instance that was up"


@dataclass(frozen=True)
class Breach:
    """A rule that does not hold, and where."""

    rule: Rule
    words: str

    def __str__(self) -> str:
        return f"{self.rule.value}: {self.words}"


@dataclass(frozen=True)
class Thing:
    """A process tree, a job, that exists: what holds an instance, whether or not anybody knows of it."""

    instance: str
    cluster: str


@dataclass(frozen=True)
class Evidence:
    """All that is known of one daemon at one time; ended clusters and instances too.

    Attributes
    ----------
    things
        One for each thing that exists: an instance that was launched twice may be there twice.
    launches
        How often the system launched each id, where it counts that.
    shown, workers, events
        What the API says, by cluster; workers are those that have not ended.
    """

    clusters: tuple[Cluster, ...] = ()
    instances: tuple[Instance, ...] = ()
    things: tuple[Thing, ...] = ()
    launches: Mapping[str, int] = field(default_factory=dict)
    shown: Mapping[str, api.Cluster] = field(default_factory=dict)
    workers: Mapping[str, tuple[api.Worker, ...]] = field(default_factory=dict)
    events: Mapping[str, tuple[api.Event, ...]] = field(default_factory=dict)

    def of(self, cluster: Cluster) -> list[Instance]:
        """The instances of a cluster that have not ended, by the store."""
        return [each for each in self.instances if each.cluster == cluster.uid and each.state is not State.ENDED]

    def told(self, cluster: Cluster) -> list[api.Event]:
        """The history of a cluster."""
        return list(self.events.get(cluster.uid, ()))


def breaches_always(evidence: Evidence) -> list[Breach]:
    """What is wrong though much may be under way; it takes the store and the things that exist."""
    return [*_launched_once(evidence), *_one_scheduler(evidence), *_dead_is_dead(evidence)]


def breaches_at_rest(evidence: Evidence) -> list[Breach]:
    """What is wrong when nothing is wanted any more that is not there, and nobody interferes."""
    found = [*breaches_always(evidence), *_owned(evidence), *_there(evidence), *_counted(evidence)]
    for cluster in evidence.clusters:
        found += _ends(evidence, cluster) if cluster.stop or cluster.ended else _as_desired(evidence, cluster)
        found += [*_shown(evidence, cluster), *_told(evidence, cluster)]
    known = {cluster.uid for cluster in evidence.clusters}
    found += [Breach(Rule.SHOWN, f"{uid} is shown, and there is no record") for uid in evidence.shown.keys() - known]
    return found


def _launched_once(evidence: Evidence) -> Iterator[Breach]:
    there = Counter(thing.instance for thing in evidence.things)
    for key, times in (Counter(dict(evidence.launches)) | there).items():
        if times > 1:
            yield Breach(Rule.LAUNCHED_ONCE, f"{key}: {times} times")


def _one_scheduler(evidence: Evidence) -> Iterator[Breach]:
    roles = {instance.id: instance.role for instance in evidence.instances}
    schedulers = [thing for thing in evidence.things if roles.get(thing.instance) is Role.SCHEDULER]
    for cluster, count in Counter(thing.cluster for thing in schedulers).items():
        if count > 1:
            yield Breach(Rule.ONE_SCHEDULER, f"{cluster} has {count}")


def _dead_is_dead(evidence: Evidence) -> Iterator[Breach]:
    over = {instance.id for instance in evidence.instances if instance.state is State.ENDED}
    ended = {cluster.uid for cluster in evidence.clusters if cluster.ended is not None}
    for thing in evidence.things:
        if thing.instance in over:
            yield Breach(Rule.DEAD_IS_DEAD, f"{thing.instance} of {thing.cluster}")
        elif thing.cluster in ended:
            yield Breach(Rule.DEAD_IS_DEAD, f"{thing.cluster} has ended, and {thing.instance} of it lives")


def _owned(evidence: Evidence) -> Iterator[Breach]:
    known = {instance.id for instance in evidence.instances}
    for thing in evidence.things:
        if thing.instance not in known:
            yield Breach(Rule.OWNED, f"{thing.instance} of {thing.cluster}")


def _there(evidence: Evidence) -> Iterator[Breach]:
    there = {thing.instance for thing in evidence.things}
    for instance in evidence.instances:
        if instance.state is State.ENDED:
            continue
        if instance.record is not Record.ACCEPTED or instance.state is State.UNKNOWN:
            yield Breach(Rule.CERTAIN, f"{instance.id} is {instance.record.value}, {instance.state.value}")
        elif instance.id not in there:
            yield Breach(Rule.THERE, f"{instance.id} of {instance.cluster} is {instance.state.value}")


def _as_desired(evidence: Evidence, cluster: Cluster) -> Iterator[Breach]:
    def wrong(words: str) -> Breach:
        return Breach(Rule.AS_DESIRED, f"{cluster.name} ({cluster.uid}) {words}")

    if cluster.phase is not Phase.RUNNING:
        yield wrong(f"is {cluster.phase.value}: {cluster.message}")
    alive = evidence.of(cluster)
    schedulers = [instance for instance in alive if instance.role is Role.SCHEDULER]
    if len(schedulers) != 1:
        yield wrong(f"has {len(schedulers)} schedulers")
    for group in cluster.groups:
        nodes = [instance for instance in alive if instance.group == group.name]
        yield from map(wrong, _misfits(cluster, group, nodes))
    names = Counter(name for instance in evidence.instances for name in _names(instance, cluster))
    yield from (wrong(f"used the name {name} {n} times") for name, n in names.items() if n > 1)


def _names(instance: Instance, cluster: Cluster) -> tuple[str, ...]:
    return instance.workers if instance.cluster == cluster.uid else ()


def _misfits(cluster: Cluster, group: Group, nodes: list[Instance]) -> Iterator[str]:
    spec = cluster.spec.group(group.name)
    each = spec.workers_per_node if spec is not None else 1
    need = -(-group.desired // each)
    if len(nodes) != need:
        yield f"has {len(nodes)} nodes in {group.name!r}, and {need} are desired"
    if (group.running, group.pending, group.ending) != (need * each, 0, 0):
        counts = f"{group.running} running, {group.pending} pending, {group.ending} ending"
        yield f"says {counts} in {group.name!r} for {group.desired} desired"
    for node in nodes:
        if node.joined is None or node.retiring is not None or node.stopping is not None:
            yield f"has {node.id} in {group.name!r} that comes or goes"


def _ends(evidence: Evidence, cluster: Cluster) -> Iterator[Breach]:
    what = f"{cluster.name} ({cluster.uid})"
    if cluster.ended is None or cluster.phase not in ENDED:
        yield Breach(Rule.ENDS, f"{what} is {cluster.phase.value}, though {cluster.stop}: {cluster.message}")
    if left := evidence.of(cluster):
        yield Breach(Rule.ENDS, f"{what} has ended, and {', '.join(each.id for each in left)} has not")


def _shown(evidence: Evidence, cluster: Cluster) -> Iterator[Breach]:
    shown = evidence.shown.get(cluster.uid)
    if shown is None:
        yield Breach(Rule.SHOWN, f"{cluster.uid} is not shown")
        return
    recorded = (cluster.name, cluster.phase.value, cluster.reason, cluster.revision)
    if recorded != (said := (shown.name, shown.phase.value, shown.reason, shown.revision)):
        yield Breach(Rule.SHOWN, f"{cluster.uid} is {recorded}, and is shown as {said}")
    counts = [(each.name, each.desired, each.running, each.pending, each.ending) for each in cluster.groups]
    told = [(each.name, each.desired, each.running, each.pending, each.ending) for each in shown.groups]
    if counts != told:
        yield Breach(Rule.SHOWN, f"{cluster.uid} has {counts}, and is shown with {told}")
    names = sorted(name for each in evidence.of(cluster) for name in each.workers)
    if names != (said_names := sorted(worker.name for worker in evidence.workers.get(cluster.uid, ()))):
        yield Breach(Rule.SHOWN, f"{cluster.uid} has the workers {names}, and is shown with {said_names}")


def _counted(evidence: Evidence) -> Iterator[Breach]:
    every = [event.revision for events in evidence.events.values() for event in events]
    if len(set(every)) != len(every):
        yield Breach(Rule.COUNTED, "two events have one revision")
    for uid, events in evidence.events.items():
        revisions = [event.revision for event in events]
        if revisions != sorted(revisions):
            yield Breach(Rule.COUNTED, f"the history of {uid} is not in order")


def _told(evidence: Evidence, cluster: Cluster) -> Iterator[Breach]:
    history = evidence.told(cluster)
    if not history or history[0].type != "CREATED":
        yield Breach(Rule.TOLD_BEGIN, f"{cluster.uid}: {history[0].type if history else 'no event'}")
        return
    yield from _told_phases(cluster, history)
    yield from _told_desired(cluster, history)
    if cluster.stop and not any(event.type in STOPS for event in history):
        yield Breach(Rule.TOLD_STOP, f"{cluster.uid}: {cluster.stop}")
    if not cluster.stop:
        yield from _told_ends(evidence, cluster, history)


STOPS = frozenset({"DELETE_REQUESTED", "LIFETIME_OVER", "IDLE_TIMEOUT", "SHUT_DOWN", "FAILED"})
"""Events that tell why a cluster ends."""


def _told_phases(cluster: Cluster, history: Iterable[api.Event]) -> Iterator[Breach]:
    phase = Phase.PENDING.value
    for event in history:
        if event.type == "PHASE_CHANGED":
            if event.facts["before"] != phase:
                yield Breach(Rule.TOLD_PHASE, f"{cluster.uid}: from {event.facts['before']}, and it was {phase}")
            phase = event.facts["after"]
    if phase != cluster.phase.value:
        yield Breach(Rule.TOLD_PHASE, f"{cluster.uid} is {cluster.phase.value}, and the last that was told is {phase}")


_DESIRED = {"SCALED": "to", "ADAPTED_TO": "target", "ADAPTIVE_OFF": "desired"}
"""Events that say how many workers a group shall have, and the fact that does."""

_ELSE_DESIRED = frozenset({"IDLE_SCALED", "APPLIED"})
"""Events that change it for several groups at once: their words say how."""


def _told_desired(cluster: Cluster, history: Iterable[api.Event]) -> Iterator[Breach]:
    told: dict[str, int] = {}
    for event in history:
        if event.type == "CREATED":
            counts = {key: value for key, value in event.facts.items() if key.startswith("n_workers.")}
            told |= {key.removeprefix("n_workers."): int(value) for key, value in counts.items()}
        elif event.type in _DESIRED:
            told[event.facts["group"]] = int(event.facts[_DESIRED[event.type]])
        elif event.type in _ELSE_DESIRED:
            return
    for group in cluster.groups:
        if group.name in told and told[group.name] != group.desired:
            words = f"{cluster.uid}: {told[group.name]} in {group.name!r}, and {group.desired} are desired"
            yield Breach(Rule.TOLD_DESIRED, words)


def _told_ends(evidence: Evidence, cluster: Cluster, history: Iterable[api.Event]) -> Iterator[Breach]:
    told: dict[str, set[str]] = {}
    for event in history:
        told.setdefault(event.facts.get("instance", ""), set()).add(event.type)
    for instance in evidence.instances:
        if instance.cluster != cluster.uid or instance.state is not State.ENDED or instance.joined is None:
            continue
        if instance.stopping is not None and instance.retiring is None:
            continue  # the daemon ended it, and told why
        wanted = {"SCHEDULER_LOST"} if instance.role is Role.SCHEDULER else {"WORKER_LOST", "WORKER_RETIRED", "ROTATED"}
        if not wanted & told.get(instance.id, set()):
            yield Breach(Rule.TOLD_END, f"{instance.id} of {cluster.uid}: {instance.end}")
