"""Amounts as users write them."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ByteSize, TypeAdapter, ValidationError

_BYTES = TypeAdapter(ByteSize)
_DURATION = re.compile(r"(?P<number>\d+(\.\d+)?)\s*(?P<unit>[a-z]+)?", re.ASCII)
_UNITS = {
    ("ms", "millisecond", "milliseconds"): 0.001,
    ("s", "sec", "second", "seconds"): 1.0,
    ("m", "min", "minute", "minutes"): 60.0,
    ("h", "hour", "hours"): 3600.0,
    ("d", "day", "days"): 86_400.0,
    ("w", "week", "weeks"): 604_800.0,
}
_SECONDS = {name: seconds for names, seconds in _UNITS.items() for name in names}
_MOST_BYTES = 1 << 60


def parse_memory(value: object) -> int | Literal["auto"]:
    """Bytes of a memory limit.

    Parameters
    ----------
    value
        "4GiB", "500 MB", a number of bytes, "0" or None for no limit, "auto".

    Returns
    -------
    int or "auto"
        Bytes; 0 means no limit.

    Raises
    ------
    ValueError
        When it is no amount of memory, negative, or more than an exbibyte.
    """
    if value is None:
        return 0
    if isinstance(value, str) and value.strip().lower() == "auto":
        return "auto"
    mend = 'write bytes with a unit, such as "4GiB" or "500 MB", "0" for no limit, or "auto"'
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError(f"{value!r} is no amount of memory: {mend}")
    try:
        size = int(_BYTES.validate_python(value.strip() if isinstance(value, str) else value))
    except (ValidationError, OverflowError):
        raise ValueError(f"{value!r} is no amount of memory: {mend}") from None
    if not 0 <= size <= _MOST_BYTES:
        raise ValueError(f"{value!r} is out of range: {mend}")
    return size


def parse_size(value: object) -> int:
    """Bytes of a size that is neither nothing nor left open.

    Raises
    ------
    ValueError
        When it is no size, zero, negative, or more than an exbibyte.
    """
    mend = 'write bytes with a unit, such as "4 MiB"'
    try:
        size = parse_memory(value)
    except ValueError:
        raise ValueError(f"{value!r} is no size: {mend}") from None
    if size == "auto" or size == 0:
        raise ValueError(f"{value!r} is no size: {mend}")
    return size


def parse_seconds(value: object) -> float:
    """Seconds of a duration: a number, or "30s", "5 min", "12h", "1d".

    Raises
    ------
    ValueError
        When it is no duration, negative or not finite.
    """
    if isinstance(value, str) and (match := _DURATION.fullmatch(value.strip().lower())):
        scale = _SECONDS.get(match["unit"] or "s")
        if scale is not None:
            return float(match["number"]) * scale
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0:
        return float(value)
    raise ValueError(f'{value!r} is no duration: write seconds, or "30s", "5 min", "12h", "1d"')


def seconds_in_words(seconds: float) -> str:
    """A duration in its two largest units: "12 h", "1 h 30 min", "2.5 s"."""
    rest = float(round(seconds) if seconds >= 60 else seconds)
    parts: list[str] = []
    for unit, size in (("d", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count:g} {unit}")
    if not parts:
        return f"{rest:g} s"
    return " ".join([*parts, f"{rest:.0f} s"][:2]).removesuffix(" 0 s")


def _memory(value: Any) -> int | Literal["auto"]:
    return parse_memory(value)


Memory = Annotated[int | Literal["auto"], BeforeValidator(_memory)]
"""Bytes (0: no limit) or "auto"."""

Amount = Annotated[int, BeforeValidator(parse_size)]
"""Bytes, more than 0."""

Seconds = Annotated[float, BeforeValidator(parse_seconds)]
"""A duration in seconds, not negative."""
