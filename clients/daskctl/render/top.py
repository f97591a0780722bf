"""How the full screen of `daskctl top` looks: one frame of it, as lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from rich.console import Group
from rich.text import Text

from daskd_client.types import Cluster, Worker

from ..top.picture import ClusterLoad, Picture, load_of
from ..top.view import CLUSTER_ORDERS, WORKER_ORDERS, View
from . import amounts, clusters, events, moments, workers
from .grid import grid, window
from .table import Cell, Column, Row, printable

_BAR = 10  # characters
# shares of a worker's memory limit at which distributed begins to spill, and pauses the worker
_SPILLS, _PAUSES = 0.7, 0.8
_MOST_EVENTS = 8
_AROUND = 3  # lines: the title, the warning, the keys
_AROUND_ROWS = 2  # lines: an empty one, the table's header

_KEYS = (
    ("q", "quit"),
    ("up, down, k, j", "move; page up and down, home and end, g and G too"),
    ("Enter", "open a cluster: its workers and its last events"),
    ("Esc", "back to all clusters"),
    ("s", "sort by something else"),
    ("Ctrl-Z, Ctrl-C", "suspend, end"),
    ("any key", "leave this help"),
)


def memory(used: int, limit: int) -> Cell:
    """Bytes used of a limit, coloured by what distributed does at that share."""
    share = used / limit if limit else 0.0
    style = "green" if share < _SPILLS else "yellow" if share < _PAUSES else "red"
    return Cell(f"{used}/{limit}", f"{amounts.size(used)} / {amounts.limit(limit)}", style if limit else "")


def with_bar(used: int, limit: int) -> Cell:
    """The same after a bar: "[|||       ]". Without a limit there is nothing to measure by, hence none."""
    cell = memory(used, limit)
    if not limit:
        return cell
    filled = "|" * min(_BAR, round(_BAR * used / limit))
    return replace(cell, terminal=f"[{filled:{_BAR}}] {cell.terminal}")


def _pending(cluster: Cluster) -> int:
    return sum(group.pending for group in cluster.groups)


def _target(cluster: Cluster) -> str:
    following = [(group.adaptive.target, clusters.bounds(group)) for group in cluster.groups if group.adaptive]
    return ", ".join(f"{target} of {bounds}" for target, bounds in following)


def _reason(cluster: Cluster) -> str:
    return "; ".join(group.adaptive.reason for group in cluster.groups if group.adaptive is not None)


def _idle(cluster: Cluster, now: datetime) -> Cell:
    if cluster.idle_since is None:
        return Cell("")
    return Cell(moments.absolute(cluster.idle_since), moments.span(now - cluster.idle_since))


CLUSTER_ROW: tuple[Column[ClusterLoad], ...] = (
    Column("NAME", lambda load, _now: Cell(load.cluster.name, style="bold")),
    Column("OWNER", lambda load, _now: Cell(load.cluster.owner)),
    Column("PHASE", lambda load, _now: clusters.phase(load.cluster)),
    Column("WORKERS", lambda load, _now: Cell(clusters.workers(load.cluster)), right=True),
    Column("CORES", lambda load, _now: Cell(str(load.nthreads)), right=True),
    Column("MEMORY", lambda load, _now: memory(load.memory_bytes, load.memory_limit_bytes), right=True),
    Column("TASKS", lambda load, _now: Cell(str(load.processing)), right=True),
    Column("PENDING", lambda load, _now: Cell(str(_pending(load.cluster))), right=True),
    Column("TARGET", lambda load, _now: Cell(_target(load.cluster))),
    Column("IDLE", lambda load, now: _idle(load.cluster, now), right=True),
    Column("MESSAGE", lambda load, _now: Cell(clusters.what_hinders(load.cluster)), wraps=True),
    Column("REASON", lambda load, _now: Cell(_reason(load.cluster)), wraps=True),
    Column("UID", lambda load, _now: Cell(load.cluster.uid), pipe_only=True),
)
"""One cluster a line. TARGET and REASON are the adaptive policy's: what it wants, and why."""

_OF_WORKER = {column.header: column for column in workers.ROW}

WORKER_ROW: tuple[Column[Worker], ...] = (
    *(_OF_WORKER[header] for header in ("NAME", "GROUP", "STATE", "HOST")),
    Column("MEMORY", lambda worker, _now: with_bar(worker.memory_bytes, worker.memory_limit_bytes)),
    *(_OF_WORKER[header] for header in ("THREADS", "TASKS")),
    Column("EXECUTING", lambda worker, _now: Cell(str(worker.executing)), right=True),
    *(_OF_WORKER[header] for header in ("INSTANCE", "MESSAGE")),
)
"""One worker a line: TASKS that it is assigned, of which it is EXECUTING so many."""


def frame(picture: Picture, view: View, now: datetime, width: int, height: int) -> Group:
    """All that the screen shows, a line each and never more lines than it has.

    Parameters
    ----------
    width, height
        The screen's, in characters.
    """
    top = [_title(picture, now), _warning(picture, now)]
    room = max(height - _AROUND, 0)
    if view.helps:
        middle = list(_help())
    elif view.opened:
        middle = _cluster_lines(picture, view, now, width, room)
    else:
        middle = _list_lines(picture, view, now, width, room)
    middle = [*middle[:room], *[Text()] * (room - len(middle))]
    lines = [*top, *middle, _hints(view)][:height]
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
    return Group(*lines)


def room_for_rows(picture: Picture, view: View, height: int) -> int:
    """How many rows of the list there is room for."""
    room = height - _AROUND
    cluster = picture.clusters.get(view.opened)
    return _split(picture, cluster, room)[0] if cluster is not None else max(room - _AROUND_ROWS, 0)


def _title(picture: Picture, now: datetime) -> Text:
    loads = picture.loads()
    used, tasks = sum(load.memory_bytes for load in loads), sum(load.processing for load in loads)
    running = sum(group.running for load in loads for group in load.cluster.groups)
    parts = (
        _counted(len(loads), "cluster"),
        _counted(running, "worker"),
        _counted(sum(load.nthreads for load in loads), "core"),
        amounts.size(used),
        _counted(tasks, "task"),
    )
    who = printable(f"{picture.info.user} at {picture.info.hostname}")
    return Text.assemble(("daskctl top", "bold"), f"  {moments.time_of_day(now)}  {who}  ", ", ".join(parts))


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _warning(picture: Picture, now: datetime) -> Text:
    since = picture.silent_since(now)
    if since is None:
        return Text()
    words = f"The daemon does not answer since {moments.time_of_day(since)} ({moments.ago(since, now)});"
    return Text(f"{words} this is how it was then. Clusters go on without it.", "bold red")


def _list_lines(picture: Picture, view: View, now: datetime, width: int, room: int) -> list[Text]:
    if not picture.clusters:
        return [Text(), Text("No clusters. Make one: daskctl create NAME -n 4" if picture.is_complete else "")]
    rows = view.loads(picture)
    cursor = view.cursor([load.cluster.uid for load in rows])
    return [Text(), *_windowed(rows, CLUSTER_ROW, now, width, cursor, room - _AROUND_ROWS)]


def _cluster_lines(picture: Picture, view: View, now: datetime, width: int, room: int) -> list[Text]:
    cluster = picture.clusters.get(view.opened)
    if cluster is None:
        # the daemon's first answer is on its way; or it has forgotten the cluster, or may not show it any more
        return [Text(), Text("The daemon tells nothing of this cluster." if view.is_fixed else "It is gone. Esc: back")]
    for_rows, for_events = _split(picture, cluster, room)
    rows = view.workers(picture)
    cursor = view.cursor(view.rows(picture))
    lines = [_summary(picture, cluster, now), *_remarks(cluster), Text()]
    lines += _windowed(rows, WORKER_ROW, now, width, cursor, for_rows) if rows else [Text("No workers.", "dim")]
    last = picture.events(cluster.uid)[-for_events:] if for_events else []
    return [*lines, Text(), *(events.for_terminal(event) for event in last)]


def _split(picture: Picture, cluster: Cluster, room: int) -> tuple[int, int]:
    """How many lines the rows of workers have, and how many the events; what the events leave is the rows'."""
    # around them: the summary, the remarks, and an empty line between rows and events
    both = max(room - 1 - len(_remarks(cluster)) - _AROUND_ROWS - 1, 0)
    for_events = min(len(picture.events(cluster.uid)), _MOST_EVENTS, both // 2)
    return both - for_events, for_events


def _summary(picture: Picture, cluster: Cluster, now: datetime) -> Text:
    load = load_of(cluster, picture.workers.get(cluster.uid, ()))
    phase, idle = clusters.phase(cluster), _idle(cluster, now)
    counts = f"{clusters.workers(cluster)} workers, {_pending(cluster)} pending, {_counted(load.nthreads, 'core')}"
    tasks = f"{_counted(load.processing, 'task')}, {load.executing} executing"
    parts = (f"  {counts}  ", with_bar(load.memory_bytes, load.memory_limit_bytes).text(), f"  {tasks}")
    who = ((printable(cluster.name), "bold"), printable(f"  {cluster.owner}  "), phase.text())
    return Text.assemble(*who, *parts, f"  idle {idle.text().plain}" if idle.pipe else "")


def _remarks(cluster: Cluster) -> list[Text]:
    """What each group's adaptive policy wants and why, and what hinders the cluster; a line each."""
    lines = []
    for group in cluster.groups:
        if group.adaptive is not None:
            which = f"{group.name}: " if len(cluster.groups) > 1 else ""
            words = f"{which}adaptive {clusters.bounds(group)}, wants {group.adaptive.target}: {group.adaptive.reason}"
            lines.append(Text(printable(words)))
    if hindrance := clusters.what_hinders(cluster):
        lines.append(Text(printable(hindrance), "yellow"))
    return lines


def _windowed(
    rows: Sequence[Row], columns: Sequence[Column[Row]], now: datetime, width: int, cursor: int, room: int
) -> list[Text]:
    """The header and those rows around the cursor that there is room for."""
    seen = window(len(rows), cursor, room)
    return grid([rows[index] for index in seen], columns, now, width, cursor - seen.start)


def _help() -> Iterator[Text]:
    yield Text()
    for keys, words in _KEYS:
        yield Text.assemble((f"  {keys:20}", "bold"), words)


def _hints(view: View) -> Text:
    order = WORKER_ORDERS[view.worker_order] if view.opened else CLUSTER_ORDERS[view.cluster_order]
    way = "" if view.is_fixed else "Esc back  " if view.opened else "Enter open  "
    return Text(f"q quit  {way}s sort: {order.name}  ? help", "dim")
