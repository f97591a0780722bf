"""Durable state. The only part of the daemon that knows SQL."""

from __future__ import annotations

from .interface import ClusterQuery, Events, Page, PruneResult, Store, Subscription
from .migrations import SCHEMA_VERSION
from .sqlite import SqliteStore

__all__ = ["SCHEMA_VERSION", "ClusterQuery", "Events", "Page", "PruneResult", "SqliteStore", "Store", "Subscription"]
