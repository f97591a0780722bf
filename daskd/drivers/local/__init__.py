"""Instances as processes of this machine, each under a supervisor that outlives the daemon."""

from .driver import LocalDriver

__all__ = ["LocalDriver"]
