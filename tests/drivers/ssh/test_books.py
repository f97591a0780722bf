"""What is remembered of hosts: what each cluster has on them, what is taken of them, what they say of themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from daskd.drivers.protocol import Observation
from daskd.drivers.ssh.connection import Down, Refused, pause
from daskd.drivers.ssh.endpoint import Endpoint, Take, endpoint_of, handle_of, take_of
from daskd.drivers.ssh.loads import Loads
from daskd.drivers.ssh.placement import Room
from daskd.drivers.ssh.survey import surveyed
from daskd.drivers.ssh.visits import Cleared, Visits
from daskd.model.cluster import State

from ..bench import stored

H1 = Endpoint("h1")
H2 = Endpoint("h2", port=2222, username="ann", key="~/.ssh/lab", jump="gate")
ONE = Take(1, 2, 3)


def test_a_handle_says_where_and_how_much() -> None:
    """Endpoint and take come back out of the store as they went in."""
    [handle] = stored([handle_of("dabcdeaaaaaaaa", "c-1", H2, ONE)])
    assert endpoint_of(handle) == H2
    assert take_of(handle) == ONE
    [nowhere] = stored([handle_of("dabcdeaaaaaaaa", "c-1", None, ONE, "no host has a free slot")])
    assert endpoint_of(nowhere) is None


def test_visits_are_remembered_until_all_is_cleared(tmp_path: Path) -> None:
    """Another daemon reads which host still has what, and nothing is left when all have forgotten."""
    Visits(tmp_path / "ssh").add("c-1", [H1, H2])
    visits = Visits(tmp_path / "ssh")
    visits.add("c-1", [H1])
    visits.add("c-2", [H1])
    visits.want("c-1", Cleared.UNSTAGED)
    wanted = [visit for visit in visits.all() if visit.cleared < visit.wanted]
    assert {(visit.cluster, visit.endpoint) for visit in wanted} == {("c-1", H1), ("c-1", H2)}
    visits.cleared(wanted[0])
    assert len([visit for visit in visits.all() if visit.cleared < visit.wanted]) == 1
    for cluster in ("c-1", "c-2"):
        visits.want(cluster, Cleared.FORGOTTEN)
    for visit in visits.all():
        visits.cleared(visit)
    assert visits.all() == []
    assert list((tmp_path / "ssh").iterdir()) == []


def test_a_thousand_hosts_are_remembered(tmp_path: Path) -> None:
    """As many as options may name."""
    visits = Visits(tmp_path / "ssh")
    visits.add("c-1", [Endpoint(f"host-{n}.example.org", directory="/scratch/daskd") for n in range(1000)])
    assert len(visits.all()) == 1000


def test_what_is_taken_is_counted_until_it_has_ended() -> None:
    """What was decided, what a host says, what is asked about: each once."""
    loads = Loads()
    first, second = (handle_of(f"dabcdeaaaaaaa{n}", "c-1", H1, ONE) for n in "ab")
    loads.reserve([first, second])
    loads.found(H1, {first.id: ONE, "dabcdeaaaaaaac": ONE})
    assert loads.by_host() == {"h1_22": Take(3, 6, 9)}
    loads.observed([first, second], [Observation(first, State.ENDED), Observation(second, State.UNKNOWN)])
    loads.free(["dabcdeaaaaaaac", "dabcdeaaaaaaad"])
    assert loads.by_host() == {"h1_22": ONE}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Down("down since 12:03:10 UTC: no answer"), "down since 12:03:10 UTC: no answer"),
        (Refused("its folder is others' too"), "can't be used: its folder is others' too"),
        ({"python": "", "cores": 4}, "has no Python /opt/python or python3: name one by the option `python`"),
        (
            {"python": "/p", "distributed": None},
            "has no `distributed` in /p: install it, or name another by the option",
        ),
        ({"python": "/p", "distributed": "1", "disk": 3 << 20}, "has no room for logs in ~/.daskd: 3 MiB are free"),
        ({"python": "/p", "distributed": "2026.8.0", "running": "nonsense", "cores": "many"}, ""),
    ],
)
def test_a_host_that_can_not_be_used_says_why(answer: Any, words: str) -> None:
    """Only one that answers, with a Python that has `distributed`, takes anything."""
    found = surveyed(Room(H1), answer, ["/opt/python", "python3"], has_distributed=False)
    assert found.room.words.startswith(words)
    assert bool(found.room.words) == bool(words)


def test_what_the_options_say_goes_before_what_a_host_says() -> None:
    """Cores and memory of the options hold; without them the host's own."""
    answer = {"python": "/p", "distributed": "1", "cores": 64, "memory": 1 << 40, "running": {"d-1": {"workers": 2}}}
    found = surveyed(Room(H1, cores=8), answer, ["/p"], has_distributed=False)
    assert (found.room.cores, found.room.memory) == (8, 1 << 40)
    assert found.running == {"d-1": Take(2, 1, 0)}


def test_attempts_become_rarer_and_not_in_step() -> None:
    """From about a second to about half a minute; two hosts that went down together are not tried together."""
    waits = [pause(n, "h1") for n in range(1, 12)]
    assert all(0.75 * full <= wait <= full for wait, full in zip(waits, [1, 2, 4, 8, 16] + 6 * [30], strict=True))
    assert pause(5, "h1") != pause(5, "h2")
