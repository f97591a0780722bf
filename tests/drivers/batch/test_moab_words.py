"""What Moab says, as daskd understands it; its answers are of the form that others' captures show."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping

import pytest

from daskd.drivers.batch.moab import Moab, MoabOptions
from daskd.drivers.batch.moab_driver import MoabDriver, MoabSettings
from daskd.drivers.batch.runner import Done
from daskd.drivers.batch.system import Declined, Jobs, Row, Script, Submitted, Unreadable
from daskd.drivers.protocol import Wait
from daskd.model.cluster import Cause, State
from daskd.model.identity import Identity
from daskd.model.spec import WorkerGroupSpec

MOAB = Moab()
NAME = "dabcdefghijkl2"
WHO = Identity("ann", 1000, 1000, "/home/ann")


def attributes(**changes: str) -> dict[str, str]:
    fields = {
        "JobID": "881196",
        "DRMJID": "881196.admin2",
        "JobName": NAME,
        "User": "ann",
        "State": "Running",
        "MasterHost": "m13s0703",
        "AWDuration": "1392",
        "ReqAWDuration": "10800",
        "StartTime": "1562924509",
    }
    return {**fields, **changes}


def showq(queues: Mapping[str, list[dict[str, str]]]) -> Done:
    root = ElementTree.Element("Data")
    ElementTree.SubElement(root, "Object").text = "queue"
    ElementTree.SubElement(root, "cluster", time="1562925910")
    for name, jobs in queues.items():
        queue = ElementTree.SubElement(root, "queue", count=str(len(jobs)), option=name)
        for fields in jobs:
            ElementTree.SubElement(queue, "job", fields)
    return Done(0, f"\n{ElementTree.tostring(root, encoding='unicode')}\n", "")


def living(**queues: list[dict[str, str]]) -> Done:
    return showq({"active": [], "eligible": [], "blocked": [], **queues})


def listed(**changes: str) -> Row:
    [row] = MOAB.listed(living(active=[attributes(**changes)]))
    return row


@pytest.mark.parametrize(
    ("word", "state", "wait"),
    [
        ("Idle", State.QUEUED, Wait.PRIORITY),
        ("Blocked", State.QUEUED, Wait.PRIORITY),
        ("Hold", State.QUEUED, Wait.HELD),
        ("UserHold", State.QUEUED, Wait.HELD),
        ("SystemHold", State.QUEUED, Wait.HELD),
        ("BatchHold", State.QUEUED, Wait.HELD),
        ("Deferred", State.QUEUED, Wait.LATER),
        ("Staging", State.QUEUED, Wait.PREPARING),
        ("Staged", State.QUEUED, Wait.PREPARING),
        ("Starting", State.STARTING, None),
        ("Running", State.RUNNING, None),
        ("Suspended", State.PAUSED, None),
        ("Canceling", State.ENDING, None),
        ("Completed", State.ENDED, None),
        ("Removed", State.ENDED, None),
        ("Vacated", State.ENDED, None),
        ("Migrated", State.UNKNOWN, None),
        ("NotQueued", State.UNKNOWN, None),
        ("Unknown", State.UNKNOWN, None),
        ("", State.UNKNOWN, None),
    ],
)
def test_states_map(word: str, state: State, wait: Wait | None) -> None:
    """Each word has one meaning; that Moab has lost sight of a job is no end."""
    row = listed(State=word)
    assert (row.state, row.wait) == (state, wait)
    assert (row.end is not None) == (state is State.ENDED)


def test_jobs_are_read_and_others_left_out() -> None:
    """Id, host and times come from a job's attributes, in whichever of the queues it is."""
    other = attributes(JobName="simulation")
    idle = attributes(JobID="Moab.12", State="Idle", MasterHost="", AWDuration="0")
    running, waiting = MOAB.listed(living(active=[attributes(), other], eligible=[idle]))
    assert (running.name, running.index, running.job, running.host) == (NAME, 0, "881196", "m13s0703")
    assert (running.used, running.left) == (1392.0, 9408.0)
    assert (waiting.job, waiting.used, waiting.left) == ("Moab.12", None, None)
    assert listed(AWDuration="20000").left == 0.0
    assert listed(AWDuration="soon").left is None


@pytest.mark.parametrize(
    ("reason", "wait"),
    [
        ("IdlePolicy:job 12 violates idle HARD MAXIPROC limit of 3528 for user ann  partition ALL", Wait.LIMIT),
        ("job 12 violates active HARD MAXJOB limit of 5 for user ann", Wait.LIMIT),
        ("Dependency", Wait.LATER),
        ("reservation not yet active", Wait.LATER),
        ("insufficient idle procs available: 0 < 4", Wait.RESOURCES),
        ("UserHold", Wait.HELD),
        ("job can never run in this partition", Wait.HOPELESS),
        ("words of tomorrow", Wait.PRIORITY),
        ("", Wait.PRIORITY),
    ],
)
def test_what_waits_says_for_what(reason: str, wait: Wait) -> None:
    """Moab's reason is told, and understood."""
    row = listed(State="Idle", BlockReason=reason)
    assert row.wait is wait
    assert reason in row.words


def test_a_held_job_stays_held_whatever_the_reason_says() -> None:
    """A hold is one, beside which other reasons don't count."""
    assert listed(State="SystemHold", BlockReason="insufficient procs").wait is Wait.HELD


@pytest.mark.parametrize(
    ("word", "code", "used", "cause", "number", "signum"),
    [
        ("Completed", "0", "100", Cause.EXITED, 0, None),
        ("Completed", "3", "100", Cause.EXITED, 3, None),
        ("Completed", "271", "100", Cause.SIGNAL, None, 15),
        ("Completed", "137", "100", Cause.SIGNAL, None, 9),
        ("Completed", "-11", "100", Cause.TIME_LIMIT, None, None),
        ("Completed", "-10", "100", Cause.OUT_OF_MEMORY, None, None),
        ("Completed", "-3", "100", Cause.FAILED_TO_START, None, None),
        ("Completed", "", "100", Cause.EXITED, None, None),
        ("Removed", "CNCLD", "", Cause.CANCELLED, None, None),
        ("Removed", "CNCLD(271)", "100", Cause.CANCELLED, None, None),
        ("Removed", "CNCLD(271)", "10801", Cause.TIME_LIMIT, None, None),
        ("Removed", "271", "10800", Cause.TIME_LIMIT, None, None),
        ("Removed", "0", "100", Cause.CANCELLED, None, None),
        ("Completed", "CNCLD", "100", Cause.CANCELLED, None, None),
        ("Completed", "0", "10801", Cause.EXITED, 0, None),
    ],
)
def test_ends_are_read(word: str, code: str, used: str, cause: Cause, number: int | None, signum: int | None) -> None:
    """Exit code, signal, a limit of Torque's, or that somebody or its walltime ended it."""
    [row] = MOAB.remembered(showq({"completed": [attributes(State=word, CompletionCode=code, AWDuration=used)]}))
    assert row.end is not None
    assert (row.end.cause, row.end.code, row.end.signal) == (cause, number, signum)
    assert row.end.certain


def test_a_failed_system_leaves_a_doubt() -> None:
    """Vacated is what ran when its system failed: it may run on."""
    end = listed(State="Vacated").end
    assert end is not None
    assert (end.cause, end.certain) == (Cause.NODE_LOST, False)


@pytest.mark.parametrize(
    "done",
    [
        Done(0, "", ""),
        Done(0, "ERROR:  client timed out after 30 seconds (hostname:port=mg1:42559)\n", ""),
        Done(1, living().out, "ERROR:  lost connection"),
        showq({"active": [], "eligible": []}),
        showq({"completed": []}),
        Done(0, "<queues/>", ""),
        Done(0, living().out.strip() * 2, ""),
        living(active=[attributes(JobID="what is that")]),
    ],
)
def test_a_failed_listing_is_none(done: Done) -> None:
    """A listing that failed, or lacks one of the queues, is never taken for one of no jobs."""
    with pytest.raises(Unreadable):
        MOAB.listed(done)


def test_what_has_ended_is_asked_apart() -> None:
    """What Moab remembers is another list, and what is still in it alive is the listing's to tell."""
    assert MOAB.listing("ann") == ["showq", "--xml", "-w", "user=ann"]
    assert MOAB.history([NAME], 10.0) == ["showq", "-c", "--xml"]
    assert MOAB.listed(living()) == []
    assert MOAB.remembered(showq({"completed": [attributes(State="Running")]})) == []
    with pytest.raises(Unreadable):
        MOAB.remembered(living())


@pytest.mark.parametrize("job", ["881218", "Moab.12", "12.admin2.example.org"])
def test_a_submission_tells_its_id(job: str) -> None:
    """The id stands alone, after an empty line."""
    assert MOAB.submitted(Done(0, f"\n{job}\n", "")) == Submitted(job)


@pytest.mark.parametrize(
    ("err", "lasting"),
    [
        ("ERROR:    cannot submit job - unknown queue", True),
        ("ERROR:    cannot submit job - invalid account", True),
        ("ERROR:    user ann is not authorized", True),
        ("ERROR:    maximum job count reached", False),
    ],
)
def test_refusals_are_told_from_what_may_have_happened(err: str, lasting: bool) -> None:
    """What msub surely did not submit is declined, in its words."""
    answer = MOAB.submitted(Done(1, "", err))
    assert answer == Declined(err.removeprefix("ERROR:").strip(), lasting)


@pytest.mark.parametrize(
    "done",
    [
        Done(1, "", "ERROR:  client timed out after 30 seconds (hostname:port=mg1:42559)"),
        Done(0, "", ""),
        Done(0, "\nsubmitted, thank you\n", ""),
        Done(-9, "", ""),
    ],
)
def test_what_is_not_understood_may_have_been_submitted(done: Done) -> None:
    """Of such a one nobody knows, so nothing is said."""
    assert MOAB.submitted(done) is None


def test_the_header_is_torques_but_for_reservations() -> None:
    """A job of one node in Torque's words; a reservation is Moab's own."""
    group = WorkerGroupSpec(driver="moab", nthreads=2, workers_per_node=2, memory_limit="1GiB")
    options = MoabOptions.model_validate({"queue": "main", "account": "p1", "walltime": "2:00:00", "reservation": "r1"})
    assert MOAB.directives(group, options) == [
        "#PBS -S /bin/bash",
        "#PBS -q main",
        "#PBS -A p1",
        "#PBS -l nodes=1:ppn=4,mem=2048mb",
        "#PBS -l walltime=02:00:00",
        "#PBS -l advres=r1",
    ]


def test_a_script_is_handed_over_by_its_path() -> None:
    """msub reads no pipe; what it reads, and copies to where others may read it, is the part without secrets."""
    script = Script("#!/bin/bash", (), "true\n")
    handed = MOAB.handed(script, Jobs(NAME, ("a",), "/home/ann/jobs", 5.0))
    path = f"/home/ann/jobs/{NAME}.job.sh"
    assert handed.argv == ["msub", "-N", NAME, "-r", "n", "-j", "oe", "-o", "/dev/null", path]
    assert (handed.stdin, handed.files) == ("", {f"{NAME}.job.sh": "#!/bin/bash\n\ntrue\n"})
    assert MoabSettings().array_max == 1


def test_ends_name_each_job() -> None:
    """Several are one list; one that has gone is no complaint."""
    assert MOAB.ask_to_end([("12", 0), ("13", 0)]) == ["mjobctl", "-N", "TERM", "12,13"]
    assert MOAB.cancel([("12", 0), ("13", 0)]) == ["mjobctl", "-c", "12,13"]
    assert MOAB.cancelled(Done(1, "\njob '12' cancelled\n", "ERROR:  invalid job specified (13)")) == ""
    assert MOAB.cancelled(Done(1, "", "ERROR:  request not authorized")) == "request not authorized"


@pytest.mark.parametrize("line", ["-N x", "-t 0-3", "-o /x", "-r y", "x"])
def test_what_is_daskds_own_is_refused(line: str) -> None:
    """Directives that would take a job from the daemon's sight are refused before anything is asked."""
    group = WorkerGroupSpec(driver="moab", options={"job_extra_directives": [line]})
    assert [problem.field for problem in MoabDriver().validate(group, WHO)] == ["options.job_extra_directives"]


def test_the_administrators_word_goes_before_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Moab is comes from the settings, else from the daemon's environment."""
    monkeypatch.setenv("MOABHOMEDIR", "/a")
    assert MoabDriver().variables(MoabSettings())["MOABHOMEDIR"] == "/a"
    assert MoabDriver().variables(MoabSettings(home="/b"))["MOABHOMEDIR"] == "/b"
