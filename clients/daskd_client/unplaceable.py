"""Tells a user's process of tasks that no worker of the cluster can ever run."""

from __future__ import annotations

import logging
import warnings

from .types import Cluster

logger = logging.getLogger(__name__)


class UnplaceableWork(UserWarning):
    """Tasks wait for what no worker group of the cluster has."""


class UnplaceableNotice:
    """Warns once of each restriction, and again when it had gone and came back."""

    def __init__(self) -> None:
        self._told: frozenset[str] = frozenset()

    def see(self, record: Cluster) -> None:
        """Warn of what the record says that was not told yet."""
        new = [tasks for tasks in record.unplaceable_tasks if tasks.restriction not in self._told]
        self._told = frozenset(tasks.restriction for tasks in record.unplaceable_tasks)
        for tasks in new:
            words = f"Cluster {record.name}: {tasks.message}"
            try:
                warnings.warn(words, UnplaceableWork, stacklevel=2)
            except UnplaceableWork:
                # Who turns warnings into errors shall hear of it, but what follows the cluster must go on.
                logger.error(words)
