"""Records of older formats as those of today. Pure."""

from __future__ import annotations

from typing import Any


def upgraded(record: dict[str, Any], version: int) -> dict[str, Any]:
    """A record that was written in an older format, in today's."""
    return _policy_by_group(record) if version < 2 and "groups" in record else record


def _policy_by_group(cluster: dict[str, Any]) -> dict[str, Any]:
    """Up to format 1 a cluster had one adaptive policy, which named its group; now each group may have its own."""
    spec, status = dict(cluster["spec"]), cluster.get("adaptive")
    asked = spec.pop("adaptive", None)
    memory = (status or {}).get("memory", {})
    return {
        **{key: value for key, value in cluster.items() if key != "adaptive"},
        "spec": {**spec, "groups": [_with(group, asked, spec["groups"]) for group in spec["groups"]]},
        "groups": [_with(group, status, cluster["groups"]) for group in cluster["groups"]],
        "adaptive_memory": memory,
    }


def _with(group: dict[str, Any], adaptive: dict[str, Any] | None, groups: list[dict[str, Any]]) -> dict[str, Any]:
    if adaptive is None:
        return group
    policy = adaptive.get("policy", adaptive)
    if group["name"] != (policy.get("group") or groups[0]["name"]):
        return group
    policy = {key: value for key, value in policy.items() if key != "group"}
    if "policy" not in adaptive:
        return {**group, "adaptive": policy}
    rest = {key: value for key, value in adaptive.items() if key not in ("policy", "memory")}
    return {**group, "adaptive": {**rest, "policy": policy}}
