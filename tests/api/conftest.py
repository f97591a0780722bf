from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from api_harness import OTHER_UID, Api, ask_token_as, start_api

from daskd.config import Config, parse_config


@pytest.fixture
def directory() -> Iterator[Path]:
    """A folder with a short path, which unix sockets need, that another user may enter."""
    with tempfile.TemporaryDirectory(prefix="dk") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@pytest.fixture
async def serve(directory: Path) -> AsyncIterator[Callable[..., Awaitable[Api]]]:
    """Starts an API under a configuration given as TOML; one that runs already is stopped first."""
    running: list[Api] = []

    async def start(toml: str = "") -> Api:
        if running:
            await running.pop().close()
        config = parse_config(toml, Path("daskd.toml")) if toml else Config()
        running.append(await start_api(directory, config))
        return running[-1]

    yield start
    for api in running:
        await api.close()


@pytest.fixture
async def api(serve: Callable[..., Awaitable[Api]]) -> Api:
    return await serve()


@pytest.fixture
async def theirs(api: Api) -> tuple[tuple[str, str], ...]:
    """Metadata with the token that another user was given."""
    token = await asyncio.to_thread(ask_token_as, api.directory / "s", OTHER_UID)
    return (("authorization", f"Bearer {token}"),)
