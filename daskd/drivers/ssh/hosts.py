"""All hosts that one user's clusters use: asked by a verb, in parallel, the dead without keeping others waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from daskd.model.identity import Identity

from .connection import Connection, Down, Refused, Unanswered
from .endpoint import DEFAULT_PYTHON, SSH_PORT, Endpoint
from .options import split_target

Trouble = Down | Unanswered | Refused

LINGER_S = 60.0
"""How long an answer may be owed before the host is asked anew."""

AGAIN_S = 1.0
"""How long a host that was down is waited for."""


class Hosts:
    """The hosts, by how they are reached.

    Parameters
    ----------
    who
        Whose keys and configuration.
    state_id
        The mark of what this daemon launches.
    """

    def __init__(self, who: Identity, state_id: str) -> None:
        self._who = who
        self._state_id = state_id
        self._connections: dict[Endpoint, Connection] = {}
        self._owing: dict[Endpoint, asyncio.Task[dict[str, Any]]] = {}

    async def ask(self, endpoint: Endpoint, verb: str, timeout: float, **arguments: Any) -> dict[str, Any]:
        """What a host answers.

        Raises
        ------
        Down, Unanswered, Refused
            As they say.
        """
        request = {
            "verb": verb,
            "directory": endpoint.directory,
            "state": self._state_id,
            "host": endpoint.folder,
            **arguments,
        }
        return await self._connection(endpoint).ask(endpoint.python or DEFAULT_PYTHON, request, timeout)

    async def ask_all(
        self,
        verb: str,
        arguments: Mapping[Endpoint, Mapping[str, Any]],
        timeout: float,
        *,
        linger: bool = False,
        patient: bool = False,
    ) -> dict[Endpoint, dict[str, Any] | Trouble]:
        """What each host answers, or what kept it from it.

        None is waited for longer than `timeout` seconds. A question that lingers waits a second for one that is down,
        and not at all for one that owes an answer: so a dead host slows no other.

        Parameters
        ----------
        linger
            A question that only asks may go on when nobody waits any more, and tells whether the host is alive. One
            that changes something is cut off.
        patient
            Who owes an answer is waited for, up to `timeout` seconds more.
        """
        answers = await asyncio.gather(
            *(self._ask_bounded(e, verb, timeout, linger, patient, more) for e, more in arguments.items())
        )
        return dict(zip(arguments, answers, strict=True))

    async def _ask_bounded(
        self, endpoint: Endpoint, verb: str, timeout: float, linger: bool, patient: bool, arguments: Mapping[str, Any]
    ) -> dict[str, Any] | Trouble:
        connection, owing = self._connection(endpoint), self._owing.get(endpoint)
        if owing is not None and patient:
            await asyncio.wait({owing}, timeout=timeout)
        if owing is not None and not owing.done():
            return Down(connection.trouble or "it has not answered an earlier question yet")
        asking = asyncio.create_task(self.ask(endpoint, verb, LINGER_S if linger else timeout, **arguments))
        try:
            await asyncio.wait({asking}, timeout=min(timeout, AGAIN_S) if linger and connection.trouble else timeout)
        finally:
            if not asking.done():
                asking.add_done_callback(_ended)
                if linger:
                    self._owing[endpoint] = asking
                else:
                    asking.cancel()
                    if verb == "launch":
                        # what is under way must not arrive when the cable is mended, long after it was given up
                        connection.drop()
        if not asking.done() or asking.cancelled():
            return Unanswered(connection.trouble or f"no answer within {timeout:g} s")
        try:
            return asking.result()
        except (Down, Unanswered, Refused) as trouble:
            return trouble

    def _connection(self, endpoint: Endpoint) -> Connection:
        key = Endpoint(
            endpoint.host, endpoint.port, endpoint.username, endpoint.key, endpoint.known_hosts, endpoint.jump
        )
        if key not in self._connections:
            through = self._connection(jump_of(endpoint)) if endpoint.jump else None
            self._connections[key] = Connection(key, self._who, through)
        return self._connections[key]

    async def close(self) -> None:
        """Hang up everywhere; ends nothing there."""
        for owing in self._owing.values():
            owing.cancel()
        for connection in self._connections.values():
            await connection.close()


def jump_of(endpoint: Endpoint) -> Endpoint:
    """The jump host: with the same keys as the host behind it, and with a user and a port of its own."""
    user, host, port = split_target(endpoint.jump)
    return Endpoint(host, port or SSH_PORT, user, endpoint.key, endpoint.known_hosts)


def _ended(task: asyncio.Task[dict[str, Any]]) -> None:
    # nobody waits for it any more; that it ended is all that is of interest
    if not task.cancelled():
        task.exception()
