"""What the runtime passes to distributed's classes itself is what the API refuses as users' options."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from typing import Any

from daskd.model.reserved import OF_SCHEDULER, OF_WORKERS
from daskd.runtime import node, scheduler, scheduler_hub
from daskd.runtime.spec import Listen, NodeSpec, SchedulerSpec


def keywords(function: Callable[..., Any], callee: str) -> set[str]:
    """The keyword arguments that a function writes down where it calls another."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    calls = [each for each in ast.walk(tree) if isinstance(each, ast.Call) and ast.unparse(each.func) == callee]
    assert calls, callee
    return {keyword.arg for call in calls for keyword in call.keywords if keyword.arg is not None}


def test_workers_options_can_not_name_what_the_node_sets() -> None:
    """Each keyword argument of a nanny that the node passes is refused."""
    spec = NodeSpec("u", "etl", "i", 0, "1", "g", None, "tcp://h:1", "h", None, ("w",), 1, 0, {}, "/x", 1, 1, False)
    ours = set(node.worker_arguments(spec, "w", "h")) | keywords(node.Node._make_nanny, "PacedNanny")
    assert {"security", "nthreads", "worker_class"} <= ours
    assert ours <= set(OF_WORKERS)


def test_schedulers_options_can_not_name_what_its_process_sets() -> None:
    """Each keyword argument of the scheduler that the hub and its builder pass is refused."""
    dashboard = Listen("h", 1)
    spec = SchedulerSpec("u", "etl", "i", "1", None, "h", 0, None, dashboard, 1.0, 0.5, 1.0, preload=("p",))
    ours = set(scheduler.scheduler_arguments(spec)) | keywords(scheduler.build, "Hub")
    ours |= keywords(scheduler_hub.Hub.__init__, "HubScheduler")
    assert {"security", "dashboard_address", "preload", "held"} <= ours
    assert ours <= set(OF_SCHEDULER)
