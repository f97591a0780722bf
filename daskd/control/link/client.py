"""The calls of the link, and the validation of their answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from daskd.crashpoints import reached

from .dialing import Dial
from .documents import Claimed, Discarded, Fenced, HeldDocument, Hello, HubState, Retirement, RetireProgress
from .http import ExchangeError, exchange

PROTOCOL = 1
PATIENCE = 10.0
"""Seconds by which a long poll may be late before it counts as unanswered."""

_IN_THREAD = 64 * 1024
"""A longer answer is parsed in a thread, so that a flood holds up nobody else."""

D = TypeVar("D", bound=BaseModel)


class LinkError(Exception):
    """A call of the link failed. The words say how; they say nothing about whether the scheduler lives.

    Attributes
    ----------
    answered
        Something answered, but it is not what a runtime says: another protocol, garbage, an error.
    """

    def __init__(self, words: str, *, answered: bool = False) -> None:
        super().__init__(words)
        self.words = words
        self.answered = answered


def _decode(data: bytes) -> Any:
    found = json.loads(data)
    if b"\\ud" in data.lower():
        # half a surrogate pair is valid JSON, but no text that a database or a message can hold
        return json.loads(json.dumps(found, ensure_ascii=False).encode("utf-8", "replace"))
    return found


def _parse(data: bytes, document: type[D] | None) -> Any:
    try:
        found = _decode(data)
        return found if document is None else document.model_validate(found)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise LinkError(f"its answer is not what a runtime says: {where}: {first['msg']}", answered=True) from None
    except (ValueError, RecursionError) as error:
        raise LinkError(f"its answer is no JSON: {error}"[:300], answered=True) from None


class Link:
    """Calls a scheduler's process.

    Parameters
    ----------
    dial
        Opens a stream to it, and to nobody else.
    cluster, instance
        Who must answer.
    timeout
        Seconds that a call may take which waits for nothing.
    is_claimed
        It waits to be claimed before it admits nodes, for a driver placed it.
    """

    def __init__(
        self, dial: Dial, cluster: str, instance: str, *, timeout: float = 10.0, is_claimed: bool = False
    ) -> None:
        self._dial = dial
        self._is_claimed = is_claimed
        self._timeout = timeout
        self.cluster = cluster
        self.instance = instance

    async def _call(
        self, method: str, target: str, document: type[D] | None, body: Any = None, wait: float | None = None
    ) -> Any:
        timeout = self._timeout if wait is None else wait + PATIENCE
        data = b"" if body is None else json.dumps(body).encode()
        try:
            status, answer = await exchange(self._dial, method, target, data, timeout=timeout)
        except ExchangeError as error:
            raise LinkError(str(error)) from error
        if status != 200:
            words = answer[:300].decode("utf-8", "replace")
            raise LinkError(f"it answered {status} to {method} {target}: {words}", answered=True)
        if len(answer) > _IN_THREAD:
            return await asyncio.to_thread(_parse, answer, document)
        return _parse(answer, document)

    async def hello(self) -> Hello:
        """Who is there; one that waits for it is claimed, and from then on admits nodes.

        Raises
        ------
        LinkError
            When nobody answers, or somebody else, or one that speaks another version of the protocol.
        """
        hello: Hello = await self._call("GET", "/v1/hello", Hello)
        if hello.protocol != PROTOCOL:
            raise LinkError(
                f"its runtime {hello.runtime_version} speaks version {hello.protocol} of the link, this daemon "
                f"version {PROTOCOL}: end the cluster with the daemon's release that made it, or make it anew",
                answered=True,
            )
        if (hello.cluster, hello.instance) != (self.cluster, self.instance):
            raise LinkError("another cluster's runtime answers on its link", answered=True)
        if self._is_claimed:
            await self._call("POST", "/v1/claim", Claimed, {"instance": self.instance})
            reached("scheduler.claimed")
        return hello

    async def state(self, since: int | None, wait: float) -> HubState:
        """The state once its revision is not `since` any more, at the latest after `wait` seconds; None: at once."""
        query = "" if since is None else f"?since={since}&wait={wait:g}"
        state: HubState = await self._call("GET", f"/v1/state{query}", HubState, wait=wait)
        return state

    async def snapshot(self, since: int | None, wait: float) -> Any:
        """The adaptive policy's facts, unvalidated JSON.

        Parameters
        ----------
        since, wait
            Answer once something woke after that count, at the latest after so many seconds; None: at once.
        """
        query = "" if since is None else f"?since={since}&wait={wait:g}"
        return await self._call("GET", f"/v1/snapshot{query}", None, wait=wait)

    async def retire(self, workers: Sequence[str], drain: float, rev: int | None) -> dict[str, RetireProgress]:
        """Begin, or go on with, the retirement of workers by name; waits for nothing.

        Parameters
        ----------
        drain
            Seconds that running tasks are waited for.
        rev
            Refuse workers that got work since that revision of the snapshot; None: don't.
        """
        body = {"workers": list(workers), "drain": drain, "if_idle_rev": rev}
        answer: Retirement = await self._call("POST", "/v1/retire", Retirement, body)
        return answer.workers

    async def fence(self, ids: Sequence[str], lost: Sequence[str] = ()) -> dict[str, str]:
        """Refuse nodes of those instances from now on: "fenced", or "joined" where one has already joined.

        Those in `lost` joined once and were given up: they are fenced unless a worker of theirs is there.
        """
        answer: Fenced = await self._call("POST", "/v1/fence", Fenced, {"ids": list(ids), "lost": list(lost)})
        return answer.ids

    async def held(self) -> HeldDocument:
        """What lost clients left."""
        answer: HeldDocument = await self._call("GET", "/v1/held", HeldDocument)
        return answer

    async def discard(self, client: str | None) -> Discarded:
        """Let go of what one lost client, or all, left."""
        answer: Discarded = await self._call("POST", "/v1/held/discard", Discarded, {"client": client})
        return answer

    async def close(self, reason: str) -> None:
        """Ask the scheduler to close its workers and end."""
        await self._call("POST", "/v1/close", None, {"reason": reason})
