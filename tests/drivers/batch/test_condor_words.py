"""What HTCondor says, as daskd understands it: its answers are real ones of HTCondor 23.9.6."""

from __future__ import annotations

import json
from typing import Any

import pytest

from daskd.drivers.batch.condor import Condor, CondorOptions
from daskd.drivers.batch.condor_driver import CondorDriver
from daskd.drivers.batch.runner import Done
from daskd.drivers.batch.script import handed_over
from daskd.drivers.batch.system import Declined, Jobs, Row, Submitted, Unreadable
from daskd.drivers.protocol import Wait
from daskd.model.cluster import Cause, State
from daskd.model.identity import Identity
from daskd.model.spec import WorkerGroupSpec

CONDOR = Condor()
NAME = "dabcdefghijkl2"
WHO = Identity("ann", 1000, 1000, "/home/ann")
JOBS = Jobs(NAME, ("dabcdeaaaaaaa2", "dabcdeaaaaaaa3"), "/home/ann/c1/jobs", 10.0)

IDLE = {"JobStatus": 1, "LastRejMatchReason": "no match found ", "NumJobStarts": 0}
RUNNING = {
    "DaskdWalltime": 600,
    "JobCurrentStartDate": 1795566603,
    "JobStatus": 2,
    "LastRejMatchReason": "no match found ",
    "NumJobStarts": 0,
    "RemoteHost": "slot1_2@node7",
}
BEGUN = {"JobCurrentStartDate": 1795566686, "NumJobStarts": 1}
VACATED = {**BEGUN, "JobStatus": 1, "VacateReason": "", "VacateReasonCode": 1005}
LOST = {**BEGUN, "JobStatus": 1, "VacateReason": "Job not found at execution machine", "VacateReasonCode": 1008}
HELD_BY_USER = {"HoldReason": "via condor_hold (by user ann)", "HoldReasonCode": 1, "HoldReasonSubCode": 0}
HELD_AT_SUBMISSION = {
    "HoldReason": "submitted on hold at user's request",
    "HoldReasonCode": 15,
    "JobStatus": 5,
    "NumJobStarts": 0,
}
OVER = {"HoldReason": "its walltime of 5 s was over", "HoldReasonCode": 3, "HoldReasonSubCode": 46}
NO_SHELL = {
    **BEGUN,
    "HoldReason": "Error from slot1_4@vm: Failed to execute '/nonexistent/sh' with arguments -c: "
    "(errno=2: 'No such file or directory')",
    "HoldReasonCode": 6,
    "HoldReasonSubCode": 2,
    "JobStatus": 5,
}
NO_INPUT = {
    "HoldReason": "Transfer input files failure at access point vm while sending files to execution point slot1_5@vm. "
    "Details: reading from file /home/ann/x.sh: (errno 2) No such file or directory",
    "HoldReasonCode": 13,
    "HoldReasonSubCode": 2,
    "JobStatus": 5,
    "NumJobStarts": 0,
}
COMPLETED = {**BEGUN, "ExitBySignal": False, "ExitCode": 2, "JobStatus": 4, "LastRemoteHost": "slot1_3@node7"}
BY_PERIODIC_REMOVE = "The job attribute PeriodicRemove expression 'NumJobStarts > 0' evaluated to TRUE"
REMOVED = {
    **BEGUN,
    "ExitBySignal": False,
    "ExitCode": 0,
    "JobStatus": 3,
    "RemoveReason": "via condor_rm (by user ann)",
    "VacateReason": "",
    "VacateReasonCode": 0,
}


def ad(fields: dict[str, Any], index: int = 0) -> dict[str, Any]:
    return {"ClusterId": 7, "ProcId": index, "DaskdBatch": NAME, **fields}


def answer(*ads: dict[str, Any]) -> Done:
    """What condor_q and condor_history -json write."""
    return Done(0, json.dumps(ads), "")


def listed(fields: dict[str, Any]) -> Row:
    [row] = CONDOR.listed(answer(ad(fields)))
    return row


def remembered(fields: dict[str, Any]) -> Row:
    [row] = CONDOR.remembered(answer(ad(fields)))
    return row


@pytest.mark.parametrize(
    ("fields", "state", "wait"),
    [
        (IDLE, State.QUEUED, Wait.RESOURCES),
        ({**IDLE, "LastRejMatchReason": "insufficient priority"}, State.QUEUED, Wait.PRIORITY),
        ({**IDLE, "LastRejMatchReason": "submitter limit exceeded"}, State.QUEUED, Wait.LIMIT),
        ({"JobStatus": 1, "NumJobStarts": 0}, State.QUEUED, Wait.PRIORITY),
        (HELD_AT_SUBMISSION, State.QUEUED, Wait.HELD),
        ({**HELD_BY_USER, "JobStatus": 5, "NumJobStarts": 0}, State.QUEUED, Wait.HELD),
        ({"HoldReasonCode": 16, "JobStatus": 5, "NumJobStarts": 0}, State.QUEUED, Wait.PREPARING),
        (NO_INPUT, State.QUEUED, Wait.HOPELESS),
        (RUNNING, State.RUNNING, None),
        ({**RUNNING, "NumJobStarts": 1}, State.RUNNING, None),
        ({**RUNNING, "TransferringInput": True}, State.STARTING, None),
        ({**RUNNING, "JobStatus": 7}, State.PAUSED, None),
        ({**RUNNING, "JobStatus": 6}, State.ENDING, None),
        ({**RUNNING, "JobStatus": 3}, State.ENDING, None),
        ({**RUNNING, **HELD_BY_USER, "JobStatus": 5}, State.ENDING, None),
        (COMPLETED, State.ENDED, None),
        (VACATED, State.ENDED, None),
        ({**IDLE, "JobStatus": 9}, State.UNKNOWN, None),
        ({}, State.UNKNOWN, None),
    ],
)
def test_states_map(fields: dict[str, Any], state: State, wait: Wait | None) -> None:
    """What has begun and is idle or held has ended; one that is held and still has a machine is just ending."""
    row = listed(fields)
    assert (row.state, row.wait) == (state, wait)


@pytest.mark.parametrize(
    ("fields", "cause", "words"),
    [
        (VACATED, Cause.PREEMPTED, "1005"),
        ({**BEGUN, "JobStatus": 1}, Cause.PREEMPTED, "gave it up"),
        (LOST, Cause.NODE_LOST, "Job not found"),
        ({**BEGUN, **HELD_BY_USER, "JobStatus": 5}, Cause.CANCELLED, "by user ann"),
        ({**BEGUN, **OVER, "JobStatus": 5}, Cause.TIME_LIMIT, "walltime of 5 s"),
        (NO_SHELL, Cause.FAILED_TO_START, "/nonexistent/sh"),
        ({**BEGUN, "HoldReasonCode": 34, "JobStatus": 5}, Cause.OUT_OF_MEMORY, "34"),
        ({**BEGUN, "HoldReasonCode": 26, "HoldReason": "Memory over", "JobStatus": 5}, Cause.OUT_OF_MEMORY, "over"),
        ({**BEGUN, "HoldReasonCode": 47, "JobStatus": 5}, Cause.TIME_LIMIT, "47"),
        ({**BEGUN, "HoldReasonCode": 26, "HoldReason": "Too long", "JobStatus": 5}, Cause.EXITED, "Too long"),
        (COMPLETED, Cause.EXITED, "code 2"),
    ],
)
def test_the_queue_says_how_it_ended(fields: dict[str, Any], cause: Cause, words: str) -> None:
    """The cause is told with HTCondor's words, and all are certain but that a machine was lost."""
    end = listed(fields).end
    assert end is not None
    assert (end.cause, end.certain) == (cause, cause is not Cause.NODE_LOST)
    assert words in end.words


@pytest.mark.parametrize(
    ("fields", "cause", "signum"),
    [
        (COMPLETED, Cause.EXITED, None),
        ({**COMPLETED, "ExitCode": 137}, Cause.SIGNAL, 9),
        ({**COMPLETED, "ExitBySignal": True, "ExitSignal": 11}, Cause.SIGNAL, 11),
        (REMOVED, Cause.CANCELLED, None),
        ({**REMOVED, "RemoveReason": BY_PERIODIC_REMOVE, "VacateReasonCode": 1005}, Cause.PREEMPTED, None),
        ({**REMOVED, "LastHoldReasonCode": 3, "LastHoldReasonSubCode": 46}, Cause.TIME_LIMIT, None),
        ({**REMOVED, "LastHoldReasonCode": 34}, Cause.OUT_OF_MEMORY, None),
        ({**REMOVED, "LastHoldReasonCode": 1, "NumJobStarts": 0}, Cause.CANCELLED, None),
    ],
)
def test_the_history_says_how_it_ended(fields: dict[str, Any], cause: Cause, signum: int | None) -> None:
    """What befell a job before it was removed is the cause, and not that it was removed."""
    end = remembered(fields).end
    assert end is not None
    assert (end.cause, end.signal) == (cause, signum)


def test_a_running_job_is_read_with_where_and_until_when() -> None:
    """Name, index, number, machine, start and limit come from its attributes."""
    [row] = CONDOR.listed(answer(ad(RUNNING, 3)))
    assert (row.name, row.index, row.job, row.host) == (NAME, 3, "7", "node7")
    assert (row.started, row.over) == (1_795_566_603.0, 1_795_567_203.0)


@pytest.mark.parametrize("text", ["", "\n", "[\n]\n", "[ ]"])
def test_an_empty_queue_is_written_in_several_ways(text: str) -> None:
    """Some releases write an empty list, and some nothing."""
    assert CONDOR.listed(Done(0, text, "")) == []
    assert CONDOR.remembered(Done(0, text, "")) == []


@pytest.mark.parametrize(
    "done",
    [
        Done(1, "", "-- Failed to fetch ads from: <127.0.0.1:38569?alias=vm> : vm\nSECMAN:2007:Read failure"),
        Done(0, '[{"ClusterId": 1', ""),
        Done(0, '{"ClusterId": 1}', ""),
        Done(0, '[{"ClusterId": 1, "DaskdBatch": "x"}]', ""),
        Done(0, '[{"ClusterId": "1", "ProcId": 0, "DaskdBatch": "x"}]', ""),
    ],
)
def test_a_failed_listing_is_none(done: Done) -> None:
    """A listing that failed, was cut or is another is never taken for one of no jobs."""
    with pytest.raises(Unreadable):
        CONDOR.listed(done)
    with pytest.raises(Unreadable):
        CONDOR.remembered(done)


@pytest.mark.parametrize(
    ("done", "meaning"),
    [
        (Done(0, "1.0 - 1.1\n", ""), Submitted("1")),
        (Done(0, "12.0 - 12.0\n", "WARNING: the line 'x = 5' was unused by condor_submit."), Submitted("12")),
        (Done(0, "", ""), None),
        (Done(1, "", "\nERROR: Failed to commit job submission into the queue.\n"), None),
        (Done(1, "", "SECMAN:2007:Read failure during security negotiation."), None),
        (
            Done(1, "", "\nERROR: Failed to commit job submission into the queue.\nERROR: no job may have 50 cores\n"),
            Declined("Failed to commit job submission into the queue.; no job may have 50 cores", lasting=True),
        ),
        (
            Done(1, "", "\nERROR: Failed to create proc\nNumber of submitted jobs would exceed MAX_JOBS_PER_OWNER\n"),
            Declined("Failed to create proc; Number of submitted jobs would exceed MAX_JOBS_PER_OWNER", lasting=False),
        ),
        (
            Done(1, "", "\nERROR: Can't find address of local schedd\n"),
            Declined("Can't find address of local schedd", lasting=False),
        ),
        (
            Done(1, "", "\nERROR: on Line 2 of submit file: \n\nERROR: Failed to parse command file (line 2).\n"),
            Declined("on Line 2 of submit file:; Failed to parse command file (line 2).", lasting=True),
        ),
        (
            Done(1, "", 'ERROR: Parse error in expression: \n\tRequirements = ((() && (TARGET.Arch == "X86_64")\n'),
            Declined('Parse error in expression:; Requirements = ((() && (TARGET.Arch == "X86_64")', lasting=True),
        ),
    ],
)
def test_answers_to_a_submission(done: Done, meaning: Submitted | Declined | None) -> None:
    """A number was taken, what is surely declined is told apart by whether it lasts, and all else nobody knows."""
    assert CONDOR.submitted(done) == meaning


@pytest.mark.parametrize(
    ("done", "words"),
    [
        (Done(0, "All jobs matching constraint (ClusterId == 5) have been marked for removal\n", ""), ""),
        (Done(1, "", "Job 999.0 not found\n"), ""),
        (Done(1, "", "\nSECMAN:2007:Read failure.\nNo result found for job 10.0\n"), "SECMAN:2007:Read failure."),
    ],
)
def test_answers_to_an_end(done: Done, words: str) -> None:
    """That there is no such job any more is what was wanted; that nobody answered is told."""
    assert CONDOR.cancelled(done).startswith(words)
    assert bool(CONDOR.cancelled(done)) == bool(words)


def described(group: WorkerGroupSpec) -> list[str]:
    options = CondorOptions.model_validate(group.options)
    handed = handed_over(CONDOR, options, group, "true\n", JOBS)
    assert list(handed.files) == [f"{NAME}.sh"], "what it does is no part of a description"
    return handed.stdin.splitlines()


def test_a_description_asks_for_what_the_user_wants() -> None:
    """Cores, memory in MiB, disk in KiB, account and further directives; each job has its instance's id."""
    options = {"account": "phys", "disk": "2 MiB", "job_extra_directives": ["rank = Mips"], "walltime": "00:10:00"}
    lines = described(WorkerGroupSpec(driver="htcondor", nthreads=2, memory_limit="1 GiB", options=options))
    for line in ("request_cpus = 2", "request_memory = 1024", "request_disk = 2048", "accounting_group = phys"):
        assert line in lines
    assert "rank = Mips" in lines
    assert "My.DaskdWalltime = 600" in lines
    assert "job_max_vacate_time = 25" in lines
    assert lines[-1] == "queue DaskdInstance in (dabcdeaaaaaaa2, dabcdeaaaaaaa3)"


def test_a_description_without_a_walltime_holds_none() -> None:
    """Without a walltime nothing is held for having had its time."""
    lines = described(WorkerGroupSpec(driver="htcondor"))
    assert not [line for line in lines if line.startswith(("periodic_hold", "My.DaskdWalltime"))]


@pytest.mark.parametrize(
    "directives", [["Requirements = OpSysMajorVer >= 12 || x"], {"requirements": "OpSysMajorVer >= 12 || x"}]
)
def test_requirements_are_joined_with_daskds(directives: Any) -> None:
    """What machines suit is the user's to say; that nothing is started twice stays, too."""
    lines = described(WorkerGroupSpec(driver="htcondor", options={"job_extra_directives": directives}))
    said = [line for line in lines if line.lower().startswith("requirements")]
    assert said == ["requirements = (NumJobStarts == 0) && (OpSysMajorVer >= 12 || x)"]


@pytest.mark.parametrize(
    ("line", "mend"),
    [
        ("environment = A=1", "shown to everybody"),
        ("Request_CPUs = 3", "`cores`"),
        ("+DaskdBatch = 1", "leave it out"),
        ("MY.DaskdInstance = 1", "leave it out"),
        ("max_retries=3", "leave it out"),
        ("queue 5", "no directive"),
        ("include : /etc/passwd", "no directive"),
        ("--name x", "no directive"),
        ("rank =", "no directive"),
    ],
)
def test_directives_that_are_daskds_own_are_refused(line: str, mend: str) -> None:
    """In whatever letters they are written; with what to do instead."""
    group = WorkerGroupSpec(driver="htcondor", options={"job_extra_directives": [line]})
    [problem] = CondorDriver().validate(group, WHO)
    assert problem.field == "options.job_extra_directives"
    assert mend in problem.words


@pytest.mark.parametrize("line", ["rank = Mips", "+WantGPU = true", 'My.Project = "x"', "container_image = a.sif"])
def test_other_directives_are_taken(line: str) -> None:
    """All that leaves a job where daskd finds it."""
    group = WorkerGroupSpec(driver="htcondor", options={"job_extra_directives": [line]})
    assert CondorDriver().validate(group, WHO) == []


def test_root_and_queues_are_refused() -> None:
    """HTCondor has neither queues nor jobs of root, and says so before anything was submitted."""
    group = WorkerGroupSpec(driver="htcondor", options={"queue": "long", "reservation": "r1"})
    problems = CondorDriver().validate(group, Identity("root", 0, 0, "/root"))
    assert [problem.field for problem in problems] == ["driver", "options.queue", "options.reservation"]


@pytest.mark.parametrize(
    "options",
    [{"log_directory": "/a,b"}, {"log_directory": "/a $(HOME)"}, {"shebang": "#!/bin/bash $(x)"}, {"disk": 0}],
)
def test_what_a_description_reads_as_something_else_is_refused(options: dict[str, Any]) -> None:
    """Commas, dollars, quotes have a meaning there."""
    with pytest.raises(ValueError, match=r"holds a|disk"):
        CondorOptions.model_validate(options)


def test_only_daskds_jobs_of_one_user_are_asked_about() -> None:
    """The listing is bounded by owner and mark, and a name is no part of the expression's grammar."""
    constraint = CONDOR.listing('a"b')[-1]
    assert constraint == 'Owner == "a\\"b" && DaskdBatch =!= undefined'
    assert CONDOR.listed(answer({"ClusterId": 1, "ProcId": 0, "JobStatus": 2})) == []
