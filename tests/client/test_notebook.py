"""What a notebook shows, in a real kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.manager import KernelManager

from ..daemon_process import DaemonProcess

ROOT = Path(__file__).parents[2]


@pytest.fixture
def kernel() -> Iterator[BlockingKernelClient]:
    """A client of a running kernel."""
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(cwd=str(ROOT))
    client = manager.blocking_client()
    try:
        client.start_channels()
        client.wait_for_ready(timeout=60)
        yield client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def run_cell(kernel: BlockingKernelClient, source: str) -> list[dict[str, Any]]:
    """Run a cell; what it showed, as messages of the kernel's output."""
    shown: list[dict[str, Any]] = []
    reply = kernel.execute_interactive(source, timeout=90, output_hook=shown.append)
    assert reply["content"]["status"] == "ok", reply["content"]
    return [message for message in shown if message["msg_type"] not in ("status", "execute_input")]


def test_a_notebook_shows_the_start_and_the_widget(
    kernel: BlockingKernelClient, shared_daemon: DaemonProcess, make: Callable[..., Any], name: str
) -> None:
    """A cell that makes a cluster shows how it starts, in one display; one that ends in it shows Dask's widget."""
    begin = "from daskd_client import RemoteCluster"
    shown = run_cell(kernel, f"{begin}\ncluster = RemoteCluster({name!r}, address={shared_daemon.address!r})")
    texts = [message["content"]["data"]["text/plain"] for message in shown if "data" in message["content"]]
    assert [message["msg_type"] for message in shown] == ["display_data"] + ["update_display_data"] * (len(texts) - 1)
    assert any(text.startswith(f"Cluster {name} ") for text in texts)
    assert texts[-1] == ""
    data = run_cell(kernel, "cluster")[-1]["content"]["data"]
    assert data["text/plain"].startswith(f"RemoteCluster({name}, ")
    assert "application/vnd.jupyter.widget-view+json" in data
    run_cell(kernel, "cluster.shutdown()")
