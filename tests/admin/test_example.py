"""The example configuration that `make install` puts in place."""

from __future__ import annotations

import re
from pathlib import Path

from daskd.config import Config, parse_config

EXAMPLE = Path(__file__).parents[2] / "systemd" / "daskd.toml.example"


def test_as_it_is_installed_it_changes_nothing() -> None:
    """A daemon with the example is the daemon without a file."""
    assert parse_config(EXAMPLE.read_text(), EXAMPLE).model_dump() == Config().model_dump()


def test_what_is_commented_out_is_the_default() -> None:
    """Whoever removes a # changes nothing, but where the comment says that it is no default."""
    lines = [line for line in EXAMPLE.read_text().splitlines() if "not a default" not in line]
    text = re.sub(r"^#(?=[a-z_]+ = |\[)", "", "\n".join(lines), flags=re.MULTILINE)
    shown = parse_config(text, EXAMPLE)
    assert shown.model_dump(exclude={"profiles"}) == Config().model_dump(exclude={"profiles"})
    assert shown.profiles["default"].max_workers == 8
    assert text.count(" = ") > 15
