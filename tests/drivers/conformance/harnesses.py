"""Every driver's harness by its name: a new driver adds its own."""

from __future__ import annotations

import pytest

from .local import local_harness
from .sge import sge_harness
from .slurm import slurm_harness
from .ssh import ssh_harness

HARNESSES = {"local": local_harness, "sge": sge_harness, "slurm": slurm_harness, "ssh": ssh_harness}

LOCAL = pytest.param("local")
SGE = pytest.param("sge", marks=pytest.mark.systems)
SLURM = pytest.param("slurm", marks=pytest.mark.systems)
SSH = pytest.param("ssh", marks=pytest.mark.systems)

DRIVERS = [LOCAL, SGE, SLURM, SSH]
FREEZABLE = [SGE, SLURM, SSH]
"""Those whose system can be kept from answering."""
