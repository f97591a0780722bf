"""Workers whose versions do not go with their scheduler's: what the record says of it, and for how long."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cluster_states import LONG_AGO, NOW, at_hub, cluster, heard, node, scheduler, view

from daskd.control.ledger import Ledger
from daskd.control.link import HubNode
from daskd.control.phase import settle
from daskd.control.versions import mismatch
from daskd.model.cluster import Cluster, Group, Instance, Phase, State

SCHEDULER = {"python": "3.11.7", "distributed": "2026.8.0"}


def hub_node(instance: str, group: str = "default", **versions: str) -> HubNode:
    """A node that joined, with those of its versions that do not go with its scheduler's."""
    return HubNode(instance=instance, group=group, joined=LONG_AGO, versions=versions)


def settled(of: Cluster, some: list[Instance], joined: list[HubNode], heard_of: str = "s") -> Cluster:
    """The record when a scheduler told of these nodes."""
    hub = replace(heard(at_hub(some[1:]), nodes=tuple(joined), instance=heard_of), versions=SCHEDULER)
    ledger = Ledger(of, tuple(some))
    settle(ledger, view(of, some, hub), NOW)
    return ledger.cluster


def test_words_name_each_group_both_versions_and_the_mend() -> None:
    """A group is named once, however many of its nodes differ, with the version that its scheduler has."""
    words = mismatch(
        [
            hub_node("n0"),
            hub_node("n1", distributed="2024.11.0", python="3.10.13"),
            hub_node("n2", distributed="2024.11.0", python="3.10.13"),
            hub_node("n3", "gpu", distributed="2025.7.0"),
        ],
        SCHEDULER,
    )
    assert words.count("'default'") == 1
    assert "distributed 2024.11.0 (scheduler: 2026.8.0), python 3.10.13 (scheduler: 3.11.7)" in words
    assert "group 'gpu' has distributed 2025.7.0 (scheduler: 2026.8.0)" in words
    assert "make the cluster anew" in words


def test_one_environment_is_not_worth_a_word() -> None:
    """Nodes without differences, or none at all, leave the message empty."""
    assert mismatch([hub_node("n0"), hub_node("n1")], SCHEDULER) == ""
    assert settled(cluster(1), [scheduler(), node()], [hub_node("n0")]).reason == ""


def test_a_running_cluster_says_that_versions_differ() -> None:
    """Reason and message say it, and the cluster goes on RUNNING."""
    after = settled(cluster(1), [scheduler(), node()], [hub_node("n0", distributed="2024.11.0")])
    assert (after.phase, after.reason) == (Phase.RUNNING, "VERSIONS_DIFFER")
    assert "2024.11.0" in after.message


@pytest.mark.parametrize("of", ["n1", "somebody"])
def test_what_lives_no_more_differs_from_nothing(of: str) -> None:
    """A node that has ended, or is not the cluster's, is not told of, though the scheduler still lists it."""
    some = [scheduler(), node(0), node(1, state=State.ENDED)]
    assert settled(cluster(1), some, [hub_node(of, distributed="2024.11.0")]).reason == ""


def test_a_scheduler_that_is_gone_says_nothing_of_versions() -> None:
    """What an earlier scheduler said is not held against the environment of the next."""
    differing = [hub_node("n0", distributed="2024.11.0")]
    assert settled(cluster(1), [scheduler(), node()], differing, heard_of="before").reason == ""


def test_failing_workers_are_told_with_the_versions_beside() -> None:
    """Where a group fails that is the reason; that its versions differ may be why, so it is said, too."""
    group = Group("default", desired=2, running=1, failures=3, retry_at=NOW, message="no GPU")
    of = replace(cluster(2), groups=(group,))
    after = settled(of, [scheduler(), node()], [hub_node("n0", distributed="2024.11.0")])
    assert after.reason == "WORKERS_FAILING"
    assert "no GPU" in after.message
    assert "2024.11.0 (scheduler: 2026.8.0)" in after.message
