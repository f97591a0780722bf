"""Times as people read them (how long ago) and as programs do (RFC 3339, UTC)."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from itertools import pairwise

_STEPS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def absolute(moment: datetime) -> str:
    """RFC 3339 in UTC, with as many digits of the second as there are: "2026-03-01T12:00:00.25Z"."""
    utc = moment.astimezone(timezone.utc)
    text = utc.strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
    fraction = f".{utc.microsecond:06d}".rstrip("0").rstrip(".")
    return f"{text}{fraction}Z"


def time_of_day(moment: datetime) -> str:
    """The local time of day: "14:02:59"."""
    return moment.astimezone().strftime("%H:%M:%S")


def span(length: timedelta | float) -> str:
    """How long, in its two largest units: "3d 4h", "2m 5s", "0s".

    Parameters
    ----------
    length
        A timedelta, or seconds. Less than a second, a negative one too (clocks differ), is "0s".
    """
    seconds = max(int(length.total_seconds() if isinstance(length, timedelta) else length), 0)
    for (unit_s, unit), (smaller_s, smaller) in pairwise(_STEPS):
        if seconds >= unit_s:
            rest = seconds % unit_s // smaller_s
            return f"{seconds // unit_s}{unit}" + (f" {rest}{smaller}" if rest else "")
    return f"{seconds}s"


def ago(moment: datetime, now: datetime) -> str:
    """How long ago `moment` was, seen from `now`: "2m 5s ago"."""
    return f"{span(now - moment)} ago"


def until(moment: datetime, now: datetime) -> str:
    """How far ahead `moment` lies, seen from `now`: "in 23h 59m"; "now" when it is past."""
    return f"in {span(moment - now)}" if moment > now else "now"
