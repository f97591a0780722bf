"""A client and a daemon of neighbouring releases on the wire: what one says and the other does not know is passed over.

The older release is the API's baseline, `proto/baseline.binpb`; the newer is the present one, or one that says more
than any yet: fields and enum values of numbers that nobody has given out.
"""

from __future__ import annotations

import dataclasses
import enum
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.internal.encoder import _VarintBytes
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from daskd_api.v1 import cluster_pb2, daemon_pb2, token_pb2
from daskd_client.translate import DATACLASSES, _is_repeated, from_message

BASELINE = Path(__file__).parents[2] / "proto" / "baseline.binpb"
MODULES = (cluster_pb2, daemon_pb2, token_pb2)

NOW = {
    descriptor.full_name: message_factory.GetMessageClass(descriptor)
    for module in MODULES
    for descriptor in module.DESCRIPTOR.message_types_by_name.values()
    if descriptor.name in DATACLASSES
}
"""The messages of the present release that have a dataclass, by their full names."""


def baseline() -> dict[str, type[Message]]:
    """The same messages as the last release has them, by the same names.

    Their package is called otherwise, by a name as long, so that both find room in one pool with Google's types.
    """
    renamed = BASELINE.read_bytes().replace(b"daskd_api", b"daskd_old")
    pool = descriptor_pool.Default()
    found: dict[str, type[Message]] = {}
    for file in descriptor_pb2.FileDescriptorSet.FromString(renamed).file:
        if not file.package.startswith("daskd_old"):
            continue
        pool.AddSerializedFile(file.SerializeToString())
        for kind in file.message_type:
            name = f"{file.package}.{kind.name}"
            found[name.replace("daskd_old", "daskd_api")] = message_factory.GetMessageClass(
                pool.FindMessageTypeByName(name)
            )
    return {name: found[name] for name in sorted(NOW.keys() & found.keys())}


BEFORE = baseline()

names = st.sampled_from(sorted(BEFORE))
texts = st.text(max_size=8)
# what a later release may number its enum values: none of today's
later_values = st.integers(1000, 2**31 - 1)
# tags of fields that nobody has given out, of every wire type that there still is
later_fields = st.lists(
    st.one_of(
        st.tuples(st.integers(5000, 9000), st.just(0), st.integers(0, 2**63 - 1).map(_VarintBytes)),
        st.tuples(st.integers(5000, 9000), st.just(1), st.binary(min_size=8, max_size=8)),
        st.tuples(st.integers(5000, 9000), st.just(2), st.binary(max_size=20).map(lambda b: _VarintBytes(len(b)) + b)),
        st.tuples(st.integers(5000, 9000), st.just(5), st.binary(min_size=4, max_size=4)),
    ),
    max_size=3,
)


def fill(draw: Any, message: Message, depth: int = 3) -> None:
    """Give a message any content, enum values that only a later release knows among it."""
    for field in message.DESCRIPTOR.fields:
        if not draw(st.booleans()):
            continue
        is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
        if is_map:
            _fill_map(draw, getattr(message, field.name), field)
        elif _is_repeated(field):
            for _ in range(draw(st.integers(1, 2))):
                _fill_repeated(draw, getattr(message, field.name), field, depth)
        elif field.message_type is not None:
            _fill_inner(draw, getattr(message, field.name), depth)
        else:
            setattr(message, field.name, draw(_scalars(field)))


def _fill_map(draw: Any, target: Any, field: Any) -> None:
    value = field.message_type.fields_by_name["value"]
    if value.message_type is None:
        target[draw(texts)] = draw(_scalars(value))


def _fill_repeated(draw: Any, target: Any, field: Any, depth: int) -> None:
    if field.message_type is None:
        target.append(draw(_scalars(field)))
    else:
        _fill_inner(draw, target.add(), depth)


def _fill_inner(draw: Any, message: Message, depth: int) -> None:
    message.SetInParent()
    if depth and message.DESCRIPTOR.file.package != "google.protobuf":
        fill(draw, message, depth - 1)


def _scalars(field: Any) -> st.SearchStrategy[Any]:
    if field.enum_type is not None:
        return st.one_of(st.sampled_from([value.number for value in field.enum_type.values]), later_values)
    if field.type == field.TYPE_BYTES:
        return st.binary(max_size=8)
    return {
        field.CPPTYPE_INT32: st.integers(-(2**31), 2**31 - 1),
        field.CPPTYPE_INT64: st.integers(-(2**63), 2**63 - 1),
        field.CPPTYPE_UINT32: st.integers(0, 2**32 - 1),
        field.CPPTYPE_UINT64: st.integers(0, 2**64 - 1),
        field.CPPTYPE_DOUBLE: st.floats(allow_nan=False),
        field.CPPTYPE_FLOAT: st.floats(width=32, allow_nan=False),
        field.CPPTYPE_BOOL: st.booleans(),
        field.CPPTYPE_STRING: texts,
    }[field.cpp_type]


@st.composite
def told(draw: Any, by: dict[str, type[Message]]) -> tuple[str, bytes]:
    """What a daemon whose messages are `by` sends: the message's name, and its bytes with fields of a later release."""
    name = draw(names)
    message = by[name]()
    fill(draw, message)
    more = b"".join(_VarintBytes(number << 3 | kind) + data for number, kind, data in draw(later_fields))
    return name, message.SerializeToString() + more


def assert_whole(value: Any) -> None:
    """Every field holds what its dataclass says it may: nothing of a later release has got into it."""
    for field in dataclasses.fields(value):
        content = getattr(value, field.name)
        for item in content if isinstance(content, tuple) else (content,):
            if dataclasses.is_dataclass(item):
                assert_whole(item)
            assert not isinstance(item, Message)


@settings(deadline=None, max_examples=200)
@given(told(NOW))
def test_the_last_releases_client_reads_this_releases_daemon(sent: tuple[str, bytes]) -> None:
    """Whatever a newer daemon answers, fields and enum values without a name here among it, becomes a dataclass."""
    name, data = sent
    message = BEFORE[name].FromString(data)
    assert_whole(from_message(message, DATACLASSES[name.rpartition(".")[2]]))


@settings(deadline=None, max_examples=200)
@given(told(BEFORE))
def test_this_releases_client_reads_the_last_releases_daemon(sent: tuple[str, bytes]) -> None:
    """Whatever an older daemon answers becomes a dataclass, and what it did not know yet has its default there."""
    name, data = sent
    message = NOW[name].FromString(data)
    assert_whole(from_message(message, DATACLASSES[name.rpartition(".")[2]]))


@pytest.mark.parametrize("name", sorted(BEFORE))
def test_what_the_last_release_knows_is_read_alike(name: str) -> None:
    """A message that says nothing is the same dataclass, whichever release of the API read it."""
    kind = DATACLASSES[name.rpartition(".")[2]]
    before, now = from_message(BEFORE[name](), kind), from_message(NOW[name](), kind)
    for field in BEFORE[name].DESCRIPTOR.fields:
        assert getattr(before, field.name) == getattr(now, field.name)


def test_an_enum_value_of_a_later_release_is_unspecified() -> None:
    """A phase, right or state without a name here reads as UNSPECIFIED, in lists too, and never as another one."""
    cluster = NOW["daskd_api.v1.Cluster"]()
    cluster.phase = 4711
    cluster.grants.add(who="ben", right=4711)
    read = from_message(cluster, DATACLASSES["Cluster"])
    values: list[enum.Enum] = [read.phase, read.grants[0].right]
    assert [value.name for value in values] == ["UNSPECIFIED", "UNSPECIFIED"]
