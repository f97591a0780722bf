"""Workers as processes of hosts that are reached by SSH, each under a supervisor that outlives the connection."""

from .driver import SshDriver

__all__ = ["SshDriver"]
