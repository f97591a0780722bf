"""The stores under test: whatever implements the Protocol joins the list and passes the same suite."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from daskd.store import SqliteStore

from .records import MACHINE, Clock

IMPLEMENTATIONS = {"sqlite": SqliteStore.open}


@pytest.fixture
def clock() -> Clock:
    """The store's clock."""
    return Clock()


@pytest.fixture(params=sorted(IMPLEMENTATIONS))
async def store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> AsyncIterator[SqliteStore]:
    """An empty store."""
    opened = await IMPLEMENTATIONS[request.param](tmp_path / "state", machine_id=MACHINE, clock=clock)
    yield opened
    await opened.close()
