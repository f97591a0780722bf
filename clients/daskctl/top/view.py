"""What is shown of the picture, and what a key changes about that. No I/O."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from daskd_client.types import Worker

from .picture import ClusterLoad, Picture

Row = TypeVar("Row")

_NUMBER = re.compile(r"(\d+)", re.ASCII)


@dataclass(frozen=True)
class Order(Generic[Row]):
    """What a list is sorted by: its name, and each row's key."""

    name: str
    key: Callable[[Row], Any]

    def sorted(self, rows: Iterable[Row]) -> list[Row]:
        """The rows in this order."""
        return sorted(rows, key=self.key)


def _running(load: ClusterLoad) -> int:
    return sum(group.running for group in load.cluster.groups)


def _name(load: ClusterLoad) -> tuple[str, str, str]:
    # the uid last: ended clusters share their name with a live one
    return load.cluster.name, load.cluster.owner, load.cluster.uid


CLUSTER_ORDERS: tuple[Order[ClusterLoad], ...] = (
    Order("name", _name),
    Order("memory", lambda load: (-load.memory_bytes, _name(load))),
    Order("tasks", lambda load: (-load.processing, _name(load))),
    Order("workers", lambda load: (-_running(load), _name(load))),
)
"""How clusters can be sorted; the most first."""

WORKER_ORDERS: tuple[Order[Worker], ...] = (
    Order("name", lambda worker: _counted(worker)),
    Order("memory", lambda worker: (-worker.memory_bytes, _counted(worker))),
    Order("tasks", lambda worker: (-worker.processing, _counted(worker))),
)
"""How workers can be sorted; the most first."""


def worker_id(worker: Worker) -> str:
    """Tells a cluster's workers apart; an instance that was launched again may hold one of the same name."""
    return f"{worker.name}/{worker.instance}"


def _counted(worker: Worker) -> list[str | int]:
    """Sorts "default-10" after "default-9": words and numbers alternate."""
    return [int(part) if part.isdecimal() else part for part in _NUMBER.split(worker_id(worker))]


@dataclass(frozen=True)
class View:
    """What is shown.

    Attributes
    ----------
    opened
        The uid of the cluster whose workers are shown; empty: all clusters.
    is_fixed
        Whether this cluster was asked for by name: then there is no list to go back to.
    cluster, worker
        The row under the cursor in either list: a uid, a `worker_id`. Empty, or a row that is gone: the first.
    cluster_order, worker_order
        Which of the orders.
    helps
        Whether the keys are explained instead.
    has_quit
        Whether it is over.
    """

    opened: str = ""
    is_fixed: bool = False
    cluster: str = ""
    worker: str = ""
    cluster_order: int = 0
    worker_order: int = 0
    helps: bool = False
    has_quit: bool = False

    def loads(self, picture: Picture) -> list[ClusterLoad]:
        """The clusters, in order."""
        return CLUSTER_ORDERS[self.cluster_order].sorted(picture.loads())

    def workers(self, picture: Picture) -> list[Worker]:
        """The opened cluster's workers, in order."""
        return WORKER_ORDERS[self.worker_order].sorted(picture.workers.get(self.opened, ()))

    def rows(self, picture: Picture) -> list[str]:
        """The ids of the rows of the list that is shown, in order."""
        if self.opened:
            return [worker_id(worker) for worker in self.workers(picture)]
        return [load.cluster.uid for load in self.loads(picture)]

    def cursor(self, rows: Sequence[str]) -> int:
        """Which of the rows is under the cursor."""
        wanted = self.worker if self.opened else self.cluster
        return rows.index(wanted) if wanted in rows else 0


_STEPS = {"down": 1, "j": 1, "up": -1, "k": -1}
_PAGES = {"page-down": 1, " ": 1, "page-up": -1}
_ENDS = {"home": 0, "g": 0, "end": -1, "G": -1}


def press(view: View, key: str, rows: Sequence[str], page: int) -> View:
    """The view after a key.

    Parameters
    ----------
    key
        A character, or a key's name as `keyboard.Decoder` has it.
    rows
        `View.rows`.
    page
        How many rows the screen has room for.
    """
    if key in ("q", "Q"):
        return replace(view, has_quit=True)
    if view.helps:
        return replace(view, helps=False)
    if key in ("?", "h"):
        return replace(view, helps=True)
    if key == "s":
        return _sorted_otherwise(view)
    if key == "escape":
        return view if view.is_fixed else replace(view, opened="", worker="")
    if key == "enter":
        return view if view.opened or not rows else replace(view, opened=rows[view.cursor(rows)])
    return _moved(view, key, rows, page)


def _sorted_otherwise(view: View) -> View:
    if view.opened:
        return replace(view, worker_order=(view.worker_order + 1) % len(WORKER_ORDERS))
    return replace(view, cluster_order=(view.cluster_order + 1) % len(CLUSTER_ORDERS))


def _moved(view: View, key: str, rows: Sequence[str], page: int) -> View:
    if not rows:
        return view
    if key in _ENDS:
        row = rows[_ENDS[key]]
    else:
        steps = _STEPS.get(key, 0) + _PAGES.get(key, 0) * max(page, 1)
        row = rows[min(max(view.cursor(rows) + steps, 0), len(rows) - 1)]
    return replace(view, worker=row) if view.opened else replace(view, cluster=row)
