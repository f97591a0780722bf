"""The types that programs which build on `AsyncDaskd` see. Checked by mypy, never run."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import datetime, timedelta

from typing_extensions import assert_type

from daskd_client import AsyncDaskd, Explanation
from daskd_client.preview import GroupPreview
from daskd_client.types import (
    AdaptivePolicy,
    Applied,
    Change,
    Cluster,
    ClusterSpec,
    Connection,
    CreatedToken,
    DaemonInfo,
    DashboardLink,
    Discarded,
    Driver,
    Event,
    HeldWork,
    LogLine,
    Phase,
    Profile,
    Right,
    Token,
    WatchKind,
    Worker,
    WorkerGroupSpec,
)


async def connecting() -> None:
    """A context, or closed by hand."""
    async with AsyncDaskd("unix:/run/daskd/daskd.sock", token=None, timeout=5.0) as daskd:
        assert_type(daskd, AsyncDaskd)
        assert_type(daskd.address, str)
        assert_type(daskd.is_local, bool)
        assert_type(await daskd.info(), DaemonInfo)
    await AsyncDaskd().close()


async def clusters(daskd: AsyncDaskd) -> None:
    """Every call about a cluster answers with its record."""
    spec = ClusterSpec(groups=(WorkerGroupSpec(n_workers=4, memory_limit="1GiB"),), idle_timeout=timedelta(hours=1))
    assert_type(await daskd.create("etl", spec, request_id="id", validate_only=True), Cluster)
    assert_type(await daskd.get("etl"), Cluster)
    assert_type(await daskd.list_clusters(phases=[Phase.RUNNING], owner="ann", include_ended=True), list[Cluster])
    assert_type(await daskd.scale("etl", 3, group="highmem"), Cluster)
    assert_type(await daskd.adapt("etl", AdaptivePolicy(maximum=8)), Cluster)
    assert_type(await daskd.adapt("etl", None, group="highmem"), Cluster)
    assert_type(await daskd.scale("etl", memory="64GiB"), Cluster)
    assert_type(await daskd.add_worker_group("etl", WorkerGroupSpec(name="highmem")), Cluster)
    assert_type(await daskd.remove_worker_group("etl", "highmem"), Cluster)
    assert_type(await daskd.apply("etl", spec, validate_only=True), Applied)
    assert_type((await daskd.apply("etl", spec)).changes, tuple[str, ...])
    assert_type(await daskd.explain("etl"), Explanation)
    assert_type((await daskd.preview("etl", spec)).previews, tuple[GroupPreview, ...])
    assert_type(await daskd.job_scripts("etl"), list[GroupPreview])
    assert_type(await daskd.dashboard_link("etl"), DashboardLink)
    assert_type(await daskd.share("etl", "@staff", Right.VIEW), Cluster)
    assert_type(await daskd.share("etl", "bob", "use"), Cluster)
    assert_type(await daskd.unshare("etl", "bob"), Cluster)
    assert_type(await daskd.delete("etl"), Cluster)


async def insides(daskd: AsyncDaskd, then: datetime) -> None:
    """Workers, history, logs, connections, lost work."""
    assert_type(await daskd.workers("etl", group="default", include_ended=True), list[Worker])
    assert_type(await daskd.events("etl"), list[Event])
    assert_type(await daskd.connection("etl"), Connection)
    assert_type(await daskd.held_work("etl"), list[HeldWork])
    assert_type(await daskd.discard_held_work("etl", client="Client-1"), Discarded)
    assert_type(daskd.logs("etl", follow=True, tail=10, since=then), AsyncGenerator[LogLine, None])
    async for line in daskd.logs("etl", scheduler=True):
        assert_type(line.text, str)
        assert_type(line.time, datetime | None)


async def watching(daskd: AsyncDaskd) -> None:
    """A change has a cluster but where all that exists was told."""
    assert_type(daskd.watch(include_events=True), AsyncGenerator[Change, None])
    async for change in daskd.watch("etl", resume_token="token"):
        assert_type(change.kind, WatchKind)
        assert_type(change.cluster, Cluster | None)
        assert_type(change.event, Event | None)
        assert_type(change.resume_token, str)


async def around(daskd: AsyncDaskd) -> None:
    """What the daemon offers, and who calls it."""
    assert_type(await daskd.profiles(), list[Profile])
    assert_type(await daskd.drivers(), list[Driver])
    created = await daskd.create_token("nightly", right="view", clusters=["etl"], lifetime=timedelta(days=90))
    assert_type(created, CreatedToken)
    assert_type(created.secret, str)
    assert_type(await daskd.list_tokens(all_users=True), list[Token])
    assert_type(await daskd.revoke_token(created.token.id), Token)


async def mistakes(daskd: AsyncDaskd, cluster: Cluster) -> None:
    """What a type checker tells before the daemon has to."""
    await daskd.scale("etl", "3")  # type: ignore[arg-type]
    await daskd.adapt("etl")  # type: ignore[call-arg]
    await daskd.create(spec={"groups": []})  # type: ignore[arg-type]
    await daskd.list_clusters(phases=["RUNNING"])  # type: ignore[list-item]
    await daskd.get(cluster)  # type: ignore[arg-type]
    await daskd.watch("etl")  # type: ignore[misc]
    cluster.phase = Phase.RUNNING  # type: ignore[misc]
