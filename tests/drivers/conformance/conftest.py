"""Fixture: `harness`, every driver's in turn."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from .harness import Harness
from .harnesses import DRIVERS, HARNESSES


@pytest.fixture(params=DRIVERS)
async def harness(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Harness]:
    """A driver with its system; nothing of it is left after the test."""
    async with HARNESSES[request.param](tmp_path) as made:
        yield made
