"""The local driver: what it understands, and its site."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from daskd.drivers.protocol import Site, Surroundings
from daskd.model.cluster import Handle
from daskd.model.errors import NotAllowed, Problem
from daskd.model.identity import Identity
from daskd.model.spec import ClusterSpec, WorkerGroupSpec

from . import owner
from .owned import OwnedSite
from .site import LocalSite
from .units import Units

HANDLE_VERSION = 1


class LocalOptions(BaseModel):
    """What a worker group may ask of this machine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    nice: int = Field(
        default=0, ge=0, le=19, description="How much less urgent than others its processes are: 0 to 19."
    )


class LocalSettings(BaseModel):
    """There is nothing to set for all of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def machine_memory() -> int:
    """Bytes that processes here may use: the machine's, or less where a control group bounds them."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(path).read_text().strip()
        except OSError:
            continue
        if text.isdigit() and 0 < int(text) < total:
            total = int(text)
    return total


class LocalDriver:
    """Instances as processes of this machine."""

    name = "local"
    description = "Processes of the machine that the daemon runs on"
    options = LocalOptions
    settings = LocalSettings
    elsewhere = False

    def validate(self, group: WorkerGroupSpec, who: Identity) -> list[Problem]:
        """Nothing beyond the options' own rules: this machine takes what it is given."""
        return []

    def complete(self, group: WorkerGroupSpec) -> WorkerGroupSpec:
        """ "auto" memory is the machine's by threads, as Dask's nannies reckon it."""
        if group.memory_limit != "auto":
            return group
        share = min(1.0, group.nthreads / (os.cpu_count() or 1))
        return group.model_copy(update={"memory_limit": int(machine_memory() * share)})

    def upgrade(self, handle: Handle) -> Handle:
        """Version 1 is the only one yet."""
        return dataclasses.replace(handle, version=HANDLE_VERSION)

    def preview(self, spec: ClusterSpec, group: WorkerGroupSpec, who: Identity, surroundings: Surroundings) -> None:
        """Nothing: processes of this machine need no script."""

    async def open(self, who: Identity, surroundings: Surroundings) -> Site:
        """This machine as that user uses it: the daemon's own user, or, for a daemon that is root, another.

        Raises
        ------
        NotAllowed
            When the daemon is not root and the user another one.
        """
        daemon_uid = os.geteuid()
        if daemon_uid not in (0, who.uid):
            raise NotAllowed(
                f"this daemon runs as uid {daemon_uid} and can run nothing as {who.name}: only root's can",
                facts={"user": who.name},
            )
        # the system's manager for root, and so for all whose processes root starts
        units = await asyncio.to_thread(Units.find, os.environ, daemon_uid) if surroundings.units else None
        if who.uid == daemon_uid:
            return LocalSite(who, surroundings, units=units)
        return OwnedSite(who, surroundings, await asyncio.to_thread(owner.session_service), units)
