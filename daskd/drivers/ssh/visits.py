"""Where each cluster has been, so that its keys and logs are removed from every host, even one that is down now."""

from __future__ import annotations

import dataclasses
import json
import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from daskd.drivers.local.files import write_private

from .endpoint import Endpoint


class Cleared(IntEnum):
    """How far a host is, or is to be, rid of a cluster."""

    NOT = 0
    UNSTAGED = 1
    FORGOTTEN = 2


@dataclass(frozen=True, slots=True)
class Visit:
    """One cluster on one host: how far that is rid of it, and is to be."""

    cluster: str
    endpoint: Endpoint
    cleared: Cleared = Cleared.NOT
    wanted: Cleared = Cleared.NOT


class Visits:
    """A file a cluster, in a folder of the daemon's state. Any thread may call; calls block."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()

    def all(self) -> list[Visit]:
        """Every cluster's."""
        names = os.listdir(self._folder) if self._folder.is_dir() else []
        return [visit for name in sorted(names) if name.endswith(".json") for visit in self._read(name[:-5])]

    def add(self, cluster: str, endpoints: Iterable[Endpoint]) -> None:
        """Something of a cluster is about to be on these hosts."""
        with self._lock:
            known = self._read(cluster)
            here = {visit.endpoint for visit in known}
            new = [Visit(cluster, endpoint) for endpoint in endpoints if endpoint not in here]
            if new:
                self._write(cluster, [*known, *new])

    def want(self, cluster: str, wanted: Cleared) -> None:
        """A cluster is to be cleared so far from all its hosts."""
        with self._lock:
            known = self._read(cluster)
            if any(visit.wanted < wanted for visit in known):
                self._write(cluster, [dataclasses.replace(visit, wanted=max(visit.wanted, wanted)) for visit in known])

    def cleared(self, done: Visit) -> None:
        """A host is rid of a cluster as far as that was wanted."""
        with self._lock:
            known = self._read(done.cluster)
            others = [visit for visit in known if visit.endpoint != done.endpoint]
            mine = [
                dataclasses.replace(visit, cleared=max(visit.cleared, done.wanted))
                for visit in known
                if visit.endpoint == done.endpoint
            ]
            self._write(done.cluster, others + [visit for visit in mine if visit.cleared < Cleared.FORGOTTEN])

    def _path(self, cluster: str) -> Path:
        return self._folder / f"{cluster}.json"

    def _read(self, cluster: str) -> list[Visit]:
        try:
            document = json.loads(self._path(cluster).read_bytes())
        except FileNotFoundError:
            return []
        return [
            Visit(cluster, Endpoint.of(host["endpoint"]), Cleared(host["cleared"]), Cleared(host["wanted"]))
            for host in document["hosts"]
        ]

    def _write(self, cluster: str, visits: list[Visit]) -> None:
        if not visits:
            self._path(cluster).unlink(missing_ok=True)
            return
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        hosts = [
            {"endpoint": visit.endpoint.data, "cleared": int(visit.cleared), "wanted": int(visit.wanted)}
            for visit in visits
        ]
        write_private(self._path(cluster), json.dumps({"version": 1, "hosts": hosts}).encode())
