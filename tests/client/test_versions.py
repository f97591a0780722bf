"""Which versions go together: of Python and Dask at client, scheduler and workers; of daskd's client and daemon."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import distributed
import grpc
import pytest
from distributed.versions import get_versions

from daskd_api.v1 import cluster_pb2, cluster_pb2_grpc, daemon_pb2, daemon_pb2_grpc
from daskd_client import AsyncDaskd, Unimplemented, release
from daskd_client.types import DaemonInfo
from daskd_client.versions import Difference, can_speak, differences, mismatch, own_versions

from .serving import refuse, serving

HERE = {"python": "3.11.7", "dask": "2026.8.0", "distributed": "2026.8.0", "cloudpickle": "3.1.3", "numpy": "2.4.6"}


def test_own_versions_are_those_that_a_scheduler_of_this_environment_tells() -> None:
    """What a client compares is, package by package, what distributed says of the same environment."""
    told = get_versions()["packages"]
    ours = own_versions()
    assert ours["distributed"] == distributed.__version__
    assert ours["python"] == ".".join(str(part) for part in sys.version_info[:3])
    assert {name: told[name] for name in ours if name != "python"} == {
        name: ours[name] for name in ours if name != "python"
    }


@pytest.mark.parametrize(
    ("package", "there", "matters"),
    [
        ("python", "3.11.9", False),
        ("python", "3.12.7", True),
        ("dask", "2026.8.1", True),
        ("distributed", "2024.11.0", True),
        ("cloudpickle", "3.1.0", False),
        ("cloudpickle", "3.0.0", True),
        ("numpy", "2.0.0", False),
        ("numpy", "1.26.4", True),
        ("tornado", "5.0", False),
    ],
)
def test_only_what_matters_differs(package: str, there: str, matters: bool) -> None:
    """Another patch of Python is no difference, another release of Dask is one; of what is pickled the major counts."""
    found = differences(HERE, {**HERE, package: there})
    assert found == ((Difference(package, HERE[package], there),) if matters else ())


def test_what_one_side_lacks_is_no_difference() -> None:
    """A package that only one side has, or a scheduler that tells nothing, is nothing to warn of."""
    assert differences(HERE, {}) == ()
    assert differences({}, HERE) == ()


@pytest.mark.parametrize(
    ("here", "there", "speak"),
    [
        ("2026.8.0", "2025.4.0", True),
        ("2024.11.0", "2025.3.1", True),
        ("2026.8.0", "2025.3.1", False),
        ("2024.11.0", "2025.4.0", False),
        ("2025.12.0", "2025.4.1+3.gabc", True),
        ("", "2026.8.0", True),
        ("0+unknown", "2026.8.0", True),
        ("unknown", "2024.11.0", True),
    ],
)
def test_graphs_of_another_form_are_not_understood(here: str, there: str, speak: bool) -> None:
    """Releases from before and after the change of graphs can't speak; a release that is not known is let be."""
    assert can_speak({"distributed": here}, {"distributed": there}) is speak


def test_words_name_each_package_each_side_and_the_mend() -> None:
    """Both versions of each package, the cluster, its interpreter, and what to install."""
    there = {**HERE, "dask": "2024.11.0", "distributed": "2024.11.0"}
    words = mismatch("etl", "/envs/old/bin/python", differences(HERE, there))
    assert "cluster 'etl'" in words
    assert "distributed 2026.8.0 here and 2024.11.0 there" in words
    assert "python=sys.executable" in words
    assert "run this session by /envs/old/bin/python" in words
    assert "pip install dask==2024.11.0 distributed==2024.11.0" in words


def test_another_python_is_not_mended_by_pip() -> None:
    """Where the Pythons differ, the words name the Python, and no package to install into the wrong one."""
    words = mismatch("etl", "", differences(HERE, {**HERE, "python": "3.10.13", "dask": "2024.11.0"}))
    assert "in Python 3.10" in words
    assert "pip" not in words


@pytest.mark.parametrize("daemon", ["1.4.0", "1.5.9", "1.6.0", "1.5.0rc1", "", "unknown"])
def test_neighbouring_minor_releases_go_together(daemon: str) -> None:
    """A daemon of the client's minor version, one older or one newer is nothing to speak of; nor is an unknown one."""
    assert release.skew("1.5.2", DaemonInfo(version=daemon)) == ""
    assert release.skew("", DaemonInfo(version=daemon)) == ""


@pytest.mark.parametrize(
    ("daemon", "oldest", "mend"),
    [
        ("1.3.0", "", "upgrade the daemon to at least 1.5.2"),
        ("0.5.2", "", "upgrade the daemon to at least 1.5.2"),
        ("1.7.1", "", "pip install daskd==1.7.1"),
        ("2.5.0", "", "pip install daskd==2.5.0"),
        ("1.6.0", "1.6.0", "pip install daskd==1.6.0"),
    ],
)
def test_releases_further_apart_are_told_with_what_to_upgrade(daemon: str, oldest: str, mend: str) -> None:
    """Two minors apart, another major, or older than the daemon takes: the words name both and the older one's mend."""
    words = release.skew("1.5.2", DaemonInfo(version=daemon, minimum_client_version=oldest))
    assert "1.5.2" in words
    assert daemon in words
    assert mend in words


class Older(cluster_pb2_grpc.ClusterServiceServicer, daemon_pb2_grpc.DaemonServiceServicer):
    """A daemon of a release that knows no call of clusters."""

    async def GetDaemonInfo(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        return daemon_pb2.GetDaemonInfoResponse(version="0.0.7")

    async def GetCluster(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        await refuse(context, grpc.StatusCode.UNIMPLEMENTED, "Method not found!")

    async def WatchClusters(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        await refuse(context, grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        yield cluster_pb2.WatchClustersResponse()


class NoDaemon(cluster_pb2_grpc.ClusterServiceServicer):
    """A gRPC server that is no daskd: every call is unknown to it."""


async def test_an_older_daemon_is_named_where_it_does_not_know_a_call(tmp_path: Path) -> None:
    """An unknown call, of one answer or of many, is `Unimplemented`, with the daemon's release and what to upgrade."""
    socket = tmp_path / "d.sock"
    async with serving(socket, Older()), AsyncDaskd(f"unix:{socket}") as daskd:
        with pytest.raises(Unimplemented, match=r"daskd 0\.0\.7 does not know this call: upgrade the daemon") as caught:
            await daskd.get("etl")
        with pytest.raises(Unimplemented, match=r"daskd 0\.0\.7"):
            async for _ in daskd.watch():
                pass
    assert caught.value.facts["version"] == "0.0.7"
    assert caught.value.reason == "UNIMPLEMENTED"


async def test_what_is_no_daemon_is_said_to_be_perhaps_none(tmp_path: Path) -> None:
    """Where nothing tells a release the words do not invent one, and asking for it is not repeated for ever."""
    socket = tmp_path / "d.sock"
    async with serving(socket, NoDaemon()), AsyncDaskd(f"unix:{socket}") as daskd:
        for call in (daskd.get("etl"), daskd.info()):
            with pytest.raises(Unimplemented, match="an older daskd, or none"):
                await call
