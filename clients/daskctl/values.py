"""The kinds of values that options take, each checked at the edge with words that name the mend."""

from __future__ import annotations

import json
import os
import re
from datetime import datetime, timedelta, timezone
from typing import Any

import click

_DURATION = re.compile(r"(?P<number>\d+(\.\d+)?)\s*(?P<unit>ms|s|min|m|h|d)?", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_LONGEST_S = 366 * 86400.0
_RFC3339 = re.compile(
    r"(?P<day>\d{4}-\d{2}-\d{2})[Tt ](?P<time>\d{2}:\d{2}:\d{2})(?P<fraction>\.\d{1,9})?(?P<zone>[Zz]|[+-]\d{2}:\d{2})",
    re.ASCII,
)
_EXACT = 2**53
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


def parse_duration(text: str) -> float:
    """Seconds of a duration.

    Parameters
    ----------
    text
        Seconds, or a number with a unit: "30", "30s", "5m", "12h", "1d".

    Raises
    ------
    ValueError
        When it is none, or longer than a year.
    """
    seconds = seconds_of(text)
    if seconds > _LONGEST_S:
        raise ValueError(f"{text!r} is longer than a year: write less")
    return seconds


def seconds_of(text: str) -> float:
    """Seconds of a duration of whatever length.

    Raises
    ------
    ValueError
        When it is none.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f'{text!r} is no duration: write seconds, or "30s", "5m", "12h", "1d"')
    return float(match["number"]) * _SECONDS[match["unit"] or "s"]


def parse_moment(text: str, now: datetime) -> datetime:
    """A moment in the past, in UTC.

    Parameters
    ----------
    text
        RFC 3339 ("2026-03-01T12:00:00Z"), or how long before `now` ("5m").

    Raises
    ------
    ValueError
        When it is neither.
    """
    if match := _RFC3339.fullmatch(text.strip()):
        # Python 3.10 reads neither "Z" nor other than three or six digits of a second.
        zone = "+00:00" if match["zone"] in "Zz" else match["zone"]
        fraction = (match["fraction"] or ".0")[:7].ljust(7, "0")
        return datetime.fromisoformat(f"{match['day']}T{match['time']}{fraction}{zone}").astimezone(timezone.utc)
    try:
        return now - timedelta(seconds=parse_duration(text))
    except ValueError:
        raise ValueError(
            f'{text!r} is no time: write RFC 3339 ("2026-03-01T12:00:00Z"), or how long ago ("5m", "2h")'
        ) from None


class Duration(click.ParamType):  # type: ignore[type-arg]  # generic in the newest click only
    """An option's value that is a duration; seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            return parse_duration(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Moment(click.ParamType):  # type: ignore[type-arg]  # generic in the newest click only
    """An option's value that is a moment in the past."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            return parse_moment(str(value), datetime.now(timezone.utc))
        except (ValueError, OverflowError) as error:
            self.fail(str(error), param, ctx)


class DriverOption(click.ParamType):  # type: ignore[type-arg]  # generic in the newest click only
    """A driver's option, KEY=VALUE. The value is read as JSON where it is JSON (22, true, ["a","b"]), else as text."""

    name = "KEY=VALUE"
    words = "option of a driver"
    example = "queue=main"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        if isinstance(value, tuple):
            return value
        key, equals, text = str(value).partition("=")
        if not equals or not key:
            self.fail(f"{value!r} is no {self.words}: write KEY=VALUE, for example {self.example}", param, ctx)
        return key, _json_or_text(text)


class WorkerOption(DriverOption):
    """A keyword argument of the workers' class, in the same form."""

    words = "option of workers"
    example = "lifetime=1h"


class Amount(click.ParamType):  # type: ignore[type-arg]  # generic in the newest click only
    """A resource and how much there is of it, KEY=NUMBER."""

    name = "KEY=NUMBER"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float]:
        if isinstance(value, tuple):
            return value
        key, _, text = str(value).partition("=")
        try:
            amount = float(text)
        except ValueError:
            amount = -1.0
        if not key or not 0 <= amount < float("inf"):
            self.fail(f"{value!r} is no resource: write its name and a number, for example GPU=1", param, ctx)
        return key, amount


class Variable(click.ParamType):  # type: ignore[type-arg]  # generic in the newest click only
    """An environment variable: KEY=VALUE, or KEY alone to take its value from daskctl's own environment.

    The second keeps a secret out of the process table.
    """

    name = "KEY[=VALUE]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        key, equals, text = str(value).partition("=")
        if not _VARIABLE.fullmatch(key):
            self.fail(f"{key!r} is no name of a variable: write KEY=VALUE, for example TZ=UTC", param, ctx)
        if equals:
            return key, text
        if key not in os.environ:
            self.fail(f"{key} is not set here: set it, or write {key}=VALUE", param, ctx)
        return key, os.environ[key]


def _json_or_text(text: str) -> Any:
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except ValueError:
        return text
    if isinstance(value, (int, float)) and not -_EXACT <= value <= _EXACT:
        return text  # the API carries numbers as doubles: a job id of 20 digits would arrive as another
    return value


def _refuse_constant(word: str) -> Any:
    raise ValueError(word)
