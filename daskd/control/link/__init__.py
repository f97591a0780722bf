"""The daemon's end of the link to a cluster's scheduler: `docs/runtime.md` has the calls."""

from .client import Link, LinkError
from .documents import FactEvent, HeldDocument, HubNode, HubState, HubWorker, RetireProgress

__all__ = [
    "FactEvent",
    "HeldDocument",
    "HubNode",
    "HubState",
    "HubWorker",
    "Link",
    "LinkError",
    "RetireProgress",
]
