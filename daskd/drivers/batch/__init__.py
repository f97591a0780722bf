"""Nodes as jobs of a batch system: one core, and a module for what differs from system to system."""

from .condor_driver import CondorDriver
from .pbs_driver import PbsDriver, TorqueDriver
from .sge_driver import SgeDriver
from .slurm_driver import SlurmDriver

__all__ = ["CondorDriver", "PbsDriver", "SgeDriver", "SlurmDriver", "TorqueDriver"]
