"""What Slurm says, as daskd understands it."""

from __future__ import annotations

import pytest

from daskd.drivers.batch.options import BatchOptions
from daskd.drivers.batch.runner import Done
from daskd.drivers.batch.slurm import Slurm, clock, duration
from daskd.drivers.batch.system import REST, Declined, Row, Submitted, Unreadable
from daskd.drivers.protocol import Wait
from daskd.model.cluster import Cause, State
from daskd.model.spec import WorkerGroupSpec

SLURM = Slurm()
WIDTHS = (32, 16, 32, 24, 24, 16, 256, 256, 1024)


def squeue(*values: str) -> str:
    """A line as squeue writes it for our columns."""
    return "".join(value.ljust(width) for value, width in zip(values, WIDTHS, strict=True))


def listed(state: str, reason: str = "None", code: str = "0", index: str = "3") -> Row:
    line = squeue("7", index, state, "6-23:59:58", "0:02", code, "node1", reason, "dabcdefghijklm")
    [row] = SLURM.listed(Done(0, line + "\n", ""))
    return row


@pytest.mark.parametrize(
    ("state", "code", "expected", "cause"),
    [
        ("PENDING", "0", State.QUEUED, None),
        ("REQUEUED", "0", State.QUEUED, None),
        ("REQUEUE_HOLD", "0", State.QUEUED, None),
        ("SPECIAL_EXIT", "0", State.QUEUED, None),
        ("CONFIGURING", "0", State.STARTING, None),
        ("RUNNING", "0", State.RUNNING, None),
        ("RESIZING", "0", State.RUNNING, None),
        ("SUSPENDED", "0", State.PAUSED, None),
        ("STOPPED", "0", State.PAUSED, None),
        ("COMPLETING", "0", State.ENDING, None),
        ("SIGNALING", "0", State.ENDING, None),
        ("STAGE_OUT", "0", State.ENDING, None),
        ("COMPLETED", "0", State.ENDED, Cause.EXITED),
        ("FAILED", "768", State.ENDED, Cause.EXITED),
        ("FAILED", "15", State.ENDED, Cause.SIGNAL),
        ("FAILED", "4021", State.ENDED, Cause.FAILED_TO_START),
        ("OUT_OF_MEMORY", "9", State.ENDED, Cause.OUT_OF_MEMORY),
        ("TIMEOUT", "0", State.ENDED, Cause.TIME_LIMIT),
        ("DEADLINE", "0", State.ENDED, Cause.TIME_LIMIT),
        ("PREEMPTED", "15", State.ENDED, Cause.PREEMPTED),
        ("CANCELLED", "15", State.ENDED, Cause.CANCELLED),
        ("REVOKED", "0", State.ENDED, Cause.CANCELLED),
        ("NODE_FAIL", "0", State.ENDED, Cause.NODE_LOST),
        ("BOOT_FAIL", "0", State.ENDED, Cause.FAILED_TO_START),
        ("A_WORD_OF_TOMORROW", "0", State.UNKNOWN, None),
    ],
)
def test_states_map(state: str, code: str, expected: State, cause: Cause | None) -> None:
    """Each word of Slurm's has one meaning, and one that is not known is said to be unknown, with the word."""
    row = listed(state, code=code)
    assert row.state is expected
    assert (row.end.cause if row.end else None) is cause
    if expected is State.UNKNOWN:
        assert state in row.words


@pytest.mark.parametrize(
    ("code", "exited", "signum"), [("768", 3, None), ("0", 0, None), ("9", None, 9), ("35072", None, 9)]
)
def test_exit_codes_are_read(code: str, exited: int | None, signum: int | None) -> None:
    """A raw wait status tells the exit code or the signal, also of a shell's 128 and more."""
    end = listed("FAILED", code=code).end
    assert end is not None
    assert (end.code, end.signal) == (exited, signum)


def test_a_node_that_failed_may_run_on() -> None:
    """What Slurm calls NODE_FAIL has not ended for certain."""
    end = listed("NODE_FAIL").end
    assert end is not None
    assert not end.certain


@pytest.mark.parametrize(
    ("reason", "wait"),
    [
        ("Resources", Wait.RESOURCES),
        ("Priority", Wait.PRIORITY),
        ("None", Wait.PRIORITY),
        ("Licenses", Wait.RESOURCES),
        ("ReqNodeNotAvail, UnavailableNodes:node[1-3]", Wait.RESOURCES),
        ("Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions", Wait.RESOURCES),
        ("JobHeldUser", Wait.HELD),
        ("JobHeldAdmin", Wait.HELD),
        ("launch failed requeued held", Wait.HELD),
        ("Dependency", Wait.LATER),
        ("BeginTime", Wait.LATER),
        ("PartitionDown", Wait.LATER),
        ("QOSMaxJobsPerUserLimit", Wait.LIMIT),
        ("QOSMaxCpuPerUserLimit", Wait.LIMIT),
        ("AssocGrpCpuLimit", Wait.LIMIT),
        ("AssocMaxJobsLimit", Wait.LIMIT),
        ("MaxMemPerUser", Wait.LIMIT),
        ("JobArrayTaskLimit", Wait.LIMIT),
        ("BurstBufferStageIn", Wait.PREPARING),
        ("PartitionConfig", Wait.HOPELESS),
        ("PartitionTimeLimit", Wait.HOPELESS),
        ("PartitionNodeLimit", Wait.HOPELESS),
        ("BadConstraints", Wait.HOPELESS),
        ("AccountNotAllowed", Wait.HOPELESS),
        ("DependencyNeverSatisfied", Wait.HOPELESS),
        ("QOSMaxCpuPerJobLimit", Wait.HOPELESS),
        ("AssocMaxWallDurationPerJobLimit", Wait.HOPELESS),
        ("QOSMinCpuNotSatisfied", Wait.HOPELESS),
        ("SomethingOfTomorrow", None),
    ],
)
def test_reasons_map(reason: str, wait: Wait | None) -> None:
    """Each reason of a queued job is understood, and told in Slurm's own words, too."""
    row = listed("PENDING", reason)
    assert row.wait is wait
    assert reason == "None" or reason in row.words


def test_durations_are_read_in_all_their_forms() -> None:
    """Time used and left come as seconds, and what is no time as none."""
    assert [duration(text) for text in ("0:02", "59:59", "1:00:00", "6-23:59:58")] == [2, 3599, 3600, 604_798]
    assert [duration(text) for text in ("UNLIMITED", "INVALID", "NOT_SET", "")] == [None] * 4


def test_what_was_cancelled_before_it_began_is_the_rest_of_its_array() -> None:
    """A row of no index stands for all of its array that is not listed apart."""
    assert listed("CANCELLED", index="N/A").index == REST


def test_an_array_of_elements_is_read_with_where_they_run() -> None:
    """Id, index, host, name and times of each come from its row."""
    row = listed("RUNNING")
    assert (row.job, row.index, row.name, row.host) == ("7", 3, "dabcdefghijklm", "node1")
    assert (row.used, row.left) == (2, 604_798)


@pytest.mark.parametrize(
    "done",
    [
        Done(1, "", "slurm_load_jobs error: Socket timed out on send/recv operation"),
        Done(1, "", "squeue: error: Unable to contact slurm controller (connect failure)"),
        Done(0, "something else\n", ""),
    ],
)
def test_a_failed_listing_is_none(done: Done) -> None:
    """A listing that failed is never taken for one of no jobs."""
    with pytest.raises(Unreadable):
        SLURM.listed(done)


def test_a_submission_tells_its_id() -> None:
    """The id is what sbatch prints last, with or without a cluster's name."""
    assert SLURM.submitted(Done(0, "42\n", "")) == Submitted("42")
    assert SLURM.submitted(Done(0, "42;main\n", "sbatch: a site's greeting")) == Submitted("42")


@pytest.mark.parametrize(
    ("err", "lasting"),
    [
        ("sbatch: error: Batch job submission failed: Invalid partition name specified", True),
        ("sbatch: error: Batch job submission failed: Invalid account or account/partition combination", True),
        ("sbatch: error: Batch job submission failed: Requested node configuration is not available", True),
        ("sbatch: error: Batch job submission failed: Requested time limit is invalid (missing or exceeds)", True),
        ("sbatch: error: Batch job submission failed: Requested reservation is invalid", True),
        ("sbatch: error: Invalid generic resource (gres) specification", True),
        ("sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit)", False),
        ("sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying", False),
    ],
)
def test_refusals_are_told_from_what_may_have_happened(err: str, lasting: bool) -> None:
    """What sbatch surely did not submit is declined, for good where the same request would be again."""
    answer = SLURM.submitted(Done(1, "", err))
    assert isinstance(answer, Declined)
    assert answer.lasting is lasting
    assert "sbatch" not in answer.words.partition(",")[0]


@pytest.mark.parametrize(
    "done",
    [
        Done(1, "", "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"),
        Done(1, "", "sbatch: error: Batch job submission failed: Zero Bytes were transmitted or received"),
        Done(1, "", "sbatch: error: a word of tomorrow"),
        Done(-9, "", ""),
        Done(0, "", ""),
        Done(0, "no number", ""),
    ],
)
def test_what_is_not_understood_may_have_been_submitted(done: Done) -> None:
    """Such jobs have run: nobody knows, so nothing is said of it."""
    assert SLURM.submitted(done) is None


def test_accounting_tells_of_ends() -> None:
    """Elements that squeue forgot are read from sacct, whose words are Slurm's other ones."""
    out = "7_0|COMPLETED|0:0|node1|dabcdefghijklm\n7_1|CANCELLED by 1000|0:15|node2|dabcdefghijklm\n8|FAILED|1:0|n|x\n"
    rows = SLURM.remembered(Done(0, out, ""))
    causes = {row.index: row.end.cause for row in rows if row.end}
    assert causes == {0: Cause.EXITED, 1: Cause.CANCELLED}


def test_accounting_is_asked_in_words_that_old_releases_know() -> None:
    """Slurm 22.05's sacct expands arrays unasked, and knows no option for it; times are relative, hence of no zone."""
    command = SLURM.history(["dabcdefghijklm", "dabcdefghijkln"], 90.0)
    assert command[0] == "sacct"
    assert "--array" not in command
    assert {"--name=dabcdefghijklm,dabcdefghijkln", "--starttime=now-3minutes"} <= set(command)


def test_a_site_without_accounting_remembers_nothing() -> None:
    """That accounting is switched off is an answer; that it failed is none."""
    assert SLURM.remembered(Done(1, "", "Slurm accounting storage is disabled")) == []
    with pytest.raises(Unreadable):
        SLURM.remembered(Done(1, "", "sacct: error: slurm_persist_conn_open: failed to send persistent connection"))


def test_walltimes_are_whole_minutes() -> None:
    """Slurm counts by minutes: what is shorter becomes one."""
    assert [clock(seconds) for seconds in (1, 60, 1800)] == ["0-00:01:00", "0-00:01:00", "0-00:30:00"]
    assert clock(90_061) == "1-01:02:00"


def test_the_header_holds_what_was_asked_for() -> None:
    """Queue, account, walltime, cores and memory of a job are in the header, and extra lines as given."""
    group = WorkerGroupSpec(driver="slurm", nthreads=2, workers_per_node=3, memory_limit="1GiB")
    options = BatchOptions.model_validate(
        {"queue": "main", "account": "p 1", "walltime": "00:30:00", "job_extra_directives": ["--exclusive"]}
    )
    assert SLURM.directives(group, options) == [
        "#SBATCH --partition=main",
        "#SBATCH --account='p 1'",
        "#SBATCH --time=0-00:30:00",
        "#SBATCH --ntasks=1",
        "#SBATCH --cpus-per-task=6",
        "#SBATCH --mem=3072M",
        "#SBATCH --exclusive",
    ]


def test_jobs_of_several_nodes_have_one_task_on_each() -> None:
    """Cores and memory are those of a node; a step starts each node's part, whatever a site makes of steps."""
    group = WorkerGroupSpec(driver="slurm", nthreads=2, workers_per_node=3, memory_limit="1GiB", nodes=4)
    assert SLURM.directives(group, BatchOptions()) == [
        "#SBATCH --nodes=4",
        "#SBATCH --ntasks=4",
        "#SBATCH --ntasks-per-node=1",
        "#SBATCH --cpus-per-task=6",
        "#SBATCH --mem=3072M",
    ]
    command, *arguments = SLURM.spread(4, 6).split()
    assert command == "srun"
    assert {"--nodes=4", "--ntasks=4", "--ntasks-per-node=1", "--cpus-per-task=6"} < set(arguments)
    assert {"--wait=0", "--kill-on-bad-exit=0", "--input=all"} < set(arguments), "one that ends takes none along"
    assert SLURM.ask_ranks_to_end([("7", 0)]) == ["scancel", "--signal=TERM", "7_0"]


def test_ends_name_each_element_and_filter_by_nothing() -> None:
    """With a filter by state scancel takes all that waits of an array: so there is none."""
    assert SLURM.cancel([("7", 0), ("7", 3)]) == ["scancel", "7_0", "7_3"]
    assert SLURM.ask_to_end([("7", 0)]) == ["scancel", "--batch", "--signal=TERM", "7_0"]
    assert SLURM.cancelled(Done(1, "", "scancel: error: Kill job error on job id 7_3: Invalid job id specified")) == ""
    assert SLURM.cancelled(Done(1, "", "scancel: error: Kill job error on job id 7_3: Access/permission denied"))
