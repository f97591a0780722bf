"""A real scheduler in the test's loop, and batches of nodes for it: what tests of a driver's site need of the core."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from distributed import Client
from distributed.security import Security

from daskd.drivers.protocol import Batch, Member, Observation, Payload, Result, RuntimeSettings, Site, Surroundings
from daskd.model.cluster import Handle, Role, State
from daskd.model.identity import Identity
from daskd.model.names import new_instance_id, new_state_id, new_uid
from daskd.model.spec import ClusterSpec, WorkerGroupSpec
from daskd.runtime.scheduler_hub import Hub
from daskd.security.certificates import issue
from daskd.security.peer import identity_of
from tests.runtime.hub_cluster import a_hub

PATIENCE = 60.0

SETTINGS = RuntimeSettings(
    grace=10.0,
    join_timeout=60.0,
    orphan_timeout=3600.0,
    held_seconds=3600.0,
    held_memory_share=0.5,
    log_max_bytes=1 << 20,
    log_files=3,
)


class Bench:
    """A scheduler with TLS, and what a site is told of its cluster.

    Parameters
    ----------
    folder
        Where the daemon's state would lie.
    host
        The address at which the scheduler listens.
    """

    def __init__(self, folder: Path, host: str) -> None:
        self.folder = folder
        self.host = host
        self.uid = new_uid()
        self.hub: Hub
        self.credentials = issue(self.uid)
        self.where = Surroundings(new_state_id(), folder / "state", folder / "run")
        self.where.state_dir.mkdir(mode=0o700)
        self.home = folder / "home"
        self.home.mkdir(mode=0o700)
        own = identity_of(os.geteuid())
        # the user of this process, with a home of the test's own
        self.who = Identity(own.name, own.uid, own.gid, str(self.home))
        self.ordinal = 0

    @property
    def payload(self) -> Payload:
        secret = {"ca.pem": self.credentials.ca.encode()}
        for role in ("scheduler", "worker"):
            secret[f"{role}.pem"] = self.credentials.certificates[role].encode()
            secret[f"{role}.key"] = self.credentials.keys[role].encode()
        return Payload(self.uid, secret)

    def batch(self, n: int, group: WorkerGroupSpec, **changes: Any) -> Batch:
        """So many nodes of a group."""
        members = []
        for _ in range(n):
            names = tuple(f"{group.name}-{self.ordinal}-{k}" for k in range(group.workers_per_node))
            members.append(Member(new_instance_id(self.where.state_id), self.ordinal, names))
            self.ordinal += 1
        fields: dict[str, Any] = {
            "cluster": self.uid,
            "cluster_name": "lab",
            "role": Role.NODE,
            "spec": ClusterSpec(groups=(group,), dashboard=False),
            "group": group,
            "members": tuple(members),
            "scheduler": "",
            "address": self.hub.scheduler.address,
            "runtime": SETTINGS,
            **changes,
        }
        return Batch(**fields)

    async def launch(self, site: Site, batch: Batch) -> list[Handle]:
        """Launch all of a batch, as the core does."""
        await site.stage(self.payload)
        handles = await site.prepare(batch)
        outcomes = await site.launch(batch, stored(handles))
        assert [outcome.result for outcome in outcomes] == [Result.ACCEPTED] * len(handles), outcomes
        return stored(handles)

    @property
    def workers(self) -> set[str]:
        """Names of the workers that are at the scheduler."""
        return {str(worker.name) for worker in self.hub.scheduler.workers.values()}

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """A client of the cluster."""
        security = self._security("client")
        async with Client(self.hub.scheduler.address, asynchronous=True, security=security) as client:
            yield client

    def _security(self, role: str) -> Security:
        tls = self.folder / "tls"
        tls.mkdir(exist_ok=True)
        (tls / "ca.pem").write_text(self.credentials.ca)
        pair = tls / f"{role}.both.pem"
        pair.write_text(self.credentials.certificates[role] + self.credentials.keys[role])
        files = {f"tls_{role}_cert": str(pair), f"tls_{role}_key": str(pair)}
        return Security(require_encryption=True, tls_ca_file=str(tls / "ca.pem"), **files)


@asynccontextmanager
async def bench(folder: Path, host: str = "127.0.0.1") -> AsyncIterator[Bench]:
    """A bench with its scheduler."""
    made = Bench(folder, host)
    async with a_hub(host=host, protocol="tls", security=made._security("scheduler")) as hub:
        made.hub = hub
        yield made


def stored(handles: Sequence[Handle]) -> list[Handle]:
    """Handles as they come back from the store: plain data."""
    return [Handle(h.driver, h.version, h.id, h.announce, json.loads(json.dumps(h.data))) for h in handles]


async def until(condition: Callable[[], Any], what: str) -> Any:
    """Wait until that is true, and answer with it."""
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {PATIENCE:g} s: {what}"
        await asyncio.sleep(0.05)
    return found


async def observed(
    site: Site, handles: Sequence[Handle], want: Callable[[Mapping[str, Observation]], bool], what: str
) -> dict[str, Observation]:
    """Ask until a complete listing is as wanted; answers with it, by instance."""
    deadline = time.monotonic() + PATIENCE
    while True:
        snapshot = await site.observe(handles)
        seen = {observation.handle.id: observation for observation in snapshot.seen}
        if snapshot.complete and want(seen):
            return seen
        assert time.monotonic() < deadline, f"not within {PATIENCE:g} s: {what}: {seen}"
        await asyncio.sleep(0.1)


async def all_in(site: Site, handles: Sequence[Handle], state: State) -> dict[str, Observation]:
    """Ask until all are in that state."""
    return await observed(
        site,
        handles,
        lambda seen: len(seen) == len(handles) and all(one.state is state for one in seen.values()),
        f"all are {state.value}",
    )
