"""Values of options."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import click
import pytest

from daskctl.values import DriverOption, Variable, parse_duration, parse_moment

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 30),
        ("30s", 30),
        ("1.5 s", 1.5),
        ("250ms", 0.25),
        ("5m", 300),
        ("5 min", 300),
        ("12h", 43200),
        ("1d", 86400),
    ],
)
def test_a_duration_is_seconds_or_a_number_with_a_unit(text: str, seconds: float) -> None:
    """In the units that people write."""
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "soon", "5 weeks", "-5m", "1e3", "٣s", "nan", "400d"])
def test_what_is_no_duration_is_refused_with_the_mend(text: str) -> None:
    """The words say how to write it."""
    with pytest.raises(ValueError, match="write"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-03-01T11:30:00Z", NOW - timedelta(minutes=30)),
        ("2026-03-01t11:30:00z", NOW - timedelta(minutes=30)),
        ("2026-03-01T13:30:00+02:00", NOW - timedelta(minutes=30)),
        ("2026-03-01T11:59:59.5Z", NOW - timedelta(milliseconds=500)),
        ("2026-03-01T11:59:59.123456789Z", NOW - timedelta(microseconds=876544)),
        ("5m", NOW - timedelta(minutes=5)),
    ],
)
def test_a_moment_is_rfc_3339_or_how_long_ago(text: str, moment: datetime) -> None:
    """Either names the same moment in UTC."""
    assert parse_moment(text, NOW) == moment


@pytest.mark.parametrize("text", ["", "yesterday", "2026-03-01", "2026-13-01T00:00:00Z", "2026-03-01T12:00:00"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    """A time without a zone, too: it would mean another moment on another machine."""
    with pytest.raises(ValueError, match=r"write RFC 3339|month must be"):
        parse_moment(text, NOW)


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("queue=main", ("queue", "main")),
        ("walltime=00:30:00", ("walltime", "00:30:00")),
        ("port=22", ("port", 22)),
        ("gpu=true", ("gpu", True)),
        ('hosts=["h1", "h2"]', ("hosts", ["h1", "h2"])),
        ('account="123"', ("account", "123")),
        ("account=12345678901234567890", ("account", "12345678901234567890")),
        ("share=1e999", ("share", "1e999")),
        ("share=NaN", ("share", "NaN")),
        ("filter=a=b", ("filter", "a=b")),
        ("comment=", ("comment", "")),
    ],
)
def test_an_option_is_json_where_it_is_json_else_text(text: str, option: tuple[str, Any]) -> None:
    """A number that the API can't carry exactly stays text."""
    assert DriverOption().convert(text, None, None) == option


@pytest.mark.parametrize("text", ["queue", "=main"])
def test_an_option_without_key_or_value_is_refused(text: str) -> None:
    """The words say how to write it."""
    with pytest.raises(click.BadParameter, match="KEY=VALUE"):
        DriverOption().convert(text, None, None)


def test_a_variable_without_value_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a secret need not stand in the process table."""
    monkeypatch.setenv("DASKCTL_TEST_TOKEN", "a=b")
    assert Variable().convert("DASKCTL_TEST_TOKEN", None, None) == ("DASKCTL_TEST_TOKEN", "a=b")
    assert Variable().convert("TZ=UTC", None, None) == ("TZ", "UTC")


@pytest.mark.parametrize("text", ["1X=2", "=2", "A-B=2", "DASKCTL_TEST_SET_NOWHERE"])
def test_a_variable_that_is_none_is_refused(text: str) -> None:
    """So is one to be taken from the environment that is not there."""
    with pytest.raises(click.BadParameter, match="write"):
        Variable().convert(text, None, None)
