"""What absorb and decide promise of any view at all, however odd."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cluster_states import ADDRESS, LONG_AGO, NOW, SETTINGS, after, cluster, fact, handle, node, scheduler, state
from hypothesis import given, settings
from hypothesis import strategies as st

from daskd.control.absorb import absorb
from daskd.control.link import HubWorker
from daskd.control.plan import Action, Cancel, Chosen, LaunchNodes, LaunchScheduler, Retire, Terminate, decide
from daskd.control.view import HubView, View
from daskd.drivers.protocol import Observation, Report
from daskd.model.cluster import Adaptive, Cause, End, Group, Instance, Record, State
from daskd.model.spec import AdaptivePolicy, ClusterSpec, WorkerGroupSpec

GROUPS = ("default", "big")
times = st.sampled_from([LONG_AGO, NOW - 120, NOW - 61, NOW - 15, NOW - 1, NOW, NOW + 30, NOW + 3600])
maybe = st.none() | times
words = st.sampled_from(["", "it is so"])
alive = st.sampled_from([each for each in State if each is not State.ENDED])
records = st.sampled_from([each for each in Record if each is not Record.REFUSED])
ends = st.builds(
    End,
    cause=st.sampled_from(Cause),
    code=st.sampled_from([None, 0, 1, 80, 81, 83, 85]),
    signal=st.sampled_from([None, 9]),
    words=words,
    certain=st.booleans(),
)


def some_instance(like: Instance) -> st.SearchStrategy[Instance]:
    """The instance in any state of its life."""
    fields: dict[str, Any] = {
        "record": records,
        "state": alive,
        "created": times,
        "pid": st.sampled_from([None, 7]),
        "words": words,
    }
    fields |= dict.fromkeys(("launched", "joined", "retiring", "stopping"), maybe)
    return st.fixed_dictionaries(fields).map(lambda values: replace(like, **values))


@st.composite
def observations(draw: st.DrawFn, key: str) -> Observation:
    """Anything that a driver may show."""
    what = draw(st.sampled_from(State))
    end = draw(st.none() | ends) if what is State.ENDED else None
    report = draw(st.none() | st.builds(Report, phase=st.just("failed"), failure=words))
    by = draw(words) if what is State.ENDED else ""
    return Observation(
        handle(key), what, draw(words), end, report=report, ended=draw(maybe), goodbye=by, pid=draw(st.none())
    )


@st.composite
def hubs(draw: st.DrawFn, some: list[Instance]) -> HubView:
    """Anything that a scheduler may say, or not."""
    names = [
        HubWorker(name=name, instance=i.id, address="x", status="running", since=draw(maybe))
        for i in some
        for name in i.workers
    ]
    strange = HubWorker(
        name="guest", instance=draw(st.sampled_from([None, "nobody", "n0"])), address="x", status="paused"
    )
    present = [worker for worker in [*names, strange] if draw(st.booleans())]
    kinds = st.sampled_from(["worker-failed", "client-lost"])
    events = [
        fact(n, draw(kinds), instance=draw(st.sampled_from(["n0", "s", ""]))) for n in draw(st.sets(st.integers(1, 6)))
    ]
    said = state(present, address=ADDRESS, events=tuple(events), idle_since=draw(maybe))
    return HubView(
        instance=draw(st.sampled_from(["s", "s", "s", "old"])),
        state=draw(st.sampled_from([said, said, None])),
        connected=draw(st.booleans()),
        heard=draw(maybe),
        trouble=draw(words),
    )


@st.composite
def views(draw: st.DrawFn) -> View:
    """Any view of a cluster with two groups."""
    each = {name: draw(st.integers(1, 3)) for name in GROUPS}
    likes = [
        node(n, each=each[name], group=name)
        for n, name in enumerate(draw(st.lists(st.sampled_from(GROUPS), max_size=5)))
    ]
    some = [draw(some_instance(like)) for like in likes]
    present = [draw(some_instance(scheduler())), *some] if draw(st.sampled_from([True, True, False])) else some
    spec = ClusterSpec(groups=tuple(WorkerGroupSpec(name=name, workers_per_node=n) for name, n in each.items()))
    groups = tuple(
        Group(
            name,
            desired=draw(st.integers(0, 7)),
            adaptive=draw(st.sampled_from([None, Adaptive(AdaptivePolicy(), since=LONG_AGO)])),
            failures=draw(st.integers(0, 6)),
            retry_at=draw(maybe),
            start_times=draw(st.sampled_from([(), (1.0,)])),
        )
        for name in GROUPS
    )
    record = replace(
        cluster(stop=draw(st.sampled_from(["", "", "deleted"]))),
        spec=spec,
        groups=groups,
        event_seq=draw(st.integers(0, 4)),
    )
    restarts = tuple(draw(st.lists(times, max_size=6)))
    said = replace(record.scheduler, restarts=restarts, started=draw(maybe), heard=draw(maybe))
    keys = [each.id for each in present]
    memories = st.dictionaries(st.sampled_from(keys), times) if keys else st.just({})
    return View(
        replace(record, scheduler=said),
        tuple(present),
        settings=SETTINGS,
        observations={key: draw(observations(key)) for key in keys if draw(st.booleans())},
        observed=draw(times),
        settle=draw(st.sampled_from([0.0, 30.0])),
        hub=draw(hubs(some)),
        refused=draw(memories),
        forced=draw(memories),
        asked=draw(memories),
    )


choices = st.builds(
    Chosen,
    groups=st.frozensets(st.sampled_from(GROUPS)),
    cancel=st.lists(st.sampled_from(["n0", "n1", "n9"]), unique=True, max_size=3).map(tuple),
    drain=st.lists(st.sampled_from(["n2", "n3", "n4", "s"]), unique=True, max_size=4).map(tuple),
    rev=st.sampled_from([None, 3]),
)


def named(actions: tuple[Action, ...]) -> list[str]:
    """Every id that an action names."""
    return [key for action in actions if isinstance(action, (Cancel, Retire, Terminate)) for key in action.ids]


def let_go(of: View, actions: tuple[Action, ...], group: str) -> list[str]:
    """Whose end is begun because there are too many: not of those that leave already, failed, or were given up."""
    fresh = {
        i.id for i in of.nodes if i.group == group and not (i.retiring or i.stopping or i.record is Record.ABANDONED)
    }
    gone = [key for action in actions if isinstance(action, (Cancel, Retire)) for key in action.ids]
    return [key for key in gone if key in fresh]


@settings(deadline=None)
@given(views(), choices)
def test_actions_name_what_lives_and_each_once(of: View, chosen: Chosen) -> None:
    """Nothing unknown, nothing that ended, and nothing asked two things of."""
    seen = after(of, absorb(of, NOW))
    for each in (of, seen):
        ids = named(decide(each, chosen, NOW).actions)
        assert len(ids) == len(set(ids))
        assert set(ids) <= {instance.id for instance in each.instances}


@settings(deadline=None)
@given(views(), choices)
def test_a_group_grows_or_shrinks(of: View, chosen: Chosen) -> None:
    """Never both; no more are launched than are missing, and no more let go than are too many."""
    actions = decide(of, chosen, NOW).actions
    for spec in of.cluster.spec.groups:
        launches = sum(a.count for a in actions if isinstance(a, LaunchNodes) and a.group == spec.name)
        gone = let_go(of, actions, spec.name)
        active = [i for i in of.nodes if i.group == spec.name and i.retiring is None and i.stopping is None]
        need = -(-of.cluster.group(spec.name).desired // spec.workers_per_node)
        assert not (launches and gone)
        assert launches <= max(0, need - len(active))
        assert len(gone) <= max(0, len(active) - need)


@settings(deadline=None)
@given(views(), choices)
def test_there_is_never_a_second_scheduler(of: View, chosen: Chosen) -> None:
    """One is launched where there is none, and none for a cluster that shall end."""
    launched = [action for action in decide(of, chosen, NOW).actions if isinstance(action, LaunchScheduler)]
    assert len(launched) <= (of.scheduler is None and not of.cluster.stop)


@settings(deadline=None)
@given(views(), choices)
def test_nobody_is_ended_unheard(of: View, chosen: Chosen) -> None:
    """Without the scheduler's word nothing goes but by a stop, by force, or a scheduler that never came up."""
    quiet = replace(of, hub=replace(of.hub, connected=False), cluster=replace(of.cluster, stop=""))
    for action in decide(quiet, chosen, NOW).actions:
        assert not isinstance(action, (Cancel, Retire))
        if isinstance(action, Terminate):
            ended = [instance for instance in quiet.instances if instance.id in action.ids]
            assert all(i.stopping is not None if action.force else i.id == "s" and i.joined is None for i in ended)


@settings(deadline=None)
@given(views(), choices)
def test_a_stop_asks_everything_to_end(of: View, chosen: Chosen) -> None:
    """All nodes in one pass, whatever is known of them, and nothing is launched."""
    actions = decide(replace(of, cluster=replace(of.cluster, stop="deleted")), chosen, NOW).actions
    assert all(isinstance(action, Terminate) for action in actions)
    assert {i.id for i in of.nodes if i.stopping is None} <= set(named(actions))


@settings(deadline=None)
@given(views())
def test_absorbing_twice_is_absorbing_once(of: View) -> None:
    """The same word again changes nothing and tells nothing."""
    once = absorb(of, NOW)
    twice = absorb(after(of, once), NOW)
    assert twice.cluster == once.cluster
    assert (twice.changed, twice.events) == ((), [])


@settings(deadline=None)
@given(views())
def test_a_record_of_what_was_wanted_is_nobodys_to_change(of: View) -> None:
    """Absorbing changes no desired count and no policy, and takes back no stop; what has ended has an end."""
    ledger = absorb(of, NOW)
    assert [g.desired for g in ledger.cluster.groups] == [g.desired for g in of.cluster.groups]
    assert [g.adaptive for g in ledger.cluster.groups] == [g.adaptive for g in of.cluster.groups]
    assert ledger.cluster.stop == of.cluster.stop or not of.cluster.stop
    assert not (of.cluster.stop and ledger.cluster.failed)
    for instance in ledger.instances:
        assert (instance.state is State.ENDED) == (instance.ended is not None) == (instance.end is not None)
    for group in ledger.cluster.groups:
        assert all(took >= 0 for took in group.start_times)


@settings(deadline=None)
@given(views(), choices)
def test_the_next_look_is_neither_at_once_nor_never(of: View, chosen: Chosen) -> None:
    """A loop that spins starves the others, and one that sleeps misses what falls due."""
    assert 0.05 <= decide(of, chosen, NOW).again <= 60.0
