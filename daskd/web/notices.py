"""Pages of the daemon's own beside dashboards: words, and no more."""

from __future__ import annotations

import html
from dataclasses import dataclass

from daskd.model.errors import (
    ClusterNotFound,
    ClusterNotRunning,
    DaskdError,
    LimitExceeded,
    NotAllowed,
    SchedulerUnreachable,
    Unauthenticated,
)

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

_STATUSES: dict[type[DaskdError], tuple[int, str]] = {
    Unauthenticated: (401, "Who are you?"),
    NotAllowed: (403, "Not for you"),
    ClusterNotFound: (404, "Nothing here"),
    LimitExceeded: (429, "Too much at once"),
    SchedulerUnreachable: (502, "No good answer"),
    ClusterNotRunning: (503, "No dashboard now"),
}
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title} - daskd</title>{more}
<style>body {{ font: 1rem/1.5 sans-serif; margin: 4rem auto; max-width: 40rem; padding: 0 1rem }}</style>
</head>
<body>
<h1>{title}</h1>
<p>{words}</p>{link}
</body>
</html>
"""


@dataclass(frozen=True, slots=True)
class Notice:
    """A page of words, and the status with which it is answered."""

    status: int
    body: bytes


def refusal(error: DaskdError, go_on: str = "") -> Notice:
    """Why a dashboard is not shown.

    Parameters
    ----------
    go_on
        Where to try again; empty: that is of no use.
    """
    status, title = _STATUSES.get(type(error), (500, "Something is wrong"))
    # from another site's page a browser sends no cookie with the first click; from this one it does
    link = _anchor(go_on, "If you are logged in already, go on") if go_on else ""
    return Notice(status, _page(title, error.words, link=link))


def welcome(path: str) -> Notice:
    """That a login went well, and on to the dashboard.

    No redirection: with one, a browser that came from another site's page would not send the cookie yet.
    """
    refresh = f'\n<meta http-equiv="refresh" content="0; url={html.escape(path)}">'
    words = "You are logged in; the dashboard comes at once."
    return Notice(200, _page("Dask dashboard", words, more=refresh, link=_anchor(path, "Go on")))


def _anchor(path: str, words: str) -> str:
    return f'\n<p><a href="{html.escape(path)}">{html.escape(words)}</a></p>'


def _page(title: str, words: str, *, more: str = "", link: str = "") -> bytes:
    return _PAGE.format(title=html.escape(title), words=html.escape(words), more=more, link=link).encode()
