"""Every driver's harness by its name: a new driver adds its own."""

from __future__ import annotations

import pytest

from .local import local_harness
from .slurm import slurm_harness
from .ssh import ssh_harness

HARNESSES = {"local": local_harness, "slurm": slurm_harness, "ssh": ssh_harness}

LOCAL = pytest.param("local")
SLURM = pytest.param("slurm", marks=pytest.mark.systems)
SSH = pytest.param("ssh", marks=pytest.mark.systems)

DRIVERS = [LOCAL, SLURM, SSH]
FREEZABLE = [SLURM, SSH]
"""Those whose system can be kept from answering."""
