"""What PBS and Torque say, as daskd understands it; their answers are of the form that their documentation shows."""

from __future__ import annotations

import pytest

from daskd.drivers.batch.pbs import Pbs, PbsOptions, Torque, clock
from daskd.drivers.batch.pbs_driver import PbsDriver, PbsSettings, TorqueDriver
from daskd.drivers.batch.pbs_words import state_of
from daskd.drivers.batch.runner import Done
from daskd.drivers.batch.system import Declined, Row, Submitted, Unreadable
from daskd.drivers.protocol import Wait
from daskd.model.cluster import Cause, State
from daskd.model.identity import Identity
from daskd.model.spec import WorkerGroupSpec

PBS, TORQUE = Pbs(), Torque()
NAME = "dabcdefghijkl2"
WHO = Identity("ann", 1000, 1000, "/home/ann")

QSTAT = f"""\
Job Id: 12[].pbs1
    Job_Name = {NAME}
    job_state = B
    array = True

Job Id: 12[3].pbs1
    Job_Name = {NAME}
    Job_Owner = ann@login1.example.org
    resources_used.cput = 00:00:03
    resources_used.walltime = 01:00:05
    job_state = R
    queue = main
    exec_host = node7/0*4+node7/1*4
    Variable_List = PBS_O_HOME=/home/ann,PBS_O_LANG=C.UTF-8,PBS_O_PATH=/usr/bin,
\tPBS_O_LOGNAME=ann,Job_Name = other
    Resource_List.walltime = 02:00:00
    comment = Job run at Tue Nov 24 at 10:00 on (node7:ncpus=4)

Job Id: 99.pbs1
    Job_Name = simulation
    job_state = R

"""


def listed(letter: str, comment: str = "", status: str = "", system: Pbs = PBS) -> Row:
    lines = [f"Job Id: 7[2].pbs1\n    Job_Name = {NAME}\n    job_state = {letter}\n"]
    lines += [f"    comment = {comment}\n"] if comment else []
    lines += [f"    Exit_status = {status}\n"] if status else []
    [row] = system.listed(Done(0, "".join(lines) + "\n", ""))
    return row


@pytest.mark.parametrize(
    ("letter", "state", "wait"),
    [
        ("Q", State.QUEUED, Wait.PRIORITY),
        ("T", State.QUEUED, Wait.PRIORITY),
        ("W", State.QUEUED, Wait.LATER),
        ("H", State.QUEUED, Wait.HELD),
        ("R", State.RUNNING, None),
        ("S", State.PAUSED, None),
        ("U", State.PAUSED, None),
        ("E", State.ENDING, None),
        ("F", State.ENDED, None),
        ("X", State.ENDED, None),
        ("C", State.ENDED, None),
        ("M", State.UNKNOWN, None),
        ("Z", State.UNKNOWN, None),
        ("", State.UNKNOWN, None),
    ],
)
def test_states_map(letter: str, state: State, wait: Wait | None) -> None:
    """Each letter has one meaning; what was moved to another server is unknown."""
    assert state_of(letter) == (state, wait)


def test_members_of_arrays_are_read_and_others_left_out() -> None:
    """Id, index, host and times come from a member's lines; the array itself and others' jobs are no members."""
    [row] = PBS.listed(Done(0, QSTAT, ""))
    assert (row.name, row.index, row.job, row.host) == (NAME, 3, "12[3].pbs1", "node7")
    assert (row.used, row.left) == (3605.0, 3595.0)


@pytest.mark.parametrize(
    ("comment", "wait"),
    [
        ("Not Running: Insufficient amount of resource: ncpus", Wait.RESOURCES),
        ("Not Running: Node is in an ineligible state: offline", Wait.RESOURCES),
        ("Not Running: User has reached server running job limit.", Wait.LIMIT),
        ("Not Running: Dedicated time conflict", Wait.LATER),
        ("Can Never Run: Insufficient amount of resource: ncpus (R: 99 A: 8 T: 8)", Wait.HOPELESS),
        ("words of tomorrow", Wait.PRIORITY),
    ],
)
def test_what_waits_says_for_what(comment: str, wait: Wait) -> None:
    """The scheduler's comment is told, and understood."""
    row = listed("Q", comment)
    assert row.wait is wait
    assert comment in row.words


def test_a_comment_that_says_nothing_leaves_a_hold_a_hold() -> None:
    """The letter's meaning stays where the comment has none."""
    assert listed("H").wait is Wait.HELD


@pytest.mark.parametrize(
    ("system", "status", "cause", "code", "signum"),
    [
        (PBS, "0", Cause.EXITED, 0, None),
        (PBS, "3", Cause.EXITED, 3, None),
        (PBS, "271", Cause.SIGNAL, None, 15),
        (PBS, "137", Cause.SIGNAL, None, 9),
        (PBS, "-29", Cause.TIME_LIMIT, None, None),
        (PBS, "-27", Cause.OUT_OF_MEMORY, None, None),
        (PBS, "-25", Cause.CANCELLED, None, None),
        (PBS, "-3", Cause.FAILED_TO_START, None, None),
        (PBS, "-11", Cause.FAILED_TO_START, None, None),
        (PBS, "", Cause.CANCELLED, None, None),
        (TORQUE, "-11", Cause.TIME_LIMIT, None, None),
        (TORQUE, "-10", Cause.OUT_OF_MEMORY, None, None),
        (TORQUE, "-29", Cause.FAILED_TO_START, None, None),
        (TORQUE, "265", Cause.SIGNAL, None, 9),
    ],
)
def test_ends_are_read(system: Pbs, status: str, cause: Cause, code: int | None, signum: int | None) -> None:
    """Exit code, signal, limit or a failed start; the same number means different things to PBS and Torque."""
    end = listed("F", status=status, system=system).end
    assert end is not None
    assert (end.cause, end.code, end.signal) == (cause, code, signum)


def test_torques_exit_status_is_written_small() -> None:
    """Its name is another one."""
    text = f"Job Id: 7[2].t1\n    Job_Name = {NAME}\n    job_state = C\n    exit_status = 5\n"
    [row] = TORQUE.listed(Done(0, text, ""))
    assert row.end is not None
    assert row.end.code == 5


@pytest.mark.parametrize(
    "done",
    [
        Done(1, "", "qstat: cannot connect to server pbs1 (errno=111)"),
        Done(35, QSTAT, "qstat: Job has finished"),
        Done(0, "something else\n", ""),
        Done(0, "Job Id: what is that\n    Job_Name = x\n", ""),
    ],
)
def test_a_failed_listing_is_none(done: Done) -> None:
    """A listing that failed is never taken for one of no jobs."""
    with pytest.raises(Unreadable):
        PBS.listed(done)


def test_an_empty_listing_is_one() -> None:
    """No job at all is no output at all."""
    assert PBS.listed(Done(0, "", "")) == []


def test_history_tells_of_ends_alone() -> None:
    """What lives is the listing's to tell; a site without history is an answer, a failed question none."""
    ended = QSTAT.replace("job_state = R", "job_state = F\n    Exit_status = 0")
    assert [row.index for row in PBS.remembered(Done(0, ended, ""))] == [3]
    assert PBS.remembered(Done(0, QSTAT, "")) == []
    assert PBS.remembered(Done(1, "", "qstat: PBS is not configured to maintain job history")) == []
    with pytest.raises(Unreadable):
        PBS.remembered(Done(1, "", "qstat: cannot connect to server"))
    assert PBS.history([NAME], 10.0) == ["qstat", "-x", "-f", "-t"]
    # there -x means XML
    assert TORQUE.history([NAME], 10.0) is None


@pytest.mark.parametrize("job", ["12[].pbs1", "12.pbs1.example.org", "12"])
def test_a_submission_tells_its_id(job: str) -> None:
    """The id is what qsub prints last, of an array and alone."""
    assert PBS.submitted(Done(0, f"a site's greeting\n{job}\n", "")) == Submitted(job)


@pytest.mark.parametrize(
    ("err", "lasting"),
    [
        ("qsub: Unknown queue", True),
        ("qsub: Unknown resource: bogus", True),
        ("qsub: Illegal attribute or resource value", True),
        ("qsub: Invalid account", True),
        ("qsub: Job violates queue and/or server resource limits", True),
        ("qsub: would exceed queue generic's per-user limit", False),
        ("qsub: Maximum number of jobs already in queue for user ann", False),
        ("qsub: Queue is not enabled", False),
    ],
)
def test_refusals_are_told_from_what_may_have_happened(err: str, lasting: bool) -> None:
    """What qsub surely did not submit is declined, in its words."""
    answer = PBS.submitted(Done(1, "", err))
    assert isinstance(answer, Declined)
    assert answer.lasting is lasting
    assert answer.words == err.removeprefix("qsub: ")


@pytest.mark.parametrize(
    "done",
    [Done(1, "", "qsub: cannot connect to server pbs1"), Done(1, "", "words"), Done(-9, "", ""), Done(0, "no id", "")],
)
def test_what_is_not_understood_may_have_been_submitted(done: Done) -> None:
    """Of such a one nobody knows, so nothing is said."""
    assert PBS.submitted(done) is None


def test_arrays_are_asked_for_in_each_systems_words() -> None:
    """PBS takes no array of one, and none that can't be run again; Torque takes both."""
    assert PBS.submit(NAME, 1, "/x")[:5] == ["qsub", "-N", NAME, "-r", "n"]
    assert PBS.submit(NAME, 3, "/x")[:5] == ["qsub", "-N", NAME, "-J", "0-2"]
    assert TORQUE.submit(NAME, 1, "/x")[:7] == ["qsub", "-N", NAME, "-t", "0-0", "-r", "n"]


def test_the_header_holds_what_was_asked_for() -> None:
    """Queue, account, a job of one host, and its walltime are in the header, in each system's words."""
    group = WorkerGroupSpec(driver="pbs", nthreads=2, workers_per_node=2, memory_limit="1GiB")
    options = PbsOptions.model_validate(
        {"queue": "main", "account": "p1", "walltime": "26:30:00", "job_extra_directives": ["-m n"]}
    )
    lines = PBS.directives(group, options)
    assert lines == [
        "#PBS -S /bin/bash",
        "#PBS -q main",
        "#PBS -A p1",
        "#PBS -l select=1:ncpus=4:mem=2048mb",
        "#PBS -l walltime=26:30:00",
        "#PBS -m n",
    ]
    assert "#PBS -l nodes=1:ppn=4,mem=2048mb" in TORQUE.directives(group, options)
    chosen = PbsOptions.model_validate({"resource_spec": "select=1:ngpus=1", "reservation": "R7"})
    assert PBS.directives(group, chosen)[1:] == ["#PBS -q R7", "#PBS -l select=1:ngpus=1"]
    assert clock(59.2) == "00:01:00"


def test_ends_name_each_member() -> None:
    """Members of an array are signalled and ended alone; one that has gone is no complaint."""
    assert PBS.ask_to_end([("7[1].p", 1)]) == ["qsig", "-s", "TERM", "7[1].p"]
    assert PBS.cancel([("7[1].p", 1), ("7[3].p", 3)]) == ["qdel", "7[1].p", "7[3].p"]
    assert PBS.cancelled(Done(153, "", "qdel: Unknown Job Id 7[1].p")) == ""
    assert PBS.cancelled(Done(159, "", "qdel: Unauthorized Request 7[1].p")) == "Unauthorized Request 7[1].p"


@pytest.mark.parametrize("line", ["-N x", "-J 0-3", "-o /x", "-r y", "x"])
def test_what_is_daskds_own_is_refused(line: str) -> None:
    """Directives that would take a job from the daemon's sight are refused before anything is asked."""
    group = WorkerGroupSpec(driver="pbs", options={"job_extra_directives": [line]})
    assert [problem.field for problem in PbsDriver().validate(group, WHO)] == ["options.job_extra_directives"]


def test_what_the_systems_have_no_room_for_is_refused() -> None:
    """A name before the daemon's own, and Torque's reservations, say so."""
    with pytest.raises(ValueError, match="15 characters"):
        PbsOptions.model_validate({"job_name": "etl"})
    group = WorkerGroupSpec(driver="torque", options={"reservation": "r1"})
    assert [problem.field for problem in TorqueDriver().validate(group, WHO)] == ["options.reservation"]
    assert PbsDriver().validate(group, WHO) == []


def test_the_administrators_word_goes_before_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which server comes from the settings, else from the daemon's environment."""
    monkeypatch.setenv("PBS_DEFAULT", "pbs1")
    assert PbsDriver().variables(PbsSettings())["PBS_DEFAULT"] == "pbs1"
    assert PbsDriver().variables(PbsSettings(server="pbs2"))["PBS_DEFAULT"] == "pbs2"
