"""What the drivers of batch systems have in common: what they refuse, and how a site of theirs is made."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping
from typing import Any, ClassVar

from daskd.drivers.protocol import Site, Surroundings
from daskd.model.cluster import Handle
from daskd.model.errors import NotAllowed, Problem
from daskd.model.identity import Identity
from daskd.model.spec import ClusterSpec, WorkerGroupSpec
from daskd.model.views import Preview

from .files import Files, FilesHere
from .here import Here
from .options import BatchOptions, BatchSettings
from .preview import preview_of
from .runner import Runner
from .site import BatchSite
from .system import System

MOST_WORKERS_OF_JOB = 1000
"""Of several nodes: they are told of, retired and recorded together."""


class BatchDriver:
    """Workers as jobs of one batch system; a subclass says of which.

    Attributes
    ----------
    system
        What differs from system to system.
    submits_with
        The command whose arguments the header's lines are.
    reserved
        Its arguments that are daskd's own, with what to do instead.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    options: ClassVar[type[BatchOptions]] = BatchOptions
    settings: ClassVar[type[BatchSettings]] = BatchSettings
    elsewhere = True
    places_schedulers = True
    system: ClassVar[type[System]]
    submits_with: ClassVar[str]
    reserved: ClassVar[Mapping[str, str]]

    def validate(self, group: WorkerGroupSpec, who: Identity) -> list[Problem]:
        """What the options' own rules don't see."""
        options = self.options.model_validate(group.options)
        problems = [
            Problem("options.job_extra_directives", words)
            for line in options.job_extra_directives
            if (words := self._refused(line))
        ]
        return [*problems, *self._too_many(group, options), *_too_small(group, options)]

    def complete(self, group: WorkerGroupSpec) -> WorkerGroupSpec:
        """How many nodes a job has, and "auto" memory: a share of what they ask for, where that was said."""
        options = self.options.model_validate(group.options)
        decided: dict[str, Any] = {"nodes": options.nodes_per_job}
        if group.memory_limit == "auto" and options.memory is not None:
            decided["memory_limit"] = options.memory // group.workers_per_node
        return group.model_copy(update=decided)

    def upgrade(self, handle: Handle) -> Handle:
        """Version 1 is the only one yet."""
        return handle

    def preview(self, spec: ClusterSpec, group: WorkerGroupSpec, who: Identity, surroundings: Surroundings) -> Preview:
        """The command that submits, and its script without what is secret."""
        options = self.options.model_validate(group.options)
        return preview_of(self.system(), options, spec, group, who, surroundings, self._settings_of(surroundings))

    async def open(self, who: Identity, surroundings: Surroundings) -> Site:
        """The system as that user uses it.

        Raises
        ------
        NotAllowed
            When the daemon is not root and the user another one.
        """
        if who.uid != os.geteuid() and os.geteuid() != 0:
            raise NotAllowed(
                f"this daemon runs as uid {os.geteuid()} and can submit nothing as {who.name}: only root's can",
                facts={"user": who.name},
            )
        settings = self._settings_of(surroundings)
        runner, files = await self._reached(who, settings)
        return BatchSite(self.system(), self.options, who, surroundings, settings, runner, files)

    async def _reached(self, who: Identity, settings: BatchSettings) -> tuple[Runner, Files]:
        """Where the commands are run, and the owner's files are."""
        variables, host = self.variables(settings), settings.login_host
        if host is None:
            runner = Runner(Here(who, settings.bin, variables), settings.per_minute)
            return runner, FilesHere(who, runner)
        try:
            from .login import FilesAtLogin, LoginNode, daemons_own, endpoint_of
        except ImportError as error:
            words = f"`login_host` of the {self.name} driver needs asyncssh ({error}): pip install 'daskd[ssh]'"
            raise NotAllowed(words, facts={"driver": self.name}) from error
        if not who.is_known and host.username is None:
            words = f"nobody can log in to {host.host} as {who.name}, which is no user of this machine"
            raise NotAllowed(words, facts={"user": who.name})
        daemon = who if who.uid == os.geteuid() else await asyncio.to_thread(daemons_own)
        # whom the daemon itself is, its ~/.ssh/config may call otherwise there
        node = LoginNode(endpoint_of(host, "" if who.uid == daemon.uid else who.name), daemon, settings.bin, variables)
        runner = Runner(node, settings.per_minute)
        return runner, FilesAtLogin(node, runner)

    def variables(self, settings: BatchSettings) -> dict[str, str]:
        """What the system's commands need in their environment."""
        return {}

    def _settings_of(self, surroundings: Surroundings) -> BatchSettings:
        given = surroundings.settings
        return given if isinstance(given, self.settings) else self.settings()

    def _too_many(self, group: WorkerGroupSpec, options: BatchOptions) -> list[Problem]:
        nodes, workers = options.nodes_per_job, options.nodes_per_job * group.workers_per_node
        if nodes == 1:
            return []
        if not self.system.rank_variable:
            words = f"jobs of the {self.name} driver have one node each: leave it out, and ask for more workers"
        elif workers > MOST_WORKERS_OF_JOB:
            words = (
                f"a job of {nodes} nodes would have {workers} workers, and may have {MOST_WORKERS_OF_JOB}: ask for less"
            )
        else:
            return []
        return [Problem("options.nodes_per_job", words)]

    def _refused(self, line: str) -> str:
        if not line.startswith("-"):
            return f"{line!r:.100} is no argument of {self.submits_with}: it begins with a dash"
        name = self._name_of(line)
        mend = self.reserved.get(name)
        return f"{name} is daskd's own: {mend}" if mend else ""

    def _name_of(self, argument: str) -> str:
        return re.split(r"[=\s]", argument, maxsplit=1)[0]


def _too_small(group: WorkerGroupSpec, options: BatchOptions) -> list[Problem]:
    threads = group.nthreads * group.workers_per_node
    problems = []
    if options.cores is not None and options.cores < threads:
        words = f"{options.cores} cores are fewer than the {threads} threads of a node's workers: ask for that many"
        problems.append(Problem("options.cores", words))
    limits = 0 if group.memory_limit == "auto" else group.memory_limit * group.workers_per_node
    if options.memory is not None and options.memory < limits:
        words = "a node's workers have higher limits together: ask for as much, or lower `memory_limit`"
        problems.append(Problem("options.memory", words))
    return problems
