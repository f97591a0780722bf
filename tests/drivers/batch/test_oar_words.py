"""What OAR says, as daskd understands it; its answers are of the form that its public source writes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from daskd.drivers.batch.oar import Oar, OarOptions
from daskd.drivers.batch.oar_driver import OarDriver, OarSettings
from daskd.drivers.batch.runner import Done
from daskd.drivers.batch.system import Declined, Jobs, Row, Script, Submitted, Unreadable
from daskd.drivers.protocol import Wait
from daskd.model.cluster import Cause, State
from daskd.model.identity import Identity
from daskd.model.spec import WorkerGroupSpec

OAR = Oar()
NAME = "dabcdefghijkl2"
WHO = Identity("ann", 1000, 1000, "/home/ann")


def job(**changes: Any) -> dict[str, Any]:
    fields = {
        "Job_Id": 43,
        "array_id": 42,
        "array_index": 2,
        "name": NAME,
        "owner": "ann",
        "state": "Running",
        "assigned_network_address": ["node7", "node8"],
        "walltime": 7200,
        "startTime": 1_700_000_000,
        "message": "",
        "exit_code": None,
        "events": [],
    }
    return {**fields, **changes}


def oarstat(**jobs: dict[str, Any]) -> Done:
    return Done(0, json.dumps({number.removeprefix("j"): fields for number, fields in jobs.items()}), "")


def listed(**changes: Any) -> Row:
    [row] = OAR.listed(oarstat(j43=job(**changes)))
    return row


@pytest.mark.parametrize(
    ("word", "state", "wait"),
    [
        ("Waiting", State.QUEUED, Wait.PRIORITY),
        ("Hold", State.QUEUED, Wait.HELD),
        ("toAckReservation", State.QUEUED, Wait.LATER),
        ("toLaunch", State.STARTING, None),
        ("Launching", State.STARTING, None),
        ("Running", State.RUNNING, None),
        ("Suspended", State.PAUSED, None),
        ("Resuming", State.PAUSED, None),
        ("Finishing", State.ENDING, None),
        ("toError", State.ENDING, None),
        ("Terminated", State.ENDED, None),
        ("Error", State.ENDED, None),
        ("NA", State.UNKNOWN, None),
        ("newer", State.UNKNOWN, None),
        ("", State.UNKNOWN, None),
    ],
)
def test_states_map(word: str, state: State, wait: Wait | None) -> None:
    """Each word has one meaning; one that is not known is no end."""
    row = listed(state=word)
    assert (row.state, row.wait) == (state, wait)
    assert (row.end is not None) == (state is State.ENDED)


def test_members_of_arrays_are_read_and_others_left_out() -> None:
    """Id, place, host and times come from a member's own fields; others' jobs are none of daskd's."""
    [row] = OAR.listed(oarstat(j43=job(), j44=job(name="simulation"), j45=job(name=None)))
    assert (row.name, row.index, row.job, row.host) == (NAME, 2, "43", "node7")
    assert (row.started, row.over) == (1_700_000_000.0, 1_700_007_200.0)
    waiting = listed(state="Waiting", startTime=0, assigned_network_address=[])
    assert (waiting.started, waiting.over, waiting.host) == (None, None, "")
    # of output format 3
    other = job(id=43, start_time="1700000000", walltime="7200")
    del other["startTime"]
    assert OAR.listed(oarstat(j43=other)) == [row]


@pytest.mark.parametrize(
    ("message", "wait"),
    [
        ("FIFO scheduling OK", Wait.PRIORITY),
        ("R=2,W=1:0:0,J=B,N=x (Karma=0.003,quota_ok)", Wait.PRIORITY),
        ("Cannot find enough resources for job 43 yet", Wait.RESOURCES),
        ("Cannot determine scheduling time due to dependency with the job 12", Wait.LATER),
        ("Inner job: container 7 is yet to scheduled, inner job not scheduled", Wait.LATER),
        ("Job will never run (deadline=x), setting it to error", Wait.HOPELESS),
        ("too many jobs of ann", Wait.LIMIT),
        ("words of tomorrow", Wait.PRIORITY),
    ],
)
def test_what_waits_says_for_what(message: str, wait: Wait) -> None:
    """OAR's message is told, and understood."""
    row = listed(state="Waiting", message=message)
    assert row.wait is wait
    assert message in row.words


@pytest.mark.parametrize(
    ("events", "cause", "certain"),
    [
        (["FRAG_JOB_REQUEST", "SEND_KILL_JOB", "SWITCH_INTO_ERROR_STATE"], Cause.CANCELLED, True),
        (["WALLTIME", "FRAG_JOB_REQUEST", "SEND_KILL_JOB"], Cause.TIME_LIMIT, True),
        (["BESTEFFORT_KILL", "FRAG_JOB_REQUEST"], Cause.PREEMPTED, True),
        (["FRAG_JOB_REQUEST", "EXTERMINATE_JOB"], Cause.NODE_LOST, False),
        (["PING_CHECKER_NODE_SUSPECTED_END_JOB"], Cause.NODE_LOST, False),
        (["PROLOGUE_ERROR"], Cause.FAILED_TO_START, True),
        (["WORKING_DIRECTORY", "SWITCH_INTO_ERROR_STATE"], Cause.FAILED_TO_START, True),
        (["LAUNCHING_OAREXEC_TIMEOUT"], Cause.FAILED_TO_START, True),
        (["WORDS_OF_TOMORROW"], Cause.EXITED, True),
        ([], Cause.EXITED, True),
    ],
)
def test_what_oar_ended_a_job_for_is_told(events: Sequence[str], cause: Cause, certain: bool) -> None:
    """Of a job in state Error the events say why; where its node did not answer a doubt is left."""
    end = listed(state="Error", events=[{"type": name} for name in events], exit_code=256).end
    assert end is not None
    assert (end.cause, end.certain) == (cause, certain)


def test_an_error_before_the_start_is_a_failed_start() -> None:
    """OAR's message says why."""
    end = listed(state="Error", startTime=0, message="Reservation too old").end
    assert end is not None
    assert end.cause is Cause.FAILED_TO_START
    assert "Reservation too old" in end.words


@pytest.mark.parametrize(
    ("status", "cause", "code", "signum"),
    [
        (0, Cause.EXITED, 0, None),
        (256, Cause.EXITED, 1, None),
        ("256", Cause.EXITED, 1, None),
        (83 << 8, Cause.EXITED, 83, None),
        (9, Cause.SIGNAL, None, 9),
        (128 | 11, Cause.SIGNAL, None, 11),
        (None, Cause.EXITED, None, None),
        (1 << 20, Cause.EXITED, None, None),
        ("words", Cause.EXITED, None, None),
    ],
)
def test_exit_statuses_are_read(status: Any, cause: Cause, code: int | None, signum: int | None) -> None:
    """They are what wait() told; anything else tells nothing."""
    end = listed(state="Terminated", exit_code=status).end
    assert end is not None
    assert (end.cause, end.code, end.signal) == (cause, code, signum)


@pytest.mark.parametrize(
    "done",
    [
        Done(1, "", "DB connection error, exiting."),
        Done(10, oarstat(j43=job()).out, ""),
        Done(0, "43: Running\n", ""),
        Done(0, "[]", ""),
        Done(0, '{"43": {"name": "x"', ""),
        Done(0, '{"43": "Running"}', ""),
        Done(0, '{"x": {"state": "Running"}}', ""),
    ],
)
def test_a_failed_listing_is_none(done: Done) -> None:
    """A listing that failed is never taken for one of no jobs."""
    with pytest.raises(Unreadable):
        OAR.listed(done)


def test_an_empty_listing_is_one() -> None:
    """No job at all is no output at all."""
    assert OAR.listed(Done(0, "", "")) == []
    assert OAR.listing("ann") == ["oarstat", "-J", "-u", "ann"]


def test_the_database_is_asked_by_name_and_tells_of_ends_alone() -> None:
    """What lives is the listing's to tell; a name that would be more than one never reaches the database."""
    assert OAR.history([NAME, f"etl-{NAME}"], 10.0)[-1] == f"job_name IN ('{NAME}', 'etl-{NAME}')"
    assert OAR.history(["x' OR '1'='1", f"x'-{NAME}"], 10.0)[-1] == "job_name IN (NULL)"
    answer = oarstat(j43=job(state="Terminated", exit_code=0), j44=job(array_index=3))
    assert [row.index for row in OAR.remembered(answer)] == [2]


@pytest.mark.parametrize(
    ("out", "job_id"),
    [
        ("[ADMISSION RULE] Modify resource description\nOAR_JOB_ID=42\n", "42"),
        ("OAR_JOB_ID=42\nOAR_JOB_ID=43\nOAR_ARRAY_ID=42\n", "42"),
    ],
)
def test_a_submission_tells_its_id(out: str, job_id: str) -> None:
    """The id stands among what the site's rules print."""
    assert OAR.submitted(Done(0, out, "")) == Submitted(job_id)


@pytest.mark.parametrize(
    ("err", "lasting"),
    [
        ("# Error: queue 'nope' does not exist", True),
        ("# Error: cannot recognize the resource description: foo", True),
        ("[ADMISSION RULE] Only member of the group oar can submit jobs in the admin queue", True),
        ("There are not enough resources for your request", True),
        ("[ADMISSION RULE] Error: you cannot have more than 5 waiting jobs.", False),
    ],
)
def test_refusals_are_told_from_what_may_have_happened(err: str, lasting: bool) -> None:
    """What oarsub surely did not submit is declined, in its words."""
    answer = OAR.submitted(Done(248, "", err))
    assert isinstance(answer, Declined)
    assert answer.lasting is lasting
    assert answer.words == err.removeprefix("# Error: ")


@pytest.mark.parametrize(
    "done",
    [
        Done(9, "", "# Error: cannot connect to executor login1:4242. Job is killed."),
        Done(0, "", ""),
        Done(-9, "", ""),
        Done(1, "OAR_JOB_ID=42\n", ""),
    ],
)
def test_what_is_not_understood_may_have_been_submitted(done: Done) -> None:
    """Of such a one nobody knows, so nothing is said."""
    assert OAR.submitted(done) is None


def header(options: dict[str, Any], **changes: Any) -> list[str]:
    group = WorkerGroupSpec(driver="oar", **{"nthreads": 2, "workers_per_node": 2, "memory_limit": "1GiB", **changes})
    return OAR.directives(group, OarOptions.model_validate(options))


def test_the_header_holds_what_was_asked_for() -> None:
    """Queue, project, cores of one node with the walltime, and memory by the site's property."""
    options = {"queue": "default", "account": "p 1", "walltime": "26:30:00", "job_extra_directives": ["-t besteffort"]}
    assert header(options) == [
        "#OAR -q default",
        "#OAR --project 'p 1'",
        "#OAR -l /nodes=1/core=4,walltime=26:30:00",
        "#OAR -t besteffort",
    ]
    assert header({"resource_spec": "/nodes=1/gpu=1", "project": "p2"}) == [
        "#OAR --project p2",
        "#OAR -l /nodes=1/gpu=1",
    ]


def test_memory_is_a_property_of_cores() -> None:
    """It is asked for in MiB a core, beside what else is wanted of resources, for of two oarsub takes one alone."""
    assert header({"memory_per_core_property_name": "memcore"})[-1] == "#OAR -p '(memcore>=512)'"
    both = {"memory_per_core_property_name": "memcore", "job_extra_directives": ["-p \"switch = 'sw1'\"", "-t x"]}
    assert header(both)[1:] == [
        "#OAR -p '(switch = '\"'\"'sw1'\"'\"') AND (memcore>=512)'",
        "#OAR -t x",
    ]
    assert not any("-p" in line for line in header({"memory_per_core_property_name": "not_applicable"}))
    with pytest.raises(ValueError, match="names no property"):
        OarOptions.model_validate({"memory_per_core_property_name": "x' OR 1"})


def test_a_script_is_handed_over_as_a_command_that_its_shell_becomes() -> None:
    """What would be the header are arguments, each a word of its own; the file's path is all that others see."""
    script = Script("#!/bin/bash", ("#OAR -q default", "#OAR -p 'a >= 5'"), ". /home/ann/jobs/x.sh\n")
    handed = OAR.handed(script, Jobs(NAME, ("a", "b", "c"), "/home/ann/my jobs", 5.0))
    assert handed.argv == [
        *["oarsub", "-n", NAME, "--array", "3", "-O", "/dev/null", "-E", "/dev/null"],
        *["-q", "default", "-p", "a >= 5"],
        f"exec /bin/bash '/home/ann/my jobs/{NAME}.sh'",
    ]
    assert (handed.stdin, handed.files) == ("", {})


def test_ends_name_each_member() -> None:
    """Each member has an id of its own; one that has gone is no complaint."""
    assert OAR.ask_to_end([("43", 1)]) == ["oardel", "-s", "TERM", "43"]
    assert OAR.cancel([("43", 1), ("44", 2)]) == ["oardel", "43", "44"]
    assert (
        OAR.cancelled(Done(6, "Deleting the job = 43 ...ERROR.\n", "Cannot frag 43 ; This job was already killed."))
        == ""
    )
    assert OAR.cancelled(Done(5, "", "Cannot signal 43 ; This job is not running.")) == ""
    words = "Cannot frag 43 ; You are not the right user."
    assert OAR.cancelled(Done(1, "", words)) == words


@pytest.mark.parametrize(
    "line", ["-n x", "--name=x", "--array 3", "-O /x", "-S", "-l core=1", "-t idempotent", "-p 'a", "x"]
)
def test_what_is_daskds_own_is_refused(line: str) -> None:
    """Directives that would take a job from the daemon's sight, or submit it again, are refused beforehand."""
    group = WorkerGroupSpec(driver="oar", options={"job_extra_directives": [line]})
    assert [problem.field for problem in OarDriver().validate(group, WHO)] == ["options.job_extra_directives"]


def test_a_container_is_no_reservation() -> None:
    """The words say what OAR has instead."""
    with pytest.raises(ValueError, match="inner="):
        OarOptions.model_validate({"reservation": "r1"})
    group = WorkerGroupSpec(driver="oar", options={"job_extra_directives": ["-t inner=7", "-t besteffort"]})
    assert OarDriver().validate(group, WHO) == []


def test_the_administrators_word_goes_before_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where OAR's configuration is comes from the settings, else from the daemon's environment."""
    monkeypatch.setenv("OARCONFFILE", "/a")
    assert OarDriver().variables(OarSettings())["OARCONFFILE"] == "/a"
    assert OarDriver().variables(OarSettings(conf="/b"))["OARCONFFILE"] == "/b"
