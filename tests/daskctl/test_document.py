"""Answers as documents."""

from __future__ import annotations

import json
import math
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from daskctl.render.document import document
from daskd_api.v1 import cluster_pb2, daemon_pb2
from daskd_client import translate, types

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_MOMENTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(timezone.utc))  # noqa: DTZ001
_DURATIONS = st.timedeltas(timedelta(0), timedelta(days=3650))
_INT32 = st.integers(-(2**31), 2**31 - 1)
_INT64 = st.integers(-(2**63), 2**63 - 1)
# What a field of a message holds by its descriptor's kind; memory and revisions need all 64 bits.
_LEAVES: dict[Any, st.SearchStrategy[Any]] = {
    int: _INT32,
    str: _TEXT,
    bool: st.booleans(),
    datetime: _MOMENTS,
    timedelta: _DURATIONS,
    types.Phase: st.sampled_from(types.Phase),
    types.WorkerState: st.sampled_from(types.WorkerState),
}
for _type, _strategy in _LEAVES.items():
    st.register_type_strategy(_type, _strategy)


def _workers() -> st.SearchStrategy[types.Worker]:
    return st.builds(
        types.Worker,
        pid=_INT64,
        memory_limit_bytes=_INT64,
        memory_bytes=_INT64,
        managed_bytes=_INT64,
        resources=st.dictionaries(_TEXT, st.floats(), max_size=2),
    )


def _clusters() -> st.SearchStrategy[types.Cluster]:
    options = st.dictionaries(_TEXT, st.one_of(st.none(), st.booleans(), _TEXT, _INT32), max_size=2)
    group = st.builds(types.WorkerGroupSpec, options=options)
    spec = st.builds(types.ClusterSpec, groups=st.lists(group, max_size=2).map(tuple))
    return st.builds(types.Cluster, revision=_INT64, spec=spec)


def _message_of(value: Any, empty: Message) -> Message:
    return json_format.ParseDict(document(value), empty)


@given(_clusters())
def test_protobuf_reads_the_document_of_a_cluster_back_as_the_same_cluster(cluster: types.Cluster) -> None:
    """The document is protobuf's JSON form: its field names, enum names, times and durations."""
    assert translate.from_message(_message_of(cluster, cluster_pb2.Cluster()), types.Cluster) == cluster


@given(_workers())
def test_protobuf_reads_the_document_of_a_worker_back_as_the_same_worker(worker: types.Worker) -> None:
    """Numbers that JSON has no form for survive as well."""
    back = translate.from_message(_message_of(worker, cluster_pb2.Worker()), types.Worker)
    assert document(back) == document(worker)


@given(_INT64)
def test_a_64_bit_number_is_a_number(count: int) -> None:
    """Not a string, as protobuf's own JSON has it, and exact."""
    read = json.loads(json.dumps(document(types.HeldWork(bytes=count))))
    assert read["bytes"] == count
    assert type(read["bytes"]) is int


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (types.Cluster(), cluster_pb2.Cluster()),
        (types.Worker(), cluster_pb2.Worker()),
        (types.Event(), cluster_pb2.Event()),
        (types.HeldWork(), cluster_pb2.HeldWork()),
        (types.LogLine(), cluster_pb2.LogLine()),
        (types.Discarded(), cluster_pb2.DiscardHeldWorkResponse()),
        (types.DaemonInfo(), daemon_pb2.GetDaemonInfoResponse()),
        (types.Driver(), daemon_pb2.Driver()),
        (types.Profile(), daemon_pb2.Profile()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_field_of_the_message_is_in_the_document(answer: Any, message: Message) -> None:
    """By its name in the protos, also where it has nothing to say."""
    assert set(document(answer)) == {field.name for field in message.DESCRIPTOR.fields}


def test_enum_values_are_called_as_in_the_protos() -> None:
    """A prefix and all."""
    assert document(types.Cluster(phase=types.Phase.RUNNING))["phase"] == "PHASE_RUNNING"
    assert document(types.Worker(state=types.WorkerState.PAUSED))["state"] == "WORKER_STATE_PAUSED"


@pytest.mark.parametrize(("number", "written"), [(math.inf, "Infinity"), (-math.inf, "-Infinity"), (math.nan, "NaN")])
def test_a_number_that_json_has_no_form_for_is_a_word(number: float, written: str) -> None:
    """So that the document is JSON whatever it holds."""
    assert document(types.Worker(resources={"GPU": number}))["resources"] == {"GPU": written}


def test_what_no_document_can_hold_is_refused() -> None:
    """A new kind of field does not slip out as its repr."""
    with pytest.raises(TypeError, match="object has no place"):
        document(types.Profile(defaults={"key": object()}))
