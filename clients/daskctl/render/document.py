"""The API's answers as documents for programs.

A document is protobuf's JSON form of the message (field names as in the protos, enum values by name, times in RFC 3339,
durations as "1.5s"), so that protobuf's own JSON parsers read it back, with two differences that spare its readers
work: a 64-bit number is a number, not a string, and every field is there, null where it is absent.
"""

from __future__ import annotations

import dataclasses
import enum
import math
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from . import moments

_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def document(answer: Any) -> dict[str, Any]:
    """The document of one of the API's dataclasses.

    Raises
    ------
    TypeError
        When it holds what no document can.
    """
    return {field.name: _value(getattr(answer, field.name)) for field in dataclasses.fields(answer)}


def _value(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return _enum_name(value)
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else _not_finite(value)
    if isinstance(value, datetime):
        return moments.absolute(value)
    if isinstance(value, timedelta):
        return _duration(value)
    return _composite(value)


def _composite(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return document(value)
    if isinstance(value, Mapping):
        return {str(key): _value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_value(item) for item in value]
    raise TypeError(f"{type(value).__name__} has no place in a document")


def _enum_name(value: enum.Enum) -> str:
    # buf's rule for enum values: each begins with its enum's name.
    return f"{_WORD_START.sub('_', type(value).__name__).upper()}_{value.name}"


def _not_finite(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _duration(length: timedelta) -> str:
    micros = length // timedelta(microseconds=1)
    seconds, rest = divmod(abs(micros), 1_000_000)
    fraction = f".{rest:06d}".rstrip("0").rstrip(".")
    return f"{'-' if micros < 0 else ''}{seconds}{fraction}s"
