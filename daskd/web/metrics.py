"""Prometheus' metrics of the daemon, at `/metrics`. They name no user and no cluster."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from daskd.control.census import Census
from daskd.measures import BUCKETS, Durations, Measures
from daskd.model.cluster import Phase

T = TypeVar("T")
Measured = tuple[str, tuple[str, ...]]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

WORKER_STATES = ("init", "running", "paused", "closing", "closing_gracefully", "closed", "failed")
"""Dask's own; what a scheduler says beyond them, users' code may have said, and is `other`."""

_COUNTERS = {
    "rpcs": (
        "daskd_rpcs",
        "Calls of the API, by method and outcome (OK, or why not).",
        ("method", "outcome"),
    ),
    "driver_failures": ("daskd_driver_failures", "Calls of a driver that failed or took too long.", ("call",)),
    "link_failures": ("daskd_link_failures", "Exchanges with a cluster's scheduler that failed.", ()),
    "reconcile_failures": ("daskd_reconcile_failures", "Passes of reconcilers that failed and are tried again.", ()),
}
_HISTOGRAMS = {
    "rpc": ("daskd_rpc_duration_seconds", "Time to serve a call that is no stream.", ("method",)),
    "reconcile": ("daskd_reconcile_duration_seconds", "Time of one pass of a reconciler.", ()),
}


@dataclass(frozen=True, slots=True)
class Standing:
    """What is counted when somebody asks."""

    phases: Counter[Phase]
    census: Census
    revision: int


class Metrics:
    """Renders what the daemon measures.

    Parameters
    ----------
    look
        How things stand now.
    """

    def __init__(self, version: str, measures: Measures, look: Callable[[], Awaitable[Standing]]) -> None:
        self._version = version
        self._measures = measures
        self._look = look

    async def render(self) -> bytes:
        """The text that Prometheus reads."""
        standing = await self._look()
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        registry.register(_Collected([*self._build(), *_gauges(standing), *self._measured()]))
        return bytes(generate_latest(registry))

    def _build(self) -> Iterable[Metric]:
        yield _gauge("daskd_build_info", "The daemon's version; always 1.", [((self._version,), 1)], ("version",))

    def _measured(self) -> Iterable[Metric]:
        for key, (name, words, labels) in _COUNTERS.items():
            counter = CounterMetricFamily(name, words, labels=labels)
            for (_, values), count in _of(self._measures.counts, key):
                counter.add_metric(values, count)
            if not labels and not counter.samples:
                counter.add_metric((), 0)
            yield counter
        for key, (name, words, labels) in _HISTOGRAMS.items():
            histogram = HistogramMetricFamily(name, words, labels=labels)
            for (_, values), durations in _of(self._measures.durations, key):
                histogram.add_metric(values, cumulative(durations), durations.total)
            yield histogram


class _Collected:
    """Metrics that were made before, as a collector."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        """All of them."""
        return self._metrics


def cumulative(durations: Durations) -> list[tuple[str, float]]:
    """Buckets as Prometheus counts them: each holds the ones below."""
    count, buckets = 0, []
    for bound, more in zip([*map(str, BUCKETS), "+Inf"], durations.counts, strict=True):
        count += more
        buckets.append((bound, float(count)))
    return buckets


def _gauges(standing: Standing) -> Iterable[Metric]:
    phases = [((phase.value,), standing.phases[phase]) for phase in Phase]
    yield _gauge("daskd_clusters", "Clusters that have not ended, by phase.", phases, ("phase",))
    workers: Counter[tuple[str, ...]] = Counter({(state,): 0 for state in (*WORKER_STATES, "other")})
    for state, count in standing.census.workers.items():
        workers[state if state in WORKER_STATES else "other",] += count
    yield _gauge(
        "daskd_workers", "Workers that schedulers know, by Dask's status of them.", workers.items(), ("state",)
    )
    words = "Schedulers and nodes that were launched and have not ended, by role and state."
    yield _gauge("daskd_instances", words, standing.census.instances.items(), ("role", "state"))
    words = "Clusters whose scheduler does not answer the daemon now."
    yield _gauge("daskd_unreachable_schedulers", words, [((), standing.census.deaf)], ())
    yield _gauge("daskd_store_revision", "The newest change of the state.", [((), standing.revision)], ())


def _gauge(name: str, words: str, values: Iterable[tuple[tuple[str, ...], float]], labels: tuple[str, ...]) -> Metric:
    gauge = GaugeMetricFamily(name, words, labels=labels)
    for key, value in values:
        gauge.add_metric(key, value)
    return gauge


def _of(measured: Mapping[Measured, T], name: str) -> Iterable[tuple[Measured, T]]:
    return sorted((item for item in measured.items() if item[0][0] == name), key=lambda item: item[0])
