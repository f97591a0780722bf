"""How a host is reached, as plain data: in handles, so that a handle alone finds and ends its instance."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from daskd.model.cluster import Handle

SSH_PORT = 22
DEFAULT_PYTHON = "python3"
INSECURE = "insecure"
"""In the place of a known_hosts file: whatever key a host shows is taken."""

HANDLE_VERSION = 1


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One host as one user reaches it.

    Attributes
    ----------
    username, key, known_hosts
        Empty: as the owner's OpenSSH has it.
    jump
        The host through which it is reached, as "[user@]host[:port]"; empty: none.
    python
        The interpreter, a path or a name, that runs what is sent.
    directory
        The daemon's folder there.
    """

    host: str
    port: int = SSH_PORT
    username: str = ""
    key: str = ""
    known_hosts: str = ""
    jump: str = ""
    python: str = ""
    directory: str = "~/.daskd"

    @property
    def name(self) -> str:
        """As it is called in words."""
        return self.host if self.port == SSH_PORT else f"{self.host}:{self.port}"

    @property
    def folder(self) -> str:
        """As its folder below `directory` is called, which hosts may share."""
        return f"{self.host}_{self.port}"

    @property
    def data(self) -> dict[str, Any]:
        """As it is written into handles: what is as by default is left out."""
        return {
            field.name: value
            for field in dataclasses.fields(self)
            if (value := getattr(self, field.name)) != field.default
        }

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Endpoint:
        """Back from what was written; what else stands there is somebody else's."""
        names = {field.name for field in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in data.items() if name in names})


@dataclass(frozen=True, slots=True)
class Take:
    """What one instance takes of its host: workers, threads, bytes."""

    workers: int = 0
    cores: int = 0
    memory: int = 0

    def __add__(self, other: Take) -> Take:
        return Take(self.workers + other.workers, self.cores + other.cores, self.memory + other.memory)


def handle_of(instance: str, cluster: str, endpoint: Endpoint | None, take: Take, words: str = "") -> Handle:
    """What finds an instance later; without an endpoint none was found for it, and `words` say why."""
    place = {} if endpoint is None else {"endpoint": endpoint.data}
    data = {"cluster": cluster, "take": dataclasses.asdict(take), "words": words, **place}
    return Handle(driver="ssh", version=HANDLE_VERSION, id=instance, announce=instance, data=data)


def endpoint_of(handle: Handle) -> Endpoint | None:
    """Where an instance is; None for one that has no place."""
    data = handle.data.get("endpoint")
    return Endpoint.of(data) if isinstance(data, dict) else None


def take_of(handle: Handle) -> Take:
    """What an instance takes of its host."""
    return Take(**handle.data["take"])
