"""What `RebindingClient` adds to the way that a client connects."""

from __future__ import annotations

from typing import Any

import pytest
from distributed import Client

from daskd_client import RebindingClient


async def test_a_connection_that_is_not_ready_for_tls_is_one_to_try_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """tornado raises a ValueError there, and distributed tries again for an OSError alone."""

    async def not_idle(self: Any, timeout: float | None = None) -> None:
        raise ValueError("IOStream is not idle; cannot convert to SSL")

    monkeypatch.setattr(Client, "_ensure_connected", not_idle)
    client = RebindingClient.__new__(RebindingClient)
    with pytest.raises(OSError, match="not there yet"):
        await client._ensure_connected()
