"""Model and protobuf say the same, both ways."""

from __future__ import annotations

import string

import pytest
from api_harness import DRIVERS
from hypothesis import given, settings
from hypothesis import strategies as st

from daskd.api.create import build_spec, overlay
from daskd.api.marks import Mark, read_mark, write_mark
from daskd.api.translate import memory_text, plain, sparse_spec, spec_message, struct, timestamp, unix_seconds
from daskd.config import Config
from daskd.model.errors import InvalidArgument, ResumeTokenExpired
from daskd.model.quantity import parse_memory
from daskd.model.spec import (
    AdaptivePolicy,
    ClusterSpec,
    HeldWorkPolicy,
    OnIdle,
    OnSchedulerLoss,
    Placement,
    SchedulerSpec,
    WorkerGroupSpec,
)
from daskd.security.peer import identity_of
from daskd_api.v1 import cluster_pb2 as pb

RELAXED = settings(deadline=None, max_examples=60)  # a loaded machine is no defect
NAMES = st.from_regex(r"[a-z]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
TEXT = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc"]), max_size=20)
PATHS = st.just("") | TEXT.map(lambda text: f"/{text}")
ENVIRONMENTS = st.dictionaries(st.from_regex(r"[A-Z][A-Z0-9_]{0,8}", fullmatch=True).map("X".__add__), TEXT, max_size=3)
MEMORY = st.just("auto") | st.integers(0, 1 << 50)
COUNTS = st.integers(0, 1000)


def milliseconds(least: int, most: int) -> st.SearchStrategy[float]:
    return st.integers(least, most).map(lambda n: n / 1000)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
KEYWORDS = st.dictionaries(st.from_regex(r"own_[a-z]{1,8}", fullmatch=True), JSON, max_size=3)
PRELOADS = st.lists(TEXT.filter(bool), max_size=3).map(tuple)
LINES = st.lists(TEXT, max_size=3).map(tuple)
POLICIES = st.builds(
    AdaptivePolicy,
    minimum=st.integers(0, 10),
    maximum=st.none() | st.integers(10, 1000),
    interval=st.none() | milliseconds(100, 3_600_000),
    wait_count=st.none() | COUNTS,
    target_duration=st.none() | milliseconds(1, 86_400_000),
    initial=st.none() | COUNTS,
    cool_down=st.none() | milliseconds(0, 86_400_000),
    minimum_cores=st.none() | st.integers(0, 10),
    maximum_memory=st.none() | st.integers(1, 1 << 60),
)
GROUPS = st.builds(
    WorkerGroupSpec,
    name=NAMES,
    driver=st.text(string.ascii_lowercase, min_size=1, max_size=8),
    n_workers=COUNTS,
    nthreads=st.integers(1, 64),
    memory_limit=MEMORY,
    workers_per_node=st.integers(1, 8),
    resources=st.dictionaries(TEXT.filter(bool), st.floats(0, 1e6), max_size=3),
    environment=ENVIRONMENTS,
    local_directory=PATHS,
    death_timeout=milliseconds(1000, 86_400_000),
    options=st.dictionaries(TEXT, JSON, max_size=3),
    adaptive=st.none() | POLICIES,
    python=TEXT,
    cwd=PATHS,
    preload=PRELOADS,
    worker_class=st.sampled_from(["", "distributed.Worker"]),
    worker_options=KEYWORDS,
    prologue=LINES,
)
SPECS = st.builds(
    ClusterSpec,
    profile=st.just("") | NAMES,
    groups=st.lists(GROUPS, min_size=1, max_size=3, unique_by=lambda group: group.name).map(tuple),
    python=TEXT,
    cwd=PATHS,
    import_path=st.lists(PATHS, max_size=3).map(tuple),
    environment=ENVIRONMENTS,
    scheduler=st.builds(
        SchedulerSpec,
        placement=st.sampled_from(Placement),
        preload=PRELOADS,
        options=KEYWORDS,
        prologue=LINES,
    ),
    idle_timeout=st.none() | milliseconds(1, 86_400_000),
    on_idle=st.sampled_from(OnIdle),
    on_scheduler_loss=st.sampled_from(OnSchedulerLoss),
    max_lifetime=st.none() | milliseconds(1000, 86_400_000),
    lifetime_warning=st.none() | milliseconds(0, 86_400_000),
    held_work=st.builds(
        HeldWorkPolicy, keep=st.none() | milliseconds(0, 86_400_000), memory_share=st.none() | st.floats(0, 1)
    ),
    dashboard=st.booleans(),
)


@RELAXED
@given(SPECS)
def test_a_spec_survives_the_wire(spec):
    """A spec sent as protobuf and read back is the same spec."""
    wire = pb.ClusterSpec.FromString(spec_message(spec).SerializeToString())

    assert ClusterSpec.model_validate(sparse_spec(wire)) == spec


@RELAXED
@given(SPECS)
def test_without_values_a_spec_shows_names_alone(spec):
    """For others than the owner, every environment keeps its names and loses its values."""
    message = spec_message(spec, with_values=False)

    for shown, real in [(message, spec), *zip(message.groups, spec.groups, strict=True)]:
        assert dict(shown.environment) == dict.fromkeys(real.environment, "")


@RELAXED
@given(st.integers(0, 1 << 60))
def test_a_memory_limit_reads_back_exactly(limit):
    """A limit is shown with the largest unit that loses nothing."""
    assert parse_memory(memory_text(limit)) == limit


@RELAXED
@given(st.dictionaries(TEXT, JSON, max_size=4))
def test_options_survive_the_wire(options):
    """Options come back as they were sent, whole numbers as whole numbers."""
    back = plain(struct(options))

    assert back == options


@RELAXED
@given(st.floats(0, 4e9))
def test_a_time_survives_the_wire(unix):
    """Unix seconds come back to the microsecond."""
    assert unix_seconds(timestamp(unix)) == pytest.approx(unix, abs=1e-6)


def test_an_empty_request_sets_nothing():
    """What a request leaves out is not there to be laid over a profile."""
    assert sparse_spec(pb.ClusterSpec()) == {}
    assert sparse_spec(pb.ClusterSpec(groups=[pb.WorkerGroupSpec()])) == {"groups": [{}]}


TABLES = st.recursive(COUNTS, lambda inner: st.dictionaries(NAMES, inner, max_size=3), max_leaves=8)
DOCUMENTS = st.dictionaries(NAMES, TABLES, max_size=4)


@RELAXED
@given(DOCUMENTS, DOCUMENTS)
def test_an_overlay_keeps_what_is_over_and_what_is_only_under(under, over):
    """Every value of the upper document holds, and every key of the lower one is still there."""
    laid = overlay(under, over)

    assert set(laid) == set(under) | set(over)
    assert overlay(laid, over) == laid
    assert all(laid[key] == over[key] for key in over if not isinstance(over[key], dict))
    assert all(laid[key] == under[key] for key in under if key not in over)


@RELAXED
@given(st.sampled_from(["watch", "events"]), st.from_regex(r"c[a-z2-7]{19}|", fullmatch=True), st.integers(0, 2**53))
def test_a_mark_reads_back(kind, uid, revision):
    """A mark that was given out is understood, and by its own kind alone."""
    mark = Mark(kind, uid, revision)
    text = write_mark(mark, "abcde")

    assert read_mark(text, kind, "abcde", "token") == mark
    with pytest.raises(InvalidArgument):
        read_mark(text, "other", "abcde", "token")
    with pytest.raises(ResumeTokenExpired):
        read_mark(text, kind, "zzzzz", "token")


@RELAXED
@given(st.text(max_size=300))
def test_garbage_is_no_mark(text):
    """Whatever a client sends as a mark is refused in words."""
    with pytest.raises(InvalidArgument, match="leave it empty"):
        read_mark(text, "watch", "abcde", "token")


@RELAXED
@given(st.data())
def test_a_changed_mark_is_no_mark(data):
    """A mark with one character changed is refused, or means the very same."""
    text = write_mark(Mark("watch", "", data.draw(st.integers(0, 10**6))), "abcde")
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from(string.ascii_letters + string.digits + "-_"))
    changed = text[:place] + other + text[place + 1 :]

    try:
        read = read_mark(changed, "watch", "abcde", "token")
    except InvalidArgument:
        return
    assert read == read_mark(text, "watch", "abcde", "token")


def test_no_profile_and_no_field_make_one_empty_group():
    """The emptiest request is a cluster of one group without workers."""
    assert build_spec({}, Config(), DRIVERS, identity_of(0)) == ClusterSpec(scheduler=SchedulerSpec(network=False))
