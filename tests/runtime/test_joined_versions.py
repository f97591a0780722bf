"""What nodes say of their versions when they join, and what the scheduler's process makes of it."""

from __future__ import annotations

import pytest
from hub_cluster import a_client, a_hub

from daskd.runtime.joining import own_versions as told_by_nodes
from daskd.runtime.versions import COMPARED, can_serve, others, own_versions
from daskd_client import versions as of_client

NODE = {"incarnation": 0, "workers": ["a-0"], "pid": 1, "host": "h"}


def test_both_sides_of_the_link_look_at_the_same_packages() -> None:
    """A client and a scheduler compare alike, though neither imports the other's code."""
    assert COMPARED == of_client.COMPARED
    assert told_by_nodes is own_versions
    assert {name: own_versions()[name] for name in of_client.own_versions()} == of_client.own_versions()


@pytest.mark.parametrize(
    ("package", "told", "own", "differs"),
    [
        ("python", "3.11.7", "3.11.9", False),
        ("python", "3.10.13", "3.11.9", True),
        ("distributed", "2026.8.0", "2026.8.1", True),
        ("numpy", "2.0.1", "2.4.6", False),
        ("numpy", "1.26.4", "2.4.6", True),
        ("tornado", "5.0", "6.6.1", False),
    ],
)
def test_a_part_that_matters_makes_the_difference(package: str, told: str, own: str, differs: bool) -> None:
    """A node's version is another one only where a part of it that matters is; what one of both lacks is not."""
    assert others({package: told}, {package: own}) == ({package: told} if differs else {})
    assert others({package: told}, {}) == others({}, {package: own}) == {}


@pytest.mark.parametrize(
    ("told", "own", "served"),
    [
        ("2025.1.0", "2024.11.0", True),
        ("2026.8.0", "2025.2.0", True),
        ("2026.8.0", "2024.11.0", False),
        ("2025.1.0", "2025.2.0", False),
        ("", "2026.8.0", True),
        ("unknown", "2024.11.0", True),
    ],
)
def test_tasks_of_another_form_are_not_understood(told: str, own: str, served: bool) -> None:
    """Workers from the other side of the change of tasks serve no scheduler; one of an unknown release is let in."""
    assert can_serve({"distributed": told}, {"distributed": own}) is served


async def test_a_node_that_would_understand_no_task_is_refused() -> None:
    """It is told why in words, is not listed, and may still be fenced: it never joined."""
    ours = own_versions()["distributed"]
    other = "2024.11.0" if can_serve({"distributed": ours}, {"distributed": "2025.2.0"}) else "2025.2.0"
    async with a_hub() as hub, a_client(hub) as client:
        answer = await client.scheduler.daskd_join(instance="i-1", group="g", versions={"distributed": other}, **NODE)
        assert answer["result"] == "incompatible"
        assert ours in answer["words"]
        assert other in answer["words"]
        assert hub.roster.documents() == []
        assert hub.roster.fence(["i-1"]) == {"i-1": "fenced"}


async def test_a_node_with_the_schedulers_versions_is_no_news() -> None:
    """Nodes of one environment join without a word, and the state carries no versions of theirs."""
    async with a_hub() as hub, a_client(hub) as client:
        await client.scheduler.daskd_join(instance="i-1", group="g", versions=dict(own_versions()), **NODE)
        assert [node["versions"] for node in hub.roster.documents()] == [{}]
        assert [event["type"] for event in hub.journal.events] == []


async def test_other_versions_are_told_once_a_group() -> None:
    """The first such node of a group is an event, another with the same versions none, one with yet others is."""
    older, oldest = ({**own_versions(), "distributed": version} for version in near(2))
    async with a_hub() as hub, a_client(hub) as client:
        for instance, group, versions in (
            ("i-1", "g", older),
            ("i-2", "g", older),
            ("i-1", "g", older),
            ("i-3", "other", older),
            ("i-4", "g", oldest),
        ):
            await client.scheduler.daskd_join(instance=instance, group=group, versions=versions, **NODE)
        told = [event for event in hub.journal.events if event["type"] == "versions-differ"]
        assert [event["facts"]["instance"] for event in told] == ["i-1", "i-3", "i-4"]
        assert f"distributed {older['distributed']} (scheduler: {own_versions()['distributed']})" in told[0]["words"]
        assert hub.roster.documents()[0]["versions"] == {"distributed": older["distributed"]}


def near(count: int) -> list[str]:
    """So many releases of distributed that are not this one, and speak to it."""
    return [f"{own_versions()['distributed']}+{n}" for n in range(count)]


@pytest.mark.parametrize("versions", [["dask"], {"dask": 7}, {"dask": ""}, {str(n): "1" for n in range(101)}])
async def test_versions_that_are_none_are_refused(versions: object) -> None:
    """A node that tells anything else is refused by an error, and is not listed."""
    async with a_hub() as hub, a_client(hub) as client:
        with pytest.raises(ValueError, match="version"):
            await client.scheduler.daskd_join(instance="i-1", group="g", versions=versions, **NODE)
        assert hub.roster.documents() == []
