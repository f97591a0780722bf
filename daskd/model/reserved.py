"""Keyword arguments of distributed's classes that the daemon sets, or that nobody may set: no options may name them."""

from __future__ import annotations

from collections.abc import Mapping

_ADDRESS = "the daemon decides where it listens"
_SECURITY = "the daemon makes a cluster's certificates"
_DASHBOARD = "say `dashboard` of the cluster"
_HUB = "the daemon's own part of the scheduler sets it"

OF_BOTH: Mapping[str, str] = {
    "host": _ADDRESS,
    "port": _ADDRESS,
    "interface": _ADDRESS,
    "protocol": _ADDRESS,
    "contact_address": _ADDRESS,
    "listen_address": _ADDRESS,
    "http_prefix": _DASHBOARD,
    "dashboard": _DASHBOARD,
    "dashboard_address": _DASHBOARD,
    "services": _DASHBOARD,
    "scheduler_file": _ADDRESS,
    "security": _SECURITY,
    "preload": "say `preload` of the group, or of the scheduler",
    "loop": "the process has one event loop",
}

OF_WORKERS: Mapping[str, str] = {
    **OF_BOTH,
    "name": "workers are named by their group",
    "nthreads": "say `nthreads` of the group",
    "ncores": "say `nthreads` of the group",
    "memory_limit": "say `memory_limit` of the group",
    "resources": "say `resources` of the group",
    "local_directory": "say `local_directory` of the group",
    "death_timeout": "say `death_timeout` of the group",
    "env": "say `environment` of the group",
    "worker_class": "say `worker_class` of the group",
    "worker_port": _ADDRESS,
    "scheduler_ip": _ADDRESS,
    "scheduler_port": _ADDRESS,
    "scheduler_sni": _SECURITY,
    "nanny": "each worker has a nanny of the daemon's",
    "pace": "the daemon paces restarts",
    "on_restart": "the daemon paces restarts",
}
"""By name: what is to be done instead."""

OF_SCHEDULER: Mapping[str, str] = {
    **OF_BOTH,
    "idle_timeout": "say `idle_timeout` of the cluster",
    "jupyter": "it would give everybody on the scheduler's machine a shell as the cluster's owner",
    "identity": _HUB,
    "held": _HUB,
    "journal": _HUB,
    "journaled": _HUB,
    "recorder": _HUB,
    "contents": _HUB,
    "on_terminate": _HUB,
    "on_status": _HUB,
    "serve_http": _DASHBOARD,
    "service_kwargs": _DASHBOARD,
}
"""By name: what is to be done instead."""
