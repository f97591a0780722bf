"""Who may have a scheduler in the daemon, and what it can't be like."""

from __future__ import annotations

from typing import Any

import pytest

from daskd.api.embedded import Process, check_embedded, embedded_problems
from daskd.config import Config
from daskd.model.errors import InvalidSpec
from daskd.model.spec import ClusterSpec

DAEMON = Process(python="/opt/daskd/bin/python", cwd="/", environment={"LANG": "C.UTF-8"})


def embedded(scheduler: dict[str, Any] | None = None, **fields: Any) -> ClusterSpec:
    """A spec whose scheduler is to run in the daemon."""
    return ClusterSpec.model_validate({"scheduler": {"placement": "embedded", **(scheduler or {})}, **fields})


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        (embedded(), []),
        (embedded(python="/opt/daskd/bin/python", cwd="/", environment={"LANG": "C.UTF-8"}), []),
        (embedded(import_path=["/home/ann/lib"]), []),
        (embedded(groups=[{"python": "/usr/bin/python3", "environment": {"A": "1"}}]), []),
        (embedded(python="/usr/bin/python3"), ["python"]),
        (embedded(cwd="/home/ann"), ["cwd"]),
        (embedded(environment={"LANG": "C.UTF-8", "API_TOKEN": "secret"}), ["environment"]),
        (embedded({"prologue": ["module load gcc"]}), ["scheduler.prologue"]),
        (embedded(cwd="/home", python="python3"), ["python", "cwd"]),
    ],
)
def test_a_scheduler_in_the_daemon_is_like_the_daemon(spec: ClusterSpec, fields: list[str]) -> None:
    """What would take a process of its own is refused by field; what is said of groups alone is not."""
    problems = embedded_problems(spec, DAEMON, allowed=True, is_own=True)
    assert [problem.field for problem in problems] == fields
    assert not any("secret" in problem.words for problem in problems)


@pytest.mark.parametrize(
    ("allowed", "is_own", "words"),
    [(False, True, "clusters.embedded"), (False, False, "clusters.embedded"), (True, False, "who is not you")],
)
def test_it_is_for_the_daemons_own_user_where_it_is_allowed(allowed: bool, is_own: bool, words: str) -> None:
    """Whoever else asks is told why not, and nothing of the daemon's environment."""
    (problem,) = embedded_problems(embedded(cwd="/home/ann"), DAEMON, allowed=allowed, is_own=is_own)
    assert problem.field == "scheduler.placement"
    assert words in problem.words


def test_the_configuration_allows_it_and_by_default_does_not() -> None:
    """`clusters.embedded` decides; a scheduler in a process of its own is nobody's to refuse."""
    check_embedded(embedded(), Config.model_validate({"clusters": {"embedded": True}}), is_own=True)
    check_embedded(ClusterSpec(), Config(), is_own=False)
    with pytest.raises(InvalidSpec):
        check_embedded(embedded(), Config(), is_own=True)
