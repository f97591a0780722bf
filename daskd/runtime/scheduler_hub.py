"""The hub: a cluster's scheduler with all that the link tells and does."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed import Status
from distributed.scheduler import WorkerState

from .changes import Changes
from .facts import Facts
from .journal.reader import Contents
from .journal.recorder import MAX_BYTES, Recorder
from .keeper import HeldBounds
from .overrides import HubScheduler
from .retire import Retirement
from .roster import Node, Roster
from .state import Journal, State
from .versions import own_versions

_MAX_EVENT_NAME = 100
_MAX_EVENT_WORDS = 2000


@dataclass(frozen=True)
class Journaled:
    """Where the journal of a scheduler's work is kept, and the size in bytes at which it is given up."""

    directory: Path
    max_bytes: int = MAX_BYTES


class Hub:
    """Builds the scheduler and its parts, and is what the link speaks to.

    Must be made inside a running event loop. ``await hub.scheduler`` starts it.

    Parameters
    ----------
    identity : dict
        What ``hello`` tells beside versions: ``cluster``, ``instance``, ``runtime_version``.
    held : HeldBounds
        When the work of lost clients is let go.
    on_terminate : callable
        Called with the peer's address when a client tells the scheduler to end.
    serve_http : bool
        Whether the scheduler serves HTTP at all.
    journaled : Journaled, optional
        Keep a journal of the scheduler's work, and go on where a predecessor ended. None: its work ends with it.
    **scheduler
        Further arguments of :class:`distributed.Scheduler`.
    """

    def __init__(
        self,
        *,
        identity: dict[str, Any],
        held: HeldBounds,
        on_terminate: Callable[[str], None],
        serve_http: bool,
        journaled: Journaled | None = None,
        **scheduler: Any,
    ) -> None:
        self.identity = identity
        self.started = time.time()
        self.changes = Changes()
        self.journal = Journal(self.changes)
        self.roster = Roster(self.changes.raise_, self._versions_differ)
        self._told_versions: dict[str, dict[str, str]] = {}  # by group, what was told last
        self._on_terminate = on_terminate
        self._heard = time.monotonic()
        self.recorder, contents = self._open_journal(journaled)
        self.scheduler = HubScheduler(
            recorder=self.recorder,
            contents=contents,
            held=held,
            journal=self.journal,
            on_terminate=self._terminated,
            on_status=self._status_changed,
            serve_http=serve_http,
            **scheduler,
        )
        self.facts = Facts(self.scheduler, self.roster.instance_of)
        self.state = State(self.changes, self.journal, self.roster.instance_of, self._retirement_of)
        self.retirement = Retirement(
            self.scheduler,
            self.journal,
            self.facts.worked_since,
            self.state.retired,
            self.roster.instance_of,
            self.changes.raise_,
        )
        self.scheduler.add_plugin(self.facts)
        self.scheduler.add_plugin(self.state)
        self.scheduler.handlers["daskd_join"] = self.roster.join
        self.scheduler.handlers["daskd_node_event"] = self.node_event

    def _open_journal(self, journaled: Journaled | None) -> tuple[Recorder | None, Contents]:
        if journaled is None:
            return None, Contents()
        recorder = Recorder(
            journaled.directory, max_bytes=journaled.max_bytes, tell=self.journal, versions=own_versions()
        )
        contents, verdict = recorder.open()
        if not verdict.resumes and verdict.words:
            self.journal("not-resumed", f"the scheduler begins empty: {verdict.words}")
        return recorder, contents

    def resume(self) -> None:
        """Begin to bring back what a predecessor left; to be called once the scheduler listens."""
        self.scheduler._ongoing_background_tasks.call_soon(self.scheduler.resume)

    # -- told by the scheduler, by nodes -------------------------------------------------------

    def _status_changed(self, ws: WorkerState) -> None:
        self.facts.status_changed(ws)
        self.changes.raise_()

    def _retirement_of(self, address: str) -> dict[str, str] | None:
        return self.retirement.of(address)

    def _versions_differ(self, node: Node) -> None:
        """Tell of a node that came with other versions; of a group's many alike, once."""
        if self._told_versions.get(node.group) == node.versions:
            return
        self._told_versions[node.group] = node.versions
        own = own_versions()
        each = ", ".join(f"{name} {version} (scheduler: {own[name]})" for name, version in node.versions.items())
        words = f"workers of group {node.group!r} have other versions than their scheduler: {each}"
        self.journal("versions-differ", words, group=node.group, instance=node.instance)

    def _terminated(self, peer: str) -> None:
        self.journal("terminate", f"the client at {peer} told the cluster to end", peer=peer)
        self._on_terminate(peer)

    def node_event(self, instance: str, event: str, words: str = "") -> dict[str, str]:
        """Note what a node reports about its workers (Dask handler ``daskd_node_event``).

        Raises
        ------
        ValueError
            An argument is not a text, or is too long.
        """
        texts = {"instance": instance, "event": event}
        for name, text in texts.items():
            if not isinstance(text, str) or not 0 < len(text) <= _MAX_EVENT_NAME:
                raise ValueError(f"{name} must be a text of 1 to {_MAX_EVENT_NAME} characters")
        if event != "worker-started":  # the worker's coming tells that already
            self.journal(event, str(words)[:_MAX_EVENT_WORDS], instance=instance)
        return {"result": "ok"}

    # -- asked by the link ---------------------------------------------------------------------

    def heard(self) -> None:
        """Note that the daemon spoke to us."""
        self._heard = time.monotonic()

    def orphaned_for(self) -> float:
        """Seconds since a daemon last spoke; 0 while a client is connected or work is not done."""
        if self.scheduler.client_comms or self.scheduler.check_idle() is None:
            return 0.0
        return time.monotonic() - self._heard

    def hello(self) -> dict[str, Any]:
        """Return who this is and what it runs on; ``pid`` is added by the link."""
        return {"protocol": 1, **self.identity, "started": self.started, "versions": dict(own_versions())}

    def fence(self, ids: list[str], lost: list[str]) -> dict[str, str]:
        """Refuse nodes of these instances; see :meth:`Roster.fence`."""
        return self.roster.fence(ids, lost, [str(ws.name) for ws in self.scheduler.workers.values()])

    def state_document(self) -> dict[str, Any]:
        """Return the state now."""
        present = [str(ws.name) for ws in self.scheduler.workers.values()]
        self.roster.look(present, self.state.retired())
        resumable, words = self.scheduler.resumable
        document = self.state.document(self.scheduler, self.roster.documents())
        return {**document, "resumable": {"is": resumable, "words": words}}

    def claim(self, instance: str) -> None:
        """Admit nodes from now on: the daemon has this scheduler in its books, and no other of the cluster.

        Raises
        ------
        ValueError
            Another one is meant.
        """
        if instance != self.identity.get("instance"):
            raise ValueError(f"this scheduler is {self.identity.get('instance')}, and {instance} is claimed")
        self.roster.is_open = True

    def close(self, reason: str) -> None:
        """Begin to close the scheduler and its workers; a repeat is harmless."""
        if self.scheduler.status != Status.running:
            return
        self.journal("closing", f"closing: {reason}")
        self.scheduler._ongoing_background_tasks.call_soon(self.scheduler.close, reason=reason)
