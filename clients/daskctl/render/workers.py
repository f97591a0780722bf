"""How workers look."""

from __future__ import annotations

from daskd_client.types import Worker, WorkerState

from . import amounts
from .table import Cell, Column, when_due, when_past

_STYLES = {
    WorkerState.QUEUED: "yellow",
    WorkerState.STARTING: "yellow",
    WorkerState.RUNNING: "green",
    WorkerState.PAUSED: "magenta",
    WorkerState.RETIRING: "yellow",
    WorkerState.ENDING: "yellow",
    WorkerState.ENDED: "dim",
    WorkerState.UNKNOWN: "red",
}


def _memory(worker: Worker) -> Cell:
    used, limit = worker.memory_bytes, worker.memory_limit_bytes
    return Cell(f"{used}/{limit}", f"{amounts.size(used)} / {amounts.limit(limit)}")


def _words(worker: Worker) -> str:
    if worker.exit is None:
        return worker.message
    return worker.exit.message or worker.exit.cause


ROW: tuple[Column[Worker], ...] = (
    Column("NAME", lambda worker, _now: Cell(worker.name, style="bold")),
    Column("GROUP", lambda worker, _now: Cell(worker.group)),
    Column("STATE", lambda worker, _now: Cell(worker.state.name, style=_STYLES.get(worker.state, ""))),
    Column("HOST", lambda worker, _now: Cell(worker.host)),
    Column("PID", lambda worker, _now: Cell(str(worker.pid) if worker.pid else ""), right=True),
    Column("THREADS", lambda worker, _now: Cell(str(worker.nthreads or "")), right=True),
    Column("MEMORY", lambda worker, _now: _memory(worker), right=True),
    Column("TASKS", lambda worker, _now: Cell(str(worker.processing)), right=True),
    Column("JOINED", lambda worker, now: when_past(worker.join_time, now)),
    Column("ENDS", lambda worker, now: when_due(worker.expected_end_time, now)),
    Column("INSTANCE", lambda worker, _now: Cell(worker.instance), pipe_only=True),
    Column("ADDRESS", lambda worker, _now: Cell(worker.address), pipe_only=True),
    Column("MESSAGE", lambda worker, _now: Cell(_words(worker)), wraps=True),
)
"""One worker a line; memory is what its process holds, of its limit."""
