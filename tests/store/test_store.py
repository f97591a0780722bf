"""What every store promises."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from daskd.model.cluster import Cluster, Group, Held, Phase
from daskd.model.errors import (
    ClusterExists,
    ClusterNotFound,
    InvalidArgument,
    NotAllowed,
    ResumeTokenExpired,
    StateUnusable,
)
from daskd.model.event import NewEvent
from daskd.store import ClusterQuery, SqliteStore

from .records import CREATED, ENDED_INSTANCE, FULL, LIVE_INSTANCE, MACHINE, Clock, cluster, instance, recorded, say

NOTE = NewEvent("NOTE", "noted", facts={"k": "v"})


def end(present: Cluster) -> Cluster:
    """The record of a cluster that ended at 1000."""
    return replace(present, phase=Phase.STOPPED, ended=1000.0)


async def test_what_is_created_is_read_back_in_every_way(store: SqliteStore) -> None:
    """A new cluster is found by uid, by owner and name, by name, and among the live ones, field by field."""
    made, fresh = await store.create(FULL, request_id="r1", event=CREATED)
    assert fresh
    assert made == replace(FULL, revision=1, updated=1000.0)
    assert await store.get(FULL.uid) == made
    assert await store.find("bob", "sim") == made
    assert await store.find("ann", "sim") is None
    assert await store.find_all("sim") == [made]
    assert await store.live() == [made]
    assert (await store.list(ClusterQuery())).items == (made,)


async def test_the_first_event_is_recorded_with_the_cluster(store: SqliteStore) -> None:
    """The event given at creation is the cluster's history and the store's first change."""
    made = await recorded(store)
    [event] = await store.events(made.uid)
    assert (event.revision, event.time, event.cluster, event.cluster_name, event.owner) == (
        1,
        1000.0,
        made.uid,
        "etl",
        "ann",
    )
    assert NewEvent(event.type, event.message, event.actor, event.facts) == CREATED
    [change] = await store.changes(0)
    assert (change.revision, change.cluster, change.event) == (1, made.uid, event)


async def test_a_repeated_request_makes_nothing(store: SqliteStore) -> None:
    """The same request id of the same owner answers with the first cluster, even once that has ended."""
    made, _ = await store.create(cluster(), request_id="r1", event=CREATED)
    assert await store.create(cluster(), request_id="r1", event=CREATED) == (made, False)
    ended = await store.update(made.uid, end)
    assert await store.create(cluster(), request_id="r1", event=CREATED) == (ended, False)
    assert store.revision == ended.revision


async def test_a_request_id_is_its_owners_own(store: SqliteStore) -> None:
    """Another owner's use of the same request id makes a cluster of that owner's."""
    await store.create(cluster(), request_id="r1", event=CREATED)
    other, fresh = await store.create(cluster(owner="bob"), request_id="r1", event=CREATED)
    assert fresh
    assert other.owner == "bob"


async def test_a_request_id_for_another_name_is_refused(store: SqliteStore) -> None:
    """A request id that comes with another name is an error, unless the name was made up for the user."""
    made, _ = await store.create(cluster("etl"), request_id="r1", event=CREATED)
    with pytest.raises(InvalidArgument, match="'etl'"):
        await store.create(cluster("other"), request_id="r1", event=CREATED)
    assert await store.create(cluster("other"), request_id="r1", event=CREATED, named=False) == (made, False)


async def test_requests_without_an_id_are_never_repeats(store: SqliteStore) -> None:
    """An empty request id makes a cluster each time."""
    assert await recorded(store, "one") != await recorded(store, "two")


async def test_a_live_name_is_taken_and_an_ended_one_is_free(store: SqliteStore) -> None:
    """An owner's live cluster keeps its name from a second one; others may use it, and so may the owner afterwards."""
    made = await recorded(store)
    with pytest.raises(ClusterExists) as caught:
        await store.create(cluster(), request_id="r2", event=CREATED)
    assert caught.value.facts == {"name": "etl", "uid": made.uid}
    assert store.revision == 1
    await recorded(store, owner="bob")
    await store.update(made.uid, end)
    again = await recorded(store)
    assert await store.find("ann", "etl") == again
    assert (await store.get(made.uid)) is not None


async def test_a_cluster_is_not_made_live_again_under_a_name_that_was_taken(store: SqliteStore) -> None:
    """Bringing an ended cluster back is refused while another of its owner's has the name."""
    made = await recorded(store)
    await store.update(made.uid, end)
    await recorded(store)
    with pytest.raises(ClusterExists):
        await store.update(made.uid, lambda present: replace(present, ended=None))


async def test_live_clusters_are_counted(store: SqliteStore) -> None:
    """The count is of clusters that have not ended, of all owners or of one."""
    made = await recorded(store)
    await recorded(store, "two")
    await recorded(store, owner="bob")
    await store.update(made.uid, end)
    assert [await store.count_live(owner) for owner in (None, "ann", "bob", "eve")] == [2, 1, 1, 0]


async def test_an_update_sets_revision_and_time(store: SqliteStore, clock: Clock) -> None:
    """The answer of an update is the record on disk, with a new revision and the clock's time."""
    made = await recorded(store)
    clock.now = 1234.5
    updated = await store.update(made.uid, say("hello"), events=[NOTE, NOTE])
    assert updated == replace(made, message="hello", revision=3, updated=1234.5)
    assert await store.get(made.uid) == updated
    assert store.revision == 3


async def test_an_update_of_an_unknown_cluster_is_refused(store: SqliteStore) -> None:
    """An update of a uid that is not recorded raises ClusterNotFound."""
    with pytest.raises(ClusterNotFound):
        await store.update("c" + "a" * 19, say("x"))


async def test_an_update_that_changes_nothing_writes_nothing(store: SqliteStore, clock: Clock) -> None:
    """The same record, the same instances and no event make no revision and leave the time of the last update."""
    made, _ = await store.create(FULL, request_id="", event=CREATED)
    updated = await store.update(made.uid, say("x"), instances=[LIVE_INSTANCE])
    clock.now = 2000.0
    again = await store.update(made.uid, say("x"), instances=[LIVE_INSTANCE], forget=["none"], events=lambda *_: ())
    assert again == updated
    assert store.revision == updated.revision


async def test_json_values_that_read_back_alike_are_no_change(store: SqliteStore) -> None:
    """A tuple in a free-form field, read back as a list, does not count as a change each time."""
    made, _ = await store.create(FULL, request_id="", event=CREATED)

    def remember(present: Cluster) -> Cluster:
        return replace(present, adaptive_memory={"seen": (1, 2)})

    first = await store.update(made.uid, remember)
    assert (await store.update(made.uid, remember)).revision == first.revision


@pytest.mark.parametrize("what", ["record", "instance", "forget", "event"])
async def test_watchers_hear_of_every_kind_of_change(store: SqliteStore, what: str) -> None:
    """A changed record, a new or forgotten instance, or an event alone is one change with a revision of its own."""
    made = await recorded(store)
    kept = instance(made, 0)
    before = await store.update(made.uid, say("x"), instances=[kept])
    updated = await store.update(
        made.uid,
        say("y" if what == "record" else "x"),
        instances=[instance(made, 1)] if what == "instance" else [],
        forget=[kept.id] if what == "forget" else [],
        events=[NOTE] if what == "event" else [],
    )
    [change] = await store.changes(before.revision)
    assert (change.revision, change.cluster) == (updated.revision, made.uid)
    assert (change.event is not None) == (what == "event")


async def test_events_may_depend_on_the_change(store: SqliteStore) -> None:
    """A function for events is given the record before and after, and decides whether there is one."""
    made = await recorded(store)

    def tell(before: Cluster, after: Cluster) -> list[NewEvent]:
        return [NewEvent("SAID", f"{before.message!r} -> {after.message!r}")] if before.message != after.message else []

    await store.update(made.uid, say("x"), events=tell)
    await store.update(made.uid, say("x"), events=tell)
    assert [event.message for event in await store.events(made.uid)] == ["created", "'' -> 'x'"]


async def test_a_change_that_raises_leaves_all_as_it_was(store: SqliteStore) -> None:
    """What `change` or `events` raises reaches the caller, and neither record, instances nor history differ."""
    made = await recorded(store)

    def refuse(*_: Cluster) -> Cluster:
        raise NotAllowed("no")

    with pytest.raises(NotAllowed):
        await store.update(made.uid, refuse, instances=[instance(made)], events=[NOTE])
    with pytest.raises(NotAllowed):
        await store.update(made.uid, say("x"), instances=[instance(made)], events=refuse)  # type: ignore[arg-type]
    assert await store.get(made.uid) == made
    assert await store.instances(made.uid) == []
    assert store.revision == 1


@pytest.mark.parametrize("late", ["instance", "event", "record"])
async def test_a_failure_halfway_undoes_the_first_half(store: SqliteStore, late: str) -> None:
    """When a later part of an update can't be written, the parts written before it are undone."""
    made = await recorded(store)
    taken = instance(await recorded(store, "other"))
    await store.update(made.uid, lambda present: replace(present, ended=1.0))
    await recorded(store)
    before = store.revision
    with pytest.raises((ValueError, ClusterExists)):
        await store.update(
            made.uid,
            lambda present: replace(present, ended=None if late == "record" else 2.0),
            instances=[instance(made), *([taken] if late == "instance" else [])],
            events=[NOTE, *([replace(NOTE, message="\udc80")] if late == "event" else [])],
        )
    assert await store.instances(made.uid) == []
    assert (await store.changes(0))[-1].revision == store.revision == before
    await store.update(made.uid, say("afterwards"))


@pytest.mark.parametrize(
    "field", [{"uid": "other"}, {"owner": "eve"}, {"name": "x"}, {"owner_uid": 0}, {"created": 1.0}]
)
async def test_an_identity_is_for_ever(store: SqliteStore, field: dict[str, object]) -> None:
    """An update that would change who a cluster is, is a mistake, and changes nothing."""
    made = await recorded(store)
    with pytest.raises(ValueError, match="for ever"):
        await store.update(made.uid, lambda present: replace(present, **field))  # type: ignore[arg-type]
    assert await store.get(made.uid) == made


@pytest.mark.parametrize(
    "field", [{"ended": float("nan")}, {"message": "\udc80"}, {"message": 5}, {"phase": "RUNNING"}]
)
async def test_what_could_not_be_read_back_is_not_written(store: SqliteStore, field: dict[str, object]) -> None:
    """A record with a value that JSON or the model can't hold is refused before it is on disk."""
    made = await recorded(store)
    wrong = replace(cluster("two"), **field)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="can't be stored"):
        await store.create(wrong, request_id="", event=CREATED)
    assert await store.live() == [made]
    assert store.revision == 1


async def test_an_infinite_time_is_refused_not_forgotten(store: SqliteStore) -> None:
    """An infinity in a field that may be absent does not become its absence."""
    made = await recorded(store)
    with pytest.raises(ValueError, match="can't be stored"):
        await store.update(
            made.uid, lambda present: replace(present, groups=(Group("default", retry_at=float("inf")),))
        )


async def test_instances_are_recorded_replaced_and_forgotten(store: SqliteStore) -> None:
    """Instances are read back as given, by ordinal, the ended ones only if asked for, until they are forgotten."""
    made, _ = await store.create(FULL, request_id="", event=CREATED)
    await store.update(made.uid, say("x"), instances=[ENDED_INSTANCE, LIVE_INSTANCE])
    assert await store.instances(made.uid) == [LIVE_INSTANCE]
    assert await store.instances(made.uid, include_ended=True) == [LIVE_INSTANCE, ENDED_INSTANCE]
    moved = replace(LIVE_INSTANCE, words="moved", ended=1.0)
    await store.update(made.uid, say("x"), instances=[moved], forget=[ENDED_INSTANCE.id])
    assert await store.instances(made.uid, include_ended=True) == [moved]
    assert await store.instances(made.uid) == []


async def test_an_instance_stays_with_its_cluster(store: SqliteStore) -> None:
    """No update takes, overwrites or deletes the instance of another cluster."""
    one, two = await recorded(store, "one"), await recorded(store, "two")
    theirs = instance(one)
    await store.update(one.uid, say("x"), instances=[theirs])
    for taken in (theirs, replace(theirs, cluster=two.uid)):
        with pytest.raises(ValueError, match="is not of cluster"):
            await store.update(two.uid, say("x"), instances=[taken])
    await store.update(two.uid, say("x"), forget=[theirs.id])
    assert await store.instances(one.uid) == [theirs]


async def test_concurrent_updates_are_all_kept(store: SqliteStore) -> None:
    """A hundred updates of one cluster at once all take effect, each with a revision of its own."""
    made = await recorded(store)

    def count(present: Cluster) -> Cluster:
        return replace(present, held=Held(keys=present.held.keys + 1))

    answers = await asyncio.gather(*(store.update(made.uid, count, events=[NOTE]) for _ in range(100)))
    assert sorted(answer.held.keys for answer in answers) == list(range(1, 101))
    assert sorted(answer.revision for answer in answers) == list(range(2, 102))
    assert (await store.get(made.uid)).held.keys == 100  # type: ignore[union-attr]


async def test_a_cancelled_update_is_done_wholly_or_not_at_all(store: SqliteStore) -> None:
    """Cancelling the callers of updates leaves record and history in agreement."""
    made = await recorded(store)

    def count(present: Cluster) -> Cluster:
        return replace(present, held=Held(keys=present.held.keys + 1))

    tasks = [asyncio.create_task(store.update(made.uid, count, events=[NOTE])) for _ in range(20)]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    left = await store.get(made.uid)
    assert left is not None
    assert len(await store.events(made.uid)) == left.held.keys + 1
    assert left.revision == store.revision == left.held.keys + 1


async def test_lists_filter(store: SqliteStore) -> None:
    """A list holds what owner, phases, name prefix and `include_ended` let through, newest first."""
    etl = await recorded(store, "etl")
    etl_2 = await recorded(store, "etl-2", phase=Phase.RUNNING)
    bobs = await recorded(store, "etl", "bob")
    gone = await store.update((await recorded(store, "gone")).uid, end)

    async def names(**query: object) -> list[str]:
        page = await store.list(ClusterQuery(**query))  # type: ignore[arg-type]
        return [found.uid for found in page.items]

    assert await names() == [bobs.uid, etl_2.uid, etl.uid]
    assert await names(owner="ann") == [etl_2.uid, etl.uid]
    assert await names(owner="ann", include_ended=True) == [gone.uid, etl_2.uid, etl.uid]
    assert await names(phases=frozenset({Phase.RUNNING, Phase.STOPPED})) == [etl_2.uid]
    assert await names(phases=frozenset({Phase.STOPPED}), include_ended=True) == [gone.uid]
    assert await names(name_prefix="etl-") == [etl_2.uid]
    assert await names(name_prefix="etl%") == []


async def test_a_page_token_belongs_to_its_query(store: SqliteStore) -> None:
    """A token that was altered, made up or used with another query is refused; another limit is allowed."""
    for number in range(4):
        await recorded(store, f"c{number}")
    token = (await store.list(ClusterQuery(owner="ann", limit=1))).next_token
    rest = await store.list(ClusterQuery(owner="ann", limit=9, after=token))
    assert [found.name for found in rest.items] == ["c2", "c1", "c0"]
    altered = [
        token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :] for place in range(len(token))
    ]
    for wrong in [*altered, token + "A", token[:-1], token + "\n", "!", "é", "\udc80"]:
        with pytest.raises(InvalidArgument, match="page token"):
            await store.list(ClusterQuery(owner="ann", after=wrong))
    for query in ({}, {"owner": "bob"}, {"owner": "ann", "name_prefix": "c"}, {"owner": "ann", "include_ended": True}):
        with pytest.raises(InvalidArgument, match="page token"):
            await store.list(ClusterQuery(**query, after=token))


async def test_a_limit_is_positive(store: SqliteStore) -> None:
    """A limit below 1 is refused by everything that takes one."""
    for call in (store.list(ClusterQuery(limit=0)), store.changes(0, limit=0), store.events("c", limit=-1)):
        with pytest.raises(InvalidArgument, match="at least 1"):
            await call


async def test_events_are_one_clusters_in_order(store: SqliteStore) -> None:
    """A cluster's events are told from `after` on, as many as asked for, without the changes that had none."""
    one, two = await recorded(store, "one"), await recorded(store, "two")
    for number in range(3):
        await store.update(one.uid, say(str(number)))
        await store.update(one.uid, say(str(number)), events=[NewEvent("N", str(number))])
        await store.update(two.uid, say(str(number)), events=[NOTE])
    told = await store.events(one.uid)
    assert [event.message for event in told] == ["created", "0", "1", "2"]
    assert await store.events(one.uid, after=told[1].revision, limit=1) == [told[2]]
    assert await store.events(one.uid, after=told[3].revision) == []
    assert await store.events(one.uid, after=1 << 70) == []
    assert await store.events("nobody") == []


async def test_a_revision_that_is_not_reached_yet_is_refused(store: SqliteStore) -> None:
    """Changes after the newest revision are none; after one beyond it, or before the first, the token has expired."""
    made = await recorded(store)
    assert await store.changes(made.revision) == []
    for after in (made.revision + 1, 1 << 70, -1):
        with pytest.raises(ResumeTokenExpired):
            await store.changes(after)


async def test_a_subscriber_is_woken_by_a_change(store: SqliteStore) -> None:
    """Whoever waits for a later revision returns once it is there, and at once if it was there already."""
    made = await recorded(store)
    async with store.subscribe() as subscription:
        assert await subscription.wait(made.revision - 1, 0)
        waiting = asyncio.create_task(subscription.wait(made.revision + 1))
        await store.update(made.uid, say("one"))
        assert not waiting.done()
        await store.update(made.uid, say("two"))
        assert await asyncio.wait_for(waiting, 30)


async def test_a_subscriber_gives_up_in_time(store: SqliteStore) -> None:
    """Waiting ends with False when no change came within the time."""
    async with store.subscribe() as subscription:
        assert not await subscription.wait(store.revision, 0.01)


async def test_closing_wakes_subscribers(store: SqliteStore) -> None:
    """Whoever waits when the store closes is told so, and nothing is answered afterwards."""
    async with store.subscribe() as subscription:
        waiting = asyncio.create_task(subscription.wait(store.revision))
        await asyncio.wait((waiting,), timeout=0)
        await store.close()
        with pytest.raises(StateUnusable, match="stopping"):
            await waiting
    await store.close()
    with pytest.raises(StateUnusable, match="stopping"):
        await store.live()


async def test_what_was_asked_before_closing_is_done(store: SqliteStore, tmp_path: Path, clock: Clock) -> None:
    """Updates that were under way when the store closed are on disk."""
    made = await recorded(store)
    tasks = [asyncio.create_task(store.update(made.uid, say(str(n)), events=[NOTE])) for n in range(10)]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    await store.close()
    last = (await asyncio.gather(*tasks))[-1]
    again = await SqliteStore.open(tmp_path / "state", machine_id=MACHINE, clock=clock)
    try:
        assert await again.get(made.uid) == last
    finally:
        await again.close()


async def test_pruning_forgets_ended_clusters(store: SqliteStore, clock: Clock) -> None:
    """Clusters that ended before the time go with instances and history; live and younger ones stay."""
    old, young, alive = [await recorded(store, name) for name in ("old", "young", "alive")]
    await store.update(old.uid, end, instances=[instance(old)])
    await store.update(young.uid, lambda present: replace(present, phase=Phase.FAILED, ended=1001.0))
    result = await store.prune(ended_before=1001.0, events_before=0.0, keep_events=1000)
    assert result.clusters == (old.uid,)
    assert result.changes == 2
    assert await store.get(old.uid) is None
    assert await store.instances(old.uid, include_ended=True) == []
    assert await store.events(old.uid) == []
    assert [found.uid for found in (await store.list(ClusterQuery(include_ended=True))).items] == [alive.uid, young.uid]
    assert len(await store.events(alive.uid)) == 1


async def test_no_watcher_misses_pruned_changes_unawares(store: SqliteStore) -> None:
    """After pruning, a token older than any change that is gone has expired; one from there on still works."""
    old, alive = await recorded(store, "old"), await recorded(store, "alive")
    ended = await store.update(old.uid, end)
    last = await store.update(alive.uid, say("x"))
    await store.prune(ended_before=1001.0, events_before=0.0, keep_events=1000)
    for after in range(ended.revision):
        with pytest.raises(ResumeTokenExpired):
            await store.changes(after)
    assert [change.revision for change in await store.changes(ended.revision)] == [last.revision]


async def test_pruning_bounds_the_history_by_age_and_number(store: SqliteStore, clock: Clock) -> None:
    """Changes older than the time go, then the oldest beyond the number; a revision is never used again."""
    made = await recorded(store)
    for number in range(4):
        clock.now = 2000.0 + number
        await store.update(made.uid, say(str(number)), events=[NOTE])
    assert (await store.prune(ended_before=0, events_before=2001.0, keep_events=1000)).changes == 2
    assert [change.revision for change in await store.changes(2)] == [3, 4, 5]
    assert (await store.prune(ended_before=0, events_before=2001.0, keep_events=1)).changes == 2
    assert [change.revision for change in await store.changes(4)] == [5]
    assert (await store.prune(ended_before=0, events_before=9999.0, keep_events=0)).changes == 1
    assert await store.changes(5) == []
    assert (await store.update(made.uid, say("later"))).revision == 6
    assert await store.get(made.uid) is not None


async def test_a_clock_set_back_prunes_nothing_young(store: SqliteStore, clock: Clock) -> None:
    """A change that bears an early time but follows younger ones is kept with them."""
    made = await recorded(store)
    clock.now = 10.0
    await store.update(made.uid, say("x"))
    assert (await store.prune(ended_before=0, events_before=500.0, keep_events=1000)).changes == 0
