"""What becomes of the record when something was observed: instances, and what their scheduler says of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from cluster_states import (
    LONG_AGO,
    NOW,
    after,
    at_hub,
    cluster,
    ended,
    fact,
    heard,
    node,
    of,
    scheduler,
    seen,
    silent,
    state,
    types,
    unsure,
    view,
    waiting,
    young,
)

from daskd.control.absorb import START_TIMES, absorb
from daskd.control.view import HubView, Listing
from daskd.drivers.protocol import Observation
from daskd.model.cluster import Cause, Held, Instance, Record, State

NEVER = ended("n0", Cause.VANISHED, words="it was never launched here")


@pytest.mark.parametrize("observed", [LONG_AGO, NOW - 1, NOW - 1.2, NOW + 5])
def test_a_listing_says_nothing_of_what_came_after_it(observed: float) -> None:
    """What was launched while, or after, the listing was begun has not ended because it lacks it."""
    ledger = absorb(view(cluster(1), [scheduler(), waiting()], seen=[NEVER], observed=observed), NOW)
    assert of(ledger, "n0") == waiting()


@pytest.mark.parametrize("record", [Record.UNSURE, Record.INTENDED])
@pytest.mark.parametrize("what", [State.QUEUED, State.STARTING, State.RUNNING, State.PAUSED, State.ENDING])
def test_what_was_launched_unrecorded_is_adopted(record: Record, what: State) -> None:
    """A daemon that died between launch and record finds its instance again, and says so once."""
    first = view(cluster(1), [scheduler(), unsure(node(), record=record)], seen=[seen("n0", what)])
    ledger = absorb(first, NOW)
    adopted = of(ledger, "n0")
    assert (adopted.record, adopted.state, adopted.launched) == (Record.ACCEPTED, what, LONG_AGO)
    assert types(ledger) == ["INSTANCE_ADOPTED"]
    assert types(absorb(after(first, ledger), NOW)) == []


def test_the_unknown_proves_no_launch() -> None:
    """A system that does not know says nothing about what may have been launched."""
    ledger = absorb(view(cluster(1), [scheduler(), unsure(node())], seen=[seen("n0", State.UNKNOWN)]), NOW)
    assert of(ledger, "n0") == unsure(node())


def test_what_the_scheduler_hears_was_launched() -> None:
    """Its workers are proof enough, whatever the driver finds."""
    hub = heard(at_hub([node()], since=NOW - 60))
    ledger = absorb(view(cluster(1), [scheduler(), unsure(node())], hub, seen=[NEVER]), NOW)
    adopted = of(ledger, "n0")
    assert (adopted.record, adopted.joined) == (Record.ACCEPTED, NOW - 60)


def test_what_ended_while_nobody_looked_is_adopted_and_has_ended() -> None:
    """Its end counts, since it was launched."""
    ledger = absorb(view(cluster(1), [scheduler(), unsure(node())], seen=[ended("n0", code=1)]), NOW)
    assert (of(ledger, "n0").record, of(ledger, "n0").state) == (Record.ACCEPTED, State.ENDED)
    assert ledger.cluster.group("default").failures == 1


def test_what_was_never_launched_is_given_up_and_lives_until_it_is_fenced() -> None:
    """It is told, and no failure of anybody's; it ends once its end was asked for and it is still not there."""
    first = view(cluster(1), [scheduler(), unsure(node())], seen=[NEVER])
    ledger = absorb(first, NOW)
    given_up = of(ledger, "n0")
    assert (given_up.record, given_up.state, types(ledger)) == (Record.ABANDONED, State.UNKNOWN, ["INSTANCE_ABANDONED"])
    assert ledger.cluster.group("default").failures == 0
    fenced = replace(given_up, stopping=NOW)
    ledger = absorb(replace(after(first, ledger), instances=(scheduler(), fenced)), NOW)
    assert (of(ledger, "n0").record, of(ledger, "n0").state, types(ledger)) == (Record.ABANDONED, State.ENDED, [])


def test_what_was_given_up_and_turns_up_is_adopted_unless_it_was_asked_to_end() -> None:
    """Before the fence nothing took its place; after it, it is watched until it has ended."""
    lost = unsure(node(), record=Record.ABANDONED)
    assert of(absorb(view(cluster(1), [lost], seen=[seen("n0")]), NOW), "n0").record is Record.ACCEPTED
    fenced = replace(lost, stopping=NOW - 1)
    ledger = absorb(view(cluster(1), [fenced], seen=[seen("n0")]), NOW)
    assert (of(ledger, "n0").record, of(ledger, "n0").state) == (Record.ABANDONED, State.RUNNING)


def test_a_scheduler_that_was_never_launched_is_given_up_at_once() -> None:
    """There is no hub that could fence it, and a daemon's death is no failure of its."""
    vanished = ended("s", Cause.VANISHED, words="it was never launched here")
    ledger = absorb(view(young(), [unsure(scheduler())], seen=[vanished]), NOW)
    assert (of(ledger, "s").record, of(ledger, "s").state) == (Record.ABANDONED, State.ENDED)
    assert ledger.cluster.scheduler.restarts == ()


def test_what_may_still_turn_up_is_not_given_up() -> None:
    """A system that may yet show a launch is given the time that it says it takes."""
    tried = unsure(node(), launched=NOW - 20)
    young_view = view(cluster(1), [scheduler(), tried], seen=[NEVER], settle=30.0)
    assert of(absorb(young_view, NOW), "n0").record is Record.UNSURE
    old_view = replace(young_view, listings={"local": Listing(NOW + 11, 30.0)})
    assert of(absorb(old_view, NOW + 12), "n0").record is Record.ABANDONED


def test_a_driver_that_errs_at_every_launch_is_asked_less_and_less() -> None:
    """A launch that failed with an error, and left nothing, is a failure with the driver's words."""
    tried = unsure(node(), launched=NOW - 20, words="no space left on device")
    first = view(cluster(1), [scheduler(), tried], seen=[NEVER])
    ledger = absorb(first, NOW)
    group = ledger.cluster.group("default")
    assert group.failures == 1
    assert group.retry_at is not None
    assert "no space left on device" in group.message
    assert absorb(after(first, ledger), NOW).cluster.group("default").failures == 1


def test_a_scheduler_whose_driver_errs_at_every_launch_fails_in_the_end() -> None:
    """So many launches without an answer are FAILED, with the driver's words."""
    of_driver = cluster(scheduler={"restarts": tuple(NOW - 50 + n for n in range(4))})
    tried = unsure(scheduler(), launched=NOW - 20, words="no space left on device")
    ledger = absorb(view(of_driver, [tried], HubView(), seen=[ended("s", Cause.VANISHED)]), NOW)
    assert ledger.cluster.failed
    assert "no space left on device" in ledger.cluster.message


@pytest.mark.parametrize("of_what", [node(), unsure(node())])
def test_an_uncertain_end_is_unknown(of_what: Instance) -> None:
    """Whose supervisor was killed while its processes may run on has not ended, nor was it never launched."""
    vanished = ended("n0", Cause.VANISHED, words="its supervisor was killed", certain=False)
    ledger = absorb(view(cluster(1), [scheduler(), of_what], heard(), seen=[vanished]), NOW)
    left = of(ledger, "n0")
    assert (left.record, left.state, left.words) == (Record.ACCEPTED, State.UNKNOWN, "its supervisor was killed")


@pytest.mark.parametrize("key", ["n0", "s"])
def test_nobody_vanished_whom_the_scheduler_hears(key: str) -> None:
    """Whatever a driver says, what answers is alive; it has vanished once it answers no more."""
    both = view(cluster(1), [scheduler(), node()], seen=[ended(key, Cause.VANISHED)])
    assert of(absorb(both, NOW), key).state is State.UNKNOWN
    assert of(absorb(replace(both, hub=silent(both.hub)), NOW), key).state is State.ENDED


def test_the_systems_own_word_of_an_end_stands_against_the_scheduler() -> None:
    """A dead node's workers may be listed for a moment yet."""
    ledger = absorb(view(cluster(1), [scheduler(), node()], seen=[ended("n0", Cause.SIGNAL, signal=9)]), NOW)
    assert of(ledger, "n0").state is State.ENDED


@pytest.mark.parametrize(
    ("said", "joined", "took"),
    [(NOW - 3, NOW - 3, 7.0), (NOW - 60, NOW - 10, 0.0), (NOW + 60, NOW, 10.0), (None, NOW, 10.0)],
    ids=["just so", "a clock that is slow", "a clock that is fast", "does not say"],
)
def test_a_node_joined_when_its_scheduler_says(said: float | None, joined: float, took: float) -> None:
    """The start time is the node's, not the daemon's absence, and never negative."""
    hub = heard(at_hub([node()], since=said))
    first = view(cluster(1), [scheduler(), waiting(created=NOW - 11, launched=NOW - 10)], hub)
    ledger = absorb(first, NOW)
    assert of(ledger, "n0").joined == joined
    assert ledger.cluster.group("default").start_times == (took,)
    assert absorb(after(first, ledger), NOW + 5).cluster.group("default").start_times == (took,)


def test_the_last_start_times_are_kept() -> None:
    """Nine of them, the oldest goes first."""
    full = cluster(1, start_times=tuple(float(n) for n in range(START_TIMES)))
    ledger = absorb(view(full, [scheduler(), waiting()], heard(at_hub([node()], since=NOW))), NOW)
    assert ledger.cluster.group("default").start_times == (*map(float, range(1, START_TIMES)), 1.0)


def test_the_record_says_what_the_scheduler_says() -> None:
    """Address, versions, what is held, since when it is idle; and that it has come up."""
    hub = replace(heard(idle_since=NOW - 9, held={"clients": 1, "keys": 2, "bytes": 3}), versions={"dask": "2026.8"})
    starting = scheduler(joined=None, launched=NOW - 1, state=State.STARTING, pid=None)
    ledger = absorb(view(young(), [starting], hub, seen=[seen("s", pid=99)]), NOW)
    said = ledger.cluster.scheduler
    assert of(ledger, "s").joined == NOW
    assert (said.instance, said.address, said.started, said.pid) == ("s", state().address, NOW, 99)
    assert said.versions == {"dask": "2026.8"}
    assert (ledger.cluster.held, ledger.cluster.idle_since) == (Held(1, 2, 3), NOW - 9)


def test_idleness_by_another_clock_is_not_told_anew_with_every_look() -> None:
    """What is idle since tomorrow is idle since it was first heard."""
    first = view(cluster(), [scheduler()], heard(idle_since=NOW + 60))
    ledger = absorb(first, NOW)
    assert ledger.cluster.idle_since == NOW
    assert absorb(after(first, ledger), NOW + 5).cluster.idle_since == NOW


def test_silence_and_its_end_are_told_once() -> None:
    """The scheduler answers no more, and answers again: an event each, with what is wrong."""
    there = view(cluster(), [scheduler()], silent(heard()))
    quiet = absorb(there, NOW)
    assert types(quiet) == ["SCHEDULER_SILENT"]
    assert "timed out" in quiet.events[0].message
    assert quiet.cluster.scheduler.heard == NOW
    assert (quiet.cluster.reason, quiet.cluster.phase.value) == ("SCHEDULER_SILENT", "RUNNING")
    assert types(absorb(after(there, quiet), NOW + 1)) == []
    again = absorb(after(there, quiet, hub=heard()), NOW + 2)
    assert (types(again), again.cluster.scheduler.heard, again.cluster.reason) == (["SCHEDULER_HEARD"], None, "")


@pytest.mark.parametrize(
    ("hub", "told"),
    [
        (HubView(instance="s"), []),
        (HubView(instance="s", trouble="timed out"), ["SCHEDULER_SILENT"]),
        (HubView(instance="another", trouble="timed out"), []),
        (HubView(), []),
    ],
)
def test_a_daemon_that_has_not_asked_yet_tells_of_no_silence(hub: HubView, told: list[str]) -> None:
    """After a restart of the daemon a scheduler is silent when it was asked in vain."""
    assert types(absorb(view(cluster(), [scheduler()], hub), NOW)) == told
    assert types(absorb(view(young(), [scheduler(joined=None)], hub), NOW)) == []


def test_what_happened_at_the_scheduler_is_told_once() -> None:
    """Events are forwarded by their number, across passes and restarts of the daemon."""
    there = view(
        cluster(event_seq=1), [scheduler()], heard(events=(fact(1), fact(2, client="c"), fact(3, "worker-removed")))
    )
    ledger = absorb(there, NOW)
    assert [(e.type, e.message) for e in ledger.events] == [("CLIENT_LOST", "fact 2"), ("WORKER_REMOVED", "fact 3")]
    assert ledger.events[0].facts == {"client": "c"}
    assert (ledger.cluster.event_seq, types(absorb(after(there, ledger), NOW))) == (3, [])


@pytest.mark.parametrize(
    "facts", [{"self": 1}, {"message": 1}, {"type_": 1, "type": 2}, {"x": "\ud800"}, {"\ud800": 1}, {"x": ["y" * 9000]}]
)
def test_a_scheduler_can_say_anything(facts: dict[str, Any]) -> None:
    """Facts of any name and any text are told and can be stored; users' code runs there."""
    hub = heard()
    assert hub.state is not None
    odd = fact(1).model_copy(update={"facts": facts, "words": "\udfff"})
    hub = replace(hub, state=hub.state.model_copy(update={"events": (odd,)}))
    (event,) = absorb(view(cluster(), [scheduler()], hub), NOW).events
    for text in (event.type, event.message, *event.facts, *event.facts.values()):
        assert len(text.encode()) <= 4000


def test_a_hub_of_another_scheduler_is_not_listened_to() -> None:
    """What the dead one said last is nothing about the one that starts."""
    hub = heard(at_hub([node()]), instance="old", events=(fact(1),))
    starting = scheduler("new", joined=None)
    ledger = absorb(view(cluster(), [starting, waiting()], hub), NOW)
    assert (of(ledger, "new").joined, of(ledger, "n0").joined, types(ledger)) == (None, None, [])


@pytest.mark.parametrize(
    ("some", "counts"),
    [
        ([waiting(each=2)], (2, 0, 0)),
        ([node(each=2)], (0, 2, 0)),
        ([node(each=2, retiring=NOW)], (0, 0, 2)),
        ([node(each=2, stopping=NOW)], (0, 0, 2)),
        ([waiting(each=2, stopping=NOW)], (0, 0, 2)),
        ([node(0), waiting(1), node(2, retiring=NOW)], (1, 1, 1)),
    ],
)
def test_workers_are_counted(some: list[Instance], counts: tuple[int, int, int]) -> None:
    """Those to come, those at the scheduler, those that leave."""
    group = absorb(view(cluster(2), [scheduler(), *some]), NOW).cluster.group("default")
    assert (group.pending, group.running, group.ending) == counts


def test_a_stop_that_failed_keeps_its_words() -> None:
    """Why something did not end is shown until its system says something else."""
    stuck = node(stopping=NOW - 60, words="qdel: job is in state dr")
    there = view(cluster(stop="deleted by ann"), [stuck], seen=[seen("n0")])
    assert "qdel" in absorb(there, NOW).cluster.message
    said: Observation = seen("n0", words="Eqw")
    assert of(absorb(replace(there, observations={"n0": said}), NOW), "n0").words == "Eqw"
    waits = waiting(words="Resources")
    assert of(absorb(view(cluster(1), [waits], seen=[seen("n0")]), NOW), "n0").words == ""


def test_times_ahead_of_the_clock_count_from_now() -> None:
    """A clock that is set back by an hour holds up neither ends nor retries nor a forced end."""
    ahead = NOW + 3600
    young_node = waiting(0, created=ahead, launched=ahead)
    late = node(1, stopping=ahead)
    broken = cluster(3, failures=3, retry_at=ahead, scheduler={"restarts": (ahead,)})
    broken = replace(broken, scheduler=replace(broken.scheduler, started=ahead))
    first = view(broken, [scheduler(), young_node, late], seen=[ended("n0", code=1)], observed=ahead - 1)
    ledger = absorb(first, NOW)
    group = ledger.cluster.group("default")
    assert (of(ledger, "n0").launched, of(ledger, "n1").stopping) == (NOW, NOW)
    assert (group.retry_at, ledger.cluster.scheduler.restarts) == (NOW + 60, (NOW,))
    assert ledger.cluster.scheduler.started == NOW
    # the listing of before says nothing, the next one does
    assert of(ledger, "n0").state is State.STARTING
    assert of(absorb(after(first, ledger, listings={"local": Listing(NOW + 1)}), NOW + 2), "n0").state is State.ENDED
