"""What LSF says, as daskd understands it; its answers are of the form that documentation and captures of 10.1 show."""

from __future__ import annotations

import json
from typing import Any

import pytest

from daskd.drivers.batch.lsf import Lsf, LsfOptions, Unit, in_units, run_limit
from daskd.drivers.batch.lsf_driver import LsfDriver, LsfSettings
from daskd.drivers.batch.runner import Done
from daskd.drivers.batch.system import Declined, Jobs, Row, Script, Submitted, Unreadable
from daskd.drivers.protocol import Wait
from daskd.model.cluster import Cause, State
from daskd.model.identity import Identity
from daskd.model.spec import WorkerGroupSpec

LSF = Lsf()
NAME = "dabcdefghijkl2"
WHO = Identity("ann", 1000, 1000, "/home/ann")


def bjobs(*records: dict[str, str]) -> Done:
    return Done(0, json.dumps({"COMMAND": "bjobs", "JOBS": len(records), "RECORDS": records}, indent=2), "")


def record(**changes: str) -> dict[str, str]:
    fields = {
        "JOBID": "812",
        "JOBINDEX": "3",
        "STAT": "RUN",
        "JOB_NAME": f"{NAME}[3]",
        "EXEC_HOST": "",
        "EXIT_CODE": "",
        "EXIT_REASON": "",
        "PEND_REASON": "",
        "RUN_TIME": "",
        "RUNTIMELIMIT": "",
    }
    return {**fields, **changes}


def listed(**changes: str) -> Row:
    [row] = LSF.listed(bjobs(record(**changes)))
    return row


@pytest.mark.parametrize(
    ("word", "state", "wait"),
    [
        ("PEND", State.QUEUED, Wait.PRIORITY),
        ("WAIT", State.QUEUED, Wait.PRIORITY),
        ("PSUSP", State.QUEUED, Wait.HELD),
        ("PROV", State.STARTING, None),
        ("RUN", State.RUNNING, None),
        ("USUSP", State.PAUSED, None),
        ("SSUSP", State.PAUSED, None),
        ("ZOMBI", State.ENDING, None),
        ("DONE", State.ENDED, None),
        ("POST_DONE", State.ENDED, None),
        ("EXIT", State.ENDED, None),
        ("POST_ERR", State.ENDED, None),
        ("UNKWN", State.UNKNOWN, None),
        ("NEWER", State.UNKNOWN, None),
        ("", State.UNKNOWN, None),
    ],
)
def test_states_map(word: str, state: State, wait: Wait | None) -> None:
    """Each word has one meaning; that a host does not answer is no end."""
    row = listed(STAT=word)
    assert (row.state, row.wait) == (state, wait)
    assert (row.end is not None) == (state is State.ENDED)


@pytest.mark.parametrize(
    ("reason", "wait"),
    [
        ("New job is waiting for scheduling;", Wait.PRIORITY),
        ("Job slot limit reached: 4 hosts;", Wait.RESOURCES),
        ("Job's resource requirements not satisfied: 12 hosts;", Wait.RESOURCES),
        ("Closed by LSF administrator: 1 host; Load information unavailable: 1 host;", Wait.RESOURCES),
        ("The user has reached his/her job slot limit;", Wait.LIMIT),
        ("The job array has reached its job slot limit.", Wait.LIMIT),
        ("Job dependency condition not satisfied;", Wait.LATER),
        ("The queue is outside of its run window;", Wait.LATER),
        ("Dependency condition invalid or never satisfied;", Wait.HOPELESS),
        ("Job was suspended by LSF admin or root while pending;", Wait.HELD),
        ("words of tomorrow", Wait.PRIORITY),
        ("", Wait.PRIORITY),
    ],
)
def test_what_waits_says_for_what(reason: str, wait: Wait) -> None:
    """LSF's pending reason is told, and understood."""
    row = listed(STAT="PEND", PEND_REASON=reason)
    assert row.wait is wait
    assert reason in row.words


def test_a_held_job_stays_held_whatever_the_reason_says() -> None:
    """PSUSP is a hold, beside which reasons are old."""
    assert listed(STAT="PSUSP", PEND_REASON="Job slot limit reached: 1 host;").wait is Wait.HELD


@pytest.mark.parametrize(
    ("reason", "cause", "certain"),
    [
        ("TERM_PREEMPT: job killed after preemption", Cause.PREEMPTED, True),
        ("TERM_LOAD: job killed after load exceeded threshold", Cause.PREEMPTED, True),
        ("TERM_RC: host was reclaimed by cloud", Cause.PREEMPTED, True),
        ("TERM_RUNLIMIT: job killed after reaching LSF run time limit", Cause.TIME_LIMIT, True),
        ("TERM_CPULIMIT: job killed after reaching LSF CPU usage limit", Cause.TIME_LIMIT, True),
        ("TERM_WINDOW: job killed after queue run window closed", Cause.TIME_LIMIT, True),
        ("TERM_DEADLINE: job killed after deadline expired", Cause.TIME_LIMIT, True),
        ("TERM_MEMLIMIT: job killed after reaching LSF memory usage limit", Cause.OUT_OF_MEMORY, True),
        ("TERM_SWAP: job killed after reaching LSF swap usage limit", Cause.OUT_OF_MEMORY, True),
        ("TERM_OWNER: job killed by owner", Cause.CANCELLED, True),
        ("TERM_ADMIN: job killed by root or LSF administrator", Cause.CANCELLED, True),
        ("TERM_FORCE_OWNER: job killed by owner without time for cleanup", Cause.CANCELLED, False),
        ("TERM_CWD_NOTEXIST: current working directory is not accessible", Cause.FAILED_TO_START, True),
        ("TERM_PRE_EXEC_FAIL: job killed after reaching pre-execution retry limit", Cause.FAILED_TO_START, True),
        ("TERM_ZOMBIE: job exited while LSF is not available", Cause.NODE_LOST, False),
        ("TERM_REMOVE_HUNG_JOB: job removed from LSF", Cause.NODE_LOST, False),
        ("TERM_EXTERNAL_SIGNAL: job killed by a signal external to LSF", Cause.SIGNAL, True),
        ("TERM_NEWER: words of tomorrow", Cause.SIGNAL, True),
        ("", Cause.SIGNAL, True),
    ],
)
def test_what_lsf_ended_a_job_for_is_told(reason: str, cause: Cause, certain: bool) -> None:
    """Its own reason goes before the exit code; a host that did not answer leaves a doubt."""
    end = listed(STAT="EXIT", EXIT_CODE="143", EXIT_REASON=reason).end
    assert end is not None
    assert (end.cause, end.certain) == (cause, certain)
    assert end.signal == (15 if cause is Cause.SIGNAL else None)


@pytest.mark.parametrize(
    ("word", "code", "cause", "number", "signum"),
    [
        ("DONE", "", Cause.EXITED, 0, None),
        ("DONE", "0", Cause.EXITED, 0, None),
        ("EXIT", "3", Cause.EXITED, 3, None),
        ("EXIT", "137", Cause.SIGNAL, None, 9),
        ("EXIT", "128", Cause.EXITED, 128, None),
        ("EXIT", "", Cause.EXITED, None, None),
    ],
)
def test_exit_codes_are_read(word: str, code: str, cause: Cause, number: int | None, signum: int | None) -> None:
    """Codes above 128 are signals; DONE is 0, which LSF leaves out."""
    end = listed(STAT=word, EXIT_CODE=code).end
    assert end is not None
    assert (end.cause, end.code, end.signal) == (cause, number, signum)


@pytest.mark.parametrize(
    ("job", "index", "name", "element"),
    [
        ("812", "3", f"{NAME}[3]", (NAME, 3, "812[3]")),
        # LSB_BJOBS_DISPLAY_ENH
        ("812[3]", "3", f"{NAME}[3]", (NAME, 3, "812[3]")),
        ("812", "3", f"etl-{NAME}", (f"etl-{NAME}", 3, "812[3]")),
        ("812", "0", NAME, (NAME, 0, "812")),
    ],
)
def test_members_of_arrays_are_read(job: str, index: str, name: str, element: tuple[str, int, str]) -> None:
    """Place and id of a member are known in each of the forms that sites choose."""
    row = listed(JOBID=job, JOBINDEX=index, JOB_NAME=name)
    assert (row.name, row.index, row.job) == element


@pytest.mark.parametrize(
    ("run_time", "limit", "used", "left"),
    [
        ("3605 second(s)", "120.0", 3605.0, 3595.0),
        ("3605 second(s)", "120.0/hostA", 3605.0, 3595.0),
        ("01:00:05", "02:00:00", 3605.0, 3595.0),
        ("9999 second(s)", "10.0", 9999.0, 0.0),
        ("5 second(s)", "", 5.0, None),
        ("", "10.0", None, None),
        ("soon", "never", None, None),
    ],
)
def test_times_are_read(run_time: str, limit: str, used: float | None, left: float | None) -> None:
    """Seconds and minutes, or clocks, as the site has it."""
    row = listed(RUN_TIME=run_time, RUNTIMELIMIT=limit)
    assert (row.used, row.left) == (used, left)


@pytest.mark.parametrize(("hosts", "host"), [("4*node7:2*node8", "node7"), ("node7", "node7"), ("", "")])
def test_the_first_host_is_where_it_runs(hosts: str, host: str) -> None:
    """Of a job's hosts, with their slots, the first has the node."""
    assert listed(EXEC_HOST=hosts).host == host


def test_others_jobs_are_left_out() -> None:
    """What bears no mark of daskd's is nobody's business."""
    assert LSF.listed(bjobs(record(JOB_NAME="simulation"), record(JOB_NAME="*ls -l"))) == []


@pytest.mark.parametrize("done", [Done(0, "", "No job found\n"), Done(255, "", "No unfinished job found"), bjobs()])
def test_an_empty_listing_is_one(done: Done) -> None:
    """That there is no job is told in words, or by an empty list."""
    assert LSF.listed(done) == []


@pytest.mark.parametrize(
    "done",
    [
        Done(255, "", "LSF is down. Please wait ..."),
        Done(0, "", ""),
        Done(0, '{"COMMAND":"bjobs","JOBS":1,"RECORDS":[{"JOBID":"8', ""),
        Done(0, '{"COMMAND":"bjobs"}', ""),
        Done(0, '{"COMMAND":"bjobs","JOBS":1,"RECORDS":{}}', ""),
        Done(255, bjobs(record()).out, "Request aborted by esub"),
        bjobs({"JOBID": "9999", "ERROR": "Job <9999> is not found"}),
        Done(99, "", "<EXIT_CODE> in the format string is not a valid field name."),
        bjobs(record(JOBID="what is that")),
    ],
)
def test_a_failed_listing_is_none(done: Done) -> None:
    """A listing that failed, in any part, is never taken for one of no jobs."""
    with pytest.raises(Unreadable):
        LSF.listed(done)


def test_words_before_the_listing_do_no_harm() -> None:
    """bjobs says when it had to wait."""
    [row] = LSF.listed(Done(0, "Cannot connect to LSF. Please wait ...\n" + bjobs(record()).out, ""))
    assert row.state is State.RUNNING


@pytest.mark.parametrize(
    "out",
    [
        "Job <812> is submitted to queue <normal>.\n",
        "Job <812> is submitted to default queue <normal>.\n",
        "a site's greeting\nJob <812> is submitted to queue <normal>.\n",
    ],
)
def test_a_submission_tells_its_id(out: str) -> None:
    """The id stands in bsub's sentence."""
    assert LSF.submitted(Done(0, out, "")) == Submitted("812")


@pytest.mark.parametrize(
    ("err", "lasting"),
    [
        ("nope: No such queue. Job not submitted.", True),
        ("Too many processors requested. Job not submitted.", True),
        ("Bad resource requirement syntax. Job not submitted.", True),
        ("User cannot use the queue. Job not submitted.", True),
        ("Pending job threshold reached. Job not submitted.", False),
        ("Batch system is closing. Job not submitted.", False),
    ],
)
def test_refusals_are_told_from_what_may_have_happened(err: str, lasting: bool) -> None:
    """bsub says itself that it submitted nothing."""
    answer = LSF.submitted(Done(255, "", err))
    assert answer == Declined(err, lasting)


@pytest.mark.parametrize(
    "done",
    [
        Done(255, "", "Cannot connect to LSF. Please wait ..."),
        Done(0, "thank you", ""),
        Done(-9, "", ""),
        Done(255, "Job <812> is submitted to queue <normal>.\n", ""),
    ],
)
def test_what_is_not_understood_may_have_been_submitted(done: Done) -> None:
    """Of such a one nobody knows, so nothing is said."""
    assert LSF.submitted(done) is None


@pytest.mark.parametrize(
    ("memory", "unit", "told"),
    [
        (16 << 30, "kb", 16 << 20),
        (16 << 30, "mb", 16 << 10),
        (16 << 30, "gb", 16),
        ((16 << 30) + 1, "gb", 17),
        (16 << 30, "tb", 1),
        (1, "pb", 1),
        (1 << 60, "eb", 1),
        (1 << 60, "pb", 1024),
    ],
)
def test_memory_is_told_in_the_sites_unit(memory: int, unit: Unit, told: int) -> None:
    """Units are powers of 1024, and what does not fill one is rounded up."""
    assert in_units(memory, unit) == told


@pytest.mark.parametrize(
    ("seconds", "told"), [(60, "00:01"), (61, "00:02"), (7200, "02:00"), (95_400, "26:30"), (360_000, "100:00")]
)
def test_walltimes_are_hours_and_minutes(seconds: float, told: str) -> None:
    """Seconds are rounded up, and days are hours."""
    assert run_limit(seconds) == told


def header(options: dict[str, Any], **changes: Any) -> list[str]:
    group = WorkerGroupSpec(driver="lsf", **{"nthreads": 2, "workers_per_node": 2, "memory_limit": "1GiB", **changes})
    return LSF.directives(group, LsfOptions.model_validate(options))


def test_the_header_holds_what_was_asked_for() -> None:
    """Queue, project, slots of one host, memory in the site's unit and the run limit are in the header."""
    options = {"queue": "normal", "account": "p 1", "walltime": "26:30:00", "job_extra_directives": ["-app x"]}
    assert header(options) == [
        "#BSUB -q normal",
        '#BSUB -P "p 1"',
        "#BSUB -n 4",
        '#BSUB -R "span[hosts=1]"',
        "#BSUB -M 2097152",
        "#BSUB -W 26:30",
        "#BSUB -app x",
    ]
    assert header({"reservation": "r1", "lsf_units": "mb"}, nthreads=1, workers_per_node=1) == [
        "#BSUB -U r1",
        "#BSUB -n 1",
        "#BSUB -M 1024",
    ]
    assert header({}, nthreads=1, workers_per_node=1, memory_limit="auto") == ["#BSUB -n 1"]


def test_dask_jobqueues_names_are_the_same_options() -> None:
    """`project`, `ncpus`, `mem` ask for what `account`, `cores`, `memory` do; two that differ are refused."""
    ours = header({"account": "p1", "cores": 8, "memory": "4GiB"})
    assert header({"project": "p1", "ncpus": 8, "mem": "4GiB"}) == ours
    assert header({"project": "p1", "account": "p1", "ncpus": 8, "mem": "4GiB"}) == ours
    with pytest.raises(ValueError, match="say it once"):
        LsfOptions.model_validate({"project": "p1", "account": "p2"})
    assert LsfOptions.model_validate({"use_stdin": True}) == LsfOptions()
    with pytest.raises(ValueError, match="standard input"):
        LsfOptions.model_validate({"use_stdin": False})


def test_jobs_are_one_array_that_is_not_run_again() -> None:
    """Members count from 1; nothing is mailed; the script comes on standard input."""
    script = Script("#!/bin/bash", ("#BSUB -q short",), "true\n")
    handed = LSF.handed(script, Jobs(NAME, ("a", "b", "c"), "/x", 5.0))
    assert handed.argv == ["bsub", "-J", f"{NAME}[1-3]", "-rn", "-o", "/dev/null", "-e", "/dev/null"]
    assert (handed.stdin, handed.files) == ("#!/bin/bash\n#BSUB -q short\n\ntrue\n", {})


def test_ends_name_each_member() -> None:
    """Members of an array are signalled and ended alone; one that has gone is no complaint."""
    assert LSF.ask_to_end([("7[1]", 1)]) == ["bkill", "-s", "TERM", "7[1]"]
    assert LSF.cancel([("7[1]", 1), ("7[3]", 3)]) == ["bkill", "7[1]", "7[3]"]
    done = Done(255, "Job <7[1]> is being terminated\n", "Job <7[3]>: Job has already finished\n")
    assert LSF.cancelled(done) == ""
    assert LSF.cancelled(Done(255, "", "Job <7[3]>: No matching job found")) == ""
    words = "Job <7[3]>: User permission denied"
    assert LSF.cancelled(Done(255, "Job <7[1]> is being signaled\n", words)) == words


@pytest.mark.parametrize("line", ["-J x", "-o /x", "-rn", "-K", "-I", "-env none", "x"])
def test_what_is_daskds_own_is_refused(line: str) -> None:
    """Directives that would take a job from the daemon's sight are refused before anything is asked."""
    group = WorkerGroupSpec(driver="lsf", options={"job_extra_directives": [line]})
    assert [problem.field for problem in LsfDriver().validate(group, WHO)] == ["options.job_extra_directives"]


def test_the_administrators_word_goes_before_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where lsf.conf is comes from the settings, else from the daemon's environment."""
    monkeypatch.setenv("LSF_ENVDIR", "/a")
    assert LsfDriver().variables(LsfSettings())["LSF_ENVDIR"] == "/a"
    assert LsfDriver().variables(LsfSettings(envdir="/b"))["LSF_ENVDIR"] == "/b"
