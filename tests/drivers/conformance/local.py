"""The local driver's harness: this machine."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from daskd.drivers.local import LocalDriver
from daskd.drivers.protocol import Observation, Site
from daskd.model.spec import WorkerGroupSpec

from ..bench import Bench, bench, until


class LocalHarness:
    """Processes of this machine, told apart by the mark of the daemon's state."""

    def __init__(self, made: Bench) -> None:
        self.driver = LocalDriver()
        self.bench = made
        self.sites: list[Site] = []

    async def open(self, bench: Bench | None = None) -> Site:
        bench = bench or self.bench
        site = await self.driver.open(bench.who, bench.where)
        self.sites.append(site)
        return site

    def group(self, **changes: Any) -> WorkerGroupSpec:
        return WorkerGroupSpec(**{"driver": "local", "memory_limit": 0, **changes})

    def _pids(self) -> Iterator[str]:
        mark = f"DASKD_STATE={self.bench.where.state_id}".encode()
        here = str(self.bench.where.state_dir).encode()
        for pid in os.listdir("/proc"):
            with suppress(OSError):
                if not pid.isdigit() or Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][1] in "ZX":
                    continue
                of_ours = mark in Path(f"/proc/{pid}/environ").read_bytes()
                if of_ours or here in Path(f"/proc/{pid}/cmdline").read_bytes():
                    yield pid

    def processes(self) -> Mapping[int, str]:
        lines = {}
        for pid in self._pids():
            with suppress(OSError):
                line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
                lines[int(pid)] = line.decode(errors="replace")
        return lines

    def environments(self) -> bytes:
        found = []
        for pid in self._pids():
            with suppress(OSError):
                found.append(Path(f"/proc/{pid}/environ").read_bytes())
        return b"".join(found)

    def files(self) -> list[Path]:
        return list((self.bench.where.state_dir / "clusters").rglob("*"))

    def kill(self, seen: Observation) -> None:
        assert seen.pid is not None
        os.kill(seen.pid, signal.SIGKILL)

    def freeze(self) -> AbstractContextManager[None]:
        raise NotImplementedError("/proc always answers")


@asynccontextmanager
async def local_harness(folder: Path) -> AsyncIterator[LocalHarness]:
    """This machine; what was launched is gone afterwards."""
    async with bench(folder) as made:
        harness = LocalHarness(made)
        try:
            yield harness
        finally:
            for site in harness.sites:
                await site.close()
            await until(lambda: not _killed(harness), "nothing runs any more")


def _killed(harness: LocalHarness) -> Mapping[int, str]:
    left = harness.processes()
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return left
