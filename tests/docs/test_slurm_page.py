"""`docs/drivers/slurm.md` against what the driver reads and says."""

from __future__ import annotations

import re
import sys

from daskd.drivers.batch.slurm_driver import SlurmOptions, SlurmSettings
from daskd.drivers.batch.slurm_words import meaning_of_reason, state_of
from daskd.drivers.payload import LEAST_PYTHON
from daskd.drivers.protocol import Wait
from daskd.model.cluster import State

from .pages import blocks, page, section, table

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PAGE = page("drivers/slurm.md")


def test_the_table_has_the_drivers_options() -> None:
    """Every option stands in the page, and no other does; those that have defaults have theirs."""
    told = {row["option"]: row["default"] for row in table(section(PAGE, "Options"), "option")}
    assert set(told) == set(SlurmOptions.model_fields)
    assert told["shebang"] == f"`{SlurmOptions().shebang}`".strip("`")
    assert told["log_directory"] == SlurmSettings().log_directory


def test_the_settings_on_the_page_are_all_with_their_defaults() -> None:
    """The example of `[drivers.slurm]` is read as it stands; what is marked otherwise aside it says the defaults."""
    [text] = blocks(PAGE, "toml")
    settings = SlurmSettings.model_validate(tomllib.loads(text)["drivers"]["slurm"])
    assert settings.model_fields_set == set(SlurmSettings.model_fields)
    marked = set(re.findall(r"^(\w+) = .*# .*default:", text, re.MULTILINE))
    kept = settings.model_dump(exclude=marked)
    assert kept == SlurmSettings().model_dump(exclude=marked)


def test_states_on_the_page_are_slurms_and_mean_that() -> None:
    """Each of Slurm's words in the table of ends is an end, with the cause that stands beside it."""
    rows = table(section(PAGE, "States"), "Slurm")
    told = {word: row["it is taken for"] for row in rows for word in re.findall(r"\b[A-Z_]{4,}\b", row["Slurm"])}
    assert len(told) >= 9
    for word, meaning in told.items():
        state, cause = state_of(word)
        assert state is State.ENDED
        assert cause.value in meaning, word
    for reason in re.findall(
        r"`(\w+)`", section(PAGE, "States").partition("can never run")[2].partition("is ended")[0]
    ):
        assert meaning_of_reason(reason)[0] is Wait.HOPELESS


def test_the_oldest_python_is_told() -> None:
    """The page says which Python a node needs."""
    assert "{}.{} or newer".format(*LEAST_PYTHON) in PAGE
