"""The hosts as one user uses them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import structlog
from pydantic import TypeAdapter, ValidationError

from daskd.drivers import payload
from daskd.drivers.local.observe import observation
from daskd.drivers.local.records import Facts
from daskd.drivers.protocol import (
    Batch,
    Capabilities,
    Health,
    LogChunk,
    Member,
    Observation,
    Outcome,
    Payload,
    Result,
    Snapshot,
    Surroundings,
)
from daskd.model.cluster import Cause, End, Handle, State
from daskd.model.identity import Identity
from daskd.model.names import is_instance_id, is_uid
from daskd.model.spec import WorkerGroupSpec

from .clearing import Clearing
from .connection import Down, Refused, Unanswered
from .endpoint import Endpoint, Take, endpoint_of, handle_of
from .hosts import Hosts, Trouble
from .loads import Loads
from .options import SshOptions, SshSettings, rooms
from .placement import Room, place
from .request import launching, pythons, worker_take
from .survey import surveyed
from .visits import Cleared, Visits

log = structlog.get_logger(__name__)

OBSERVE_S = 10.0
SURVEY_S = 20.0
LAUNCH_S = 30.0
END_S = 10.0
LOGS_S = 20.0
MOST_STRAYS = 10_000
QUIET_S = 1.0
"""A log that held nothing new is not asked for again so soon."""

NO_SCHEDULER = "the ssh driver runs workers: a scheduler is the local driver's"
NO_HOSTS = "it names no hosts: give them by the option `hosts`, or in the daemon's configuration (`[drivers.ssh]`)"
LASTING = frozenset({NO_SCHEDULER, NO_HOSTS})
"""Why the same request will be refused again."""

_FACTS = TypeAdapter(Facts)
_LINES = TypeAdapter(list[tuple[tuple[tuple[float, str], ...], str]])


class SshSite:
    """Hosts by SSH, as the user as whom this process runs.

    Parameters
    ----------
    settings
        What the daemon's configuration says of hosts.
    """

    capabilities = Capabilities(
        repeat_safe=True,
        settle_s=10.0,
        absence_is_end=False,
        poll_min_s=1.0,
        poll_quiet_s=5.0,
        start_s=5.0,
        needs_address=True,
    )

    def __init__(self, who: Identity, surroundings: Surroundings, settings: SshSettings) -> None:
        self._settings = settings
        self._hosts = Hosts(who, surroundings.state_id)
        self._visits = Visits(surroundings.state_dir / "ssh")
        self._clearing = Clearing(self._hosts, self._visits)
        self._loads = Loads()
        self._secrets: dict[str, dict[str, bytes]] = {}
        self._has_distributed: set[tuple[Endpoint, str]] = set()
        self._quiet: dict[tuple[str, str], float] = {}

    def begin(self) -> None:
        """Go on with what an earlier daemon did not get cleared away."""
        self._clearing.begin()

    async def check(self) -> Health:
        """Hosts are a request's: whether one can be used is asked when something is to be placed there."""
        return Health(True)

    async def stage(self, payload: Payload) -> None:
        """Kept for the launches, which take it along: which hosts need it is not known before."""
        self._secrets[payload.cluster] = dict(payload.secret)

    def room(self, group: WorkerGroupSpec, waiting: int) -> None:
        """No bound: nothing waits here."""

    async def prepare(self, batch: Batch) -> list[Handle]:
        """Ask the hosts what is free there, and spread the members over them."""
        group = batch.group
        if group is None:
            return [handle_of(member.id, batch.cluster, None, Take(), NO_SCHEDULER) for member in batch.members]
        worker = worker_take(group)
        options = SshOptions.model_validate(group.options)
        found = [room for room, _ in rooms(options, self._settings)]
        if not found:
            return [handle_of(member.id, batch.cluster, None, Take(), NO_HOSTS) for member in batch.members]
        surveyed_rooms = await self._survey(batch, found)
        nodes = [len(member.workers) for member in batch.members]
        placed = place(nodes, worker, surveyed_rooms, self._loads.by_host())
        handles = [
            handle_of(
                member.id,
                batch.cluster,
                endpoint,
                Take(n, n * worker.cores, n * worker.memory),
                "" if endpoint else placed.words,
            )
            for member, n, endpoint in zip(batch.members, nodes, placed.endpoints, strict=True)
        ]
        self._loads.reserve(handles)
        return handles

    async def _survey(self, batch: Batch, found: Sequence[Room]) -> list[Room]:
        asked = {room.endpoint: pythons(room.endpoint, batch) for room in found}
        arguments = {
            endpoint: {"pythons": names, "version": (endpoint, names[0]) not in self._has_distributed}
            for endpoint, names in asked.items()
        }
        answers = await self._hosts.ask_all("survey", arguments, SURVEY_S, linger=True, patient=True)
        seen = []
        for room in found:
            known = not arguments[room.endpoint]["version"]
            answer = surveyed(room, answers[room.endpoint], asked[room.endpoint], has_distributed=known)
            if not answer.room.words:
                self._has_distributed.add((room.endpoint, asked[room.endpoint][0]))
            self._loads.found(room.endpoint, answer.running)
            seen.append(answer.room)
        return seen

    async def launch(self, batch: Batch, handles: Sequence[Handle]) -> list[Outcome]:
        """One command a host for all its members. A folder that is there already was launched before."""
        by_host: dict[Endpoint, list[tuple[Member, Handle]]] = {}
        outcomes: dict[str, Outcome] = {}
        for member, handle in zip(batch.members, handles, strict=True):
            if (endpoint := endpoint_of(handle)) is None:
                words = str(handle.data.get("words", ""))
                outcomes[handle.id] = Outcome(handle, Result.REFUSED, words, lasting=words in LASTING)
            elif not batch.address:
                outcomes[handle.id] = Outcome(handle, Result.REFUSED, "the scheduler has not said where it is yet")
            else:
                by_host.setdefault(endpoint, []).append((member, handle))
        await asyncio.to_thread(self._visits.add, batch.cluster, by_host)
        for launched in await asyncio.gather(*(self._launch_on(e, batch, m) for e, m in by_host.items())):
            outcomes |= {outcome.handle.id: outcome for outcome in launched}
        self._loads.free(key for key, outcome in outcomes.items() if outcome.result is Result.REFUSED)
        return [outcomes[handle.id] for handle in handles]

    async def _launch_on(
        self, endpoint: Endpoint, batch: Batch, members: Sequence[tuple[Member, Handle]]
    ) -> list[Outcome]:
        answer = await self._submit(endpoint, batch, members)
        if isinstance(answer, Unanswered):
            return [Outcome(handle, Result.UNSURE, f"{endpoint.name}: {answer}") for _, handle in members]
        if isinstance(answer, (Down, Refused)):
            return [Outcome(handle, Result.REFUSED, f"{endpoint.name}: {answer}") for _, handle in members]
        results = answer.get("members")
        return [_outcome(handle, endpoint, results) for _, handle in members]

    async def _submit(
        self, endpoint: Endpoint, batch: Batch, members: Sequence[tuple[Member, Handle]]
    ) -> dict[str, Any] | Trouble:
        """Ask for the launch; where the host lacks the runtime it did nothing, and is asked with it."""
        assert batch.group is not None
        options = SshOptions.model_validate(batch.group.options)
        interface = {room.endpoint: face for room, face in rooms(options, self._settings)}.get(endpoint, "")
        secret = self._secrets.get(batch.cluster, {})
        answer: dict[str, Any] | Trouble = {"missing": True}
        for code in (None, payload.runtime().code):
            arguments = launching(batch, endpoint, members, secret, interface, code)
            answer = (await self._hosts.ask_all("launch", {endpoint: arguments}, LAUNCH_S, patient=True))[endpoint]
            if not isinstance(answer, dict) or "missing" not in answer:
                return answer
        return Refused("the runtime's code could not be kept there")

    async def observe(self, known: Sequence[Handle], deep: bool = False) -> Snapshot:
        """One question a host. What is on one that does not answer is unknown, which says nothing of it.

        So the listing is complete: whoever answered was asked about all that is there, and of nobody else it
        is said that it is gone.
        """
        begun = time.time()
        by_host: dict[Endpoint, list[Handle]] = {}
        for handle in known:
            if (endpoint := endpoint_of(handle)) is not None:
                by_host.setdefault(endpoint, []).append(handle)
        hosts = set(by_host)
        if deep:
            hosts |= {visit.endpoint for visit in await asyncio.to_thread(self._visits.all)}
        arguments = {
            endpoint: {"known": {h.id: h.data["cluster"] for h in by_host.get(endpoint, ())}, "deep": deep}
            for endpoint in hosts
        }
        answers = await self._hosts.ask_all("observe", arguments, OBSERVE_S, linger=True)
        seen = [_nowhere(handle) for handle in known if endpoint_of(handle) is None]
        strays: list[Handle] = []
        for endpoint, answer in answers.items():
            seen += _observations(endpoint, by_host.get(endpoint, ()), answer, time.time())
            if isinstance(answer, dict):
                strays += _strays(endpoint, answer, {handle.id for handle in known})
        self._loads.observed(known, seen)
        return Snapshot(begun, complete=True, seen=tuple(seen), strays=tuple(strays[:MOST_STRAYS]))

    async def terminate(self, handles: Sequence[Handle], force: bool = False) -> list[Outcome]:
        """TERM to the supervisors, which pass it on and kill after the grace; with `force`, KILL to all they hold."""
        by_host: dict[Endpoint, dict[str, str]] = {}
        for handle in handles:
            if (endpoint := endpoint_of(handle)) is not None:
                by_host.setdefault(endpoint, {})[handle.id] = str(handle.data["cluster"])
        arguments = {endpoint: {"members": members, "force": force} for endpoint, members in by_host.items()}
        answers = await self._hosts.ask_all("end", arguments, END_S, patient=True)
        return [_asked_to_end(handle, answers) for handle in handles]

    async def logs(self, handle: Handle, cursor: str, since: float | None) -> AsyncIterator[LogChunk]:
        """The numbered files, as far as they are kept; where its host does not answer, a line that says so."""
        endpoint = endpoint_of(handle)
        if endpoint is None or time.monotonic() < self._quiet.get((handle.id, cursor), 0.0):
            return
        first = cursor == ""
        while True:
            arguments = {"id": handle.id, "cluster": handle.data["cluster"], "cursor": cursor}
            answer = (await self._hosts.ask_all("logs", {endpoint: arguments}, LOGS_S, patient=True))[endpoint]
            if not isinstance(answer, dict):
                if first:
                    words = f"[{endpoint.name} does not give its log now: {answer}]"
                    yield LogChunk(((time.time(), words),), "0:0")
                return
            first, chunks, before = False, _chunks(answer), cursor
            for lines, cursor in chunks:
                yield LogChunk(tuple(line for line in lines if since is None or line[0] >= since), cursor)
            if cursor == before:
                self._hush(handle.id, cursor)
                return

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

    async def unstage(self, cluster: str) -> None:
        """Keys, scratch files and code; logs stay. What a host that is down still has is removed when it is back."""
        self._secrets.pop(cluster, None)
        await self._clearing.clear(cluster, Cleared.UNSTAGED)

    async def forget(self, cluster: str) -> None:
        """All that is left of a cluster on its hosts, logs included; where one is down, when it is back."""
        await self._clearing.clear(cluster, Cleared.FORGOTTEN)

    async def close(self) -> None:
        """Hang up; ends nothing there."""
        await self._clearing.close()
        await self._hosts.close()


def _outcome(handle: Handle, endpoint: Endpoint, results: Any) -> Outcome:
    answer = results.get(handle.id) if isinstance(results, Mapping) else None
    known = {"accepted": Result.ACCEPTED, "refused": Result.REFUSED}
    if isinstance(answer, list) and len(answer) == 2 and answer[0] in known:
        words = str(answer[1])[:1000]
        return Outcome(handle, known[answer[0]], f"{endpoint.name}: {words}" if words else "")
    return Outcome(handle, Result.UNSURE, f"{endpoint.name} said nothing of it")


def _nowhere(handle: Handle) -> Observation:
    words = "it has no place on any host"
    return Observation(handle, State.ENDED, words, End(Cause.VANISHED, words=words))


def _observations(
    endpoint: Endpoint, handles: Iterable[Handle], answer: dict[str, Any] | Trouble, now: float
) -> list[Observation]:
    if not isinstance(answer, dict):
        words = f"{endpoint.name} does not answer: {answer}"
        return [Observation(handle, State.UNKNOWN, words) for handle in handles]
    found = answer.get("facts")
    facts = found if isinstance(found, dict) else {}
    there = answer.get("now")
    fast = there - now if isinstance(there, float) else 0.0
    return [_observation(endpoint, handle, facts.get(handle.id), fast) for handle in handles]


def _observation(endpoint: Endpoint, handle: Handle, facts: Any, fast: float) -> Observation:
    try:
        return observation(handle, _FACTS.validate_python(facts), endpoint.host, fast)
    except ValidationError:
        return Observation(handle, State.UNKNOWN, f"what {endpoint.name} says of it can't be understood")


def _strays(endpoint: Endpoint, answer: dict[str, Any], known: set[str]) -> list[Handle]:
    strays = answer.get("strays")
    return [
        handle_of(name, cluster if is_uid(cluster) else "", endpoint, Take())
        for name, cluster in (strays.items() if isinstance(strays, dict) else ())
        if isinstance(cluster, str) and is_instance_id(name) and name not in known
    ]


def _asked_to_end(handle: Handle, answers: Mapping[Endpoint, dict[str, Any] | Trouble]) -> Outcome:
    endpoint = endpoint_of(handle)
    if endpoint is None:
        return Outcome(handle, Result.GONE)
    answer = answers[endpoint]
    if not isinstance(answer, dict):
        return Outcome(handle, Result.UNSURE, f"{endpoint.name} does not answer: {answer}")
    asked = answer.get("asked")
    was_asked = asked.get(handle.id) if isinstance(asked, dict) else None
    if was_asked is None:
        return Outcome(handle, Result.UNSURE, f"{endpoint.name} said nothing of it")
    return Outcome(handle, Result.ACCEPTED if was_asked else Result.GONE)


def _chunks(answer: dict[str, Any]) -> list[tuple[tuple[tuple[float, str], ...], str]]:
    with suppress(ValidationError):
        return _LINES.validate_python(answer.get("chunks"))
    log.warning("what a host says of a log can't be understood")
    return []
