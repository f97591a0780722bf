"""Listings and changes, whatever the order of things: nothing missed, nothing told twice."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from daskd.model.cluster import Cluster, Phase
from daskd.model.event import Change, NewEvent
from daskd.store import ClusterQuery, SqliteStore, Store

from .records import MACHINE, Clock, recorded, say

few = settings(max_examples=25, deadline=None)


def with_store(work: Callable[[Store], Awaitable[None]]) -> None:
    """Run the work on an empty store of its own: hypothesis calls a test many times."""

    async def run() -> None:
        with tempfile.TemporaryDirectory() as directory:
            store = await SqliteStore.open(Path(directory) / "state", machine_id=MACHINE, clock=Clock())
            try:
                await work(store)
            finally:
                await store.close()

    asyncio.run(run())


owners = st.sampled_from(["ann", "bob"])


@few
@given(
    before=st.lists(st.tuples(owners, st.booleans()), max_size=12),
    limits=st.lists(st.integers(1, 5), min_size=1, max_size=15),
    owner=st.none() | owners,
    include_ended=st.booleans(),
)
def test_pages_are_the_listing_whatever_is_made_meanwhile(
    before: list[tuple[str, bool]], limits: list[int], owner: str | None, include_ended: bool
) -> None:
    """Pages of any sizes, with clusters made between them, hold what was there at first, newest first, each once."""

    async def work(store: Store) -> None:
        expected: list[Cluster] = []
        for number, (of, ended) in enumerate(before):
            made = await recorded(store, f"c{number}", of)  # type: ignore[arg-type]
            if ended:
                made = await store.update(made.uid, lambda c: replace(c, phase=Phase.STOPPED, ended=1.0))
            if owner in (None, of) and (include_ended or not ended):
                expected.insert(0, made)
        told: list[Cluster] = []
        token, page = "", 0
        while True:
            limit = limits[page % len(limits)]
            query = ClusterQuery(owner=owner, include_ended=include_ended, limit=limit, after=token)
            answer = await store.list(query)
            assert len(answer.items) == limit or not answer.next_token
            told += answer.items
            if not (token := answer.next_token):
                break
            page += 1
            await recorded(store, f"new{page}", "ann")  # type: ignore[arg-type]
        assert told == expected

    with_store(work)


@few
@given(
    steps=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.booleans()), max_size=25),
    reads=st.lists(st.integers(1, 4), min_size=1, max_size=25),
)
def test_changes_are_told_once_and_in_order(steps: list[tuple[int, int, bool]], reads: list[int]) -> None:
    """A watcher that reads any number at a time, at any moment, hears of each event once, in the order of writing."""

    async def work(store: Store) -> None:
        clusters = [await recorded(store, f"c{number}") for number in range(3)]  # type: ignore[arg-type]
        expected: list[tuple[str, str | None]] = [(made.uid, "created") for made in clusters]
        heard: list[Change] = []
        for number, (which, n_events, differs) in enumerate(steps):
            uid = clusters[which].uid
            messages = [f"{number}.{event}" for event in range(n_events)]
            present = await store.get(uid)
            assert present is not None
            message = str(number) if differs else present.message
            await store.update(uid, say(message), events=[NewEvent("N", text) for text in messages])
            expected += [(uid, text) for text in messages] or ([(uid, None)] if differs else [])
            heard += await store.changes(heard[-1].revision if heard else 0, reads[number % len(reads)])
        while more := await store.changes(heard[-1].revision if heard else 0, reads[0]):
            heard += more
        assert [(change.cluster, change.event.message if change.event else None) for change in heard] == expected
        assert heard[-1].revision == store.revision

    with_store(work)
