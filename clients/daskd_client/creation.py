"""How an object comes to its cluster: it finds one, or has one made."""

from __future__ import annotations

import logging
import uuid
from dataclasses import dataclass, replace
from typing import Protocol

from .api import AsyncDaskd
from .errors import ClusterExists, ClusterNotFound, DaskdError
from .request import here, like_here
from .types import Cluster, ClusterSpec

logger = logging.getLogger(__name__)

_TRIES = 3


class Opening(Protocol):
    """A way to come to a cluster."""

    @property
    def name(self) -> str:
        """The cluster's name, as far as it is known before."""
        ...

    async def open(self, daskd: AsyncDaskd) -> Cluster:
        """The cluster's record."""
        ...


@dataclass(frozen=True)
class Find:
    """A cluster that is there."""

    name: str

    async def open(self, daskd: AsyncDaskd) -> Cluster:
        """Look it up."""
        return await daskd.get(self.name)


@dataclass(frozen=True)
class CreateOrAttach:
    """A new cluster; or, with `attach`, a live one of that name if there is one."""

    name: str
    spec: ClusterSpec
    attach: bool = False

    async def open(self, daskd: AsyncDaskd) -> Cluster:
        """Have it made."""
        for _ in range(_TRIES):
            try:
                return await create(daskd, self.name, self.spec)
            except ClusterExists:
                if not self.attach:
                    raise
            try:
                cluster = await daskd.get(self.name)
            except ClusterNotFound:
                continue  # it ended between the two calls
            logger.info("Cluster %s exists: attached to it as it is", self.name)
            return cluster
        raise ClusterExists(
            f"Cluster {self.name!r} comes and goes: {_TRIES} times it could be neither made nor found.",
            facts={"name": self.name},
        )


async def create(daskd: AsyncDaskd, name: str, spec: ClusterSpec) -> Cluster:
    """Have a cluster made whose workers, where its spec leaves that open, are like this process.

    That is for a daemon on this machine; and a profile may say better: what it fixes is left out.
    """
    if not daskd.is_local:
        return await daskd.create(name, spec)
    # A daemon that stopped between its commit and its answer knows the call again by this.
    request_id = uuid.uuid4().hex
    full, taken = like_here(spec, here())
    try:
        return await daskd.create(name, full, request_id=request_id)
    except DaskdError as error:
        refused = taken & {problem.field for problem in error.problems}
        if not refused:
            raise
        left = {field: getattr(spec, field) for field in refused}
        return await daskd.create(name, replace(full, **left), request_id=uuid.uuid4().hex)
