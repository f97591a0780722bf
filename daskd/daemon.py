"""The composition root: builds the daemon of its parts, runs it, stops it."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog
from pydantic import BaseModel

from . import __version__, logs, places
from .api.server import ApiServer, build_server
from .api.services import About, Services
from .config import Config, kept_until_restart
from .control.cluster_sites import HOME
from .control.controller import Controller
from .control.retention import Keep
from .control.settings import Settings
from .crashpoints import reached
from .drivers.protocol import Driver, Site, Surroundings
from .drivers.registry import installed, settings_of
from .measures import MEASURES
from .model.adaptive import Policy
from .model.errors import InvalidConfig, NotAllowed, StateUnusable
from .model.views import DriverInfo
from .notify import Notifier, is_unit
from .security.lasting_tokens import LastingTokens
from .security.peer import identity_of
from .security.tokens import Tokens
from .security.vault import Vault
from .store import SCHEMA_VERSION, SqliteStore
from .web.composition import Web, open_web
from .web.server import PageServer

log = structlog.get_logger(__name__)

MINIMUM_CLIENT_VERSION = "0.1.0"
STOP_GRACE = 2.0
STOP_LIMIT = 15.0
"""Seconds after which a daemon that is told to stop leaves, whatever still holds it: nothing of a cluster is lost."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where this daemon lives and listens."""

    state_dir: Path
    runtime_dir: Path
    listen: tuple[str, ...]
    machine_id: str


def place(config: Config, state_dir: Path | None, listen: Sequence[str]) -> Place:
    """Where to live: what the command line says, else the configuration, else the user's directories.

    Raises
    ------
    StateUnusable
        When the runtime directory can't be used.
    """
    uid, machine = os.geteuid(), places.machine_id()
    runtime = config.daemon.runtime_dir or places.runtime_dir(os.environ, uid)
    places.make_runtime_dir(runtime, uid)
    state = state_dir or config.daemon.state_dir or places.state_dir(os.environ, machine)
    addresses = tuple(listen) or config.daemon.listen or (f"unix:{runtime / 'daskd.sock'}",)
    return Place(state, runtime, addresses, machine)


def settings(config: Config) -> Settings:
    """What the core takes from the configuration."""
    clusters = config.clusters
    return Settings(
        start_timeout=clusters.start_timeout,
        join_timeout=clusters.start_timeout,
        max_launch_failures=clusters.max_launch_failures,
        max_scheduler_restarts=clusters.max_scheduler_restarts,
        restart_window=clusters.restart_window,
        drain=clusters.drain,
        grace=clusters.grace,
        journal_bytes=clusters.journal_max_bytes,
        orphan_timeout=clusters.orphan_timeout,
        orphan_grace=config.daemon.orphan_grace,
        end_orphans=config.daemon.end_orphans,
        adaptive_maximum=config.adaptive.maximum,
        adaptive=Policy(
            interval=config.adaptive.interval,
            wait_count=config.adaptive.wait_count,
            target_duration=config.adaptive.target_duration,
        ),
        held_seconds=config.held_work.keep,
        held_memory_share=config.held_work.memory_share,
        log_max_bytes=config.logs.max_bytes,
        log_files=config.logs.files,
        contact_host=clusters.contact_host,
        lost_after=clusters.lost_after,
    )


def keep(config: Config) -> Keep:
    """How long what has ended is remembered, by the configuration."""
    history = config.history
    return Keep(config.logs.keep, history.keep_clusters, history.keep_events, history.max_events)


def _serves_others(listen: Sequence[str]) -> bool:
    return os.geteuid() == 0 or any(not address.startswith("unix:") for address in listen)


def _shown(driver: Driver, surroundings: Surroundings) -> DriverInfo:
    return DriverInfo(
        name=driver.name,
        description=driver.description,
        options=driver.options,
        available=True,
        words="",
        validate=driver.validate,
        complete=driver.complete,
        elsewhere=driver.elsewhere,
        places_schedulers=driver.places_schedulers,
        preview=lambda spec, group, who: driver.preview(spec, group, who, surroundings),
    )


def _broken(name: str, words: str) -> DriverInfo:
    class Nothing(BaseModel):
        """The options of a driver that can't be asked for them."""

    return DriverInfo(
        name=name,
        description="",
        options=Nothing,
        available=False,
        words=words,
        validate=lambda _group, _who: [],
        complete=lambda group: group,
    )


def _leave_in_time() -> None:
    def leave() -> None:
        log.error("stopping took too long; leaving as it is, clusters run on", limit=STOP_LIMIT)
        faulthandler.dump_traceback(all_threads=True)
        os._exit(0)

    timer = threading.Timer(STOP_LIMIT, leave)
    timer.daemon = True
    timer.start()


class Daemon:
    """The daemon: `start`, then `stop`; `run` does both around a signal.

    Parameters
    ----------
    reread
        Reads the configuration again, for a reload; raises `InvalidConfig`.
    notifier
        Tells the service manager how the daemon is.
    """

    def __init__(self, config: Config, where: Place, reread: Callable[[], Config], notifier: Notifier) -> None:
        self._config = config
        self._where = where
        self._reread = reread
        self._notifier = notifier
        self._services: Services | None = None
        self._pages: PageServer | None = None
        self._web: Web | None = None
        self._store: SqliteStore | None = None
        self._controller: Controller | None = None
        self._server: ApiServer | None = None

    async def start(self) -> None:
        """Take the state, take up what runs, listen.

        Raises
        ------
        StateUnusable
            When the state or a socket can't be used; the words say what to do.
        """
        self._store = await SqliteStore.open(self._where.state_dir, machine_id=self._where.machine_id, clock=time.time)
        self._controller = self._control(self._store)
        if self._config.web.listen is not None:
            self._web = await open_web(
                self._config.web.listen, self._config, self._store, lambda: self._config.access, os.geteuid()
            )
        services = self._services = Services(
            store=self._store,
            control=self._controller,
            tokens=Tokens(time.time),
            lasting_tokens=LastingTokens(self._store, time.time),
            config=self._config,
            about=About(
                version=__version__,
                minimum_client_version=MINIMUM_CLIENT_VERSION,
                started=time.time(),
                pid=os.getpid(),
                hostname=socket.gethostname(),
                schema_version=SCHEMA_VERSION,
            ),
            daemon_uid=os.geteuid(),
            clock=time.time,
            dashboards=self._web.links if self._web is not None else None,
        )
        if self._web is not None:
            await self._web.serve(self._store, self._controller.dashboard)
            log.info("dashboards are served", at=self._web.links.origin("{cluster}"))
        self._server = build_server(services, self._where.listen)
        if self._config.clusters.embedded and _serves_others(self._where.listen):
            log.warning(
                "users' code may run in this daemon, which serves more than one user or machine: unset it",
                key="clusters.embedded",
            )
        await self._server.start()
        if self._config.daemon.metrics is not None:
            self._pages = self._metrics(self._config.daemon.metrics, self._store, self._controller)
            await self._pages.start()
        await self._controller.start()

    def _metrics(self, address: str, store: SqliteStore, controller: Controller) -> PageServer:
        try:
            from .web.metrics import CONTENT_TYPE, Metrics, Standing
        except ImportError as error:
            raise InvalidConfig(
                f"`daemon.metrics` is set, and prometheus_client is not installed ({error}): pip install "
                "'daskd[metrics]', or remove the setting"
            ) from error

        async def look() -> Standing:
            phases = Counter(cluster.phase for cluster in await store.live())
            return Standing(phases, controller.census(), store.revision)

        return PageServer(address, {"/metrics": (CONTENT_TYPE, Metrics(__version__, MEASURES, look).render)})

    def _control(self, store: SqliteStore) -> Controller:
        found = installed()
        drivers = found.drivers
        if HOME not in drivers:
            raise StateUnusable(f"the driver {HOME!r} is not installed: install daskd with its entry points (pip)")
        set_to, problems = settings_of(drivers, self._config.drivers)
        if problems:
            words = "; ".join(f"{problem.field}: {problem.words}" for problem in problems)
            raise InvalidConfig(f"{self._config.file}: {words}", problems=problems)
        units = self._config.daemon.units == "auto" and is_unit(os.environ, os.getpid())
        where = self._where

        def around(name: str) -> Surroundings:
            return Surroundings(store.state_id, where.state_dir, where.runtime_dir, units, set_to[name])

        async def open_site(name: str, uid: int) -> Site:
            driver = drivers.get(name)
            if driver is None:
                why = found.broken.get(name, "it is not installed")
                raise NotAllowed(f"the driver {name!r} can't be used here: {why}", facts={"driver": name})
            # the name service may be slow, and the loop is not to wait for it
            return await driver.open(await asyncio.to_thread(identity_of, uid), around(name))

        return Controller(
            store=store,
            open_site=open_site,
            daemon_uid=os.geteuid(),
            drivers={
                **{name: _shown(each, around(name)) for name, each in drivers.items()},
                **{name: _broken(name, words) for name, words in found.broken.items()},
            },
            vault=Vault(self._where.state_dir / "credentials"),
            settings=settings(self._config),
            keep=keep(self._config),
        )

    async def stop(self) -> None:
        """Listen no more, finish what was begun, let go of the state. Clusters run on."""
        if self._pages is not None:
            await self._pages.stop()
        if self._web is not None:
            await self._web.listener.stop()
        if self._server is not None:
            await self._server.stop(STOP_GRACE)
        if self._controller is not None:
            await self._controller.stop()
        if self._store is not None:
            await self._store.close()

    async def reload(self) -> None:
        """Read the configuration again and go by it; one with an error is told in the log, and the old one stays."""
        self._notifier.reloading()
        try:
            config = await asyncio.to_thread(self._reread)
        except InvalidConfig as error:
            log.error("the configuration is wrong; the old one stays in force", error=error.words)
            self._notifier.ready("the configuration is wrong, and the old one stays in force: see the log")
            return
        reached("reload.read")
        for key in kept_until_restart(self._config, config):
            log.warning("this setting takes effect when the daemon is restarted", key=key)
        self._config = config
        logs.set_level(config.daemon.log_level)
        if self._services is not None:
            self._services.config = config
        if self._controller is not None:
            self._controller.configure(settings(config), keep(config))
        reached("reload.applied")
        log.info("the configuration was read again", file=str(config.file or "none; defaults"))
        self._notifier.ready(self._serving())

    def _serving(self) -> str:
        return f"serving on {', '.join(self._where.listen)}"

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT; SIGHUP reloads."""
        signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(signum, signals.put_nowait, signum)
        # from the beginning: taking up what runs may take longer than the watchdog waits
        feeding = asyncio.create_task(self._notifier.feed(), name="watchdog")
        try:
            await self.start()
            log.info("ready", version=__version__, listen=list(self._where.listen), state=str(self._where.state_dir))
            self._notifier.ready(self._serving())
            while await signals.get() is signal.SIGHUP:
                await self.reload()
            self._notifier.stopping()
            log.info("stopping; clusters run on")
            _leave_in_time()
        finally:
            await self.stop()
            feeding.cancel()
            with suppress(asyncio.CancelledError):
                await feeding
