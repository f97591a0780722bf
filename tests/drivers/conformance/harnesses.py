"""Every driver's harness by its name: a new driver adds its own."""

from __future__ import annotations

import pytest

from .condor import condor_harness
from .local import local_harness
from .lsf import lsf_harness
from .moab import moab_harness
from .oar import oar_harness
from .pbs import pbs_harness, torque_harness
from .sge import sge_harness
from .slurm import slurm_harness
from .slurm_by_ssh import slurm_by_ssh_harness
from .ssh import ssh_harness

HARNESSES = {
    "htcondor": condor_harness,
    "local": local_harness,
    "lsf": lsf_harness,
    "moab": moab_harness,
    "oar": oar_harness,
    "pbs": pbs_harness,
    "sge": sge_harness,
    "slurm": slurm_harness,
    "slurm-by-ssh": slurm_by_ssh_harness,
    "ssh": ssh_harness,
    "torque": torque_harness,
}

HTCONDOR = pytest.param("htcondor", marks=pytest.mark.systems)
LOCAL = pytest.param("local")
SGE = pytest.param("sge", marks=pytest.mark.systems)
SLURM = pytest.param("slurm", marks=pytest.mark.systems)
SLURM_BY_SSH = pytest.param("slurm-by-ssh", marks=pytest.mark.systems)
SSH = pytest.param("ssh", marks=pytest.mark.systems)
# doubles of their command lines, see `doubles.py`
LSF = pytest.param("lsf", marks=pytest.mark.systems)
MOAB = pytest.param("moab", marks=pytest.mark.systems)
OAR = pytest.param("oar", marks=pytest.mark.systems)
PBS = pytest.param("pbs", marks=pytest.mark.systems)
TORQUE = pytest.param("torque", marks=pytest.mark.systems)

DRIVERS = [HTCONDOR, LOCAL, LSF, MOAB, OAR, PBS, SGE, SLURM, SLURM_BY_SSH, SSH, TORQUE]
FREEZABLE = [HTCONDOR, LSF, MOAB, OAR, PBS, SGE, SLURM, SLURM_BY_SSH, SSH, TORQUE]
"""Those whose system can be kept from answering."""
