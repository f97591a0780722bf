"""Between the API's messages and the dataclasses of `types`: by name, driven by the messages' descriptors.

Fields are called alike on both sides, so one walk over the descriptor serves every message. What this release has no
dataclass field for is passed over, as the API asks of its clients.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, TypeVar

from google.protobuf import duration_pb2, json_format, struct_pb2, timestamp_pb2
from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.message import Message

from . import explanation, preview, types

T = TypeVar("T")

DATACLASSES: dict[str, type[Any]] = {
    "ApplyClusterResponse": types.Applied,
    "WatchClustersResponse": types.Change,
    "DiscardHeldWorkResponse": types.Discarded,
    "GetConnectionResponse": types.Connection,
    "CreateDashboardLinkResponse": types.DashboardLink,
    "CreateClusterResponse": preview.Preview,
    "CreateTokenResponse": types.CreatedToken,
    "ExplainClusterResponse": explanation.Explanation,
    "GetDaemonInfoResponse": types.DaemonInfo,
    **{
        cls.__name__: cls
        for module in (types, explanation, preview)
        for cls in vars(module).values()
        if dataclasses.is_dataclass(cls) and isinstance(cls, type) and cls.__module__ == module.__name__
    },
}
"""The dataclass of each message, by the message's name."""

ENUMS: dict[str, type[enum.Enum]] = {
    "IdleAction": types.IdleAction,
    "SchedulerLossAction": types.SchedulerLossAction,
    "Phase": types.Phase,
    "Right": types.Right,
    "WorkerState": types.WorkerState,
    "WatchKind": types.WatchKind,
}


def from_message(message: Message, kind: type[T]) -> T:
    """The dataclass of a message."""
    known = {f.name for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    return kind(**{f.name: _value(message, f) for f in message.DESCRIPTOR.fields if f.name in known})


def to_message(value: Any, message: Message) -> None:
    """Write a dataclass into `message`, whose fields are called alike; what is None stays absent.

    Raises
    ------
    TypeError, ValueError
        A value is not what the field holds; the words name the field.
    """
    for field in dataclasses.fields(value):
        content = getattr(value, field.name)
        if content is None:
            continue
        try:
            _put(message, field.name, content)
        except (TypeError, ValueError, json_format.ParseError) as error:
            raise type(error)(f"{field.name}: {error}") from error


def to_timestamp(when: datetime) -> timestamp_pb2.Timestamp:
    """A time as the API writes it; one without a zone is taken as local time, as datetime does."""
    stamp = timestamp_pb2.Timestamp()
    stamp.FromDatetime(when.astimezone(timezone.utc))
    return stamp


def _value(message: Message, field: Any) -> Any:
    content = getattr(message, field.name)
    if _is_map(field):
        return dict(content)
    if _is_repeated(field):
        return tuple(_single(item, field) for item in content)
    if field.has_presence and not message.HasField(field.name):
        # A Struct is there to be looked into: absent is empty. Everything else says None.
        return {} if _is_struct(field) else None
    return _single(content, field)


def _single(content: Any, field: Any) -> Any:
    if field.enum_type is not None:
        return _enum(content, field.enum_type)
    if isinstance(content, timestamp_pb2.Timestamp):
        return content.ToDatetime(tzinfo=timezone.utc)
    if isinstance(content, duration_pb2.Duration):
        return content.ToTimedelta()
    if isinstance(content, struct_pb2.Struct):
        return _whole_numbers(json_format.MessageToDict(content))
    if isinstance(content, Message):
        return from_message(content, DATACLASSES[content.DESCRIPTOR.name])
    return content


def _put(message: Message, name: str, content: Any) -> None:
    target = getattr(message, name)
    if isinstance(target, struct_pb2.Struct):
        if content:
            json_format.ParseDict(_plain(content), target)
    elif isinstance(target, duration_pb2.Duration):
        target.FromTimedelta(content)
        target.SetInParent()
    elif isinstance(target, Message):
        target.SetInParent()
        to_message(content, target)
    elif isinstance(content, enum.Enum):
        descriptor = message.DESCRIPTOR.fields_by_name[name].enum_type
        assert descriptor is not None
        prefix = descriptor.values_by_number[0].name.removesuffix("UNSPECIFIED")
        setattr(message, name, descriptor.values_by_name[f"{prefix}{content.name}"].number)
    elif isinstance(content, Mapping):
        target.update(content)
    elif isinstance(content, tuple) and content and dataclasses.is_dataclass(content[0]):
        for item in content:
            to_message(item, target.add())
    elif isinstance(content, (tuple, list)):
        target.extend(content)
    else:
        setattr(message, name, content)


def _enum(number: int, descriptor: EnumDescriptor) -> enum.Enum:
    cls = ENUMS[descriptor.name]
    value = descriptor.values_by_number.get(number)
    prefix = descriptor.values_by_number[0].name.removesuffix("UNSPECIFIED")
    try:
        return cls[value.name.removeprefix(prefix)] if value is not None else cls["UNSPECIFIED"]
    except KeyError:
        return cls["UNSPECIFIED"]


def _is_map(field: Any) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def _is_struct(field: Any) -> bool:
    return field.message_type is not None and bool(field.message_type.full_name == "google.protobuf.Struct")


def _is_repeated(field: Any) -> bool:
    # protobuf 6 deprecates `label` for `is_repeated`, which protobuf 4 does not have.
    if hasattr(field, "is_repeated"):
        return bool(field.is_repeated)
    return bool(field.label == field.LABEL_REPEATED)


def _whole_numbers(content: Any) -> Any:
    """JSON's only number is a double; what is whole comes back as an int, as it was most likely given."""
    if isinstance(content, float) and math.isfinite(content) and content.is_integer():
        return int(content)
    if isinstance(content, dict):
        return {key: _whole_numbers(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_whole_numbers(value) for value in content]
    return content


def _plain(content: Any) -> Any:
    """`content` with its tuples and mappings as JSON has them."""
    if isinstance(content, Mapping):
        return {str(key): _plain(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_plain(value) for value in content]
    if isinstance(content, timedelta):
        return content.total_seconds()
    return content
