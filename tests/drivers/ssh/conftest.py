"""Fixtures: `machines`, two hosts with real sshds; `rig`, those with a scheduler beside them and the driver's site."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from .lab import Lab, Unavailable, lab
from .rig import Rig, rig_of


@pytest.fixture
def machines() -> Iterator[Lab]:
    """Two hosts on a network of their own."""
    try:
        with lab(2) as made:
            yield made
    except Unavailable as refusal:
        pytest.skip(f"no hosts can be made here: {refusal}")


@pytest.fixture
async def rig(machines: Lab, tmp_path: Path) -> AsyncIterator[Rig]:
    """A scheduler that the hosts reach, and a site that reaches the hosts."""
    async with rig_of(machines, tmp_path) as made:
        yield made
