"""How often a cluster's event loops look at the clock."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

LOOK = """
import dask.config, distributed
from daskd.runtime import ticks
ticks.calm()
print(dask.config.get(ticks.INTERVAL))
"""


def looks(folder: Path, **environ: str) -> str:
    """The interval of a fresh process with that environment and no user's configuration files."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("DASK_")}
    plain |= {"DASK_CONFIG": str(folder / "none"), "HOME": str(folder)} | environ
    argv = [sys.executable, "-c", LOOK]
    return subprocess.run(argv, env=plain, check=True, capture_output=True, text=True, timeout=120).stdout.strip()


def test_loops_look_ten_times_less_often(tmp_path: Path) -> None:
    """Without a word in Dask's configuration a loop looks five times a second, not fifty."""
    assert looks(tmp_path) == "200ms"


def test_the_clusters_own_configuration_wins(tmp_path: Path) -> None:
    """What the environment or a file of Dask's configuration says stays, Dask's default included."""
    assert looks(tmp_path, DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL="20ms") == "20ms"
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "tick.yaml").write_text("distributed: {admin: {tick: {interval: 1s}}}\n")
    assert looks(tmp_path) == "1s"
