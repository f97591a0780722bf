"""Lost clients' work, from the client's side: taking it over, and handing one's own over."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from distributed import Client, Future

from .errors import HeldWorkUnsupported

LEAVING = "daskd-leaving"
"""The message by which a client tells its scheduler that the goodbye to come is none."""


async def take_over(client: Client, lost: Collection[str] | None = None) -> dict[Any, Future]:
    """Make futures of `client` for what lost clients were computing.

    Parameters
    ----------
    client
        Who takes it over.
    lost
        Only these lost clients' work, by their ids. None: all.

    Raises
    ------
    HeldWorkUnsupported
        The scheduler keeps no work.
    """
    # From here on the scheduler knows that this client wants the keys: nothing is released in between.
    keys = await client.scheduler.daskd_recover(client=client.id, lost=None if lost is None else list(lost))
    if keys is None:  # a scheduler's answer to what it has no handler for
        raise HeldWorkUnsupported(
            f"The scheduler at {client.scheduler.address} keeps no lost clients' work: it was not started by daskd.",
            facts={"address": client.scheduler.address},
        )
    futures = {key: Future(key, client) for key in keys}
    announce(client, list(futures))
    return futures


def announce(client: Client, keys: list[Any]) -> None:
    """Say that `client` wants `keys`, whose futures it has: the scheduler answers with the state of those at rest.

    A future that is merely made stays pending; this is what unpickled futures do too.
    """
    if keys:
        client._send_to_scheduler({"op": "client-desires-keys", "keys": keys})


def hand_over(client: Client) -> None:
    """Have the scheduler keep what `client` wants when it goes, goodbye or not.

    Sent over the stream on which the goodbye will follow, so that it comes first; does not wait.
    """
    client._send_to_scheduler({"op": LEAVING, "client": client.id})
