"""Our extension of the Jupyter server; the server imports it at each start, so it is light.

It does nothing unless Dask's configuration makes `daskd_client.labextension` the factory of Dask's panel.
"""

from __future__ import annotations

from typing import Any

import dask.config
from tornado.ioloop import IOLoop

from .api import AsyncDaskd

_FACTORY = f"{__package__}.labextension"


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    """Tell the server what extends it."""
    return [{"module": __name__}]


def _load_jupyter_server_extension(serverapp: Any) -> None:
    """Have Dask's panel follow the daemon's clusters as soon as the server's loop runs."""
    if dask.config.get("labextension.factory.module", None) != _FACTORY:
        return
    from dask_labextension.manager import manager

    from .labextension import PanelList

    IOLoop.current().add_callback(PanelList(manager, AsyncDaskd()).follow)
    serverapp.log.info("Dask's panel follows the clusters of daskd")
