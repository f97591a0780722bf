"""What a killed daemon leaves."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from daskd.store import SqliteStore

from .records import MACHINE, Clock

WRITER = Path(__file__).with_name("writing_process.py")


def count_and_kill(state: Path) -> int:
    """Let a process write for a while and kill it; the last number that it said was on disk."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(WRITER), str(state), MACHINE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        try:
            first = [int(process.stdout.readline()) for _ in range(40)]
        finally:
            process.kill()
        rest = process.stdout.read().split("\n")[:-1]  # the last line may be cut short
    return int((rest or first)[-1])


async def test_what_was_answered_survives_kill_9(tmp_path: Path) -> None:
    """After kill -9 amid writes, twice, all that was answered is there, record, instances and history agreeing."""
    for _ in range(2):
        said = count_and_kill(tmp_path / "state")
        store = await SqliteStore.open(tmp_path / "state", machine_id=MACHINE, clock=Clock())
        try:
            [found] = await store.live()
            assert said <= found.held.keys <= said + 1
            assert len(await store.instances(found.uid)) == found.held.keys
            assert len(await store.events(found.uid)) == found.held.keys + 1
            assert found.revision == store.revision == found.held.keys + 1
        finally:
            await store.close()
