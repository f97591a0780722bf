"""What Dask's panel in JupyterLab is given; tests/browser has the panel itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import dask.config
import pytest
from distributed import Client

from daskd_client import server_extension
from daskd_client.labextension import PanelAdaptive, load_security
from daskd_client.types import AdaptivePolicy

from ..daemon_process import DaemonProcess


def test_an_address_is_enough_for_a_client(
    shared_daemon: DaemonProcess, make: Callable[..., Any], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the security loader is configured, `Client` connects by the address of a cluster's scheduler over TLS."""
    monkeypatch.setenv("DASKD_ADDRESS", shared_daemon.address)
    address = make(name).scheduler_address
    assert address.startswith("tls://")
    loader = {"distributed.client.security-loader": "daskd_client.labextension.load_security"}
    with dask.config.set(loader), Client(address) as client:
        assert client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.address) == address


@pytest.mark.parametrize("address", ["tls://127.0.0.1:1", "tcp://127.0.0.1:1"])
def test_others_addresses_have_no_keys(
    shared_daemon: DaemonProcess, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address that no cluster of the daemon's has is left to Dask's own configuration."""
    monkeypatch.setenv("DASKD_ADDRESS", shared_daemon.address)
    assert load_security({"address": address}) is None


def test_a_policy_without_bounds_can_be_shown() -> None:
    """The panel's JSON knows no infinity: no maximum is null."""
    shown = PanelAdaptive(AdaptivePolicy())
    assert json.dumps([shown.minimum, shown.maximum]) == "[0, null]"


def test_a_server_without_our_factory_is_left_alone() -> None:
    """Unless Dask's configuration names our factory, the extension asks neither for the panel nor for a daemon."""
    assert dask.config.get("labextension.factory.module", None) is None
    server_extension._load_jupyter_server_extension(None)
