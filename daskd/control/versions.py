"""Pure: what a scheduler says of its workers' versions, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .link import HubNode

VERSIONS_DIFFER = "VERSIONS_DIFFER"
"""The reason of a cluster whose workers have other versions than their scheduler."""


def mismatch(nodes: Iterable[HubNode], scheduler: Mapping[str, str]) -> str:
    """Which groups have other versions than the scheduler, and what to do; empty if none has.

    Of a group the first node that has others speaks for all: their workers have one environment.
    """
    found: dict[str, HubNode] = {}
    for node in nodes:
        if node.versions:
            found.setdefault(node.group, node)
    if not found:
        return ""
    groups = "; ".join(f"group {group!r} has {_each(node.versions, scheduler)}" for group, node in found.items())
    return (
        f"{groups}: tasks may fail, or never run. The environment was changed while the cluster ran, or is another "
        "one: make the cluster anew, with one environment for all of it"
    )


def _each(versions: Mapping[str, str], scheduler: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version} (scheduler: {scheduler.get(name, '?')})" for name, version in versions.items())
