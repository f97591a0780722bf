"""What SGE says, as daskd understands it: its answers are real ones of Son of Grid Engine 8.1.9."""

from __future__ import annotations

import pytest

from daskd.drivers.batch.runner import Done
from daskd.drivers.batch.sge import Sge, SgeOptions
from daskd.drivers.batch.sge_driver import SgeDriver, SgeSettings
from daskd.drivers.batch.sge_words import end_of, state_of
from daskd.drivers.batch.system import Declined, Row, Submitted, Unreadable
from daskd.drivers.protocol import Wait
from daskd.model.cluster import Cause, State
from daskd.model.identity import Identity
from daskd.model.spec import WorkerGroupSpec

SGE = Sge()
NAME = "dabcdefghijkl2"
WHO = Identity("ann", 1000, 1000, "/home/ann")

RUNNING = f"""\
    <job_list state="running">
      <JB_job_number>1</JB_job_number>
      <JAT_prio>0.50000</JAT_prio>
      <JB_name>dabcdefghi</JB_name>
      <JB_owner>ann</JB_owner>
      <state>r</state>
      <JAT_start_time>2026-11-24T22:42:02</JAT_start_time>
      <queue_name>all.q@node1</queue_name>
      <slots>1</slots>
      <tasks>2</tasks>
      <full_job_name>{NAME}</full_job_name>
      <hard_request name="h_rt" resource_contribution="0.000000">600</hard_request>
    </job_list>
"""
WAITING = f"""\
    <job_list state="pending">
      <JB_job_number>2</JB_job_number>
      <JB_name>dabcdefghi</JB_name>
      <JB_owner>ann</JB_owner>
      <state>qw</state>
      <JB_submission_time>2026-11-24T22:42:05</JB_submission_time>
      <queue_name></queue_name>
      <slots>1</slots>
      <tasks>TASKS</tasks>
      <full_job_name>{NAME}</full_job_name>
    </job_list>
"""


def qstat(running: str = "", pending: str = "") -> Done:
    """What qstat -xml writes."""
    lists = f"<queue_info>{running}</queue_info><job_info>{pending}</job_info>"
    return Done(0, f"<?xml version='1.0'?>\n<job_info  xmlns:xsd=\"http://x/qstat.xsd\">{lists}</job_info>\n", "")


def waiting(tasks: str = "1", letters: str = "qw") -> list[Row]:
    return SGE.listed(qstat(pending=WAITING.replace("TASKS", tasks).replace(">qw<", f">{letters}<")))


@pytest.mark.parametrize(
    ("letters", "state", "wait"),
    [
        ("qw", State.QUEUED, Wait.PRIORITY),
        ("hqw", State.QUEUED, Wait.HELD),
        ("hRwq", State.QUEUED, Wait.HELD),
        ("Rq", State.QUEUED, Wait.PRIORITY),
        ("Eqw", State.QUEUED, Wait.HOPELESS),
        ("Ehqw", State.QUEUED, Wait.HOPELESS),
        ("t", State.STARTING, None),
        ("Rt", State.STARTING, None),
        ("r", State.RUNNING, None),
        ("Rr", State.RUNNING, None),
        ("s", State.PAUSED, None),
        ("S", State.PAUSED, None),
        ("T", State.PAUSED, None),
        ("ts", State.PAUSED, None),
        ("dr", State.ENDING, None),
        ("dt", State.ENDING, None),
        ("ds", State.ENDING, None),
        ("dRr", State.ENDING, None),
        ("X", State.UNKNOWN, None),
        ("rX", State.UNKNOWN, None),
        ("", State.UNKNOWN, None),
    ],
)
def test_states_map(letters: str, state: State, wait: Wait | None) -> None:
    """Letters together have one meaning, and one that is not known makes all of them unknown."""
    assert state_of(letters) == (state, wait)


def test_a_running_member_is_read_with_where_and_until_when() -> None:
    """Whole name, index, host, start and limit come from its row."""
    [row] = SGE.listed(qstat(running=RUNNING))
    assert (row.name, row.index, row.job, row.host) == (NAME, 2, "1", "node1")
    assert row.state is State.RUNNING
    assert (row.started, row.over) == (1_795_560_122.0, 1_795_560_722.0)


@pytest.mark.parametrize(
    ("tasks", "indexes"),
    [("1-4:1", [1, 2, 3, 4]), ("3,5", [3, 5]), ("1,4-6:1", [1, 4, 5, 6]), ("2-6:2", [2, 4, 6]), ("7", [7]), ("", [1])],
)
def test_what_waits_of_an_array_is_one_row_of_many(tasks: str, indexes: list[int]) -> None:
    """Each waiting member is told apart, however SGE writes them together."""
    assert [row.index for row in waiting(tasks)] == indexes


@pytest.mark.parametrize(
    "done",
    [
        Done(1, "", "error: commlib error: got select error (Connection refused)"),
        Done(0, "", ""),
        Done(0, "<job_info><queue_info>", ""),
        Done(0, "<unknown_jobs/>", ""),
        Done(0, "<job_info><queue_info/><job_info><job_list/></job_info></job_info>", ""),
    ],
)
def test_a_failed_listing_is_none(done: Done) -> None:
    """A listing that failed, was cut or is another is never taken for one of no jobs."""
    with pytest.raises(Unreadable):
        SGE.listed(done)


def test_an_empty_listing_is_one() -> None:
    """That nothing runs is an answer."""
    assert SGE.listed(qstat()) == []


DETAILS = """\
==============================================================
job_number:                 2
owner:                      ann
job_name:                   dabcdefghijkl2
env_list:                   TERM=NONE
error reason    2:          11/24/2026 22:00:00 [1000:77]: error: can't open output file "/x/y": Permission denied
scheduling info:            REASON
==============================================================
job_number:                 7
scheduling info:            (Collecting of scheduler job information is turned off)
"""


@pytest.mark.parametrize(
    ("reason", "wait"),
    [
        ('cannot run in PE "smp" because it only offers 0 slots', Wait.RESOURCES),
        ('queue instance "all.q@vm" dropped because it is full', Wait.RESOURCES),
        ('queue instance "all.q@vm" dropped because it is disabled', Wait.RESOURCES),
        ("Job is in hold state", Wait.HELD),
        ("job dropped because of job dependencies", Wait.LATER),
        ('cannot run because it exceeds limit "ann/////" in rule "max/1"', Wait.LIMIT),
        ("words of tomorrow", Wait.PRIORITY),
    ],
)
def test_what_waits_says_for_what(reason: str, wait: Wait) -> None:
    """The scheduler's words are told, and understood."""
    [row] = SGE.explained(waiting(), Done(0, DETAILS.replace("REASON", reason), ""))
    assert row.wait is wait
    assert reason in row.words


def test_a_job_in_error_tells_why() -> None:
    """The reason is that of the very member, and the job is hopeless."""
    [row] = SGE.explained(waiting("2", "Eqw"), Done(0, DETAILS, ""))
    assert row.wait is Wait.HOPELESS
    assert "Permission denied" in row.words


def test_what_nobody_explains_still_waits() -> None:
    """Where the scheduler tells nothing, or the question fails, rows stay as they were."""
    rows = waiting()
    assert SGE.explained(rows, Done(1, "", "Following jobs do not exist: \n2")) == rows
    quiet = DETAILS.replace("REASON", "(Collecting of scheduler job information is turned off)")
    assert SGE.explained(rows, Done(0, quiet, "")) == rows


def test_only_what_waits_is_asked_about() -> None:
    """One question for all jobs of ours that wait, and none where none does."""
    rows = [*waiting("1-3:1"), *SGE.listed(qstat(running=RUNNING))]
    assert SGE.explanation(rows) == ["qstat", "-j", "2"]
    assert SGE.explanation(rows[3:]) is None


def test_a_submission_tells_its_id() -> None:
    """The id is what qsub prints last, of an array and alone."""
    assert SGE.submitted(Done(0, "12.1-4:1\n", "")) == Submitted("12")
    assert SGE.submitted(Done(0, "a site's greeting\n13\n", "")) == Submitted("13")


@pytest.mark.parametrize(
    ("err", "lasting"),
    [
        ('Unable to run job: Job was rejected because job requests unknown queue "nope.q"\nExiting.', True),
        ("Unable to run job: error: no suitable queues\nExiting.", True),
        ('Unable to run job: unknown resource "bogus"\nExiting.', True),
        ('Unable to run job: job rejected: the requested project "nop" does not exist\nExiting.', True),
        ('Unable to run job: job rejected: the requested parallel environment "x" does not exist\nExiting.', True),
        ("Unable to run job: the advance reservation id 77 is invalid\nExiting.", True),
        ('error: SGE_ROOT directory "/nope" doesn\'t exist', False),
    ],
)
def test_refusals_are_told_from_what_may_have_happened(err: str, lasting: bool) -> None:
    """What qsub surely did not submit is declined, in SGE's words."""
    answer = SGE.submitted(Done(1, "", err))
    assert isinstance(answer, Declined)
    assert answer.lasting is lasting
    assert answer.words
    assert "Exiting" not in answer.words


@pytest.mark.parametrize(
    "done",
    [
        Done(1, "", "Unable to run job: unable to send message to qmaster using port 1 on host vm: got send error"),
        Done(1, "", "words of tomorrow"),
        Done(-9, "", ""),
        Done(0, "", ""),
        Done(0, "no number", ""),
    ],
)
def test_what_is_not_understood_may_have_been_submitted(done: Done) -> None:
    """Of such a one nobody knows, so nothing is said."""
    assert SGE.submitted(done) is None


def qacct(task: int, failed: str, status: str) -> str:
    lines = {"qname": "all.q", "hostname": "node1", "jobname": NAME, "jobnumber": "4", "taskid": str(task)}
    lines |= {"start_time": "Tue Nov 24 22:42:05 2026", "failed": failed, "exit_status": status}
    return "=" * 62 + "\n" + "".join(f"{key:<12} {value}\n" for key, value in lines.items())


def test_accounting_tells_of_ends() -> None:
    """Each member's end is read with its cause; what was rescheduled has not ended."""
    out = qacct(1, "0    ", "3                   ") + qacct(2, "37  : qmaster enforced h_rt limit", "137")
    out += qacct(3, "100 : assumedly after job", "140                  (User defined signal 2)")
    out += qacct(4, "26  : opening input/output file", "0") + qacct(5, "25  : rescheduling", "0")
    ends = {row.index: row.end for row in SGE.remembered(Done(0, out, "")) if row.end is not None}
    assert {index: end.cause for index, end in ends.items()} == {
        1: Cause.EXITED,
        2: Cause.TIME_LIMIT,
        3: Cause.SIGNAL,
        4: Cause.FAILED_TO_START,
    }
    assert (ends[1].code, ends[3].signal) == (3, 12)


def test_who_has_no_accounting_remembers_nothing() -> None:
    """A job that is not in the file is an answer; a question that failed is none."""
    assert SGE.remembered(Done(1, "", "error: job name nonono not found")) == []
    assert SGE.remembered(Done(1, "", "/x/accounting: No such file or directory")) == []
    with pytest.raises(Unreadable):
        SGE.remembered(Done(1, "", "error: commlib error"))
    with pytest.raises(Unreadable):
        SGE.remembered(Done(0, "something else", ""))


def test_history_is_one_question() -> None:
    """One name is asked for by itself, several by the daemon's mark that they share."""
    assert SGE.history([NAME], 100.0) == ["qacct", "-d", "2", "-j", NAME]
    assert SGE.history([NAME, "ann-dabcdezzzzzzz2"], 90_000.0) == ["qacct", "-d", "3", "-j", "*dabcde*"]


def test_before_the_job_means_it_failed_to_start() -> None:
    """SGE's code of the step that failed goes before the exit status."""
    assert end_of(28, "changing into working directory", 0).cause is Cause.FAILED_TO_START
    assert end_of(0, "", 0).code == 0


def test_ends_name_each_member() -> None:
    """Members of an array are ended alone; one that has gone is no complaint."""
    assert SGE.cancel([("7", 1), ("7", 3)]) == ["qdel", "7.1", "7.3"]
    assert SGE.cancelled(Done(1, 'denied: job "7" does not exist\n', "")) == ""
    assert SGE.cancelled(Done(1, 'ann - you do not have the necessary privileges to delete the job "7"\n', ""))


def test_the_header_holds_what_was_asked_for() -> None:
    """Shell, queue, project, slots, walltime and memory a slot are in the header, and extra lines as given."""
    group = WorkerGroupSpec(driver="sge", nthreads=2, workers_per_node=2, memory_limit="1GiB")
    options = SgeOptions.model_validate(
        {
            "queue": "long.q",
            "account": "p1",
            "walltime": "00:30:00",
            "memory_resource": "h_vmem",
            "resource_spec": "gpu=1",
            "shebang": "#!/bin/bash -l",
            "job_extra_directives": ["-m n"],
        }
    )
    assert SGE.directives(group, options) == [
        "#$ -S /bin/bash",
        "#$ -w e",
        "#$ -q long.q",
        "#$ -P p1",
        "#$ -pe smp 4",
        "#$ -l h_rt=1800",
        "#$ -l h_vmem=512M",
        "#$ -l gpu=1",
        "#$ -m n",
    ]


@pytest.mark.parametrize("line", ["-N x", "-t 1-3", "-o /x", "-notify", "-S /bin/sh", "x"])
def test_what_is_daskds_own_is_refused(line: str) -> None:
    """Directives that would take a job from the daemon's sight are refused before anything is asked."""
    group = WorkerGroupSpec(driver="sge", options={"job_extra_directives": [line]})
    assert [problem.field for problem in SgeDriver().validate(group, WHO)] == ["options.job_extra_directives"]


def test_a_folder_that_qsub_would_misread_is_refused() -> None:
    """A colon, a comma, a dollar in a path mean something else to qsub."""
    for folder in ("/a:b", "/a,b", "/a$b"):
        with pytest.raises(ValueError, match="qsub"):
            SgeOptions.model_validate({"log_directory": folder})


def test_the_administrators_word_goes_before_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where SGE is comes from the settings, else from the daemon's environment; times are in UTC."""
    monkeypatch.setenv("SGE_ROOT", "/opt/sge")
    monkeypatch.setenv("SGE_CELL", "main")
    found = SgeDriver().variables(SgeSettings(root="/srv/sge", qmaster_port=6444))
    assert (
        found.items() >= {"SGE_ROOT": "/srv/sge", "SGE_CELL": "main", "SGE_QMASTER_PORT": "6444", "TZ": "UTC"}.items()
    )
