"""On which host a node is put."""

from __future__ import annotations

import pytest

from daskd.drivers.ssh.endpoint import Endpoint, Take
from daskd.drivers.ssh.placement import Room, place, slots

ONE = Take(1, 1, 0)


def room(host: str, **more: object) -> Room:
    """A host of four cores."""
    return Room(Endpoint(host), **{"cores": 4, "memory": 8 << 30, **more})  # type: ignore[arg-type]


def hosts(placed: object) -> list[str | None]:
    """Names of the hosts that were chosen."""
    return [endpoint and endpoint.host for endpoint in placed.endpoints]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("given", "load", "worker", "expected"),
    [
        (room("h"), Take(), ONE, (4, 4)),
        (room("h"), Take(3, 3), ONE, (1, 4)),
        (room("h", slots=2), Take(3, 3), ONE, (0, 2)),
        (room("h", slots=0), Take(), ONE, (0, 0)),
        (room("h"), Take(), Take(1, 8, 0), (1, 1)),
        (room("h"), Take(1, 8), Take(1, 8, 0), (0, 1)),
        (room("h"), Take(1, 1), Take(1, 2, 0), (1, 2)),
        (room("h"), Take(), Take(1, 1, 4 << 30), (2, 2)),
        (room("h"), Take(), Take(1, 1, 16 << 30), (0, 0)),
    ],
    ids=[
        "free",
        "part taken",
        "slots go first",
        "none",
        "threads may be more",
        "once",
        "cores",
        "memory",
        "never memory",
    ],
)
def test_slots_come_from_what_is_said_else_from_cores_and_memory(
    given: Room, load: Take, worker: Take, expected: tuple[int, int]
) -> None:
    """Free and all slots of a host for workers of one kind."""
    assert slots(given, load, worker) == expected


def test_nodes_are_spread_by_free_slots() -> None:
    """Each goes where most is free, among equals to the first that was named."""
    rooms = [room("a"), room("b", cores=2), room("c")]
    assert hosts(place([1] * 6, ONE, rooms, {"a_22": Take(1, 1)})) == ["c", "a", "c", "a", "b", "c"]


def test_a_node_of_many_workers_needs_as_many_slots_on_one_host() -> None:
    """It is not put where some of its workers had no room."""
    placed = place([3, 3], ONE, [room("a", cores=2), room("b", cores=4)], {})
    assert hosts(placed) == ["b", None]


def test_who_is_down_or_full_is_told() -> None:
    """Where no host is left the words name each, with what is taken of it or why it is out."""
    rooms = [room("h1"), room("h2", words="down since 12:03:10 UTC: no answer within 10 s")]
    placed = place([1] * 5, ONE, rooms, {})
    assert hosts(placed) == ["h1", "h1", "h1", "h1", None]
    assert placed.words == "no host has a free slot: h1 4/4, h2 down since 12:03:10 UTC: no answer within 10 s"
