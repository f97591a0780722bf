"""The checker finds each kind of breach, and nothing in a sound world."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from daskd.model.cluster import Cause, Cluster, End, Group, Handle, Instance, Phase, Record, Role, State
from daskd.model.spec import ClusterSpec, WorkerGroupSpec
from daskd_client import types as api

from .checker import Breach, Evidence, Rule, Thing, breaches_always, breaches_at_rest

NOW = 1_790_000_000.0


def node(key: str, **fields: Any) -> Instance:
    """A node of the cluster that lives, with one worker of its own."""
    return replace(scheduler(key), role=Role.NODE, group="default", ordinal=int(key[1:]), workers=(key,), **fields)


def scheduler(key: str, **fields: Any) -> Instance:
    """A scheduler that is up."""
    made = Instance(key, "c1", Role.SCHEDULER, "", 0, (), Handle("local", 1, key, key), NOW)
    return replace(made, record=Record.ACCEPTED, state=State.RUNNING, launched=NOW, joined=NOW, **fields)


def gone(instance: Instance, **fields: Any) -> Instance:
    """The same, ended."""
    return replace(instance, state=State.ENDED, end=End(Cause.SIGNAL, signal=9), ended=NOW, **fields)


def cluster(uid: str, desired: int, **fields: Any) -> Cluster:
    """A cluster with all that it desires."""
    spec = ClusterSpec(groups=(WorkerGroupSpec(n_workers=desired),))
    groups = (Group("default", desired=desired, running=desired),)
    made = Cluster(uid, f"name-{uid}", "ann", 1000, spec, NOW, NOW, Phase.RUNNING, groups=groups, revision=90)
    return replace(made, **fields)


def shown(of: Cluster) -> api.Cluster:
    """What the API says of it."""
    groups = tuple(
        api.WorkerGroupStatus(
            each.name, desired=each.desired, running=each.running, pending=each.pending, ending=each.ending
        )
        for each in of.groups
    )
    return api.Cluster(
        of.uid, of.name, phase=api.Phase(of.phase.value), reason=of.reason, revision=of.revision, groups=groups
    )


def history(first: int, *told: tuple[str, dict[str, str]]) -> tuple[api.Event, ...]:
    """Events of these types and facts, in order."""
    return tuple(api.Event(first + n, type=kind, facts=facts) for n, (kind, facts) in enumerate(told))


def phase(before: str, after: str) -> tuple[str, dict[str, str]]:
    """A change of phase."""
    return "PHASE_CHANGED", {"before": before, "after": after}


LIVES = cluster("c1", 2)
ENDED = cluster("c2", 0, phase=Phase.STOPPED, stop="deleted by ann", ended=NOW)
SOUND = Evidence(
    clusters=(LIVES, ENDED),
    instances=(
        scheduler("s0"),
        node("n0"),
        node("n1"),
        gone(node("n2")),
        gone(node("n3"), retiring=NOW, stopping=NOW),
        gone(node("n4"), stopping=NOW),
        gone(scheduler("s1")),
    ),
    things=(Thing("s0", "c1"), Thing("n0", "c1"), Thing("n1", "c1")),
    launches={"s0": 1, "n0": 1, "n1": 1, "n2": 1},
    shown={each.uid: shown(each) for each in (LIVES, ENDED)},
    workers={"c1": (api.Worker("n0"), api.Worker("n1"))},
    events={
        "c1": history(
            1,
            ("CREATED", {"n_workers.default": "1"}),
            phase("PENDING", "STARTING"),
            phase("STARTING", "RUNNING"),
            ("SCALED", {"group": "default", "from": "1", "to": "2"}),
            ("WORKER_LOST", {"instance": "n2"}),
            ("WORKER_RETIRED", {"instance": "n3"}),
            ("SCHEDULER_LOST", {"instance": "s1"}),
        ),
        "c2": history(
            20,
            ("CREATED", {"n_workers.default": "0"}),
            ("DELETE_REQUESTED", {}),
            phase("PENDING", "STOPPING"),
            phase("STOPPING", "STOPPED"),
        ),
    },
)


def with_thing(key: str, uid: str = "c1") -> Evidence:
    """One thing more exists."""
    return replace(SOUND, things=(*SOUND.things, Thing(key, uid)))


def with_instance(instance: Instance) -> Evidence:
    """An instance is recorded so, or one more."""
    others = tuple(each for each in SOUND.instances if each.id != instance.id)
    return replace(SOUND, instances=(*others, instance))


def with_cluster(changed: Cluster) -> Evidence:
    """A cluster is recorded so, and the API says that."""
    others = tuple(each for each in SOUND.clusters if each.uid != changed.uid)
    return replace(SOUND, clusters=(*others, changed), shown={each.uid: shown(each) for each in (*others, changed)})


def with_history(uid: str, change: Callable[[tuple[api.Event, ...]], tuple[api.Event, ...]]) -> Evidence:
    """A history is another."""
    return replace(SOUND, events={**SOUND.events, uid: change(SOUND.events[uid])})


def without(kind: str, uid: str = "c1") -> Evidence:
    """The events of a type were not told."""
    return with_history(uid, lambda events: tuple(event for event in events if event.type != kind))


def group(**counts: int) -> Cluster:
    """The cluster that lives, with other counts."""
    return replace(LIVES, groups=(replace(LIVES.groups[0], **counts),))


BROKEN = [
    (Rule.LAUNCHED_ONCE, replace(SOUND, launches={"n0": 2})),
    (Rule.LAUNCHED_ONCE, with_thing("n0")),
    (Rule.ONE_SCHEDULER, replace(with_instance(scheduler("s9")), things=(*SOUND.things, Thing("s9", "c1")))),
    (Rule.DEAD_IS_DEAD, with_thing("n2")),
    (Rule.DEAD_IS_DEAD, with_thing("x", "c2")),
    (Rule.OWNED, with_thing("x")),
    (Rule.THERE, replace(SOUND, things=SOUND.things[:-1])),
    (Rule.CERTAIN, with_instance(node("n1", state=State.UNKNOWN))),
    (Rule.CERTAIN, with_instance(replace(node("n1"), record=Record.UNSURE))),
    (Rule.AS_DESIRED, with_cluster(group(desired=3))),
    (Rule.AS_DESIRED, with_cluster(group(running=1))),
    (Rule.AS_DESIRED, with_cluster(group(pending=1))),
    (Rule.AS_DESIRED, with_cluster(replace(LIVES, phase=Phase.STARTING))),
    (Rule.AS_DESIRED, with_instance(gone(scheduler("s0")))),
    (Rule.AS_DESIRED, with_instance(replace(node("n1"), retiring=NOW))),
    (Rule.AS_DESIRED, with_instance(replace(node("n1"), joined=None))),
    (Rule.AS_DESIRED, with_instance(replace(gone(node("n4"), stopping=NOW), workers=("n0",)))),
    (Rule.ENDS, with_cluster(replace(ENDED, phase=Phase.STOPPING, ended=None))),
    (Rule.ENDS, with_instance(replace(scheduler("s9"), cluster="c2"))),
    (Rule.SHOWN, replace(SOUND, shown={"c1": SOUND.shown["c1"]})),
    (Rule.SHOWN, replace(SOUND, shown={**SOUND.shown, "c9": SOUND.shown["c1"]})),
    (Rule.SHOWN, replace(SOUND, shown={**SOUND.shown, "c1": replace(SOUND.shown["c1"], phase=api.Phase.STARTING)})),
    (Rule.SHOWN, replace(SOUND, shown={**SOUND.shown, "c1": shown(group(desired=9))})),
    (Rule.SHOWN, replace(SOUND, workers={"c1": (api.Worker("n0"),)})),
    (Rule.COUNTED, with_history("c1", lambda events: (*events, replace(events[0], type="SHARED")))),
    (Rule.COUNTED, with_history("c1", lambda events: (events[0], *reversed(events[1:])))),
    (Rule.TOLD_BEGIN, with_history("c1", lambda events: ())),
    (Rule.TOLD_BEGIN, without("CREATED")),
    (Rule.TOLD_PHASE, with_history("c1", lambda events: (*events[:2], *events[3:]))),
    (Rule.TOLD_PHASE, with_history("c1", lambda events: (events[0], *events[2:]))),
    (Rule.TOLD_DESIRED, without("SCALED")),
    (Rule.TOLD_STOP, without("DELETE_REQUESTED", "c2")),
    (Rule.TOLD_END, without("WORKER_LOST")),
    (Rule.TOLD_END, without("WORKER_RETIRED")),
    (Rule.TOLD_END, without("SCHEDULER_LOST")),
]


def rules(found: list[Breach]) -> set[Rule]:
    """Which rules were broken."""
    return {breach.rule for breach in found}


def test_a_sound_world_has_no_breach() -> None:
    """Nothing is found where nothing is wrong."""
    assert breaches_at_rest(SOUND) == []


@pytest.mark.parametrize(("rule", "evidence"), BROKEN, ids=lambda value: value.name if isinstance(value, Rule) else "")
def test_a_breach_is_found(rule: Rule, evidence: Evidence) -> None:
    """What is wrong in one way is found under that rule."""
    assert rule in rules(breaches_at_rest(evidence))


def test_every_rule_was_broken() -> None:
    """No rule is without a world that breaks it."""
    assert {rule for rule, _ in BROKEN} == set(Rule)


def test_what_is_under_way_is_no_breach() -> None:
    """While something happens only what must never be is a breach."""
    young = replace(node("n9"), record=Record.UNSURE, state=State.UNKNOWN, joined=None)
    assert breaches_always(replace(with_instance(young), things=())) == []
    never = (Rule.LAUNCHED_ONCE, Rule.ONE_SCHEDULER, Rule.DEAD_IS_DEAD)
    assert rules([breach for rule, each in BROKEN if rule in never for breach in breaches_always(each)]) == set(never)
