"""Fixtures: a daemon, a JupyterLab and a browser for all tests of this folder; `lab`, what the user sees."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from daskd_client import AsyncDaskd, list_clusters

from ..daemon_process import DaemonProcess, daemon_process, until
from .chromium import Page, chromium
from .jupyter_process import JupyterProcess
from .lab import Lab

FAILURES = Path(__file__).parents[2] / "build" / "browser-failures"


@pytest.fixture(scope="package")
def daemon() -> Iterator[DaemonProcess]:
    """A real daemon, ready."""
    with daemon_process() as process:
        process.start()
        yield process


@pytest.fixture(scope="package")
def folder() -> Iterator[Path]:
    """A folder for the server's and the browser's files."""
    folder = Path(tempfile.mkdtemp(prefix="dkdlab-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="package")
def jupyter(folder: Path, daemon: DaemonProcess) -> Iterator[JupyterProcess]:
    """A real JupyterLab, ready."""
    process = JupyterProcess(folder, daemon)
    try:
        process.start()
        yield process
    finally:
        process.end()


@pytest.fixture(scope="package")
def page(folder: Path) -> Iterator[Page]:
    """A browser's window."""
    with chromium(folder) as page:
        yield page


@pytest.fixture(autouse=True)
def no_clusters(daemon: DaemonProcess) -> Iterator[None]:
    """No cluster outlives its test."""
    yield

    async def delete_all() -> None:
        async with AsyncDaskd(daemon.address) as daskd:
            for cluster in await daskd.list_clusters():
                await daskd.delete(cluster.uid)

    asyncio.run(delete_all())
    until(lambda: not list_clusters(daemon.address), "no cluster is left")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test's report has what the server said, and says where a picture of the window lies."""
    report = yield
    page, jupyter = (getattr(item, "funcargs", {}).get(name) for name in ("page", "jupyter"))
    if report.when == "call" and report.failed and page is not None and jupyter is not None:
        FAILURES.mkdir(parents=True, exist_ok=True)
        file = FAILURES / f"{item.name}.png"
        page.picture(file)
        report.sections.append(("the window", f"{file}\n{page.complaints()}"))
        report.sections.append(("Jupyter's log", jupyter.log.read_text()[-5000:]))
    return report


@pytest.fixture
def lab(page: Page, jupyter: JupyterProcess) -> Lab:
    """JupyterLab in the browser; a test opens what it needs."""
    return Lab(page, jupyter)


@pytest.fixture
def picture(page: Page) -> Callable[..., None]:
    """Makes pictures for the documentation, where DASKD_SCREENSHOTS names a folder for them."""
    place = os.environ.get("DASKD_SCREENSHOTS")

    def make(name: str, path: str | None = None) -> None:
        if place:
            Path(place).mkdir(parents=True, exist_ok=True)
            page.picture(Path(place) / f"{name}.png", path)

    return make
