"""The nodes that have joined this scheduler, and the instances that may not."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .versions import can_serve, others, own_versions

_EMPTY_SECONDS = 600.0  # a node without workers for so long is listed no more
_REMEMBERED = 20_000  # instances whose incarnation, or fence, is remembered
_MAX_TEXT = 1000
_MAX_WORKERS = 10_000
_MAX_VERSIONS, _MAX_VERSION = 100, 100  # how many, how long


@dataclass
class Node:
    """A process that holds workers of an instance."""

    instance: str
    group: str
    incarnation: int
    host: str
    pid: int
    joined: float
    workers: list[str]
    versions: dict[str, str]  # those that do not go with the scheduler's
    last_seen: float = field(default_factory=time.monotonic)  # when it last had a worker

    def document(self) -> dict[str, Any]:
        """Return the node as the state tells it."""
        return {
            "instance": self.instance,
            "group": self.group,
            "incarnation": self.incarnation,
            "host": self.host,
            "pid": self.pid,
            "joined": self.joined,
            "workers": list(self.workers),
            "versions": dict(self.versions),
        }


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_TEXT:
        raise ValueError(f"{name} must be a text of 1 to {_MAX_TEXT} characters, not {value!r:.100}")
    return value


def _number(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{name} must be a whole number, 0 or more, not {value!r:.100}")
    return value


def _names(value: Any) -> list[str]:
    if not isinstance(value, list | tuple) or len(value) > _MAX_WORKERS:
        raise ValueError(f"workers must be a list of at most {_MAX_WORKERS} names")
    return [_text("a worker's name", name) for name in value]


def _versions(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or len(value) > _MAX_VERSIONS:
        raise ValueError(f"versions must be at most {_MAX_VERSIONS} versions by package")
    return {_text("a package's name", name): _text("a package's version", value[name])[:_MAX_VERSION] for name in value}


def _not_understood(node: Node) -> str:
    own = own_versions()["distributed"]
    return (
        f"the scheduler's distributed is {own}, and that of group {node.group!r} is {node.versions['distributed']}, "
        "which does not understand its tasks: make the cluster anew, with one environment for all of it"
    )


class Roster:
    """Admits nodes, and knows which instance a worker's name belongs to.

    Parameters
    ----------
    changed : callable
        Called after a node came, went, or was fenced.
    differs : callable
        Called with a node that came and has versions that do not go with the scheduler's.

    Attributes
    ----------
    is_open : bool
        Whether nodes are admitted at all; a scheduler that was placed has to be claimed first.
    """

    def __init__(self, changed: Callable[[], None], differs: Callable[[Node], None]) -> None:
        self.is_open = True
        self._changed = changed
        self._differs = differs
        self._nodes: dict[tuple[str, str, int], Node] = {}  # by instance, host, pid
        self._by_worker: dict[str, Node] = {}
        self._highest: OrderedDict[str, int] = OrderedDict()  # instance: highest incarnation that joined
        self._fenced: OrderedDict[str, None] = OrderedDict()

    def join(
        self,
        *,
        instance: str,
        incarnation: int,
        group: str,
        workers: list[str],
        pid: int,
        host: str,
        versions: Mapping[str, str] | None = None,
    ) -> dict[str, str]:
        """Answer a node that asks to join, before it starts a worker.

        Returns
        -------
        dict
            ``result`` "ok", "fenced", "incompatible" or "unclaimed", and ``words``. A node that is not let in ends
            itself; where the scheduler is unclaimed it asks again for a while.

        Raises
        ------
        ValueError
            An argument is not what it must be.
        """
        told = _versions(versions or {})
        node = Node(
            _text("instance", instance),
            _text("group", group),
            _number("incarnation", incarnation),
            _text("host", host),
            _number("pid", pid),
            time.time(),
            _names(workers),
            others(told, own_versions()),
        )
        if not self.is_open:
            return {"result": "unclaimed", "words": "the daemon has not claimed this scheduler yet"}
        if instance in self._fenced:
            return {"result": "fenced", "words": f"instance {instance} was given up before it joined"}
        highest = self._highest.get(instance, incarnation)
        if incarnation < highest:
            words = f"incarnation {incarnation} of instance {instance} is over: {highest} has joined"
            return {"result": "fenced", "words": words}
        if not can_serve(told, own_versions()):
            return {"result": "incompatible", "words": _not_understood(node)}
        self._drop([n for n in self._nodes.values() if n.instance == instance and n.incarnation < incarnation])
        self._highest[instance] = incarnation
        self._highest.move_to_end(instance)
        while len(self._highest) > _REMEMBERED:
            self._highest.popitem(last=False)
        self._nodes[instance, host, pid] = node
        self._by_worker.update(dict.fromkeys(node.workers, node))
        self._changed()
        if node.versions:
            self._differs(node)
        return {"result": "ok", "words": ""}

    def fence(self, ids: Iterable[str], lost: Iterable[str] = (), present: Iterable[str] = ()) -> dict[str, str]:
        """Refuse nodes of these instances from now on.

        Parameters
        ----------
        lost : iterable of str
            Those of the ids that joined once and were given up: fenced, unless a worker of theirs is there.
        present : iterable of str
            Names of the workers that are there.

        Returns
        -------
        dict
            For each id "fenced", or "joined": it is not fenced, a node of it has joined.
        """
        here = {node.instance for name in present if (node := self._by_worker.get(name)) is not None}
        gone = set(lost) - here
        answer = {}
        for instance in ids:
            if instance in self._highest and instance not in gone:
                answer[instance] = "joined"
                continue
            if self._highest.pop(instance, None) is not None:
                self._drop([node for node in self._nodes.values() if node.instance == instance])
            self._fenced[instance] = None
            answer[instance] = "fenced"
        while len(self._fenced) > _REMEMBERED:
            self._fenced.popitem(last=False)
        return answer

    def instance_of(self, worker: str) -> str | None:
        """Return the instance that a worker's name belongs to; None: somebody else brought it."""
        node = self._by_worker.get(worker)
        return node.instance if node else None

    def look(self, present: Iterable[str], retired: Mapping[str, float]) -> None:
        """Drop nodes whose workers all retired, or that had none of them for ten minutes.

        Parameters
        ----------
        present : iterable of str
            Names of the workers that are there.
        retired : mapping of str to float
            When, in unix seconds, workers retired, by name. A node that joined later has a name
            of theirs anew.
        """
        here = set(present)
        now = time.monotonic()
        over = []
        for node in self._nodes.values():
            if here.intersection(node.workers):
                node.last_seen = now
                continue
            all_retired = all(retired.get(name, 0.0) > node.joined for name in node.workers)
            if all_retired or now - node.last_seen > _EMPTY_SECONDS:
                over.append(node)
        self._drop(over)

    def documents(self) -> list[dict[str, Any]]:
        """Return the nodes as the state tells them."""
        return [node.document() for node in self._nodes.values()]

    def _drop(self, nodes: list[Node]) -> None:
        for node in nodes:
            del self._nodes[node.instance, node.host, node.pid]
            for name in node.workers:
                if self._by_worker.get(name) is node:
                    del self._by_worker[name]
        if nodes:
            self._changed()
