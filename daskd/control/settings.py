"""What the configuration says to the core. Times in seconds."""

from __future__ import annotations

from dataclasses import dataclass, field

from daskd.drivers.protocol import RuntimeSettings
from daskd.model.adaptive import Policy
from daskd.model.spec import ClusterSpec


@dataclass(frozen=True, slots=True)
class Settings:
    """Bounds and times of every reconciler.

    Attributes
    ----------
    start_timeout
        A scheduler that has not answered so long after its launch failed to start.
    join_timeout
        A node that has not brought a worker so long after its launch failed to start.
    max_launch_failures
        So many failures in a row, with no success ever, and the cluster says FAILED.
    max_scheduler_restarts, restart_window
        More restarts than that within the window, and the cluster says FAILED.
    settled
        An instance that lived so long counts as a success: back-off begins anew.
    drain
        How long a retiring worker's running tasks are waited for.
    grace
        Between TERM and KILL.
    orphan_grace
        Nothing that looks orphaned is ended sooner after start-up.
    end_orphans
        False: strays are told and left alone.
    driver_timeout
        A call of a driver that takes longer is cut off and its outcome unsure.
    adaptive_maximum
        The bound of a policy that gives none.
    adaptive
        The policy's parameters where a user gave none.
    held_seconds, held_memory_share
        Bounds on lost clients' work where a spec gives none.
    lost_after
        A node that its system knows nothing of, and whose workers have left the scheduler, is given up after so long.
    contact_host
        Name or address by which other machines reach this one; empty: found out by the scheduler.
    journal_bytes
        The size at which a scheduler gives the journal of its work up.
    """

    start_timeout: float = 60.0
    join_timeout: float = 60.0
    max_launch_failures: int = 5
    max_scheduler_restarts: int = 5
    restart_window: float = 600.0
    settled: float = 60.0
    drain: float = 60.0
    grace: float = 10.0
    orphan_timeout: float = 86_400.0
    orphan_grace: float = 60.0
    end_orphans: bool = True
    driver_timeout: float = 60.0
    adaptive_maximum: int = 64
    adaptive: Policy = field(default_factory=Policy)
    held_seconds: float = 86_400.0
    held_memory_share: float = 0.5
    log_max_bytes: int = 10 * 1024 * 1024
    log_files: int = 5
    contact_host: str = ""
    journal_bytes: int = 1 << 30
    lost_after: float = 120.0

    def runtime(self, spec: ClusterSpec) -> RuntimeSettings:
        """What the runtimes of a cluster with this spec are told."""
        held = spec.held_work
        return RuntimeSettings(
            grace=self.grace,
            join_timeout=self.join_timeout,
            orphan_timeout=self.orphan_timeout,
            held_seconds=self.held_seconds if held.keep is None else held.keep,
            held_memory_share=self.held_memory_share if held.memory_share is None else held.memory_share,
            log_max_bytes=self.log_max_bytes,
            log_files=self.log_files,
            contact_host=self.contact_host,
            journal_bytes=self.journal_bytes,
        )
