"""A pytest plugin for CI: a test that is skipped fails the run, unless a file of allowed skips says why it may.

A line of that file is `tests/path.py::test_name: reason`; lines that begin with `#` are comments.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


class AllowedSkips:
    """Collects what was skipped and may not be."""

    def __init__(self, allowed: frozenset[str]) -> None:
        self.allowed = allowed
        self.forbidden: list[str] = []

    def note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        """Note a report of a skip; an expected failure is none."""
        if not report.skipped or hasattr(report, "wasxfail"):
            return
        if report.nodeid.partition("[")[0] not in self.allowed:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
            self.forbidden.append(f"{report.nodeid}: {reason}")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self.note(report)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.forbidden and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.forbidden:
            terminalreporter.section("skipped, but must run here", red=True)
            for line in self.forbidden:
                terminalreporter.line(line, red=True)


def allowed_skips(path: Path) -> frozenset[str]:
    """The names of the tests that may be skipped.

    Raises
    ------
    pytest.UsageError
        A line has no reason.
    """
    return frozenset(_names(path))


def _names(path: Path) -> Iterator[str]:
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            name, _, reason = line.partition(": ")
            if not reason.strip():
                raise pytest.UsageError(f"{path}:{number}: write `tests/path.py::test_name: reason`")
            yield name.strip()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--allowed-skips", metavar="FILE", help="fail on skips that this file does not name")


def pytest_configure(config: pytest.Config) -> None:
    path = config.getoption("--allowed-skips")
    # with xdist the controller alone sees every report; its workers have the same options
    if path and not hasattr(config, "workerinput"):
        config.pluginmanager.register(AllowedSkips(allowed_skips(Path(path))))
