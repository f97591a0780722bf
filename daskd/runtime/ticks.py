"""How often an event loop of Dask's looks at the clock, to notice that something held it up.

Dask does so each 20 ms, in schedulers, nannies and workers: with fifty idle clusters on one machine that alone keeps a
core busy. What it is for, the warning that a loop stood still for ``distributed.admin.tick.limit`` (3 s), needs no such
haste.
"""

from __future__ import annotations

import dask.config

INTERVAL = "distributed.admin.tick.interval"
CALM = "200ms"


def calm() -> None:
    """Look less often, unless the cluster's own configuration of Dask says how often."""
    if dask.config.get(INTERVAL, default=None, config=dask.config.collect()) is None:
        dask.config.set({INTERVAL: CALM})
