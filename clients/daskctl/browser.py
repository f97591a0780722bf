"""Opens links that hold a secret in a browser."""

from __future__ import annotations

import html
import os
import webbrowser
from pathlib import Path

_PAGE = """<!DOCTYPE html>
<meta charset="utf-8">
<meta name="referrer" content="no-referrer">
<meta http-equiv="refresh" content="0; url={link}">
<a href="{link}">Go on</a>
"""


def open_privately(link: str) -> bool:
    """Open a link by way of a file: on a browser's command line every user of the machine could read it.

    Returns
    -------
    bool
        False: there is no browser, or no place for the file.
    """
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "daskd"
    page = folder / "dashboard.html"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # one file, which the next link replaces: what is in it is good for a minute alone
        page.unlink(missing_ok=True)
        descriptor = os.open(page, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError:
        return False
    with os.fdopen(descriptor, "w") as file:
        file.write(_PAGE.format(link=html.escape(link)))
    return webbrowser.open(page.absolute().as_uri())
