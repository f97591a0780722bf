"""The daemon's end of the link to a cluster's scheduler: `docs/runtime.md` has the calls."""

from .client import Link, LinkError
from .dialing import Dial, NotReached, link_address, secured, unix
from .documents import FactEvent, HeldDocument, HubNode, HubState, HubWorker, RetireProgress

__all__ = [
    "Dial",
    "FactEvent",
    "HeldDocument",
    "HubNode",
    "HubState",
    "HubWorker",
    "Link",
    "LinkError",
    "NotReached",
    "RetireProgress",
    "link_address",
    "secured",
    "unix",
]
