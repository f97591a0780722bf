"""What the runtime is told: `spec.json`, read and checked with the standard library alone."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

SPEC_VERSION = 1
SPEC_MAX_BYTES = 1 << 20


class SpecError(Exception):
    """`spec.json` can't be read, or says something else than the contract; its text says what."""


@dataclass(frozen=True)
class TLSFiles:
    """Paths of the PEM files that a process shows and trusts."""

    ca: str
    cert: str
    key: str


@dataclass(frozen=True)
class Listen:
    """Where an HTTP server listens; port 0 takes a free one."""

    host: str
    port: int


@dataclass(frozen=True)
class Placed:
    """What a scheduler is told that a driver placed away from the daemon, which reaches it by TLS.

    `first_port` and `last_port` bound what it listens on, 0: any. It admits no node before the daemon has claimed it,
    and ends when it was not within `claim_timeout` seconds.
    """

    first_port: int
    last_port: int
    claim_timeout: float


@dataclass(frozen=True)
class JournalSpec:
    """The directory of a scheduler's journal, and the size in bytes at which it is given up."""

    directory: str
    max_bytes: int


@dataclass(frozen=True)
class SchedulerSpec:
    """What a scheduler's process is told.

    Times are seconds, `held_memory_share` a share of the workers' memory. `link_fd` is a bound unix
    socket's descriptor, None where there is no link there. With `dashboard_prefix`, the path below which the
    daemon serves the dashboard, the sockets of link and dashboard come over `sockets_fd` instead. One that is `placed`
    serves both by TLS, and has no descriptors. `contact_host` is
    where others reach it that listens on all addresses; None: the one of the default route. `options` are more keyword
    arguments of its class. `journal`: None, if its work ends with it.
    """

    cluster: str
    cluster_name: str
    instance: str
    runtime_version: str
    link_fd: int | None
    host: str
    port: int
    tls: TLSFiles | None
    dashboard: Listen | None
    held_seconds: float
    held_memory_share: float
    orphan_timeout: float
    preload: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    sockets_fd: int | None = None
    contact_host: str | None = None
    dashboard_prefix: str | None = None
    placed: Placed | None = None
    journal: JournalSpec | None = None

    @property
    def has_pages(self) -> bool:
        """Whether Dask's pages are served."""
        return self.dashboard is not None or self.dashboard_prefix is not None


@dataclass(frozen=True)
class NodeSpec:
    """What a node's process is told.

    Times are seconds, `memory_limit` bytes a worker, 0 for none. One of `scheduler` (an address) and
    `scheduler_report` (the path of the scheduler's `report.json`, which is waited for) is set. `host` is the address
    that the workers listen on; None: the one from which the scheduler is reached.
    `worker_class` is a module and a name in it, None for distributed's own; `worker_options` are more keyword
    arguments of it.
    """

    cluster: str
    cluster_name: str
    instance: str
    incarnation: int
    runtime_version: str
    group: str
    scheduler_report: str | None
    scheduler: str | None
    host: str | None
    tls: TLSFiles | None
    workers: tuple[str, ...]
    nthreads: int
    memory_limit: int
    resources: Mapping[str, float]
    local_directory: str
    death_timeout: float
    join_timeout: float
    dashboard: bool
    preload: tuple[str, ...] = ()
    worker_class: str | None = None
    worker_options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def has_pages(self) -> bool:
        """Whether Dask's pages are served."""
        return self.dashboard


class _Reader:
    """Takes fields out of a JSON object, each of the type that it must have."""

    def __init__(self, content: Any, where: str) -> None:
        if not isinstance(content, dict):
            raise SpecError(f"{where} must be an object, and is {content!r}")
        self._content = content
        self._where = where

    def _take(self, key: str, types: tuple[type, ...], words: str) -> Any:
        if key not in self._content:
            raise SpecError(f"{self._where} lacks {key!r}")
        value = self._content[key]
        # JSON's true is no number, though Python's is.
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise SpecError(f"{self._where}: {key!r} must be {words}, and is {value!r}")
        return value

    def has(self, key: str) -> bool:
        return self._content.get(key) is not None

    def text(self, key: str) -> str:
        value = cast(str, self._take(key, (str,), "text"))
        if not value or "\0" in value:
            raise SpecError(f"{self._where}: {key!r} must be text that is not empty, and is {value!r}")
        return value

    def maybe_text(self, key: str) -> str | None:
        return None if self._content.get(key) is None else self.text(key)

    def whole(self, key: str, least: int = 0) -> int:
        value = cast(int, self._take(key, (int,), "a whole number"))
        if value < least:
            raise SpecError(f"{self._where}: {key!r} must be at least {least}, and is {value}")
        return value

    def maybe_whole(self, key: str) -> int | None:
        return None if self._content.get(key) is None else self.whole(key)

    def number(self, key: str) -> float:
        value = float(self._take(key, (int, float), "a number"))
        if not 0 <= value < float("inf"):
            raise SpecError(f"{self._where}: {key!r} must be zero or more, and is {value}")
        return value

    def flag(self, key: str) -> bool:
        return cast(bool, self._take(key, (bool,), "true or false"))

    def within(self, key: str) -> _Reader:
        return _Reader(self._take(key, (dict,), "an object"), f"{self._where}: {key!r}")

    def maybe_within(self, key: str) -> _Reader | None:
        return None if self._content.get(key) is None else self.within(key)

    def names(self, key: str) -> tuple[str, ...]:
        """The `name` of every object in a list; each once."""
        items = self._take(key, (list,), "a list")
        where = f"{self._where}: {key!r}"
        names = tuple(_Reader(item, where).text("name") for item in items)
        if not names or len(set(names)) < len(names):
            raise SpecError(f"{where} must name at least one worker, and each once")
        return names

    def maybe_texts(self, key: str) -> tuple[str, ...]:
        """A list of texts; none where there is none."""
        items = self._take(key, (list,), "a list") if key in self._content else []
        if not all(isinstance(item, str) and item for item in items):
            raise SpecError(f"{self._where}: {key!r} must list texts that are not empty")
        return tuple(items)

    def maybe_values(self, key: str) -> dict[str, Any]:
        """An object of whatever values; empty where there is none."""
        return dict(self._take(key, (dict,), "an object")) if key in self._content else {}

    def numbers(self, key: str) -> dict[str, float]:
        inner = self.within(key)
        return {name: inner.number(name) for name in inner._content}


def read_spec(directory: str | os.PathLike[str], role: str) -> SchedulerSpec | NodeSpec:
    """Read an instance's `spec.json`.

    Parameters
    ----------
    directory : path
        The instance's directory.
    role : {"scheduler", "node"}
        What the process was started as; the file must say the same.

    Raises
    ------
    SpecError
        If the file can't be read or is damaged.
    """
    path = Path(directory) / "spec.json"
    try:
        if path.stat().st_size > SPEC_MAX_BYTES:
            raise SpecError(f"{path} is larger than {SPEC_MAX_BYTES} bytes")
        content = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise SpecError(f"{path} can't be read: {error.strerror}") from error
    except ValueError as error:
        raise SpecError(f"{path} is no JSON: {error}") from error
    return parse_spec(content, role, str(path))


def parse_spec(content: Any, role: str, where: str = "the spec") -> SchedulerSpec | NodeSpec:
    """Check a spec's content; `where` names it in errors.

    Raises
    ------
    SpecError
        If something is missing, of another type, or out of its bounds.
    """
    reader = _Reader(content, where)
    version = reader.whole("version")
    if version != SPEC_VERSION:
        raise SpecError(f"{where} has version {version}; this runtime reads version {SPEC_VERSION}")
    if reader.text("role") != role:
        raise SpecError(f"{where} is for a {reader.text('role')}, and this process is a {role}")
    return _parse_scheduler(reader, where) if role == "scheduler" else _parse_node(reader, where)


def _tls(reader: _Reader) -> TLSFiles | None:
    inner = reader.maybe_within("tls")
    return TLSFiles(inner.text("ca"), inner.text("cert"), inner.text("key")) if inner else None


def _parse_scheduler(reader: _Reader, where: str) -> SchedulerSpec:
    dashboard = reader.maybe_within("dashboard")
    sockets_fd, prefix = reader.maybe_whole("sockets_fd"), reader.maybe_text("dashboard_prefix")
    placed = _placed(reader, where)
    if placed is None and ((sockets_fd is None) != (prefix is None) or (dashboard and prefix)):
        raise SpecError(f"{where}: 'sockets_fd' and 'dashboard_prefix' go together, and without 'dashboard'")
    held, journal = reader.within("held"), reader.maybe_within("journal")
    return SchedulerSpec(
        cluster=reader.text("cluster"),
        cluster_name=reader.text("cluster_name"),
        instance=reader.text("instance"),
        runtime_version=reader.text("runtime_version"),
        link_fd=reader.maybe_whole("link_fd"),
        host=reader.text("host"),
        contact_host=reader.maybe_text("contact_host"),
        port=reader.whole("port"),
        tls=_tls(reader),
        dashboard=Listen(dashboard.text("host"), dashboard.whole("port")) if dashboard else None,
        held_seconds=held.number("seconds"),
        held_memory_share=held.number("memory_share"),
        orphan_timeout=reader.number("orphan_timeout"),
        preload=reader.maybe_texts("preload"),
        options=reader.maybe_values("options"),
        sockets_fd=sockets_fd,
        dashboard_prefix=prefix,
        placed=placed,
        journal=JournalSpec(journal.text("directory"), journal.whole("max_bytes")) if journal else None,
    )


def _placed(reader: _Reader, where: str) -> Placed | None:
    inner = reader.maybe_within("placed")
    if inner is None:
        return None
    if reader.maybe_within("tls") is None or any(reader.has(key) for key in ("sockets_fd", "link_fd", "dashboard")):
        raise SpecError(f"{where}: one that is 'placed' has 'tls', and no 'sockets_fd', 'link_fd' and 'dashboard'")
    first, last = inner.whole("first_port"), inner.whole("last_port")
    if not first <= last < 1 << 16 or (first == 0) != (last == 0):
        raise SpecError(f"{where}: {first} to {last} are no ports")
    return Placed(first, last, inner.number("claim_timeout"))


def _parse_node(reader: _Reader, where: str) -> NodeSpec:
    report, address = reader.maybe_text("scheduler_report"), reader.maybe_text("scheduler")
    if (report is None) == (address is None):
        raise SpecError(f"{where} must have one of 'scheduler_report' and 'scheduler'")
    return NodeSpec(
        cluster=reader.text("cluster"),
        cluster_name=reader.text("cluster_name"),
        instance=reader.text("instance"),
        incarnation=reader.whole("incarnation"),
        runtime_version=reader.text("runtime_version"),
        group=reader.text("group"),
        scheduler_report=report,
        scheduler=address,
        host=reader.maybe_text("host"),
        tls=_tls(reader),
        workers=reader.names("workers"),
        nthreads=reader.whole("nthreads", least=1),
        memory_limit=reader.whole("memory_limit"),
        resources=reader.numbers("resources"),
        local_directory=reader.text("local_directory"),
        death_timeout=reader.number("death_timeout"),
        join_timeout=reader.number("join_timeout"),
        dashboard=reader.flag("dashboard"),
        preload=reader.maybe_texts("preload"),
        worker_class=reader.maybe_text("worker_class"),
        worker_options=reader.maybe_values("worker_options"),
    )
