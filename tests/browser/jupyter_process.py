"""A real JupyterLab in a process and folders of its own."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from ..daemon_process import DaemonProcess, until
from ..docs.pages import blocks, page, section

# nothing that a page on the internet would have to answer
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True},
    "extensionmanager-extension/plugin": {"enabled": False},
}


class JupyterProcess:
    """`jupyter lab` as a user of a daemon runs it, with Dask's panel set up as the documentation says."""

    def __init__(self, folder: Path, daemon: DaemonProcess) -> None:
        self.notebooks = folder / "notebooks"
        self.log = folder / "jupyter.log"
        self.token = secrets.token_hex(16)
        self.process: subprocess.Popen[bytes] | None = None
        self._runtime = folder / "runtime"
        dask, settings = folder / "dask", folder / "settings"
        for made in (self.notebooks, self._runtime, dask, settings):
            made.mkdir()
        self.env = {
            **daemon.env,
            "HOME": str(folder),
            "IPYTHONDIR": str(folder / "ipython"),
            "JUPYTER_CONFIG_DIR": str(folder / "config"),
            "JUPYTER_DATA_DIR": str(folder / "data"),
            "JUPYTER_RUNTIME_DIR": str(self._runtime),
            "JUPYTERLAB_SETTINGS_DIR": str(settings),
            "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
            "JUPYTER_TOKEN": self.token,
            "DASK_CONFIG": str(dask),
        }
        (dask / "labextension.yaml").write_text(blocks(section(page("client.md"), "In JupyterLab"), "yaml")[0])
        for plugin, content in SETTINGS.items():
            file = settings / "@jupyterlab" / f"{plugin}.jupyterlab-settings"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(content))

    def start(self) -> None:
        """Start it, and wait until it listens."""
        argv = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*argv, "--expose-app-in-browser", f"--ServerApp.root_dir={self.notebooks}"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.env,
                start_new_session=True,
            )
        process = self.process
        until(lambda: self._info() or process.poll() is not None, "Jupyter listens")
        assert process.poll() is None, self.log.read_text()

    def _info(self) -> dict[str, Any]:
        """What the server says of itself; empty until it listens."""
        assert self.process is not None
        file = self._runtime / f"jpserver-{self.process.pid}.json"
        try:
            return dict(json.loads(file.read_text()))
        except (OSError, ValueError):  # not there yet, or half written
            return {}

    @property
    def url(self) -> str:
        """Where it listens, with a slash at the end."""
        return str(self._info()["url"])

    def stop(self) -> None:
        """End it as a user's Ctrl-C or a hub does; its kernels end with it."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)

    def end(self) -> None:
        """End it, and what of its kernels is left."""
        if self.process is None:
            return
        self.stop()
        for pid in self._kernels():
            os.kill(pid, signal.SIGKILL)

    def _kernels(self) -> list[int]:
        mark = str(self._runtime).encode()
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and mark in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:  # it has ended meanwhile
                continue
        return found

    def write_notebook(self, name: str, *cells: str) -> str:
        """A notebook of these cells; answers with its path below the server's root."""
        content = {
            "cells": [
                {
                    "cell_type": "code",
                    "id": f"cell-{number}",
                    "execution_count": None,
                    "metadata": {},
                    "outputs": [],
                    "source": source,
                }
                for number, source in enumerate(cells)
            ],
            "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}},
            "nbformat": 4,
            "nbformat_minor": 5,
        }
        (self.notebooks / name).write_text(json.dumps(content))
        return name
