"""The HTCondor driver: what it understands, and its site."""

from __future__ import annotations

import os
import re

from pydantic import Field

from daskd.model.errors import Problem
from daskd.model.identity import Identity
from daskd.model.spec import Path, WorkerGroupSpec

from .condor import Condor, CondorOptions
from .driver import BatchDriver
from .options import BatchSettings

_DIRECTIVE = re.compile(r"\s*(?P<name>\+?[A-Za-z][\w.]*)\s*=\s*\S.*", re.ASCII)


class CondorSettings(BatchSettings):
    """The administrator's `[drivers.htcondor]`."""

    conf: Path = Field(
        default="",
        description="HTCondor's configuration file; by default CONDOR_CONFIG of the daemon, else HTCondor's own.",
    )


class CondorDriver(BatchDriver):
    """Workers as jobs of HTCondor."""

    name = "htcondor"
    description = "Jobs of an HTCondor pool"
    options = CondorOptions
    settings = CondorSettings
    system = Condor
    submits_with = "condor_submit"
    reserved = {
        name: mend
        for names, mend in (
            (("batch_name", "jobbatchname"), "set `job_name` instead"),
            (("output", "error", "stream_output", "stream_error", "initialdir"), "set `log_directory` instead"),
            (("request_cpus",), "set `cores` instead"),
            (("request_memory",), "set `memory` instead"),
            (("request_disk",), "set `disk` instead"),
            (("accounting_group",), "set `account` instead"),
            (("environment", "env", "getenv"), "set the group's `environment`, for this one is shown to everybody"),
            (("executable", "arguments", "args", "transfer_executable", "input", "universe"), "leave it out"),
            (("transfer_input_files", "transfer_output_files", "should_transfer_files"), "leave it out"),
            (("when_to_transfer_output", "transfer_output_remaps", "output_destination"), "leave it out"),
            (("periodic_hold", "periodic_hold_reason", "periodic_hold_subcode"), "set `walltime` instead"),
            (("allowed_job_duration", "allowed_execute_duration"), "set `walltime` instead"),
            (("periodic_remove", "periodic_release", "periodic_vacate", "leave_in_queue"), "leave it out"),
            (("on_exit_hold", "on_exit_remove", "max_retries", "retry_until"), "leave it out"),
            (("kill_sig", "remove_kill_sig", "hold_kill_sig", "job_max_vacate_time"), "leave it out"),
            (("queue", "notification", "noop_job", "batch_id"), "leave it out"),
        )
        for name in names
    }

    def validate(self, group: WorkerGroupSpec, who: Identity) -> list[Problem]:
        """What the options' own rules don't see."""
        problems = super().validate(group, who)
        if who.uid == 0:
            problems.append(Problem("driver", "HTCondor runs no jobs of root: ask as another user"))
        for name, instead in (("queue", "`account`, or `requirements`"), ("reservation", "`requirements`")):
            if group.options.get(name) is not None:
                words = f"HTCondor has none: say what machines suit by {instead} in `job_extra_directives`"
                problems.append(Problem(f"options.{name}", words))
        return problems

    def variables(self, settings: BatchSettings) -> dict[str, str]:
        """Where HTCondor's configuration is."""
        assert isinstance(settings, CondorSettings)
        conf = settings.conf or os.environ.get("CONDOR_CONFIG", "")
        return {"CONDOR_CONFIG": conf} if conf else {}

    def _refused(self, line: str) -> str:
        match = _DIRECTIVE.fullmatch(line)
        if match is None:
            return f'{line!r:.100} is no directive of a submit description: write such as "rank = Mips"'
        name = match["name"]
        mend = self.reserved.get(name.lower())
        if mend is None and re.match(r"(my\.|\+)?daskd", name.lower()):
            mend = "leave it out"
        return f"{name} is daskd's own: {mend}" if mend else ""
