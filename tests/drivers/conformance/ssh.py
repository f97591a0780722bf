"""The SSH driver's harness: two hosts with real sshds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from daskd.drivers.protocol import Observation, Site
from daskd.drivers.ssh import SshDriver
from daskd.model.spec import WorkerGroupSpec

from ..bench import Bench
from ..ssh.lab import Unavailable, kill, lab
from ..ssh.rig import Rig, rig_of
from .nodes import node_of


class SshHarness:
    """Hosts in network namespaces; that they do not answer is a pulled cable."""

    def __init__(self, rig: Rig) -> None:
        self.driver = SshDriver()
        self.rig = rig
        self.bench = rig.bench

    async def open(self, bench: Bench | None = None) -> Site:
        return await self.rig.open(bench)

    def group(self, **changes: Any) -> WorkerGroupSpec:
        return self.rig.group(**changes)

    def processes(self) -> Mapping[int, str]:
        lines = {pid: line for host in self.rig.machines.hosts for pid, line in host.processes().items()}
        # without those that are the host itself
        return {pid: line for pid, line in lines.items() if "sshd" not in line}

    def environments(self) -> bytes:
        found = []
        for pid in self.processes():
            with suppress(OSError):
                found.append(Path(f"/proc/{pid}/environ").read_bytes())
        return b"".join(found)

    def files(self) -> list[Path]:
        return list((self.rig.machines.folder / "daskd").rglob("*"))

    def kill(self, seen: Observation) -> None:
        # the pid that was observed is that of the host's own namespace
        node = node_of(self.processes(), seen.handle.id)
        assert node is not None
        kill(node)

    @contextmanager
    def freeze(self) -> Iterator[None]:
        for host in self.rig.machines.hosts:
            host.pull_cable()
        yield
        for host in self.rig.machines.hosts:
            host.mend_cable()


@asynccontextmanager
async def ssh_harness(folder: Path) -> AsyncIterator[SshHarness]:
    """Two hosts; what was launched ends with them."""
    try:
        with lab(2) as machines:
            async with rig_of(machines, folder) as rig:
                yield SshHarness(rig)
    except Unavailable as refusal:
        pytest.skip(f"no hosts can be made here: {refusal}")
