"""What is concluded from listings over time, and what a job is called."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from daskd.drivers.batch import CondorDriver, PbsDriver, SgeDriver, elements
from daskd.drivers.batch.doubts import SECONDS, Doubts
from daskd.drivers.batch.driver import BatchDriver
from daskd.drivers.batch.folder import read_log, records
from daskd.drivers.batch.roots import Roots
from daskd.drivers.batch.slurm_driver import SlurmDriver, SlurmOptions
from daskd.drivers.batch.steady import Steady
from daskd.drivers.batch.system import REST, Row
from daskd.drivers.protocol import Observation, Wait
from daskd.model.cluster import Cause, End, Handle, State
from daskd.model.identity import Identity
from daskd.model.spec import WorkerGroupSpec

BATCH = "dabcdefghijkl2"
WHO = Identity("ann", 1000, 1000, "/home/ann")


def handle(index: int = 0, name: str = BATCH) -> Handle:
    return elements.handle_of("slurm", f"dabcdeaaaaaaa{index + 2}", (name, index), "c1", "/home/ann/c1", 100.0)


def row(index: int = 0, state: State = State.RUNNING, end: End | None = None, name: str = BATCH) -> Row:
    return Row(name, index, "7", state, end=end)


def test_what_a_listing_lacks_is_in_doubt_for_three_listings_over_a_minute() -> None:
    """Neither many listings within a minute nor few over an hour settle it, nor minutes of shallow ones."""
    doubts = Doubts()
    for n in range(10):
        doubts.listed({"a"}, 100.0 + n, deep=True)
    assert not doubts.is_settled("a", 109.0)
    assert doubts.is_settled("a", 100.0 + SECONDS)
    doubts = Doubts()
    doubts.listed({"a"}, 100.0, deep=True)
    doubts.listed({"a"}, 5000.0, deep=True)
    assert not doubts.is_settled("a", 5000.0)
    doubts = Doubts()
    for n in range(9):
        doubts.listed({"a"}, 100.0 + 60 * n, deep=False)
    assert not doubts.is_settled("a", 699.0)
    assert doubts.is_settled("a", 700.0), "whoever would remember is away for good"


def test_what_is_listed_again_was_never_in_doubt() -> None:
    """One listing that shows it begins the count anew, and so does an act on it."""
    doubts = Doubts()
    for seen in ({"a"}, {"a"}, set[str](), {"a"}):
        doubts.listed(seen, 100.0, deep=True)
    assert not doubts.is_settled("a", 1000.0)
    doubts.listed({"a"}, 100.0, deep=True)
    doubts.listed({"a"}, 100.0, deep=True)
    assert doubts.is_settled("a", 1000.0)
    doubts.clear(["a"])
    assert not doubts.is_settled("a", 1000.0)


def test_moments_stay_where_they_are() -> None:
    """The rounding of durations moves no moment; a changed limit does; a wait counts from its first sight."""
    steady = Steady()
    first = Observation(handle(), State.RUNNING, started=100.0, expected_end=900.0)
    assert steady.kept([first], 105.0) == [first]
    again = dataclasses.replace(first, started=101.0, expected_end=905.0)
    assert steady.kept([again], 106.0) == [first]
    [longer] = steady.kept([dataclasses.replace(first, expected_end=4000.0)], 107.0)
    assert longer.expected_end == 4000.0
    waiting = Observation(handle(1), State.QUEUED, wait=Wait.PRIORITY)
    assert [steady.kept([waiting], now)[0].waiting for now in (10.0, 20.0)] == [10.0, 10.0]
    assert steady.kept([dataclasses.replace(waiting, wait=Wait.HOPELESS)], 30.0)[0].waiting == 30.0


@pytest.mark.parametrize(
    ("name", "batch"),
    [
        (BATCH, BATCH),
        (f"ann-{BATCH}", BATCH),
        (f"a-b-{BATCH}", BATCH),
        (f"x{BATCH}", None),
        ("dabcdefghijkl", None),
        ("my job", None),
    ],
)
def test_names_tell_whose_a_job_is(name: str, batch: str | None) -> None:
    """The last part of a job's name is the batch's id, whatever stands before it."""
    assert elements.batch_of(name) == batch


def test_strays_are_ours_unasked_and_alive() -> None:
    """Other daemons' jobs, foreign ones, asked ones and ended ones are none."""
    ended = End(Cause.EXITED, 0)
    rows = [
        row(0),
        row(1),
        row(2, State.ENDED, ended),
        row(0, name="dzzzzzghijkl22"),
        row(0, name="simulation"),
    ]
    found = elements.strays("slurm", rows, [handle(0)], "abcde")
    assert [stray.id for stray in found] == [f"{BATCH}.1"]
    assert found[0].element == handle(1).element


def test_what_lives_goes_before_what_ended_under_the_same_name() -> None:
    """A repeated name, which only its user can make, hides nothing that runs."""
    ended = row(0, State.ENDED, End(Cause.EXITED, 0))
    for rows in ([ended, row(0)], [row(0), ended]):
        assert elements.by_element(rows)[BATCH, 0].state is State.RUNNING


def test_the_rest_of_an_array_ended_where_it_is_not_listed_apart() -> None:
    """A cancelled rest says nothing of members that have rows of their own."""
    rest = row(REST, State.ENDED, End(Cause.CANCELLED))
    listed = elements.by_element([row(0), rest])
    assert elements.of_rest(handle(0), listed) is None
    found = elements.of_rest(handle(1), listed)
    assert found is not None
    assert found.index == 1


def test_how_it_ended_is_the_supervisors_word_and_why_it_was_ended_the_systems() -> None:
    """Code and signal come from the end record; a time limit, a preemption stay what the system says."""
    record = {"end": {"version": 1, "cause": "exited", "code": 82, "signal": None, "words": "exited with code 82"}}
    by_itself = elements.observed(handle(), row(0, State.ENDED, End(Cause.EXITED, 1)), record, 0.0)
    assert by_itself.end is not None
    assert by_itself.end.code == 82
    limit = elements.observed(handle(), row(0, State.ENDED, End(Cause.TIME_LIMIT)), record, 0.0)
    assert limit.end is not None
    assert limit.end.cause is Cause.TIME_LIMIT


@pytest.mark.parametrize("recorded", [True, False])
def test_what_a_lost_node_may_run_on_has_ended_if_it_wrote_so(recorded: bool) -> None:
    """A system that lost a node knows nothing of its processes; the end record does, where there is one."""
    end = {"version": 1, "cause": "signal", "code": None, "signal": 15, "words": "was ended"} if recorded else None
    lost = End(Cause.NODE_LOST, words="Slurm says NODE_FAIL", certain=False)
    seen = elements.observed(handle(), row(0, State.ENDED, lost), {"end": end}, 0.0)
    assert seen.end == End(Cause.NODE_LOST, words="Slurm says NODE_FAIL", certain=recorded)


def test_roots_are_remembered_until_nothing_is_left(tmp_path: Path) -> None:
    """Who clears away learns of every folder that a cluster's jobs used, of a damaged file nothing."""
    roots = Roots(tmp_path / "slurm" / "0")
    roots.add("c1", ["/a"])
    roots.add("c1", ["/b", "/a"])
    assert Roots(tmp_path / "slurm" / "0").of("c1") == ["/a", "/b"]
    roots.forget("c1")
    assert roots.of("c1") == []
    assert not (tmp_path / "slurm" / "0").exists()
    roots.add("c2", ["/a"])
    (tmp_path / "slurm" / "0" / "c2.json").write_text(json.dumps({"roots": [1, None]}))
    assert roots.of("c2") == []


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"job_extra_directives": ["--array=0-5"]}, "options.job_extra_directives"),
        ({"job_extra_directives": ["-Jmine"]}, "options.job_extra_directives"),
        ({"job_extra_directives": ["--wait"]}, "options.job_extra_directives"),
        ({"job_extra_directives": ["exclusive"]}, "options.job_extra_directives"),
        ({"cores": 1}, "options.cores"),
        ({"memory": "1GiB"}, "options.memory"),
    ],
)
def test_what_can_not_work_is_refused_by_its_field(options: dict[str, object], field: str) -> None:
    """Directives that are daskd's own, and jobs smaller than their workers, are refused before anything is asked."""
    group = WorkerGroupSpec(driver="slurm", nthreads=2, memory_limit="2GiB", options=options)
    assert [problem.field for problem in SlurmDriver().validate(group, WHO)] == [field]


def test_good_directives_are_taken() -> None:
    """What is the user's to say is not refused."""
    group = WorkerGroupSpec(driver="slurm", options={"job_extra_directives": ["--exclusive", "-C haswell", "--qos=x"]})
    assert SlurmDriver().validate(group, WHO) == []


def test_auto_memory_is_a_share_of_the_jobs() -> None:
    """Where the job's memory is said, workers share it; else it stays open until the node knows."""
    group = WorkerGroupSpec(driver="slurm", workers_per_node=4, options={"memory": "8GiB"})
    assert SlurmDriver().complete(group).memory_limit == 2 << 30
    assert SlurmDriver().complete(WorkerGroupSpec(driver="slurm")).memory_limit == "auto"


def test_the_option_alone_says_how_many_nodes_a_job_has() -> None:
    """What an instance holds follows the option; memory of a job is that of each of its nodes."""
    options = {"nodes_per_job": 3, "memory": "8GiB"}
    group = SlurmDriver().complete(WorkerGroupSpec(driver="slurm", workers_per_node=2, options=options))
    assert (group.nodes, group.workers_per_instance, group.memory_limit) == (3, 6, 4 << 30)
    assert SlurmDriver().validate(group, WHO) == []
    [problem] = SlurmDriver().validate(
        group.model_copy(update={"workers_per_node": 200, "options": {"nodes_per_job": 6}}), WHO
    )
    assert "would have 1200 workers" in problem.words
    again = SlurmDriver().complete(group.model_copy(update={"options": {}}))
    assert (again.nodes, again.workers_per_instance) == (1, 2)


@pytest.mark.parametrize("driver", [PbsDriver(), SgeDriver(), CondorDriver()], ids=lambda driver: driver.name)
def test_systems_whose_jobs_have_one_node_say_so(driver: BatchDriver) -> None:
    """Several nodes a job are refused in words where the driver can't have them; one is what there is."""
    group = WorkerGroupSpec(driver=driver.name, options={"nodes_per_job": 2})
    [problem] = driver.validate(group, WHO)
    assert problem.field == "options.nodes_per_job"
    assert "one node each" in problem.words
    assert driver.validate(group.model_copy(update={"options": {"nodes_per_job": 1}}), WHO) == []


def write(folder: Path, name: str, **content: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps({"version": 1, **content}))


def test_a_job_of_several_nodes_has_ended_when_all_have(tmp_path: Path) -> None:
    """The node that ended last tells how; before the others have, none of them is the job's end."""
    first, second = (tmp_path / "instances" / name for name in ("d1", "d1.1"))
    request = {"instances": {"d1": [str(tmp_path), 2]}}
    assert records(request) == {"d1": {"end": None, "last_end": None, "report": None, "goodbye": None}}
    write(second, "end.json", cause="signal", signal=9, ended=100.0)
    write(second, "report.json", failure="it broke")
    found = records(request)["d1"]
    assert (found["end"], found["last_end"]["signal"], found["report"]["failure"]) == (None, 9, "it broke")
    write(first, "end.json", cause="exited", code=0, ended=200.0)
    assert records(request)["d1"]["end"]["code"] == 0


def test_the_log_of_a_job_is_that_of_all_its_nodes(tmp_path: Path) -> None:
    """Other nodes' lines bear their number, and a reader that goes on where it was misses and repeats none."""
    request = {"folder": str(tmp_path), "id": "d1", "nodes": 2, "output": "x.0.out"}

    def news(cursor: str, **lines: str) -> tuple[list[str], str]:
        for name, text in lines.items():
            folder = tmp_path / "instances" / ("d1" if name == "first" else "d1.1")
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / "output.1.log").open("a") as log:
                log.write(f"2026-01-01T00:00:00.000000000Z stdout F {text}\n")
        chunks = read_log({**request, "cursor": cursor})["chunks"]
        return [line for found, _ in chunks for _, line in found], chunks[-1][1] if chunks else cursor

    assert news("") == ([], "")
    lines, cursor = news("", first="a", second="b")
    assert lines == ["a", "[node 1] b"]
    assert news(cursor) == ([], cursor)
    lines, cursor = news(cursor, second="c")
    assert lines == ["[node 1] c"]
    assert news(cursor, first="d")[0] == ["d"]


@pytest.mark.parametrize(
    ("text", "seconds"), [("00:30:00", 1800.0), ("1-12:00:00", 129_600.0), ("30 min", 1800.0), (3600, 3600.0)]
)
def test_walltimes_are_read_in_their_forms(text: object, seconds: float) -> None:
    """Clock and duration mean the same."""
    assert SlurmOptions.model_validate({"walltime": text}).walltime == seconds


def test_an_ambiguous_walltime_is_refused() -> None:
    """ "30:00" is half an hour for one system and thirty for another."""
    with pytest.raises(ValueError, match="HH:MM:SS"):
        SlurmOptions.model_validate({"walltime": "30:00"})
