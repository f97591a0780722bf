"""Values that callers give, as fields of a request; what no field can hold is the caller's error, named by field."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message

from daskd_api.v1 import cluster_pb2

from .errors import InvalidSpec, Problem
from .translate import to_message
from .types import Right


def fill(field: str, value: Any, message: Message) -> None:
    """Write a dataclass into a message.

    Raises
    ------
    InvalidSpec
        When no message can hold it.
    """
    try:
        to_message(value, message)
    except (TypeError, ValueError) as error:
        raise _unfit(field, error) from error


def put(field: str, value: Any, message: Message) -> None:
    """Set one field of a message.

    Raises
    ------
    InvalidSpec
        When the field can't hold it.
    """
    try:
        setattr(message, field, value)
    except (TypeError, ValueError) as error:
        raise _unfit(field, error) from error


def _unfit(field: str, error: Exception) -> InvalidSpec:
    return InvalidSpec(f"{field}: {error}", problems=(Problem(field, str(error)),))


def right_number(right: Right | str) -> cluster_pb2.Right.ValueType:
    """A right as requests have it; one that is unknown is left to the daemon to refuse."""
    known = {each.value: each for each in Right}
    wanted = known.get(str(getattr(right, "value", right)).upper(), Right.UNSPECIFIED)
    return cluster_pb2.Right.Value(f"RIGHT_{wanted.value}")
