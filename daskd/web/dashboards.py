"""Clusters' dashboards for browsers, each behind a login: `/clusters/<uid>/...` is what the cluster's scheduler serves.

Nothing else lies here, and nothing can be done but to look: what a page of one cluster could reach on this origin are
other clusters' pages alone, and `forwarding.policy` keeps it from those.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from urllib.parse import parse_qs

import h11
import structlog

from daskd.control.link import Dial
from daskd.model.cluster import Cluster
from daskd.model.errors import (
    ClusterNotFound,
    ClusterNotRunning,
    DaskdError,
    LimitExceeded,
    NotAllowed,
    SchedulerUnreachable,
    Unauthenticated,
)
from daskd.security.authorize import Caller
from daskd.security.dashboard_logins import LOGIN_PAGE, DashboardLinks, DashboardLogins

from . import forwarding, notices
from .browser import Browser
from .forwarding import Headers, Target
from .gate import Gate
from .notices import Notice
from .relay import Relay
from .upstream import Upstream

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

MOST_PER_USER = 64
_START_PAGE = "status"
_NOBODY = "There are only clusters' dashboards here, each at its own link: run daskctl dashboard NAME."


class Dashboards:
    """Serves browsers' connections.

    Parameters
    ----------
    way_to
        Dials a cluster's dashboard; None while there is none.
    """

    def __init__(
        self, gate: Gate, logins: DashboardLogins, links: DashboardLinks, way_to: Callable[[Cluster], Dial | None]
    ) -> None:
        self._gate = gate
        self._logins = logins
        self._links = links
        self._way_to = way_to
        self._connections: Counter[int] = Counter()

    async def serve(self, browser: Browser) -> None:
        """Answer requests until the browser goes."""
        while (request := await browser.request()) is not None:
            await self._answer(browser, request)

    async def _answer(self, browser: Browser, request: h11.Request) -> None:
        head = request.method == b"HEAD"
        if request.method not in (b"GET", b"HEAD"):
            # Dask's pages post nothing; and what a dashboard's extensions would let be done is not for who may look
            notice = Notice(405, notices.refusal(NotAllowed("dashboards are to be looked at here, and no more")).body)
            await browser.say(notice, [(b"Allow", b"GET, HEAD")], head=head)
            return
        target = forwarding.parse_target(request.target)
        try:
            if target is None:
                raise ClusterNotFound(_NOBODY)
            if target.page == "":
                await browser.begin(303, [*_to_start(target), *forwarding.guards(notices.POLICY)], 0)
                await browser.finish()
            elif target.page == LOGIN_PAGE:
                await self._log_in(browser, request, target)
            else:
                await self._show(browser, request, target)
        except DaskdError as error:
            if browser.has_begun:
                raise
            go_on = target.path if target is not None and isinstance(error, Unauthenticated) else ""
            await browser.say(notices.refusal(error, go_on), [], head=head)

    async def _log_in(self, browser: Browser, request: h11.Request, target: Target) -> None:
        """Take a code, once; who is logged in already needs none."""
        start = f"/clusters/{target.cluster}/{_START_PAGE}"
        code = (parse_qs(target.query).get("code") or [""])[0]
        try:
            if request.method == b"HEAD":
                raise Unauthenticated("a link is opened by GET alone")  # whoever looks at links ahead uses up none
            secret = self._logins.open(code, target.cluster)
        except Unauthenticated as error:
            with suppress(DaskdError):
                await self._gate.enter(target.cluster, self._secrets(request))
                await browser.say(notices.welcome(start), [], head=request.method == b"HEAD")
                return
            log.info("a dashboard's link was refused", cluster_uid=target.cluster)
            words = f"{error.words[:1].upper()}{error.words[1:]}: run daskctl dashboard NAME for another."
            notice = Notice(403, notices.refusal(NotAllowed(words), start).body)
            await browser.say(notice, [], head=request.method == b"HEAD")
            return
        caller, cluster = await self._gate.enter(target.cluster, [secret])
        log.info("dashboard opened", cluster=cluster.name, cluster_uid=cluster.uid, user=caller.name)
        await browser.say(notices.welcome(start), [self._cookie(target.cluster, secret)], head=False)

    async def _show(self, browser: Browser, request: h11.Request, target: Target) -> None:
        """Pass a request on to the cluster, and its answer back."""
        headers = list(request.headers)
        secrets = self._secrets(request)
        caller, cluster = await self._gate.enter(target.cluster, secrets)
        origin = self._links.origin(cluster.uid)
        upgrade = forwarding.is_upgrade(headers)
        if (upgrade and forwarding.is_foreign(headers, origin)) or forwarding.is_worker_script(headers):
            raise NotAllowed("a dashboard is not for other sites' pages, and has no service workers")
        with self._counted(caller):
            upstream = await Upstream.connect(self._dial(cluster))
            try:
                passed = forwarding.to_cluster(headers, origin.partition("://")[2], upgrade)
                answer = await upstream.ask(request.method, target.whole, passed)
                if isinstance(answer, h11.InformationalResponse):
                    await self._go_live(browser, upstream, answer, lambda: self._gate.enter(cluster.uid, secrets))
                else:
                    await _pass_on(browser, upstream, answer, target, origin)
            finally:
                upstream.close()

    async def _go_live(
        self,
        browser: Browser,
        upstream: Upstream,
        answer: h11.InformationalResponse,
        still: Callable[[], Awaitable[object]],
    ) -> None:
        early = await browser.upgrade(forwarding.upgrade_to_browser(answer.headers))
        await upstream.stream.send(early)
        browser.writer.write(upstream.after_upgrade())
        await Relay(browser, upstream, still).run()

    def _dial(self, cluster: Cluster) -> Dial:
        dial = self._way_to(cluster)
        if dial is None or cluster.scheduler.started is None:
            raise ClusterNotRunning(
                f"Cluster {cluster.name!r} is {cluster.phase.value}: there is a dashboard while its scheduler runs."
            )
        return dial

    @contextmanager
    def _counted(self, caller: Caller) -> Iterator[None]:
        uid = caller.identity.uid
        if self._connections[uid] >= MOST_PER_USER:
            raise LimitExceeded(f"you have {self._connections[uid]} pages loading or live: close some")
        self._connections[uid] += 1
        try:
            yield
        finally:
            self._connections[uid] -= 1
            if not self._connections[uid]:
                del self._connections[uid]

    @property
    def _cookie_name(self) -> str:
        return "__Secure-daskd-dashboard" if self._links.is_secure else "daskd-dashboard"

    def _secrets(self, request: h11.Request) -> list[str]:
        return forwarding.cookies(request.headers, self._cookie_name)

    def _cookie(self, cluster: str, secret: str) -> tuple[bytes, bytes]:
        parts = [
            f"{self._cookie_name}={secret}",
            f"Path=/clusters/{cluster}/",
            f"Max-Age={int(self._logins.session_s)}",
        ]
        parts += ["HttpOnly", "SameSite=Strict", *(["Secure"] if self._links.is_secure else [])]
        return b"Set-Cookie", "; ".join(parts).encode("ascii")


def _to_start(target: Target) -> Headers:
    return [(b"Location", f"/clusters/{target.cluster}/{_START_PAGE}".encode("ascii"))]


async def _pass_on(browser: Browser, upstream: Upstream, answer: h11.Response, target: Target, origin: str) -> None:
    try:
        headers = forwarding.to_browser(answer.headers, target, origin)
    except ValueError as error:
        raise SchedulerUnreachable(f"the cluster's answer was not passed on: {error}") from None
    length = next((int(value) for name, value in answer.headers if name == b"content-length"), None)
    await browser.begin(answer.status_code, headers, length)
    async for data in upstream.body():
        await browser.go_on(data)
    await browser.finish()
