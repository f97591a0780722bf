"""Durable state. The only part of the daemon that knows SQL."""

from __future__ import annotations

from .interface import ClusterQuery, Events, Page, PruneResult, Store, Subscription
from .sqlite import SqliteStore

__all__ = ["ClusterQuery", "Events", "Page", "PruneResult", "SqliteStore", "Store", "Subscription"]
