"""A batch system as one user uses it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import structlog
from pydantic import TypeAdapter, ValidationError

from daskd.drivers.protocol import (
    Batch,
    Capabilities,
    Health,
    LogChunk,
    Observation,
    Outcome,
    Payload,
    Result,
    Room,
    Snapshot,
    Surroundings,
)
from daskd.drivers.streams import Stream
from daskd.model.cluster import Cause, End, Handle, State
from daskd.model.identity import Identity
from daskd.model.names import new_instance_id
from daskd.model.spec import WorkerGroupSpec

from . import elements
from .doubts import Doubts
from .elements import Element, element_of, nodes_of
from .files import Files, FilesFailed
from .folder import Refusal
from .options import BatchOptions, BatchSettings
from .pace import Lane
from .queued import Queued
from .reports import Reports
from .roots import Roots, folder_of, root_of
from .runner import NotNow, NotRun, Runner, Unanswered
from .script import MOST_BYTES, body_of, handed_over, jobs_folder
from .steady import Steady
from .system import Declined, Handed, Jobs, Row, Submitted, System, Unreadable

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

START_S = 10.0
SETTLE_S = 30.0
MOST_NAMES = 200
"""More are named in several commands, for a command line is bounded."""

ASK_AGAIN_S = 30.0
"""A job that was asked to end is not asked again sooner."""

QUIET_S = 1.0
"""A log that held nothing new is not looked at again sooner."""

Command = Callable[[Sequence[tuple[str, int]]], list[str]]
"""Of jobs by id and index."""

_CHUNKS = TypeAdapter(list[tuple[tuple[tuple[float, str], ...], str]])


class BatchSite:
    """Jobs of one user.

    Parameters
    ----------
    options
        The driver's model of what a group may ask.
    """

    def __init__(
        self,
        system: System,
        options: type[BatchOptions],
        who: Identity,
        surroundings: Surroundings,
        settings: BatchSettings,
        runner: Runner,
        files: Files,
    ) -> None:
        self.capabilities = Capabilities(
            repeat_safe=False,
            # on a login node a command may go on when the connection has broken
            settle_s=SETTLE_S if settings.login_host is None else SETTLE_S + settings.timeout,
            absence_is_end=False,
            poll_min_s=min(settings.poll_min, settings.poll),
            poll_quiet_s=settings.poll,
            poll_growth=1.3,
            start_s=START_S,
            needs_address=True,
        )
        self._system = system
        self._options = options
        self._who = who
        self._where = surroundings
        self._settings = settings
        self._runner = runner
        self._files = files
        self._roots = Roots(surroundings.state_dir / system.name / str(who.uid))
        self._secrets: dict[str, dict[str, bytes]] = {}
        self._doubts = Doubts()
        self._steady = Steady()
        self._reports = Reports()
        self._queued = Queued(settings.max_queued)
        self._cancelled: set[Element] = set()
        self._told_to_end: dict[Element, float] = {}
        self._quiet: dict[tuple[str, str], float] = {}

    async def _root(self, options: BatchOptions) -> str:
        account = await self._runner.account()
        return root_of(options.log_directory or self._settings.log_directory, account.home)

    def _folder(self, root: str, cluster: str) -> str:
        return folder_of(root, self._where.state_id, self._system.name, cluster)

    async def check(self) -> Health:
        """Whether the user's jobs can be listed."""
        try:
            await self._list(Lane.LOOK)
        except (NotRun, Unanswered, Unreadable) as error:
            return Health(False, f"{self._system.name} can't be used as {self._who.name}: {error}")
        return Health(True)

    async def stage(self, payload: Payload) -> None:
        """Kept for the launches, whose scripts take it along."""
        self._secrets[payload.cluster] = dict(payload.secret)

    def room(self, group: WorkerGroupSpec, waiting: int) -> Room | None:
        """How many more jobs of a group may wait in the queue."""
        return self._queued.room(self._options.model_validate(group.options).max_queued, waiting)

    async def prepare(self, batch: Batch) -> list[Handle]:
        """A name for each array, and an index for each member.

        Without a folder where it can't be known who the owner is on the login node: nothing is submitted then.
        """
        options = self._options.model_validate(batch.asked.options)
        try:
            folder = self._folder(await self._root(options), batch.cluster)
        except NotRun:
            folder = ""
        prefix = f"{options.job_name}-" if options.job_name else ""
        handles, now, most = [], time.time(), self._settings.array_max
        for first in range(0, len(batch.members), most):
            name = prefix + new_instance_id(self._where.state_id)
            for index, member in enumerate(batch.members[first : first + most], self._system.first_index):
                element = (name, index)
                facts = (batch.cluster, folder, now, batch.role, batch.asked.nodes)
                handles.append(elements.handle_of(self._system.name, member.id, element, *facts))
        self._queued.prepared(map(element_of, handles), now)
        return handles

    async def launch(self, batch: Batch, handles: Sequence[Handle]) -> list[Outcome]:
        """One array for all members of a name, submitted once."""
        hindrance, may_pass = await self._hindrance(batch, handles[0].data["folder"])
        if hindrance:
            self._queued.refused(map(element_of, handles))
            return [Outcome(handle, Result.REFUSED, hindrance, full=may_pass) for handle in handles]
        outcomes: list[Outcome] = []
        by_name: dict[str, list[Handle]] = {}
        for handle in handles:
            by_name.setdefault(element_of(handle)[0], []).append(handle)
        for name, some in by_name.items():
            outcomes += await self._submit(batch, name, some)
        self._doubts.clear(handle.id for handle in handles)
        self._queued.refused(element_of(one.handle) for one in outcomes if one.result is Result.REFUSED)
        return outcomes

    async def _hindrance(self, batch: Batch, folder: str) -> tuple[str, bool]:
        """Make what the jobs need; why that can't be, else an empty text, and whether it may be otherwise soon."""
        if batch.group is not None and not batch.address:
            return "the scheduler has not said where it is yet", False
        try:
            root = await self._root(self._options.model_validate(batch.asked.options))
            if not folder:
                return "the login node was not reached a moment ago", True
            await asyncio.to_thread(self._roots.add, batch.cluster, [root])
            await self._files.ask("make", root=root, folder=folder)
        except NotRun as error:
            return str(error), isinstance(error, NotNow)
        except (Refusal, OSError) as error:
            return str(error), isinstance(error, FilesFailed) and error.may_pass
        return "", False

    async def _submit(self, batch: Batch, name: str, handles: Sequence[Handle]) -> list[Outcome]:
        try:
            handed = await self._handed(batch, name, handles)
            stdin = handed.stdin.encode()
            size = len(stdin) + sum(len(text.encode()) for text in handed.files.values())
            if size > MOST_BYTES:
                words = f"its script has {size} bytes, and at most {MOST_BYTES} are taken: set fewer variables"
                return [Outcome(handle, Result.REFUSED, words, lasting=True) for handle in handles]
            for file, text in handed.files.items():
                await self._files.ask("put", path=f"{jobs_folder(handles[0].data['folder'])}/{file}", text=text)
        except (Refusal, OSError) as error:
            full = isinstance(error, FilesFailed) and error.may_pass
            return [Outcome(handle, Result.REFUSED, str(error), full=full) for handle in handles]
        try:
            done = await self._runner.run(
                handed.argv, stdin, timeout=self._settings.timeout, lane=Lane.ACT, submits=True
            )
        except NotRun as error:
            full = isinstance(error, NotNow)
            return [Outcome(handle, Result.REFUSED, str(error), full=full) for handle in handles]
        except Unanswered as error:
            return [Outcome(handle, Result.UNSURE, str(error)) for handle in handles]
        answer = self._system.submitted(done)
        if isinstance(answer, Submitted):
            log.info("jobs were submitted", system=self._system.name, job=answer.job, name=name, jobs=len(handles))
            return [Outcome(handle, Result.ACCEPTED) for handle in handles]
        if isinstance(answer, Declined):
            full = not answer.lasting
            return [Outcome(handle, Result.REFUSED, answer.words, answer.lasting, full) for handle in handles]
        return [Outcome(handle, Result.UNSURE, done.words) for handle in handles]

    async def _handed(self, batch: Batch, name: str, handles: Sequence[Handle]) -> Handed:
        group = batch.asked
        options = self._options.model_validate(group.options)
        body = await asyncio.to_thread(self._body, batch, group, options, handles)
        ids = tuple(handle.id for handle in handles)
        jobs = Jobs(name, ids, jobs_folder(handles[0].data["folder"]), batch.runtime.grace)
        return handed_over(self._system, options, group, body, jobs)

    def _body(self, batch: Batch, group: WorkerGroupSpec, options: BatchOptions, handles: Sequence[Handle]) -> str:
        ids = {handle.id for handle in handles}
        members = [member for member in batch.members if member.id in ids]
        files = {
            "folder": handles[0].data["folder"],
            "state": self._where.state_id,
            "secret": self._secrets.get(batch.cluster, {}),
        }
        return body_of(self._system, batch, group, options, members, files)

    async def _list(self, lane: Lane) -> list[Row]:
        listing, begun = self._system.listing((await self._runner.account()).name), time.time()
        done = await self._runner.run(listing, timeout=self._settings.timeout, lane=lane)
        # some list all that there is on the site
        rows = await asyncio.to_thread(self._system.listed, done)
        self._queued.listed(rows, begun)
        command = self._system.explanation(rows)
        if command is None:
            return rows
        # what waits is listed, whether or not anybody says why
        with suppress(NotRun, Unanswered):
            return self._system.explained(
                rows, await self._runner.run(command, timeout=self._settings.timeout, lane=lane)
            )
        return rows

    async def observe(self, known: Sequence[Handle], deep: bool = False) -> Snapshot:
        """One listing of all the user's jobs; when deep, whoever remembers is asked of what it lacks."""
        begun = time.time()
        try:
            rows = await self._list(Lane.LOOK)
        except (NotRun, Unanswered, Unreadable) as error:
            return Snapshot(begun, False, (), words=str(error))
        listed = self._with_cancelled(elements.by_element(rows), known)
        over = [h for h in known if (row := listed.get(element_of(h))) is None or row.state is State.ENDED]
        records = await self._records([*over, *self._reports.wanted(known, listed, deep=deep)])
        self._reports.learnt(known, records)
        # a supervisor's own record tells of an end as well as any
        missing = [h for h in over if element_of(h) not in listed and not records.get(h.id, {}).get("end")]
        asked_of = {element_of(handle) for handle in known}
        self._told_to_end = {one: when for one, when in self._told_to_end.items() if one in asked_of}
        asked = False
        # one that was told to end before its supervisor was there leaves no record
        if missing and (deep or any(element_of(handle) in self._told_to_end for handle in missing)):
            asked, past = await self._remembered(missing, begun)
            listed |= past
        now = time.time()
        seen = [
            self._observation(handle, listed.get(element_of(handle)), self._reports.of(handle, records), now)
            for handle in known
        ]
        absent = {handle.id for handle in missing if element_of(handle) not in listed}
        self._doubts.listed(absent, begun, deep=asked or not absent)
        settled = [self._settled(one, now) for one in seen]
        strays = elements.strays(self._system.name, rows, known, self._where.state_id) if deep else ()
        await self._clear([row for row in rows if row.state is State.ENDED and (row.name, row.index) in asked_of])
        return Snapshot(begun, True, tuple(self._steady.kept(settled, now)), strays)

    async def _clear(self, rows: Sequence[Row]) -> None:
        """Have these no longer listed, where it takes a command; one that does not work is given again next time."""
        for first in range(0, len(rows), MOST_NAMES):
            command = self._system.clear(rows[first : first + MOST_NAMES])
            if command is None:
                return
            with suppress(NotRun, Unanswered):
                await self._runner.run(command, timeout=self._settings.timeout, lane=Lane.ACT)

    def _observation(
        self, handle: Handle, row: Row | None, record: Mapping[str, Any] | None, now: float
    ) -> Observation:
        if row is not None:
            return elements.observed(handle, row, record, now)
        left = elements.recorded(handle, record)
        if left is not None and left.end is not None:
            return left
        return Observation(handle, State.UNKNOWN, f"{self._system.name} does not list it")

    def _settled(self, seen: Observation, now: float) -> Observation:
        """What no listing had for long enough has ended."""
        if not self._doubts.is_settled(seen.handle.id, now):
            return seen
        words = f"{self._system.name} has not listed it for a minute, and nobody remembers it"
        return Observation(seen.handle, State.ENDED, words, End(Cause.VANISHED, words=words))

    async def _records(self, handles: Sequence[Handle]) -> dict[str, dict[str, Any]]:
        folders = {
            handle.id: (str(handle.data["folder"]), nodes_of(handle)) for handle in handles if handle.data["folder"]
        }
        if not folders:
            return {}
        try:
            answer = await self._files.ask("records", instances=folders)
        except (Refusal, OSError) as error:
            log.warning("the records of ended jobs could not be read", user=self._who.name, error=str(error))
            return {}
        # it may be a process of the owner's that answered
        return {key: record for key, record in answer.items() if isinstance(record, dict)}

    async def _remembered(self, handles: Sequence[Handle], now: float) -> tuple[bool, dict[Element, Row]]:
        """Whether it could be asked who remembers, and what of these has ended by that word."""
        names = sorted({element_of(handle)[0] for handle in handles})
        since = now - min(float(handle.data["prepared"]) for handle in handles)
        rows: list[Row] = []
        for first in range(0, len(names), MOST_NAMES):
            command = self._system.history(names[first : first + MOST_NAMES], max(0.0, since))
            if command is None:
                return True, {}
            try:
                done = await self._runner.run(command, timeout=self._settings.timeout, lane=Lane.LOOK)
                rows += self._system.remembered(done)
            except (NotNow, Unanswered, Unreadable) as error:
                log.warning(
                    "nobody tells of jobs that are no longer listed", system=self._system.name, error=str(error)
                )
                return False, {}
            except NotRun:
                return True, {}  # this site has nobody who does
        found = elements.by_element(rows)
        # the memory may be behind: of what lives only the listing tells
        return True, {element: row for element, row in found.items() if row.state is State.ENDED}

    def _with_cancelled(self, listed: Mapping[Element, Row], known: Sequence[Handle]) -> dict[Element, Row]:
        """The listing, and with it what waited when it was cancelled: of such a one there may be no trace."""
        self._cancelled &= {element_of(handle) for handle in known}
        words = "it was cancelled while it waited"
        all_rows = dict(listed)
        for handle in known:
            element = element_of(handle)
            if element in listed:
                continue
            if (row := elements.of_rest(handle, listed)) is not None:
                all_rows[element] = row
            elif element in self._cancelled:
                end = End(Cause.CANCELLED, words=words)
                all_rows[element] = Row(*element, job="", state=State.ENDED, words=words, end=end)
        return all_rows

    async def terminate(self, handles: Sequence[Handle], force: bool = False) -> list[Outcome]:
        """TERM to what runs, whose supervisor kills after the grace; what waits is cancelled; `force`: all is."""
        try:
            listed = elements.by_element(await self._list(Lane.ACT))
        except (NotRun, Unanswered, Unreadable) as error:
            return [Outcome(handle, Result.UNSURE, str(error)) for handle in handles]
        rows = {handle.id: listed.get(element_of(handle)) for handle in handles}
        living = [row for row in rows.values() if row is not None and row.state is not State.ENDED]
        waiting = [row for row in living if row.state is State.QUEUED]
        words = await self._end(self._system.cancel, living if force else waiting)
        if not words:
            self._cancelled |= {(row.name, row.index) for row in waiting}
        if not force:
            spread = {element_of(handle) for handle in handles if nodes_of(handle) > 1}
            running = [row for row in living if row.state is not State.QUEUED]
            several = [row for row in running if (row.name, row.index) in spread]
            words += await self._ask_to_end([row for row in running if row not in several], self._system.ask_to_end)
            words += await self._ask_to_end(several, self._system.ask_ranks_to_end)
        elif not words:
            # what is killed leaves no record: whoever remembers is asked
            self._note_told_to_end(living)
        result = Result.UNSURE if words else Result.ACCEPTED
        return [
            Outcome(handle, result, words) if rows[handle.id] in living else Outcome(handle, Result.GONE)
            for handle in handles
        ]

    async def _ask_to_end(self, rows: Sequence[Row], command: Command) -> str:
        """Ask these; those that were asked just now end, and are left in peace: some systems signal all processes."""
        now = time.monotonic()
        new = [
            row for row in rows if now - self._told_to_end.get((row.name, row.index), now - ASK_AGAIN_S) >= ASK_AGAIN_S
        ]
        words = await self._end(command, new)
        if not words:
            self._note_told_to_end(new)
        return words

    def _note_told_to_end(self, rows: Sequence[Row]) -> None:
        now = time.monotonic()
        self._told_to_end |= {(row.name, row.index): now for row in rows}

    async def _end(self, command: Command, rows: Sequence[Row]) -> str:
        """End these jobs; why that did not work, else an empty text."""
        said: list[str] = []
        for first in range(0, len(rows), MOST_NAMES):
            here = [(row.job, row.index) for row in rows[first : first + MOST_NAMES]]
            try:
                done = await self._runner.run(command(here), timeout=self._settings.timeout, lane=Lane.ACT)
                said.append(self._system.cancelled(done))
            except (NotRun, Unanswered) as error:
                said.append(str(error))
        return "; ".join(dict.fromkeys(words for words in said if words))

    async def logs(self, handle: Handle, cursor: str, since: float | None) -> AsyncIterator[LogChunk]:
        """What the job printed before its supervisor was there, then the numbered files, as far as they are kept."""
        name, index = element_of(handle)
        output = f"{name}.{index}.out"
        while time.monotonic() >= self._quiet.get((handle.id, cursor), 0.0):
            try:
                where = {"folder": handle.data["folder"], "id": handle.id, "nodes": nodes_of(handle)}
                answer = await self._files.ask("read_log", **where, output=output, cursor=cursor)
                chunks = _CHUNKS.validate_python(answer.get("chunks"))
            except (Refusal, OSError, ValidationError) as error:
                log.warning("a log could not be read", instance=handle.id, error=str(error))
                return
            for lines, cursor in chunks:
                yield LogChunk(tuple(line for line in lines if since is None or line[0] >= since), cursor)
            if not chunks:
                self._hush(handle.id, cursor)

    def _hush(self, instance: str, cursor: str) -> None:
        now = time.monotonic()
        self._quiet = {key: until for key, until in self._quiet.items() if until > now}
        self._quiet[instance, cursor] = now + QUIET_S

    def link_path(self, handle: Handle) -> None:
        """There is none: schedulers run elsewhere."""
        return

    def dashboard_path(self, handle: Handle) -> None:
        """There is none, either."""
        return

    async def dial(self, handle: Handle, host: str, port: int) -> Stream:
        """As the machine reaches it where the commands are run: a node may be in a network that no other knows."""
        return await self._runner.dial(host, port)

    async def unstage(self, cluster: str) -> None:
        """Keys, code, and what nodes were told; logs stay."""
        self._secrets.pop(cluster, None)
        for root in await asyncio.to_thread(self._roots.of, cluster):
            await self._files.ask("unstage", folder=self._folder(root, cluster))

    async def forget(self, cluster: str) -> None:
        """All that is left of a cluster, logs included."""
        for root in await asyncio.to_thread(self._roots.of, cluster):
            await self._files.ask("forget", root=root, folder=self._folder(root, cluster))
        await asyncio.to_thread(self._roots.forget, cluster)

    async def close(self) -> None:
        """Hang up, where the commands are run elsewhere."""
        await self._runner.close()
