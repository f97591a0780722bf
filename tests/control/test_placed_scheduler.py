"""A scheduler that a driver placed: what it waits for, when its nodes are launched, and what its end means."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cluster_states import (
    ADDRESS,
    LONG_AGO,
    NOW,
    after,
    cluster,
    ended,
    heard,
    node,
    of,
    scheduler,
    seen,
    types,
    view,
    waiting,
    young,
)

from daskd.control import failures
from daskd.control.absorb import absorb
from daskd.control.cluster_sites import drivers_of, scheduler_driver
from daskd.control.doors import door_of, is_changed
from daskd.control.ledger import Ledger
from daskd.control.plan import HOPELESS_FOR, Action, Chosen, LaunchNodes, LaunchScheduler, Terminate, decide
from daskd.control.settings import Settings
from daskd.control.view import View
from daskd.drivers.protocol import Report, Site, Wait
from daskd.model.cluster import Cause, Cluster, Instance, Phase, State
from daskd.model.spec import ClusterSpec, Placement, SchedulerSpec, WorkerGroupSpec
from daskd.security.vault import Vault

LINK = "tls://10.0.0.7:43210"
SPEC = ClusterSpec(
    groups=(WorkerGroupSpec(n_workers=2, driver="ssh"),),
    scheduler=SchedulerSpec(placement=Placement.DRIVER, driver="slurm", driver_options={"queue": "long"}),
)


def placed(of_it: Cluster) -> Cluster:
    """The cluster, with a scheduler of the placement "driver"."""
    return replace(of_it, spec=SPEC)


def launched(state: State = State.QUEUED, **fields: Any) -> Instance:
    """A scheduler that was launched an hour ago and has not been heard."""
    return scheduler(joined=None, pid=None, state=state, **fields)


def acts(of_view: View) -> tuple[Action, ...]:
    return decide(of_view, Chosen(), NOW).actions


def test_its_driver_sees_a_group_of_one() -> None:
    """What launches it is told its own options, whatever the groups' are; its site is held as theirs are."""
    group = SPEC.scheduler_group
    assert (group.driver, group.options, group.memory_limit) == ("slurm", {"queue": "long"}, 0)
    assert scheduler_driver(placed(cluster())) == "slurm"
    assert drivers_of(placed(cluster())) == ["local", "slurm", "ssh"]
    assert scheduler_driver(cluster()) == "local"


def test_a_scheduler_in_the_queue_is_waited_for() -> None:
    """However long its job waits, it is not ended, no node is launched for it, and its system's words are shown."""
    words = "waits for its turn in the queue (Slurm says: Priority)"
    waits = view(placed(young(desired=2)), [launched()], seen=[seen("s", State.QUEUED, words=words, pid=None, host="")])
    ledger = absorb(waits, NOW)
    assert (ledger.cluster.phase, ledger.cluster.reason) == (Phase.STARTING, "SCHEDULER_WAITING")
    assert ledger.cluster.message == f"its scheduler {words}"
    assert acts(after(waits, ledger)) == ()


@pytest.mark.parametrize(("since", "gives_up"), [(NOW - 59.0, False), (NOW - 61.0, True)])
def test_one_that_runs_has_a_minute_to_answer(since: float, gives_up: bool) -> None:
    """The time in the queue is none of it."""
    runs = view(placed(young(desired=2)), [launched(State.RUNNING, started=since)])
    expected = [("s",)] if gives_up else []
    assert [action.ids for action in acts(runs) if isinstance(action, Terminate)] == expected


def test_one_that_will_never_run_is_a_failure_in_its_systems_words() -> None:
    """It is ended once its system has said so for a minute, and that is what is told, not that it was cancelled."""
    words = "will never run as asked (Slurm says: PartitionTimeLimit)"
    told = seen("s", State.QUEUED, wait=Wait.HOPELESS, waiting=NOW - HOPELESS_FOR, words=words, pid=None, host="")
    hopeless = view(placed(young(desired=2)), [launched()], seen=[told])
    ledger = absorb(hopeless, NOW)
    assert acts(after(hopeless, ledger, observations={"s": told})) == (Terminate(("s",), fault=words),)
    stopping = replace(of(ledger, "s"), stopping=NOW)
    gone = view(ledger.cluster, [stopping], seen=[ended("s", Cause.CANCELLED, words="it was cancelled")])
    failed = absorb(gone, NOW)
    (event,) = [event for event in failed.events if event.type == "SCHEDULER_START_FAILED"]
    assert words in event.message
    assert "cancelled" not in event.message


def test_nodes_are_launched_once_it_is_there() -> None:
    """Until it answers nobody knows where they are to go."""
    starts = view(placed(young(desired=2)), [launched(State.RUNNING, started=NOW - 1)])
    assert not [action for action in acts(starts) if isinstance(action, LaunchNodes)]
    runs = view(placed(cluster(2)), [scheduler()])
    assert [action for action in acts(runs) if isinstance(action, LaunchNodes)] == [LaunchNodes("default", 2)]


def test_where_its_link_is_comes_from_its_report() -> None:
    """It is recorded, for the daemon that comes after this one, and forgotten with the scheduler."""
    report = Report("running", address=ADDRESS, link=LINK)
    ledger = absorb(view(placed(young()), [launched(State.RUNNING)], seen=[seen("s", report=report)]), NOW)
    assert ledger.cluster.scheduler.link == LINK
    gone = absorb(view(ledger.cluster, [of(ledger, "s")], seen=[ended("s", code=1)]), NOW)
    assert gone.cluster.scheduler.link == ""


def test_a_lost_one_is_launched_elsewhere() -> None:
    """It is told that it comes back at another address; nodes that have its old one stay until they end themselves."""
    lost = view(placed(cluster(2)), [scheduler(), node(0), node(1)], seen=[ended("s", Cause.TIME_LIMIT)])
    ledger = absorb(lost, NOW)
    (event,) = [event for event in ledger.events if event.type == "SCHEDULER_LOST"]
    assert "at another address, empty" in event.message
    assert acts(after(lost, ledger)) == (LaunchScheduler(""),)


def test_the_end_of_its_time_is_told_once_and_well_before() -> None:
    """With what would be lost; anew when it was given more time meanwhile."""
    ending = scheduler(started=LONG_AGO, expected_end=NOW + 1000)
    near = view(placed(cluster()), [ending], heard(tasks={"memory": 3, "released": 9}), seen=[])
    ledger = absorb(near, NOW)
    (event,) = [event for event in ledger.events if event.type == "SCHEDULER_WALLTIME"]
    assert "ends in 17 min" in event.message
    assert "3 tasks and their results" in event.message
    again = after(near, ledger)
    assert types(absorb(again, NOW)) == []
    longer = replace(of(ledger, "s"), expected_end=NOW + 10_000)
    extended = absorb(replace(again, instances=(longer,)), NOW)
    assert types(extended) == []
    assert of(extended, "s").rotating is None


@pytest.mark.parametrize(("left", "told"), [(1801.0, False), (1799.0, True)])
def test_half_of_a_short_time_is_warning_enough(left: float, told: bool) -> None:
    """Half an hour before, and of less than an hour after half of it."""
    ledger = absorb(view(placed(cluster()), [scheduler(started=LONG_AGO, expected_end=NOW + left)]), NOW)
    assert ("SCHEDULER_WALLTIME" in types(ledger)) is told
    short = scheduler(started=NOW - 50, expected_end=NOW + 60)
    assert "SCHEDULER_WALLTIME" not in types(absorb(view(placed(cluster()), [short]), NOW))


@pytest.mark.parametrize(("full", "phase"), [(True, ""), (False, "its scheduler ended")])
def test_want_of_room_is_no_failure(full: bool, phase: str) -> None:
    """However often its system has no room for it, the cluster goes on asking; other refusals are counted."""
    ledger = Ledger(placed(young()), ())
    for n in range(20):
        failures.scheduler_refused(ledger, Settings(), "no", lasting=False, now=NOW + n, full=full)
    assert ledger.cluster.failed is not full
    assert ledger.cluster.message.startswith(phase)


def test_one_that_ran_is_asked_for_until_its_hosts_answer() -> None:
    """A cluster that was up does not fail because its system takes no scheduler for a while."""
    ledger = Ledger(placed(cluster()), ())
    for n in range(20):
        failures.scheduler_refused(ledger, Settings(), "no host answers", lasting=False, now=NOW + n)
    assert not ledger.cluster.failed
    failures.scheduler_refused(ledger, Settings(), "it names no hosts", lasting=True, now=NOW + 20)
    assert ledger.cluster.failed


class Elsewhere:
    """A site whose schedulers have no unix sockets."""

    def link_path(self, handle: object) -> None:
        return

    async def dial(self, handle: object, host: str, port: int) -> None:
        raise OSError(f"{host} and {port} are not reached")


async def test_there_is_no_way_to_it_before_it_said_where_it_is(tmp_path: Path) -> None:
    """A link that it said is dialled, to be claimed; another one that it says later is another door."""
    site, vault = Elsewhere(), Vault(tmp_path)
    made: Site = site  # type: ignore[assignment]  # of which it has what is asked for here
    known = placed(cluster())
    assert await door_of(made, scheduler(), known, vault) is None
    strange = placed(cluster(scheduler={"link": "tls://10.0.0.7:22"}))
    assert await door_of(made, scheduler(), strange, vault) is None
    said = placed(cluster(scheduler={"link": LINK}))
    door = await door_of(made, scheduler(), said, vault)
    assert door is not None
    assert (door.where, door.is_claimed, door.dashboard) == (LINK, True, None)
    assert not is_changed(door, said)
    assert is_changed(door, placed(cluster(scheduler={"link": "tls://10.0.0.8:43210"})))
    proxied = await door_of(made, scheduler(), replace(said, dashboard_proxied=True), vault)
    assert proxied is not None
    assert proxied.dashboard is not None


def test_a_node_that_waits_for_a_lost_one_is_not_ended_for_it() -> None:
    """While no scheduler is there nodes are left alone."""
    gone = view(placed(cluster(1)), [waiting(0)])
    assert not [action for action in acts(gone) if isinstance(action, Terminate)]
