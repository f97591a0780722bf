"""Between the model and protobuf, both ways. Pure; decides nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from daskd.model.access import Grant
from daskd.model.cluster import Adaptive, Cluster, End, Group, Scheduler, Unplaceable
from daskd.model.event import Event
from daskd.model.spec import AdaptivePolicy, ClusterSpec, HeldWorkPolicy, SchedulerSpec, WorkerGroupSpec
from daskd.model.views import Connection, HeldWorkView, LogLine, WorkerView
from daskd_api.v1 import cluster_pb2 as pb

_NANOS = 1_000_000_000
_UNITS = (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))

# ---- protobuf -> plain data: what a request sets, and nothing else, so that it can be laid over a profile


def sparse_spec(message: pb.ClusterSpec) -> dict[str, Any]:
    """What a spec sets, in the shape of `ClusterSpec`; values are not checked."""
    sparse = _set_fields(message, "profile", "python", "cwd")
    if message.groups:
        sparse["groups"] = [sparse_group(group) for group in message.groups]
    if message.import_path:
        sparse["import_path"] = tuple(message.import_path)
    if message.environment:
        sparse["environment"] = dict(message.environment)
    if message.HasField("scheduler"):
        sparse["scheduler"] = _sparse_scheduler(message.scheduler)
    for name in ("idle_timeout", "max_lifetime", "lifetime_warning"):
        if message.HasField(name):
            sparse[name] = seconds(getattr(message, name))
    if message.on_idle:
        sparse["on_idle"] = _enum_word(pb.IdleAction, message.on_idle, "IDLE_ACTION_")
    if message.on_scheduler_loss:
        word = _enum_word(pb.SchedulerLossAction, message.on_scheduler_loss, "SCHEDULER_LOSS_ACTION_")
        sparse["on_scheduler_loss"] = word
    if message.HasField("held_work"):
        sparse["held_work"] = _sparse_held_work(message.held_work)
    if message.HasField("dashboard"):
        sparse["dashboard"] = message.dashboard
    return sparse


def sparse_group(message: pb.WorkerGroupSpec) -> dict[str, Any]:
    """What a worker group sets, in the shape of `WorkerGroupSpec`."""
    fields = ("name", "driver", "nthreads", "memory_limit", "workers_per_node", "local_directory")
    sparse = _set_fields(message, *fields, "python", "cwd", "worker_class")
    sparse.update({name: tuple(value) for name, value in _set_fields(message, "preload", "prologue").items()})
    if message.HasField("n_workers"):
        sparse["n_workers"] = message.n_workers
    if message.resources:
        sparse["resources"] = dict(message.resources)
    if message.environment:
        sparse["environment"] = dict(message.environment)
    if message.HasField("death_timeout"):
        sparse["death_timeout"] = seconds(message.death_timeout)
    for name in ("options", "worker_options"):
        if message.HasField(name):
            sparse[name] = plain(getattr(message, name))
    if message.HasField("adaptive"):
        sparse["adaptive"] = sparse_adaptive(message.adaptive)
    return sparse


def _sparse_scheduler(message: pb.SchedulerSpec) -> dict[str, Any]:
    sparse = _set_fields(message, "placement", "driver")
    sparse.update({name: tuple(value) for name, value in _set_fields(message, "preload", "prologue").items()})
    for name in ("options", "driver_options"):
        if message.HasField(name):
            sparse[name] = plain(getattr(message, name))
    if message.HasField("network"):
        sparse["network"] = message.network
    return sparse


def _enum_word(enum: Any, number: int, prefix: str) -> str:
    """An enum's value as the models write it; a number that is not known is left for them to refuse."""
    names = {value.number: value.name for value in enum.DESCRIPTOR.values}
    return names[number].removeprefix(prefix).lower() if number in names else str(number)


def sparse_adaptive(message: pb.AdaptivePolicy) -> dict[str, Any]:
    """What an adaptive policy sets, in the shape of `AdaptivePolicy`."""
    sparse: dict[str, Any] = {}
    for field, value in message.ListFields():
        if isinstance(value, Duration):
            sparse[field.name] = seconds(value)
        else:
            sparse[field.name] = value
    return sparse


def _sparse_held_work(message: pb.HeldWorkPolicy) -> dict[str, Any]:
    sparse: dict[str, Any] = {}
    if message.HasField("keep"):
        sparse["keep"] = seconds(message.keep)
    if message.HasField("memory_share"):
        sparse["memory_share"] = message.memory_share
    return sparse


def _set_fields(message: Any, *names: str) -> dict[str, Any]:
    return {name: value for name in names if (value := getattr(message, name))}


def seconds(duration: Duration) -> float:
    """A duration in seconds; may be negative, which the models refuse."""
    return (duration.seconds * _NANOS + duration.nanos) / _NANOS


def unix_seconds(timestamp: Timestamp) -> float:
    """A time in unix seconds."""
    return (timestamp.seconds * _NANOS + timestamp.nanos) / _NANOS


def plain(struct: Struct) -> dict[str, Any]:
    """A Struct's values. All its numbers are doubles; whole ones become int, as they were written."""
    return {name: _plain(value) for name, value in struct.fields.items()}


def _plain(value: Any) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return plain(value.struct_value)
    if kind == "list_value":
        return [_plain(item) for item in value.list_value.values]
    if kind == "number_value":
        number = value.number_value
        return int(number) if math.isfinite(number) and number.is_integer() and abs(number) <= 2**53 else number
    return None if kind in (None, "null_value") else getattr(value, kind)


# ---- the model -> protobuf


def spec_message(spec: ClusterSpec, *, with_values: bool = True) -> pb.ClusterSpec:
    """A spec. Without `with_values`, environment variables appear by name only."""
    message = pb.ClusterSpec(
        profile=spec.profile,
        groups=[group_message(group, with_values=with_values) for group in spec.groups],
        python=spec.python,
        cwd=spec.cwd,
        import_path=spec.import_path,
        environment=_shown_environment(spec.environment, with_values),
        held_work=_held_work_policy_message(spec.held_work),
        dashboard=spec.dashboard,
        scheduler=_scheduler_spec_message(spec.scheduler),
        on_idle=pb.IdleAction.Value(f"IDLE_ACTION_{spec.on_idle.name}"),
        on_scheduler_loss=pb.SchedulerLossAction.Value(f"SCHEDULER_LOSS_ACTION_{spec.on_scheduler_loss.name}"),
    )
    for name in ("idle_timeout", "max_lifetime", "lifetime_warning"):
        if (length := getattr(spec, name)) is not None:
            getattr(message, name).CopyFrom(duration(length))
    return message


def _scheduler_spec_message(scheduler: SchedulerSpec) -> pb.SchedulerSpec:
    return pb.SchedulerSpec(
        placement=scheduler.placement.value,
        preload=scheduler.preload,
        options=struct(scheduler.options) if scheduler.options else None,
        prologue=scheduler.prologue,
        network=scheduler.network,
        driver=scheduler.driver,
        driver_options=struct(scheduler.driver_options) if scheduler.driver_options else None,
    )


def group_message(group: WorkerGroupSpec, *, with_values: bool = True) -> pb.WorkerGroupSpec:
    """A worker group's spec."""
    return pb.WorkerGroupSpec(
        name=group.name,
        driver=group.driver,
        n_workers=group.n_workers,
        nthreads=group.nthreads,
        memory_limit=memory_text(group.memory_limit),
        workers_per_node=group.workers_per_node,
        resources=group.resources,
        environment=_shown_environment(group.environment, with_values),
        local_directory=group.local_directory,
        death_timeout=duration(group.death_timeout),
        options=struct(group.options),
        adaptive=policy_message(group.adaptive) if group.adaptive is not None else None,
        python=group.python,
        cwd=group.cwd,
        preload=group.preload,
        worker_class=group.worker_class,
        worker_options=struct(group.worker_options) if group.worker_options else None,
        prologue=group.prologue,
    )


def policy_message(policy: AdaptivePolicy) -> pb.AdaptivePolicy:
    """An adaptive policy."""
    message = pb.AdaptivePolicy(
        minimum=policy.minimum,
        maximum=policy.maximum,
        wait_count=policy.wait_count,
        initial=policy.initial,
        minimum_cores=policy.minimum_cores,
        maximum_cores=policy.maximum_cores,
        minimum_memory=memory_text(policy.minimum_memory) if policy.minimum_memory else "",
        maximum_memory=memory_text(policy.maximum_memory) if policy.maximum_memory else "",
    )
    for name in ("interval", "target_duration", "cool_down"):
        if (length := getattr(policy, name)) is not None:
            getattr(message, name).CopyFrom(duration(length))
    return message


def _held_work_policy_message(policy: HeldWorkPolicy) -> pb.HeldWorkPolicy:
    message = pb.HeldWorkPolicy(memory_share=policy.memory_share)
    if policy.keep is not None:
        message.keep.CopyFrom(duration(policy.keep))
    return message


def _shown_environment(environment: Mapping[str, str], with_values: bool) -> dict[str, str]:
    return {name: value if with_values else "" for name, value in environment.items()}


def cluster_message(cluster: Cluster, *, with_values: bool, with_grants: bool = False) -> pb.Cluster:
    """A cluster; `with_values` is for its owner, who alone sees the values of environment variables.

    `with_grants` is for those who may change whom it is shared with.
    """
    message = pb.Cluster(
        uid=cluster.uid,
        name=cluster.name,
        owner=cluster.owner,
        spec=spec_message(cluster.spec, with_values=with_values),
        phase=pb.Phase.Value(f"PHASE_{cluster.phase.value}"),
        reason=cluster.reason,
        message=cluster.message,
        create_time=timestamp(cluster.created),
        update_time=timestamp(cluster.updated),
        end_time=timestamp(cluster.ended),
        revision=cluster.revision,
        scheduler=_scheduler_message(cluster.scheduler),
        groups=[_group_status_message(group, cluster.spec) for group in cluster.groups],
        held_work=pb.HeldWorkSummary(clients=cluster.held.clients, keys=cluster.held.keys, bytes=cluster.held.bytes),
        idle_since=timestamp(cluster.idle_since),
        delete_requested=bool(cluster.stop) and not cluster.failed,
        unplaceable_tasks=[_unplaceable_message(tasks) for tasks in cluster.unplaceable],
        expire_time=timestamp(cluster.expires),
    )
    if with_grants:
        message.grants.extend(_grant_message(grant) for grant in cluster.grants)
    return message


def _unplaceable_message(tasks: Unplaceable) -> pb.UnplaceableTasks:
    return pb.UnplaceableTasks(
        count=tasks.count, restriction=tasks.restriction, example=tasks.example, message=tasks.words
    )


def _grant_message(grant: Grant) -> pb.Grant:
    return pb.Grant(who=grant.who, right=pb.Right.Value(f"RIGHT_{grant.right.name}"))


def _scheduler_message(scheduler: Scheduler) -> pb.SchedulerStatus:
    return pb.SchedulerStatus(
        instance=scheduler.instance,
        address=scheduler.address,
        dashboard_link=scheduler.dashboard,
        host=scheduler.host,
        pid=scheduler.pid or 0,
        start_time=timestamp(scheduler.started),
        versions=scheduler.versions,
        restarts=len(scheduler.restarts),
        last_heard_time=timestamp(scheduler.heard),
        resumable=scheduler.resumable,
        not_resumable_reason=scheduler.unresumable,
    )


def _group_status_message(group: Group, spec: ClusterSpec) -> pb.WorkerGroupStatus:
    asked = spec.group(group.name)
    limit = asked.memory_limit if asked is not None else 0
    return pb.WorkerGroupStatus(
        name=group.name,
        driver=asked.driver if asked is not None else "",
        desired=group.desired,
        pending=group.pending,
        running=group.running,
        ending=group.ending,
        nthreads=asked.nthreads if asked is not None else 0,
        memory_limit_bytes=0 if limit == "auto" else limit,
        failures=group.failures,
        message=group.message,
        adaptive=_adaptive_message(group.adaptive) if group.adaptive is not None else None,
        removing=group.removing,
    )


def _adaptive_message(adaptive: Adaptive) -> pb.AdaptiveStatus:
    return pb.AdaptiveStatus(
        policy=policy_message(adaptive.policy),
        target=adaptive.target,
        reason=adaptive.reason,
        decision_time=timestamp(adaptive.decided),
    )


def event_message(event: Event) -> pb.Event:
    """An event."""
    return pb.Event(
        revision=event.revision,
        time=timestamp(event.time),
        cluster_uid=event.cluster,
        cluster_name=event.cluster_name,
        owner=event.owner,
        actor=event.actor,
        type=event.type,
        message=event.message,
        facts=event.facts,
    )


def worker_message(worker: WorkerView) -> pb.Worker:
    """A worker."""
    return pb.Worker(
        name=worker.name,
        group=worker.group,
        instance=worker.instance,
        driver=worker.driver,
        state=pb.WorkerState.Value(f"WORKER_STATE_{worker.state.value}"),
        address=worker.address,
        host=worker.host,
        pid=worker.pid or 0,
        nthreads=worker.nthreads,
        memory_limit_bytes=worker.memory_limit_bytes,
        memory_bytes=worker.memory_bytes,
        managed_bytes=worker.managed_bytes,
        processing=worker.processing,
        executing=worker.executing,
        resources=worker.resources,
        launch_time=timestamp(worker.launched),
        join_time=timestamp(worker.joined),
        end_time=timestamp(worker.ended),
        exit=_exit_message(worker.end),
        message=worker.message,
        expected_end_time=timestamp(worker.expected_end),
    )


def _exit_message(end: End | None) -> pb.ExitStatus | None:
    if end is None:
        return None
    return pb.ExitStatus(cause=end.cause.value, code=end.code, signal=end.signal, message=end.words)


def log_line_message(line: LogLine) -> pb.LogLine:
    """A line of a log."""
    return pb.LogLine(
        time=timestamp(line.time), instance=line.instance, source=line.source, workers=line.workers, text=line.text
    )


def held_work_message(held: HeldWorkView) -> pb.HeldWork:
    """One lost client's work."""
    return pb.HeldWork(
        client=held.client,
        lost_time=timestamp(held.lost),
        expire_time=timestamp(held.expires),
        keys=held.keys,
        bytes=held.bytes,
        states=held.states,
        sample_keys=held.sample_keys,
    )


def connection_message(connection: Connection) -> pb.GetConnectionResponse:
    """What a client needs to connect."""
    return pb.GetConnectionResponse(
        scheduler_address=connection.scheduler_address,
        tls_ca_certificate=connection.ca_certificate,
        tls_client_certificate=connection.client_certificate,
        tls_client_key=connection.client_key,
        dashboard_link=connection.dashboard_link,
        versions=connection.versions,
    )


def timestamp(unix: float | None) -> Timestamp | None:
    """Unix seconds as a Timestamp; None stays absent."""
    if unix is None:
        return None
    whole, nanos = divmod(round(unix * _NANOS), _NANOS)
    return Timestamp(seconds=whole, nanos=nanos)


def duration(length: float) -> Duration:
    """Seconds as a Duration."""
    whole, nanos = divmod(round(length * _NANOS), _NANOS)
    return Duration(seconds=whole, nanos=nanos)


def memory_text(limit: int | str) -> str:
    """A memory limit as `memory_limit` of the API has it, exactly: "4GiB", "1000", "0", "auto"."""
    if isinstance(limit, str) or limit == 0:
        return str(limit)
    for unit, size in _UNITS:
        if limit % size == 0:
            return f"{limit // size}{unit}"
    return str(limit)


def struct(values: Mapping[str, Any]) -> Struct:
    """JSON values as a Struct."""
    return json_format.ParseDict(dict(values), Struct())
