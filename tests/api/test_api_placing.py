"""Whether a driver can launch a cluster's scheduler as a spec wants it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from daskd.api.create import build_spec
from daskd.api.placing import scheduler_problems
from daskd.api.translate import sparse_spec, spec_message
from daskd.config import Config, parse_config
from daskd.model.errors import InvalidSpec, Problem
from daskd.model.identity import Identity
from daskd.model.spec import ClusterSpec, WorkerGroupSpec
from daskd.model.views import DriverInfo

ANN = Identity("ann", 1000, 1000, "/home/ann")


class Options(BaseModel):
    """What jobs may ask for."""

    model_config = ConfigDict(extra="forbid")

    queue: str = ""


def _refuses_nowhere(group: WorkerGroupSpec, who: Identity) -> list[Problem]:
    return [Problem("options.queue", "there is no such")] if group.options.get("queue") == "nowhere" else []


def driver(name: str, *, places: bool, available: bool = True) -> DriverInfo:
    """A driver of that name."""
    words = "" if available else "its package is not installed"
    return DriverInfo(name, "", Options, available, words, _refuses_nowhere, lambda group: group, places, places)


DRIVERS = {
    "local": driver("local", places=False),
    "slurm": driver("slurm", places=True),
    "ssh": driver("ssh", places=True),
    "gone": driver("gone", places=True, available=False),
}


def asked(scheduler: dict[str, Any], group: str = "slurm") -> ClusterSpec:
    """A spec of one group of that driver's, with this scheduler."""
    return ClusterSpec.model_validate({"groups": [{"driver": group}], "scheduler": scheduler})


PLACED = {"placement": "driver"}


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        (asked({}), []),
        (asked(PLACED), []),
        (asked({**PLACED, "driver_options": {"queue": "long"}}), []),
        (asked({**PLACED, "driver": "ssh"}), []),
        (asked({**PLACED, "network": True}), []),
        (asked({**PLACED, "network": False}), ["scheduler.network"]),
        (asked({**PLACED, "driver": "sulrm"}), ["scheduler.driver"]),
        (asked({**PLACED, "driver": "gone"}), ["scheduler.driver"]),
        (asked({**PLACED, "driver": "local"}), ["scheduler.driver"]),
        (asked(PLACED, group="local"), ["scheduler.placement"]),
        (asked({**PLACED, "driver": "slurm"}, group="local"), []),
        (asked({**PLACED, "driver_options": {"queu": "long"}}), ["scheduler.driver_options.queu"]),
        (asked({**PLACED, "driver_options": {"queue": "nowhere"}}), ["scheduler.driver_options.queue"]),
        (asked({"driver": "slurm"}), ["scheduler.driver"]),
        (asked({"driver_options": {"queue": "long"}}), ["scheduler.driver_options"]),
        (asked(PLACED, group="gone"), []),  # told of the group
    ],
)
def test_what_speaks_against_it_is_told_by_field(spec: ClusterSpec, fields: list[str]) -> None:
    """The driver's own checks are those of a group; a driver that can't is told with those that can."""
    assert [problem.field for problem in scheduler_problems(spec, DRIVERS, ANN)] == fields


def test_drivers_that_could_are_named() -> None:
    """Whoever names one that can't learns which do."""
    (problem,) = scheduler_problems(asked(PLACED, group="local"), DRIVERS, ANN)
    assert "(slurm, ssh)" in problem.words


def test_what_is_left_open_is_decided_once() -> None:
    """The first group's driver launches it, for good, and whoever is elsewhere reaches it; the message says so."""
    raw = {"groups": [{"driver": "slurm"}], "scheduler": PLACED}
    spec = build_spec(raw, Config(), DRIVERS, ANN)
    assert (spec.scheduler.driver, spec.scheduler.network) == ("slurm", True)
    said = spec_message(
        spec.model_copy(update={"scheduler": spec.scheduler.model_copy(update={"driver_options": {"queue": "q"}})})
    )
    assert sparse_spec(said)["scheduler"] == {
        "placement": "driver",
        "driver": "slurm",
        "driver_options": {"queue": "q"},
        "network": True,
    }


def test_a_profiles_options_go_with_its_driver_alone(tmp_path: Path) -> None:
    """A request that chooses another driver is not given the options of the profile's; one may be fixed."""
    config = parse_config(
        """
        [profiles.hpc]
        fixed = ["scheduler.driver_options.queue"]
        [profiles.hpc.spec.scheduler]
        placement = "driver"
        driver = "slurm"
        driver_options = { queue = "long" }
        """,
        tmp_path / "daskd.toml",
    )
    spec = build_spec({"profile": "hpc"}, config, DRIVERS, ANN)
    assert spec.scheduler.driver_options == {"queue": "long"}
    with pytest.raises(InvalidSpec, match="fixes it"):
        build_spec({"profile": "hpc", "scheduler": {"driver_options": {"queue": "short"}}}, config, DRIVERS, ANN)
    with pytest.raises(InvalidSpec, match="fixes it"):
        build_spec({"profile": "hpc", "scheduler": {"driver": "ssh"}}, config, DRIVERS, ANN)
