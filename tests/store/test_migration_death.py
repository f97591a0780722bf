"""A daemon that dies while it brings its database to a newer schema leaves one that the next goes on with."""

from __future__ import annotations

import gzip
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from daskd.store import SqliteStore
from daskd.store.migrations import SCHEMA_VERSION

from .records import FULL, FULL_OF_FORMAT_1, LIVE_INSTANCE, MACHINE, Clock

OLDEST = Path(__file__).parent / "data" / "schema-1.db.gz"

OPEN = """
import asyncio, os, sys, time
from pathlib import Path
from daskd import crashpoints
from daskd.store import SqliteStore
crashpoints.arm(os.environ)
asyncio.run(SqliteStore.open(Path(sys.argv[1]), machine_id=sys.argv[2], clock=time.time))
"""


@pytest.mark.parametrize("step", range(1, SCHEMA_VERSION))
async def test_a_migration_survives(tmp_path: Path, step: int) -> None:
    """After each step the schema is whole, and the next start takes the steps that are left and finds all there was."""
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    (state / "daskd.db").write_bytes(gzip.decompress(OLDEST.read_bytes()))
    env = {**os.environ, "DASKD_TEST_MODE": "1", "DASKD_CRASH_POINT": f"migration.step:{step}"}
    died = subprocess.run([sys.executable, "-c", OPEN, str(state), MACHINE], env=env, timeout=120, check=False)
    assert died.returncode == -signal.SIGKILL
    with closing(sqlite3.connect(state / "daskd.db")) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1 + step,)
    store = await SqliteStore.open(state, machine_id=MACHINE, clock=Clock())
    try:
        assert await store.get(FULL.uid) == replace(FULL_OF_FORMAT_1, revision=3, updated=1000.0)
        assert await store.instances(FULL.uid) == [LIVE_INSTANCE]
    finally:
        await store.close()
