"""The adaptive policy as the object that Dask's tools expect of ``Cluster.adapt``."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from .types import AdaptivePolicy


class RemoteAdaptive:
    """An adaptive policy that the daemon applies.

    Attributes
    ----------
    policy : AdaptivePolicy
        What was asked for.
    """

    # Dask's widget tells by this whether a policy is at work; there is nothing periodic about it on this side.
    periodic_callback = True

    def __init__(self, policy: AdaptivePolicy) -> None:
        self.policy = policy
        self.noted: Any = None

    @property
    def minimum(self) -> int:
        """Never fewer workers than this."""
        return self.policy.minimum or 0

    @property
    def maximum(self) -> int | float:
        """Never more workers than this; without one, what the profile allows, which is not known here."""
        return float("inf") if self.policy.maximum is None else self.policy.maximum

    def stop(self) -> None:
        """Do nothing: Dask's classes and widgets call this when they close, and the policy is the cluster's.

        ``scale`` turns it off.
        """

    def __await__(self) -> Generator[Any, None, RemoteAdaptive]:
        if self.noted is not None:
            yield from self.noted.__await__()
        return self

    def __repr__(self) -> str:
        return f"{type(self).__name__}(minimum={self.minimum}, maximum={self.maximum})"
