"""How things end, and why the policy did what it did: the pages' words are the code's."""

from __future__ import annotations

import re

import pytest

from daskd.model.adaptive import Reason
from daskd.model.cluster import Cause
from daskd.runtime.exits import ExitCode

from .pages import page, section, table


@pytest.mark.parametrize("name", ["drivers/local.md", "runtime.md"])
def test_exit_codes_on_the_pages_are_all_of_the_runtimes(name: str) -> None:
    """Each code of the runtime's own (from 80 up) is told, and no other."""
    told = {int(code) for code in re.findall(r"(?<![\d.])(8\d)(?= [a-zA-Z`])", page(name))}
    assert told == {code.value for code in ExitCode if code.value > 1}


def test_causes_of_ends_on_the_local_drivers_page_are_causes() -> None:
    """The words with which an end begins are ones that the API gives."""
    told = section(page("drivers/local.md"), "How ends are told").partition(" A node's exit codes")[0]
    causes = set(re.findall(r"(?:^|, |,\n)`([a-z_]+)`", told.strip(), re.MULTILINE))
    assert len(causes) >= 6
    assert causes <= {cause.value for cause in Cause}


def test_reasons_on_the_adaptive_page_are_the_policys() -> None:
    """Every code that a decision can bear has an example, and no other has."""
    rows = table(section(page("adaptive.md"), "Reasons"), "code")
    assert {row["code"] for row in rows} == {reason.value for reason in Reason}
