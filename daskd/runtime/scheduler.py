"""The scheduler process: starts the hub, serves the link, says how it fares and why it ends."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from distributed.diagnostics.plugin import SchedulerPlugin
from distributed.security import Security

from . import placed
from .exits import Ended, ExitCode
from .keeper import HeldBounds
from .link import serve_link
from .report import Report, replace_file, write_report
from .scheduler_hub import Hub, Journaled
from .sockets import listening, received
from .spec import SchedulerSpec, TLSFiles
from .state import address_of, http_address

logger = logging.getLogger("daskd.scheduler")

_ORPHAN_LOOK_SECONDS = 60.0


class Ending(SchedulerPlugin):
    """Says in the report that the scheduler is closing, before its workers are gone."""

    name = "daskd-ending"

    def __init__(self, spec: SchedulerSpec, directory: Path) -> None:
        self._spec = spec
        self._directory = directory

    async def before_close(self) -> None:
        """Write the report."""
        report(self._directory, Report(self._spec.instance, "ending"))


def report(directory: Path, content: Report) -> None:
    """Write the report; a full disk is logged and stops nothing."""
    try:
        write_report(directory, content)
    except OSError as err:
        logger.warning("report.json could not be written: %s", err)


def note_goodbye(directory: Path, peer: str) -> None:
    """Write ``goodbye.json``: a client told the scheduler to end. A full disk is logged."""
    document = {"version": 1, "by": peer, "t": time.time()}
    try:
        replace_file(directory / "goodbye.json", json.dumps(document).encode())
    except OSError as err:
        logger.error("goodbye.json could not be written, so this end will look like a crash: %s", err)


def security_of(tls: TLSFiles | None) -> Security:
    """Return distributed's security for the cluster's certificates; without them, none."""
    if tls is None:
        return Security()
    return Security(
        require_encryption=True,
        tls_ca_file=tls.ca,
        tls_scheduler_cert=tls.cert,
        tls_scheduler_key=tls.key,
    )


def sockets_of(spec: SchedulerSpec) -> tuple[int | None, int | None]:
    """Return the descriptors of the bound sockets of link and dashboard; None where there is none.

    Raises
    ------
    Ended
        They did not come with the spec that names them.
    """
    if spec.sockets_fd is None:
        return spec.link_fd, None
    try:
        link, dashboard = received(spec.sockets_fd, 2)
    except OSError as err:
        raise Ended(ExitCode.FAILED, f"the scheduler did not get its sockets: {err}") from err
    return link, dashboard


def http_of(spec: SchedulerSpec, dashboard_fd: int | None) -> dict[str, Any]:
    """Return the arguments by which the hub serves HTTP as a spec asks for: on a unix socket, on TCP, or not at all.

    Raises
    ------
    OSError
        The descriptor is no bound unix socket.
    """
    if spec.placed is not None:
        prefix = spec.dashboard_prefix
        if prefix is None:
            return {"serve_http": False, "dashboard": False}
        return {"serve_http": True, "dashboard": True, "http_within": True, "http_prefix": prefix}
    if dashboard_fd is not None:
        socket = listening(dashboard_fd)
        prefix = spec.dashboard_prefix
        return {"serve_http": True, "dashboard": True, "http_socket": socket, "http_prefix": prefix}
    if spec.dashboard is not None:
        address = f"{spec.dashboard.host}:{spec.dashboard.port}"
        return {"serve_http": True, "dashboard": True, "dashboard_address": address}
    return {"serve_http": False, "dashboard": False}


def scheduler_arguments(spec: SchedulerSpec, dashboard_fd: int | None = None) -> dict[str, Any]:
    """Return what a spec says to the hub's scheduler, its own options aside."""
    arguments = http_of(spec, dashboard_fd)
    if spec.preload:  # else as Dask's configuration says
        arguments["preload"] = list(spec.preload)
    port = spec.port if spec.placed is None else placed.free_port(spec.host, spec.placed)
    return {**arguments, "host": spec.host, "port": port}


def build(spec: SchedulerSpec, directory: Path, dashboard_fd: int | None) -> Hub:
    """Build the hub that a spec asks for; it is not started yet."""
    hub = Hub(
        identity={
            "runtime_version": spec.runtime_version,
            "cluster": spec.cluster,
            "instance": spec.instance,
        },
        held=HeldBounds(spec.held_seconds, spec.held_memory_share),
        on_terminate=lambda peer: note_goodbye(directory, peer),
        journaled=Journaled(Path(spec.journal.directory), spec.journal.max_bytes) if spec.journal else None,
        security=security_of(spec.tls),
        **scheduler_arguments(spec, dashboard_fd),
        **spec.options,
    )
    hub.scheduler.add_plugin(Ending(spec, directory))
    hub.roster.is_open = spec.placed is None
    return hub


async def start(spec: SchedulerSpec, directory: Path, dashboard_fd: int | None = None) -> Hub:
    """Start the hub that a spec asks for, its dashboard on a bound unix socket if there is one.

    Raises
    ------
    Ended
        It did not start: an address is taken, a certificate can't be read, ...
    """
    try:
        hub = build(spec, directory, dashboard_fd)
        await hub.scheduler
    except (OSError, ValueError, RuntimeError) as err:
        # distributed wraps what fails at a server's start in a RuntimeError.
        cause = err.__cause__ or err
        code = ExitCode.TLS_REFUSED if isinstance(cause, ssl.SSLError) else ExitCode.FAILED
        words = f"the scheduler did not start at {spec.host}:{spec.port}: {type(cause).__name__}: {cause}"
        raise Ended(code, words) from err
    if spec.contact_host is not None:
        scheme = hub.scheduler.address.partition("://")[0]
        hub.scheduler.contact_address = f"{scheme}://{_bracketed(spec.contact_host)}:{hub.scheduler.port}"
    hub.resume()
    return hub


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


async def watch_orphan(hub: Hub, timeout: float) -> None:
    """Close the cluster once no daemon spoke for ``timeout`` seconds, with no client and no task."""
    while True:
        left = timeout - hub.orphaned_for()
        if left <= 0:
            break
        await asyncio.sleep(min(left, _ORPHAN_LOOK_SECONDS))
    hub.close(f"no daemon spoke to this cluster for {timeout:g} s, and it has no client and no task")


def heed_signals(hub: Hub) -> None:
    """Close the hub when this process is told to end."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, hub.close, f"told by {number.name}")


async def serve(spec: SchedulerSpec, directory: Path, started: Callable[[Hub], None]) -> None:
    """Run the scheduler until it is closed; ``started`` is called once, when it can be.

    Raises
    ------
    Ended
        It did not start.
    """
    report(directory, Report(spec.instance, "starting"))
    link_fd, dashboard_fd = sockets_of(spec)
    door = placed.bind(spec.host, spec.placed) if spec.placed is not None else None
    hub = await start(spec, directory, dashboard_fd)
    servers = [serve_link(hub, link_fd)] if link_fd is not None else []
    if door is not None:
        servers.append(placed.serve(hub, spec, door))
    if dashboard_fd is not None:
        servers.append(hub.scheduler.http_server)
    started(hub)
    scheduler = hub.scheduler
    link = placed.link_address(hub, door) if door is not None else None
    report(directory, Report(spec.instance, "running", address_of(scheduler), http_address(scheduler), link=link))
    orphan = asyncio.create_task(watch_orphan(hub, spec.orphan_timeout))
    claim = asyncio.create_task(placed.watch_claim(hub, spec.placed.claim_timeout if spec.placed else 0.0))
    await scheduler.finished()
    if hub.recorder is not None:
        hub.recorder.close(asked=True)
    orphan.cancel()
    for server in servers:
        server.stop()
        await server.close_all_connections()
    if claim.done():
        claim.result()  # raises, if it was not claimed
    else:
        claim.cancel()


def main(spec: SchedulerSpec, directory: str | Path) -> int:
    """Run a scheduler process.

    Parameters
    ----------
    spec : SchedulerSpec
        What to run.
    directory : str or Path
        The instance's directory: ``report.json`` and ``goodbye.json`` are written there.

    Returns
    -------
    int
        The exit code, 0: told to end.

    Raises
    ------
    Ended
        The scheduler did not start.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s - %(name)s - %(levelname)s - %(message)s"))
    daskd = logging.getLogger("daskd")
    daskd.addHandler(handler)
    daskd.setLevel(logging.INFO)
    asyncio.run(serve(spec, Path(directory), heed_signals))
    return ExitCode.OK
