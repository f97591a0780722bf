"""The asyncio API against a real gRPC server on a unix socket."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

import daskd_client
from daskd_api.v1 import cluster_pb2, cluster_pb2_grpc, daemon_pb2, daemon_pb2_grpc
from daskd_client import AsyncDaskd, DaskdError, errors, types
from daskd_client.calls import RETRY_FOR_AT_FIRST

from .serving import metadata_of, refuse, serving


class Clusters(cluster_pb2_grpc.ClusterServiceServicer, daemon_pb2_grpc.DaemonServiceServicer):
    """Notes what it is asked, and answers what the test says."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.tokens: list[str | None] = []
        self.refusals: list[dict[str, Any]] = []
        self.good_tokens: set[str] | None = None
        self.changes: dict[str, list[cluster_pb2.WatchClustersResponse]] = {}

    async def _note(self, request: Any, context: Any) -> None:
        token = metadata_of(context).get("authorization")
        self.requests.append(request)
        self.tokens.append(token)
        if self.good_tokens is not None and token not in self.good_tokens:
            await refuse(context, grpc.StatusCode.UNAUTHENTICATED, "Who are you?", "UNAUTHENTICATED")
        if self.refusals:
            await refuse(context, **self.refusals.pop(0))

    async def GetDaemonInfo(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        await self._note(request, context)
        return daemon_pb2.GetDaemonInfoResponse(version="1.2.3", user="ann")

    async def CreateCluster(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        await self._note(request, context)
        cluster = cluster_pb2.Cluster(uid="u1", name=request.name, spec=request.spec, phase=cluster_pb2.PHASE_PENDING)
        return cluster_pb2.CreateClusterResponse(cluster=cluster)

    async def GetCluster(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        await self._note(request, context)
        cluster = cluster_pb2.Cluster(uid="u1", name=request.name)
        cluster.phase = 99  # type: ignore[assignment]
        return cluster_pb2.GetClusterResponse(cluster=cluster)

    async def ListClusters(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        await self._note(request, context)
        page = int(request.page_token or 0)
        names = [f"c{page}-{i}" for i in range(2)]
        return cluster_pb2.ListClustersResponse(
            clusters=[cluster_pb2.Cluster(name=name) for name in names],
            next_page_token=str(page + 1) if page < 2 else "",
        )

    async def DiscardHeldWork(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        await self._note(request, context)
        return cluster_pb2.DiscardHeldWorkResponse(keys=3, bytes=2**40)

    async def WatchClusters(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        await self._note(request, context)
        for change in self.changes[request.resume_token]:
            yield change


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    return tmp_path / "d.sock"


async def test_calls_carry_the_exchanges_token(socket: Path) -> None:
    """A call over a unix socket carries the token of the exchange beside it."""
    service = Clusters()
    async with serving(socket, service), AsyncDaskd(f"unix:{socket}") as daskd:
        info = await daskd.info()
    assert (info.version, info.user) == ("1.2.3", "ann")
    assert service.tokens == ["Bearer token-1"]


async def test_a_daemon_started_again_is_no_error(socket: Path) -> None:
    """A call made while the daemon is away waits for it, and gets itself known anew."""
    first, second = Clusters(), Clusters()
    second.good_tokens = {"Bearer token-2"}
    async with AsyncDaskd(f"unix:{socket}") as daskd:
        async with serving(socket, first) as exchange:
            await daskd.info()
        call = asyncio.create_task(daskd.info())
        await asyncio.sleep(0)  # it begins before the daemon is there again
        async with serving(socket, second, exchange=exchange):
            assert (await call).version == "1.2.3"
    assert second.tokens[-1] == "Bearer token-2"


async def test_without_a_daemon_the_call_fails_soon_and_says_how_to_start_one(socket: Path) -> None:
    """With no daemon at all the error comes after the short first wait, and names `daskd serve`."""
    async with AsyncDaskd(f"unix:{socket}") as daskd:
        with pytest.raises(errors.DaemonUnavailable, match="daskd serve"):
            await asyncio.wait_for(daskd.info(), RETRY_FOR_AT_FIRST + 20)


@pytest.mark.parametrize(
    ("reason", "code", "kind"),
    [
        ("CLUSTER_NOT_FOUND", grpc.StatusCode.NOT_FOUND, errors.ClusterNotFound),
        ("CLUSTER_EXISTS", grpc.StatusCode.ALREADY_EXISTS, errors.ClusterExists),
        ("GROUP_NOT_FOUND", grpc.StatusCode.NOT_FOUND, errors.GroupNotFound),
        ("WORKER_NOT_FOUND", grpc.StatusCode.NOT_FOUND, errors.WorkerNotFound),
        ("CLUSTER_NOT_RUNNING", grpc.StatusCode.FAILED_PRECONDITION, errors.ClusterNotRunning),
        ("SCHEDULER_UNREACHABLE", grpc.StatusCode.UNAVAILABLE, errors.SchedulerUnreachable),
        ("LIMIT_EXCEEDED", grpc.StatusCode.RESOURCE_EXHAUSTED, errors.LimitExceeded),
        ("NOT_ALLOWED", grpc.StatusCode.PERMISSION_DENIED, errors.NotAllowed),
        ("INVALID_ARGUMENT", grpc.StatusCode.INVALID_ARGUMENT, errors.InvalidArgument),
        ("SOMETHING_NEW", grpc.StatusCode.ABORTED, errors.DaskdError),
    ],
)
async def test_reasons_become_exceptions_with_their_facts(
    socket: Path, reason: str, code: grpc.StatusCode, kind: type[DaskdError]
) -> None:
    """Each reason of the API is an exception of its own, with words, facts and cause; and is not asked twice."""
    service = Clusters()
    service.refusals.append({"code": code, "words": "No, because.", "reason": reason, "facts": {"name": "etl"}})
    async with serving(socket, service), AsyncDaskd(f"unix:{socket}") as daskd:
        with pytest.raises(DaskdError) as caught:
            await daskd.get("etl")
    assert type(caught.value) is kind
    assert (str(caught.value), caught.value.reason, caught.value.facts) == ("No, because.", reason, {"name": "etl"})
    assert isinstance(caught.value.__cause__, grpc.RpcError)
    assert len(service.requests) == 1


async def test_fields_at_fault_are_told(socket: Path) -> None:
    """A refused spec names each field that is wrong, in words."""
    service = Clusters()
    service.refusals.append(
        {
            "code": grpc.StatusCode.INVALID_ARGUMENT,
            "words": "The spec is wrong.",
            "reason": "INVALID_SPEC",
            "fields": {"groups[0].driver": "unknown: did you mean local?"},
        }
    )
    async with serving(socket, service), AsyncDaskd(f"unix:{socket}") as daskd:
        with pytest.raises(errors.InvalidSpec) as caught:
            await daskd.create("etl")
    assert caught.value.problems == (errors.Problem("groups[0].driver", "unknown: did you mean local?"),)


async def test_spec_arrives_as_it_was_said(socket: Path) -> None:
    """Every kind of field of a spec crosses the API and comes back the same."""
    spec = types.ClusterSpec(
        profile="p",
        groups=(
            types.WorkerGroupSpec(
                name="g",
                n_workers=3,
                resources={"GPU": 1.0},
                death_timeout=timedelta(seconds=1.5),
                options={"queue": "main", "nested": {"n": 2, "list": [1, 2.5, "x", None, True]}},
                adaptive=types.AdaptivePolicy(minimum=0, maximum=4, interval=timedelta(milliseconds=500)),
                preload=("a.py",),
            ),
        ),
        import_path=("/a", "/b"),
        environment={"A": "1"},
        on_idle=types.IdleAction.SCALE_TO_ZERO,
        on_scheduler_loss=types.SchedulerLossAction.FAIL,
        scheduler=types.SchedulerSpec(placement="process", options={"validate": True}),
        held_work=types.HeldWorkPolicy(keep=timedelta(0)),
        dashboard=False,
    )
    async with serving(socket, Clusters()), AsyncDaskd(f"unix:{socket}") as daskd:
        cluster = await daskd.create("etl", spec)
    assert cluster.spec == spec


async def test_create_is_repeated_under_the_same_id(socket: Path) -> None:
    """A create that is cut off is asked again with the same request id, so that no second cluster comes of it."""
    service = Clusters()
    service.refusals.append({"code": grpc.StatusCode.UNAVAILABLE, "words": "going down"})
    async with serving(socket, service), AsyncDaskd(f"unix:{socket}") as daskd:
        await daskd.create("etl")
    ids = [request.request_id for request in service.requests]
    assert len(ids) == 2
    assert ids[0]
    assert ids[0] == ids[1]


async def test_what_could_do_harm_twice_is_not_repeated(socket: Path) -> None:
    """Discarding held work is not asked again: the second answer would say that nothing was there."""
    service = Clusters()
    service.refusals.append({"code": grpc.StatusCode.UNAVAILABLE, "words": "going down"})
    async with serving(socket, service), AsyncDaskd(f"unix:{socket}") as daskd:
        with pytest.raises(errors.DaemonUnavailable):
            await daskd.discard_held_work("etl")
        assert await daskd.discard_held_work("etl") == types.Discarded(keys=3, bytes=2**40)


async def test_all_pages_of_a_list_are_read(socket: Path) -> None:
    """A list is whole, however the daemon pages it."""
    async with serving(socket, Clusters()), AsyncDaskd(f"unix:{socket}") as daskd:
        names = [cluster.name for cluster in await daskd.list_clusters()]
    assert names == ["c0-0", "c0-1", "c1-0", "c1-1", "c2-0", "c2-1"]


async def test_an_unknown_phase_is_passed_over(socket: Path) -> None:
    """A phase that a later daemon knows does not break this client."""
    async with serving(socket, Clusters()), AsyncDaskd(f"unix:{socket}") as daskd:
        assert (await daskd.get("etl")).phase is types.Phase.UNSPECIFIED


async def test_a_value_that_no_message_holds_is_the_callers_error(socket: Path) -> None:
    """A count that is no integer is refused before anything is sent, naming the field."""
    async with AsyncDaskd(f"unix:{socket}") as daskd:
        with pytest.raises(errors.InvalidSpec) as caught:
            await daskd.scale("etl", "many")  # type: ignore[arg-type]
    assert caught.value.problems[0].field == "n_workers"


def _change(name: str, token: str) -> cluster_pb2.WatchClustersResponse:
    return cluster_pb2.WatchClustersResponse(
        kind=cluster_pb2.WATCH_KIND_CHANGED, cluster=cluster_pb2.Cluster(name=name), resume_token=token
    )


class Breaking(Clusters):
    """A watch that breaks off after what it has to tell under each token, but for the last."""

    async def WatchClusters(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        await self._note(request, context)
        for change in self.changes.get(request.resume_token, []):
            yield change
        if request.resume_token == "expired":
            await refuse(context, grpc.StatusCode.OUT_OF_RANGE, "Too old.", "RESUME_TOKEN_EXPIRED")
        if request.resume_token != "end":
            await context.abort(grpc.StatusCode.UNAVAILABLE, "going down")


async def test_a_broken_watch_goes_on_where_it_was(socket: Path) -> None:
    """A watch that breaks off is resumed by its token: nothing is told twice, nothing is missed."""
    service = Breaking()
    service.changes = {
        "": [_change("a", "1"), _change("b", "2")],
        "2": [_change("c", "end")],
        "end": [_change("d", "end")],
    }
    async with serving(socket, service), AsyncDaskd(f"unix:{socket}") as daskd:
        names = [change.cluster.name async for change in daskd.watch() if change.cluster]
    assert names == ["a", "b", "c", "d"]


async def test_an_expired_watch_begins_anew(socket: Path) -> None:
    """A token that the daemon does not know any more leads to a fresh list, not to an error."""
    service = Breaking()
    service.changes = {"": [_change("a", "end")]}
    async with serving(socket, service), AsyncDaskd(f"unix:{socket}") as daskd:
        names = [change.cluster.name async for change in daskd.watch(resume_token="expired") if change.cluster]
    assert names == ["a"]
    assert [request.resume_token for request in service.requests] == ["expired", "", "end"]


async def test_more_changes_than_the_buffer_arrive_in_order(socket: Path) -> None:
    """A watch that tells faster than it is read loses and reorders nothing."""
    service = Clusters()
    service.changes = {"": [_change(str(i), str(i)) for i in range(500)]}
    async with serving(socket, service), AsyncDaskd(f"unix:{socket}") as daskd:
        names = [change.cluster.name async for change in daskd.watch() if change.cluster]
    assert names == [str(i) for i in range(500)]


def test_one_object_serves_several_event_loops(tmp_path: Path) -> None:
    """An `AsyncDaskd` works in whatever event loop calls it, one after the other."""
    socket, service = tmp_path / "d.sock", Clusters()
    daskd = AsyncDaskd(f"unix:{socket}")

    async def ask() -> str:
        async with serving(socket, service):
            return (await daskd.info()).version

    assert [asyncio.run(ask()) for _ in range(2)] == ["1.2.3", "1.2.3"]
    asyncio.run(daskd.close())


def test_every_field_of_the_api_has_its_dataclass_field() -> None:
    """No field of a message that the API answers with is missing from its dataclass, nor one too many there."""
    from daskd_client.translate import DATACLASSES

    for module in (cluster_pb2, daemon_pb2):
        for name, descriptor in module.DESCRIPTOR.message_types_by_name.items():
            if name in DATACLASSES:
                fields = set(DATACLASSES[name].__dataclass_fields__)
                assert fields == {field.name for field in descriptor.fields}, name


def test_public_names() -> None:
    """What the package offers changes on purpose only."""
    assert daskd_client.__all__ == [
        "AsyncDaskd",
        "ClusterExists",
        "ClusterExpiring",
        "ClusterFailed",
        "ClusterNotFound",
        "ClusterNotRunning",
        "DaemonUnavailable",
        "DaskdError",
        "DeadlineExceeded",
        "Explanation",
        "GroupExists",
        "GroupNotFound",
        "HeldWorkUnsupported",
        "IncompatibleVersions",
        "InvalidAddress",
        "InvalidArgument",
        "InvalidSpec",
        "LimitExceeded",
        "NotAllowed",
        "Problem",
        "RebindingClient",
        "RemoteCluster",
        "ResumeTokenExpired",
        "SchedulerUnreachable",
        "SpecImmutable",
        "TokenNotFound",
        "Unauthenticated",
        "Unimplemented",
        "UnplaceableWork",
        "UntrustedDaemon",
        "VersionMismatch",
        "WorkerNotFound",
        "WorkersFailing",
        "list_clusters",
    ]
    assert all(hasattr(daskd_client, name) for name in daskd_client.__all__)
