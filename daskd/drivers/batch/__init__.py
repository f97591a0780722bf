"""Nodes as jobs of a batch system: one core, and a module for what differs from system to system."""

from .condor_driver import CondorDriver
from .lsf_driver import LsfDriver
from .moab_driver import MoabDriver
from .oar_driver import OarDriver
from .pbs_driver import PbsDriver, TorqueDriver
from .sge_driver import SgeDriver
from .slurm_driver import SlurmDriver

__all__ = [
    "CondorDriver",
    "LsfDriver",
    "MoabDriver",
    "OarDriver",
    "PbsDriver",
    "SgeDriver",
    "SlurmDriver",
    "TorqueDriver",
]
