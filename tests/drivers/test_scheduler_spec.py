"""What drivers tell a scheduler that they place, and where it is said to be."""

from __future__ import annotations

import socket

import pytest

from daskd.drivers.local.interfaces import address_towards, scheduler_place
from daskd.drivers.protocol import Batch, Member, RuntimeSettings
from daskd.drivers.scheduler_spec import ports_of, scheduler_spec
from daskd.model.cluster import Role
from daskd.model.spec import ClusterSpec, Placement, SchedulerSpec
from daskd.runtime.spec import Placed, parse_spec
from daskd.runtime.spec import SchedulerSpec as RuntimeSpec

ANYWHERE = "0.0.0.0"


def batch(prefix: str = "") -> Batch:
    """The launch of a scheduler."""
    spec = ClusterSpec(
        scheduler=SchedulerSpec(placement=Placement.DRIVER, driver="slurm", options={"validate": True}, preload=("x",))
    )
    return Batch(
        cluster="caaaaaaaaaaaaaaaaaaa",
        cluster_name="etl",
        role=Role.SCHEDULER,
        spec=spec,
        group=None,
        members=(Member("dabcdeaaaaaaa2", 0),),
        scheduler="",
        address="",
        runtime=RuntimeSettings(5.0, 0.5, 3600.0, 60.0, 0.5, 1 << 20, 2),
        dashboard_prefix=prefix,
    )


@pytest.mark.parametrize("prefix", ["", "/clusters/caaaaaaaaaaaaaaaaaaa"])
def test_the_runtime_understands_what_it_is_told(prefix: str) -> None:
    """With what is decided where it runs, it is a whole spec: placed, any port but of a range, no page on TCP."""
    there = {
        "instance": "dabcdeaaaaaaa2",
        "tls": {"ca": "a", "cert": "b", "key": "c"},
        **scheduler_place("", ""),
    }
    spec = parse_spec(scheduler_spec(batch(prefix), "40000-40009") | there, "scheduler")
    assert isinstance(spec, RuntimeSpec)
    assert spec.placed == Placed(40_000, 40_009, 600.0)
    assert (spec.host, spec.contact_host, spec.port) == (ANYWHERE, None, 0)
    assert (spec.dashboard, spec.dashboard_prefix) == (None, prefix or None)
    assert (spec.options, spec.preload) == ({"validate": True}, ("x",))


@pytest.mark.parametrize("text", ["", "40000", "40009-40000", "40000-40000", "22-40000", "40000-65536", "a-b", "-1-9"])
def test_a_range_of_ports_is_one(text: str) -> None:
    """What is none, too small for two ports, or reaches into others' services is refused in words."""
    with pytest.raises(ValueError, match="no range of ports"):
        ports_of(text)
    assert ports_of(" 40000 - 40001 ") == (40_000, 40_001)


def test_an_interface_is_where_it_listens_and_is() -> None:
    """Given one, or an address, nowhere else."""
    assert scheduler_place("lo", "192.0.2.1") == {"host": "127.0.0.1", "contact_host": "127.0.0.1"}
    assert scheduler_place("10.0.0.7", "") == {"host": "10.0.0.7", "contact_host": "10.0.0.7"}


@pytest.mark.parametrize("host", ["", "127.0.0.1"])
def test_what_leads_nowhere_says_no_address(host: str) -> None:
    """Where the daemon is this machine, or unknown, the scheduler finds out its address itself."""
    assert address_towards(host) == ""
    assert scheduler_place("", host) == {"host": ANYWHERE, "contact_host": None}


def test_it_is_said_to_be_at_the_address_towards_the_daemon() -> None:
    """The one from which packets to the daemon would go."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no route to other networks")
        expected = probe.getsockname()[0]
    assert scheduler_place("", "192.0.2.1") == {"host": ANYWHERE, "contact_host": expected}
