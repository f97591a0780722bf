"""Hosts, a scheduler beside them, and the SSH driver's site."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from daskd.drivers.ssh import SshDriver
from daskd.drivers.ssh.site import SshSite
from daskd.model.spec import WorkerGroupSpec

from ..bench import Bench, bench
from .lab import Lab, Machine


def options_of(machines: Lab, *hosts: Machine | dict[str, Any], **more: Any) -> dict[str, Any]:
    """A group's options: these hosts, or all."""
    return {
        "hosts": [host.address if isinstance(host, Machine) else host for host in hosts or machines.hosts],
        "username": "root",
        "key": str(machines.key),
        "known_hosts": str(machines.known_hosts),
        "python": sys.executable,
        "directory": str(machines.folder / "daskd"),
        "slots": 4,
        **more,
    }


class Rig:
    """Of all this."""

    def __init__(self, machines: Lab, made: Bench) -> None:
        self.machines = machines
        self.bench = made
        self.sites: list[SshSite] = []

    async def open(self, bench: Bench | None = None) -> SshSite:
        """A site, as a daemon that has just started opens it; with another bench, as another daemon does."""
        bench = bench or self.bench
        site = await SshDriver().open(bench.who, bench.where)
        assert isinstance(site, SshSite)
        self.sites.append(site)
        return site

    def options(self, *hosts: Machine | dict[str, Any], **more: Any) -> dict[str, Any]:
        """A group's options: these hosts, or all."""
        return options_of(self.machines, *hosts, **more)

    def group(self, options: dict[str, Any] | None = None, **changes: Any) -> WorkerGroupSpec:
        """A worker group of these hosts."""
        fields: dict[str, Any] = {"driver": "ssh", "memory_limit": 0, "options": options or self.options(), **changes}
        return WorkerGroupSpec(**fields)

    def left(self) -> list[str]:
        """What runs on the hosts beside their sshds, and what lies there."""
        running = [line for host in self.machines.hosts for line in host.processes(of="daskd").values()]
        running = [line for line in running if "sshd" not in line]
        return running + [str(path) for path in (self.machines.folder / "daskd").rglob("*")]

    async def close(self) -> None:
        for site in self.sites:
            await site.close()


@asynccontextmanager
async def rig_of(machines: Lab, folder: Path) -> AsyncIterator[Rig]:
    """A rig; what it launched ends with its hosts."""
    async with bench(folder, machines.gateway) as made:
        rig = Rig(machines, made)
        try:
            yield rig
        finally:
            await rig.close()
