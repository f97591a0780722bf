"""How many more jobs may wait in the queue, by listings and by what was prepared since."""

from __future__ import annotations

from daskd.drivers.batch.queued import FORGOTTEN_S, Queued
from daskd.drivers.batch.system import Row
from daskd.drivers.protocol import Room
from daskd.model.cluster import State

BATCH = "dabcdefghijkl2"


def rows(*states: State, name: str = BATCH) -> list[Row]:
    return [Row(name, index, "7", state) for index, state in enumerate(states)]


def more(room: Room | None) -> int:
    assert room is not None
    return room.more


def test_what_waits_takes_room_and_what_runs_takes_none() -> None:
    """A listing tells who waits, of every cluster of the user; other jobs of theirs are not daskd's to count."""
    queued = Queued(3)
    queued.listed([*rows(State.QUEUED, State.RUNNING, State.QUEUED), *rows(*[State.QUEUED] * 9, name="mine")], 100.0)
    assert queued.room(None, 0) == Room(1, "the site allows 3 queued jobs")
    queued.listed(rows(State.RUNNING, State.RUNNING, State.RUNNING), 110.0)
    assert more(queued.room(None, 0)) == 3


def test_what_was_prepared_takes_room_at_once() -> None:
    """Between two listings no more are submitted than may wait, whichever cluster they are of."""
    queued = Queued(3)
    queued.prepared([(BATCH, 0), (BATCH, 1)], 100.0)
    assert more(queued.room(None, 0)) == 1
    # it was begun before they were submitted
    queued.listed([], 99.0)
    assert more(queued.room(None, 0)) == 1
    queued.listed(rows(State.QUEUED, State.RUNNING), 101.0)
    assert more(queued.room(None, 0)) == 2


def test_what_was_not_taken_gives_its_room_back() -> None:
    """Refused jobs at once; those that never turned up, and so may not have been submitted, after a minute."""
    queued = Queued(2)
    queued.prepared([(BATCH, 0), (BATCH, 1)], 100.0)
    queued.refused([(BATCH, 0)])
    assert more(queued.room(None, 0)) == 1
    queued.listed([], 100.0 + FORGOTTEN_S - 1)
    assert more(queued.room(None, 0)) == 1
    queued.listed([], 100.0 + FORGOTTEN_S)
    assert more(queued.room(None, 0)) == 2


def test_the_stricter_bound_holds() -> None:
    """A group may be given less than the site allows, never more; without either there is no bound."""
    assert Queued(None).room(None, 5) is None
    assert more(Queued(None).room(4, 1)) == 3
    assert Queued(2).room(4, 1) == Room(2, "the site allows 2 queued jobs")
    assert Queued(9).room(1, 1) == Room(0, "the group's `max_queued` allows 1 queued job")
    assert more(Queued(1).room(2, 5)) == 0
