"""Short ways to write down a cluster, its instances, and what is seen of them; every default is the dullest one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from daskd.control.ledger import Ledger
from daskd.control.link import FactEvent, HubState, HubWorker
from daskd.control.settings import Settings
from daskd.control.view import HubView, Listing, View
from daskd.drivers.protocol import Observation, Report
from daskd.model.cluster import (
    Adaptive,
    Cause,
    Cluster,
    End,
    Group,
    Handle,
    Instance,
    Phase,
    Record,
    Role,
    Scheduler,
    State,
)
from daskd.model.spec import AdaptivePolicy, ClusterSpec, WorkerGroupSpec

NOW = 1_790_000_000.0
LONG_AGO = NOW - 3600
SETTINGS = Settings()
ADDRESS = "tls://127.0.0.1:8786"
POLICY = Adaptive(AdaptivePolicy(minimum=0, maximum=10), since=LONG_AGO)


def cluster(
    desired: int = 0, each: int = 1, scheduler: Mapping[str, Any] | None = None, nodes: int = 1, **fields: Any
) -> Cluster:
    """A cluster that has run for an hour, with one group that desires that many workers, so many a node."""
    group = {key: fields.pop(key) for key in ("failures", "retry_at", "start_times", "adaptive") if key in fields}
    group["message"] = "it is broken" if group.get("failures") else ""
    record = Scheduler(instance="s", address=ADDRESS, started=LONG_AGO, **(scheduler or {}))
    values = {
        "uid": "u1",
        "name": "etl",
        "owner": "ann",
        "owner_uid": 1000,
        "spec": ClusterSpec(groups=(WorkerGroupSpec(n_workers=desired, workers_per_node=each, nodes=nodes),)),
        "created": LONG_AGO,
        "updated": LONG_AGO,
        "phase": Phase.RUNNING,
        "groups": (Group("default", desired=desired, **group),),
        "scheduler": record,
        **fields,
    }
    return Cluster(**values)


def young(**fields: Any) -> Cluster:
    """A cluster whose scheduler has never been up."""
    return replace(cluster(**fields), scheduler=Scheduler(), phase=Phase.PENDING)


def _instance(key: str, role: Role, **fields: Any) -> Instance:
    values = {
        "id": key,
        "cluster": "u1",
        "role": role,
        "group": "default" if role is Role.NODE else "",
        "ordinal": 0,
        "workers": (),
        "handle": handle(key),
        "created": LONG_AGO,
        "launched": LONG_AGO,
        "record": Record.ACCEPTED,
        "state": State.RUNNING,
        "pid": 4711,
        "host": "localhost",
        **fields,
    }
    return Instance(**values)


def handle(key: str) -> Handle:
    """A handle of that id."""
    return Handle("local", 1, key, key)


def scheduler(key: str = "s", **fields: Any) -> Instance:
    """A scheduler that has been up for an hour."""
    return _instance(key, Role.SCHEDULER, **{"joined": LONG_AGO, **fields})


def node(n: int = 0, each: int = 1, **fields: Any) -> Instance:
    """A node that has been up for an hour: its id is `n<n>`, and its workers are `n<n>-<k>`."""
    names = tuple(f"n{n}-{k}" for k in range(each))
    return _instance(f"n{n}", Role.NODE, **{"joined": LONG_AGO, "ordinal": n, "workers": names, **fields})


def nodes(count: int, first: int = 0, **fields: Any) -> list[Instance]:
    """So many nodes."""
    return [node(n, **fields) for n in range(first, first + count)]


def waiting(n: int = 0, **fields: Any) -> Instance:
    """A node that was launched a second ago and has not joined."""
    young = {"created": NOW - 1.5, "launched": NOW - 1, "joined": None, "state": State.STARTING, "pid": None}
    return node(n, **{**young, **fields})


def unsure(instance: Instance, **fields: Any) -> Instance:
    """The instance as a daemon that died between intent and launch left it."""
    left = {"record": Record.UNSURE, "state": State.UNKNOWN, "launched": None, "joined": None, "pid": None, "host": ""}
    return replace(instance, **{**left, **fields})


def at_hub(some: Iterable[Instance], **fields: Any) -> tuple[HubWorker, ...]:
    """The workers of these nodes, as their scheduler tells of them."""
    return tuple(
        HubWorker(**{"name": name, "instance": each.id, "address": "tls://x:1", "status": "running", **fields})
        for each in some
        for name in each.workers
    )


def state(workers: Iterable[HubWorker] = (), **fields: Any) -> HubState:
    """What a scheduler says."""
    values = {"rev": 1, "t": NOW, "phase": "running", "address": ADDRESS, "workers": tuple(workers), **fields}
    return HubState(**values)


def fact(seq: int, type_: str = "client-lost", **facts: Any) -> FactEvent:
    """Something that happened at the scheduler."""
    return FactEvent(seq=seq, t=NOW, type=type_, words=f"fact {seq}", facts=facts)


def heard(workers: Iterable[HubWorker] = (), instance: str = "s", **fields: Any) -> HubView:
    """A hub that answered just now."""
    return HubView(instance=instance, state=state(workers, **fields), connected=True, heard=NOW)


def silent(hub: HubView) -> HubView:
    """The hub, when it has stopped to answer."""
    return replace(hub, connected=False, trouble="timed out")


def view(of: Cluster, instances: Iterable[Instance] = (), hub: HubView | None = None, **fields: Any) -> View:
    """What a pass sees; unless said otherwise the scheduler names the workers of all nodes that have joined."""
    present = tuple(instances)
    if hub is None:
        joined = [each for each in present if each.role is Role.NODE and each.joined is not None]
        ours = next((each for each in present if each.role is Role.SCHEDULER), None)
        up = ours is not None and ours.joined is not None
        hub = heard(at_hub(joined), instance=ours.id) if ours is not None and up else HubView()
    settings = fields.pop("settings", SETTINGS)
    seen = {each.handle.id: each for each in fields.pop("seen", ())}
    listings = {"local": Listing(fields.pop("observed", NOW - 0.1), fields.pop("settle", 0.0))}
    return View(of, present, settings, seen, **{"listings": listings, "hub": hub, **fields})


def seen(key: str, what: State = State.RUNNING, **fields: Any) -> Observation:
    """What a driver shows of an instance."""
    return Observation(handle(key), what, **{"host": "localhost", "pid": 4711, **fields})


def ended(key: str, cause: Cause = Cause.EXITED, code: int | None = None, **fields: Any) -> Observation:
    """The end of an instance as a driver shows it."""
    observed = {name: fields.pop(name) for name in ("goodbye", "ended") if name in fields}
    failure = fields.pop("failure", "")
    report = Report("failed", failure=failure) if failure else None
    return Observation(handle(key), State.ENDED, end=End(cause, code, **fields), report=report, **observed)


def types(ledger: Ledger) -> list[str]:
    """The types of the events that a pass tells, but for changes of phase."""
    return [event.type for event in ledger.events if event.type != "PHASE_CHANGED"]


def of(ledger: Ledger, key: str) -> Instance:
    """An instance after a pass."""
    return next(each for each in ledger.instances if each.id == key)


def after(seen_by: View, ledger: Ledger, **fields: Any) -> View:
    """The view when a pass's record has been persisted."""
    living = tuple(each for each in ledger.instances if each.state is not State.ENDED)
    return replace(seen_by, cluster=ledger.cluster, instances=living, **fields)
