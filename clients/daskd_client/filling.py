"""Writing what a caller gave into a request; what no message can hold is the caller's error, named by field."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message

from .errors import InvalidSpec, Problem
from .translate import to_message


def fill(field: str, value: Any, message: Message) -> None:
    """Write a dataclass into a message.

    Raises
    ------
    InvalidSpec
        A value in it is not what its field holds.
    """
    try:
        to_message(value, message)
    except (TypeError, ValueError) as error:
        raise _unfit(field, error) from error


def set_field(field: str, value: Any, message: Message) -> None:
    """Set one field.

    Raises
    ------
    InvalidSpec
        The value is not what the field holds.
    """
    try:
        setattr(message, field, value)
    except (TypeError, ValueError) as error:
        raise _unfit(field, error) from error


def _unfit(field: str, error: Exception) -> InvalidSpec:
    return InvalidSpec(f"{field}: {error}", problems=(Problem(field, str(error)),))
