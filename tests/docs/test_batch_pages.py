"""Pages of batch systems' drivers, `docs/drivers/NAME.md`, against what the drivers read and say."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping

import pytest

from daskd.drivers.batch import (
    CondorDriver,
    LsfDriver,
    MoabDriver,
    OarDriver,
    PbsDriver,
    SgeDriver,
    TorqueDriver,
    lsf_words,
    moab_words,
    oar_words,
    pbs_words,
)
from daskd.drivers.batch.condor_words import WALLTIME_OVER, end_by_hold
from daskd.drivers.batch.driver import BatchDriver
from daskd.drivers.batch.sge_words import end_of
from daskd.drivers.payload import LEAST_PYTHON
from daskd.model.cluster import Cause

from .pages import blocks, page, section, table

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ALL = [CondorDriver(), LsfDriver(), MoabDriver(), OarDriver(), PbsDriver(), SgeDriver(), TorqueDriver()]
DRIVERS = pytest.mark.parametrize("driver", ALL, ids=lambda driver: driver.name)


def text_of(driver: BatchDriver) -> str:
    return page(f"drivers/{driver.name}.md")


@DRIVERS
def test_the_table_has_the_drivers_options(driver: BatchDriver) -> None:
    """Every option stands in the page, and no other does; those that have defaults have theirs."""
    told = {row["option"]: row["default"] for row in table(section(text_of(driver), "Options"), "option")}
    fields = driver.options.model_fields
    assert set(told) == set(fields)
    defaults = {name: field.default for name, field in fields.items() if isinstance(field.default, str)}
    assert {name: told[name] for name in defaults} == defaults
    assert told["log_directory"] == driver.settings().log_directory


@DRIVERS
def test_the_settings_on_the_page_are_all_with_their_defaults(driver: BatchDriver) -> None:
    """The example of `[drivers.NAME]` is read as it stands; what is marked otherwise aside it says the defaults."""
    [text] = blocks(text_of(driver), "toml")
    settings = driver.settings.model_validate(tomllib.loads(text)["drivers"][driver.name])
    assert settings.model_fields_set == set(driver.settings.model_fields)
    marked = set(re.findall(r"^(\w+) = .*# .*default:", text, re.MULTILINE))
    assert settings.model_dump(exclude=marked) == driver.settings().model_dump(exclude=marked)


@DRIVERS
def test_the_oldest_python_is_told(driver: BatchDriver) -> None:
    """The page says which Python a node needs."""
    assert "{}.{} or newer".format(*LEAST_PYTHON) in text_of(driver)


@DRIVERS
def test_the_example_on_the_page_is_taken(driver: BatchDriver) -> None:
    """The options of the page's example are such as the driver takes."""
    [example] = blocks(text_of(driver), "python")
    options = re.search(r"options=(\{.*?\})", example)
    assert options is not None
    driver.options.model_validate_json(options[1])


def test_causes_on_sges_page_are_the_drivers() -> None:
    """The codes of SGE's accounting mean what the page says."""
    told = {row["SGE"]: row["it is taken for"] for row in table(section(page("drivers/sge.md"), "States"), "SGE")}
    causes = {text: Cause(meaning) for text, meaning in told.items() if text.startswith("failed")}
    assert set(causes.values()) == {Cause.TIME_LIMIT, Cause.FAILED_TO_START}
    for text, cause in causes.items():
        for number in map(int, re.findall(r"\d+", text)):
            assert end_of(number, "", 0).cause is cause, number


@pytest.mark.parametrize(
    ("name", "codes"), [("pbs", pbs_words.PBS_CODES), ("torque", pbs_words.TORQUE_CODES)], ids=["pbs", "torque"]
)
def test_causes_on_pbs_pages_are_the_drivers(name: str, codes: Mapping[int, Cause]) -> None:
    """Negative exit statuses mean what the page says, and all that have a meaning of their own are told."""
    rows = table(section(page(f"drivers/{name}.md"), "States"), {"pbs": "PBS", "torque": "Torque"}[name])
    told = {
        int(number): Cause(row["it is taken for"])
        for row in rows
        for number in re.findall(r"-\d+", next(iter(row.values())))
    }
    assert set(told) > set(codes)
    for number, cause in told.items():
        assert pbs_words.end_of(number, "", codes).cause is cause, number


def states_of(driver: BatchDriver, title: str) -> list[tuple[str, str]]:
    """The rows of a page's table of states."""
    return [(row[title], row["it is taken for"]) for row in table(section(text_of(driver), "States"), title)]


def test_causes_on_lsfs_page_are_the_drivers() -> None:
    """LSF's reasons mean what the page says, and all that the driver knows are told."""
    rows = states_of(LsfDriver(), "LSF")
    told = {word: Cause(meaning) for text, meaning in rows for word in re.findall(r"TERM_\w+", text)}
    assert told == lsf_words.TERMINATED


def test_causes_on_oars_page_are_the_drivers() -> None:
    """OAR's events mean what the page says."""
    rows = states_of(OarDriver(), "OAR")
    told = {
        event: Cause(meaning)
        for text, meaning in rows
        if "event" in text
        for event in re.findall(r"[A-Z]+_?[A-Z_]{4,}", text)
    }
    assert set(told.values()) == {cause for _, cause in oar_words.EVENTS}
    for event, cause in told.items():
        assert oar_words.end_of("Error", 0, [event], "", began=True).cause is cause, event


def test_causes_on_moabs_page_are_the_drivers() -> None:
    """Torque's codes mean under Moab what the page says."""
    rows = states_of(MoabDriver(), "Moab")
    told = {code: Cause(meaning) for text, meaning in rows for code in re.findall(r"-\d+", text)}
    assert len(told) == len(pbs_words.TORQUE_CODES)
    for code, cause in told.items():
        assert moab_words.end_of("Completed", code, over_time=False).cause is cause, code


@pytest.mark.parametrize("driver", [LsfDriver(), OarDriver(), MoabDriver()], ids=lambda driver: driver.name)
def test_pages_say_what_was_tried(driver: BatchDriver) -> None:
    """Nobody takes a driver that was tried on a double for one that was tried on its system."""
    text = " ".join(text_of(driver).split())
    assert "tested on a double of its command lines, **never yet on a real" in text
    assert section(text_of(driver), "What was read").strip()


def test_causes_on_htcondors_page_are_the_drivers() -> None:
    """The codes of holds mean what the page says."""
    rows = table(section(page("drivers/htcondor.md"), "States"), "HTCondor")
    told = {
        int(number): Cause(row["it is taken for"])
        for row in rows
        if row["HTCondor"].startswith("held")
        for number in re.findall(r"\b\d+\b", row["HTCondor"])
    }
    assert {Cause.CANCELLED, Cause.OUT_OF_MEMORY, Cause.TIME_LIMIT, Cause.FAILED_TO_START} == set(told.values())
    for number, cause in told.items():
        assert end_by_hold(number, WALLTIME_OVER, "").cause is cause, number
