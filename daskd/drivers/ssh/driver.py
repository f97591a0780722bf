"""The SSH driver: what it understands, and its site."""

from __future__ import annotations

import os

import asyncssh

from daskd.drivers.protocol import Site, Surroundings
from daskd.model.cluster import Handle
from daskd.model.errors import NotAllowed, Problem
from daskd.model.identity import Identity
from daskd.model.spec import ClusterSpec, WorkerGroupSpec

from .options import SshOptions, SshSettings
from .site import SshSite

_OWN_ONLY = (
    "the ssh driver logs in with the keys of the user that the daemon runs as, and {name} is another: run a daemon of "
    "your own (`daskd serve`)"
)


class SshDriver:
    """Workers on hosts that are reached by SSH."""

    name = "ssh"
    description = "Processes of other machines, reached by SSH"
    options = SshOptions
    settings = SshSettings
    elsewhere = True

    def validate(self, group: WorkerGroupSpec, who: Identity) -> list[Problem]:
        """Other users' keys are not the daemon's to use."""
        if who.uid != os.geteuid():
            return [Problem("driver", _OWN_ONLY.format(name=who.name))]
        return []

    def complete(self, group: WorkerGroupSpec) -> WorkerGroupSpec:
        """ "auto" memory is each host's own, by threads, and so is decided there."""
        return group

    def upgrade(self, handle: Handle) -> Handle:
        """Version 1 is the only one yet."""
        return handle

    def preview(self, spec: ClusterSpec, group: WorkerGroupSpec, who: Identity, surroundings: Surroundings) -> None:
        """Nothing: no command is run that a user would know."""

    async def open(self, who: Identity, surroundings: Surroundings) -> Site:
        """The hosts as that user reaches them; connects with those alone that have something to clear away.

        Raises
        ------
        NotAllowed
            When the user is not the one that the daemon runs as.
        """
        if who.uid != os.geteuid():
            raise NotAllowed(_OWN_ONLY.format(name=who.name), facts={"user": who.name})
        # it tells of every channel, and a channel is a question
        asyncssh.set_log_level("WARNING")
        settings = surroundings.settings if isinstance(surroundings.settings, SshSettings) else SshSettings()
        site = SshSite(who, surroundings, settings)
        site.begin()
        return site
