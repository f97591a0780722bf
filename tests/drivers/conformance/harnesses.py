"""Every driver's harness by its name: a new driver adds its own."""

from __future__ import annotations

import pytest

from .local import local_harness
from .pbs import pbs_harness, torque_harness
from .sge import sge_harness
from .slurm import slurm_harness
from .ssh import ssh_harness

HARNESSES = {
    "local": local_harness,
    "pbs": pbs_harness,
    "sge": sge_harness,
    "slurm": slurm_harness,
    "ssh": ssh_harness,
    "torque": torque_harness,
}

LOCAL = pytest.param("local")
SGE = pytest.param("sge", marks=pytest.mark.systems)
SLURM = pytest.param("slurm", marks=pytest.mark.systems)
SSH = pytest.param("ssh", marks=pytest.mark.systems)
# doubles of their command lines, see `pbs.py`
PBS = pytest.param("pbs", marks=pytest.mark.systems)
TORQUE = pytest.param("torque", marks=pytest.mark.systems)

DRIVERS = [LOCAL, PBS, SGE, SLURM, SSH, TORQUE]
PLACING = [PBS, SGE, SLURM, SSH, TORQUE]
"""Those that place schedulers."""
FREEZABLE = [PBS, SGE, SLURM, SSH, TORQUE]
"""Those whose system can be kept from answering."""
