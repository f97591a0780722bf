"""DaemonService: what the daemon is, what it offers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import grpc

from daskd.config import Config, Profile
from daskd.model.views import DriverInfo
from daskd_api.v1 import daemon_pb2 as pb
from daskd_api.v1 import daemon_pb2_grpc

from .edge import current_caller
from .services import Services
from .translate import struct, timestamp


class DaemonServicer(daemon_pb2_grpc.DaemonServiceServicer):
    """Answers about the daemon; `listen` is where it can be reached, once it listens."""

    def __init__(self, services: Services, listen: Sequence[str]) -> None:
        self._services = services
        self._listen = listen

    async def GetDaemonInfo(
        self, request: pb.GetDaemonInfoRequest, context: grpc.aio.ServicerContext
    ) -> pb.GetDaemonInfoResponse:
        """Version, uptime, whom it takes the caller for."""
        caller, about = current_caller(), self._services.about
        return pb.GetDaemonInfoResponse(
            version=about.version,
            minimum_client_version=about.minimum_client_version,
            user=caller.name,
            start_time=timestamp(about.started),
            pid=about.pid,
            hostname=about.hostname,
            state_id=self._services.store.state_id,
            schema_version=about.schema_version,
            live_clusters=await self._services.store.count_live(caller.name),
            listen_addresses=self._listen,
        )

    async def ListProfiles(
        self, request: pb.ListProfilesRequest, context: grpc.aio.ServicerContext
    ) -> pb.ListProfilesResponse:
        """Administrators' templates, by name."""
        config = self._services.config
        profiles = [_profile_message(name, profile, config) for name, profile in sorted(config.profiles.items())]
        return pb.ListProfilesResponse(profiles=profiles)

    async def ListDrivers(
        self, request: pb.ListDriversRequest, context: grpc.aio.ServicerContext
    ) -> pb.ListDriversResponse:
        """Systems that can launch workers, by name."""
        drivers = sorted(self._services.control.drivers.items())
        return pb.ListDriversResponse(drivers=[_driver_message(driver) for _, driver in drivers])


def _profile_message(name: str, profile: Profile, config: Config) -> pb.Profile:
    defaults = profile.spec.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return pb.Profile(
        name=name,
        description=profile.description,
        defaults=struct(_without_values(defaults)),
        max_workers=config.group_limit(name),
    )


def _without_values(table: Mapping[str, Any]) -> dict[str, Any]:
    """The same with the values of every environment emptied: they may be secrets."""
    shown: dict[str, Any] = {}
    for key, value in table.items():
        if key == "environment":
            shown[key] = dict.fromkeys(value, "")
        elif isinstance(value, Mapping):
            shown[key] = _without_values(value) if key != "options" else dict(value)
        elif key == "groups":
            shown[key] = [_without_values(group) for group in value]
        else:
            shown[key] = value
    return shown


def _driver_message(driver: DriverInfo) -> pb.Driver:
    return pb.Driver(
        name=driver.name,
        description=driver.description,
        options_schema=struct(driver.options.model_json_schema()),
        available=driver.available,
        message=driver.words,
    )
