"""What users register with a scheduler by name and work may need: plugins, files, datasets, variables.

Each is a note in the journal, written when it has another value than before.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator
from typing import Any

from distributed.protocol.serialize import Serialized

from .journal.history import DEATHS
from .journal.recorder import Recorder

logger = logging.getLogger("daskd.scheduler")

DATASET, VARIABLE = "dataset", "variable"
WORKER_PLUGIN, NANNY_PLUGIN, SCHEDULER_PLUGIN = "worker-plugin", "nanny-plugin", "scheduler-plugin"

_OPERATIONS = (
    "publish_put",
    "publish_delete",
    "variable_set",
    "variable_delete",
    "register_worker_plugin",
    "unregister_worker_plugin",
    "register_nanny_plugin",
    "unregister_nanny_plugin",
    "unregister_scheduler_plugin",
)


class Registered:
    """Notes what is registered, and registers it again.

    Parameters
    ----------
    scheduler : distributed.Scheduler
        With its extensions.
    recorder : Recorder or None
        The journal; what it has noted already is registered at once, plugins of the scheduler aside.
    tell : callable
        ``tell(type, words, **facts)``.
    """

    def __init__(self, scheduler: Any, recorder: Recorder | None, tell: Callable[..., None]) -> None:
        self._scheduler = scheduler
        self._recorder = recorder
        self._tell = tell
        self._seen: dict[tuple[str, Any], Any] = {}  # what each value was when it was noted, the very object
        if recorder is not None:
            self._restore(recorder)
            self._seen = dict(self._values())

    @staticmethod
    def watched(handlers: Collection[str]) -> list[str]:
        """Those of the operations that a scheduler handles after which something may have another value."""
        return [operation for operation in _OPERATIONS if operation in handlers]

    def _values(self) -> Iterator[tuple[tuple[str, Any], Any]]:
        scheduler = self._scheduler
        named = {
            DATASET: scheduler.extensions["publish"].datasets if "publish" in scheduler.extensions else {},
            VARIABLE: scheduler.extensions["variables"].variables if "variables" in scheduler.extensions else {},
            WORKER_PLUGIN: scheduler.worker_plugins,
            NANNY_PLUGIN: scheduler.nanny_plugins,
        }
        for kind, values in named.items():
            for name, value in values.items():
                yield (kind, name), value

    def note(self) -> None:
        """Write what has changed since the last time."""
        assert self._recorder is not None
        now = dict(self._values())
        for (kind, name), value in now.items():
            if self._seen.get((kind, name)) is not value:
                self._recorder.noted(kind, name, _plain(value))
        for kind, name in self._seen.keys() - now.keys():
            self._recorder.noted(kind, name, None)
        gone = self._recorder.notes_of(SCHEDULER_PLUGIN).keys() - self._scheduler.plugins.keys()
        for name in gone:
            self._recorder.noted(SCHEDULER_PLUGIN, name, None)
        self._seen = now

    def scheduler_plugin(self, name: str, plugin: bytes) -> None:
        """Write a plugin of the scheduler's."""
        if self._recorder is not None:
            self._recorder.noted(SCHEDULER_PLUGIN, name, plugin)

    def _restore(self, recorder: Recorder) -> None:
        scheduler = self._scheduler
        scheduler.worker_plugins.update(recorder.notes_of(WORKER_PLUGIN))
        scheduler.nanny_plugins.update(recorder.notes_of(NANNY_PLUGIN))
        for kind, extension, place in ((DATASET, "publish", "datasets"), (VARIABLE, "variables", "variables")):
            if extension in scheduler.extensions:
                values = {name: _whole(value) for name, value in recorder.notes_of(kind).items()}
                getattr(scheduler.extensions[extension], place).update(values)

    async def restore_plugins(self) -> None:
        """Register the scheduler's plugins again; one that fails is told of, and left out."""
        if self._recorder is None:
            return
        suspected = self._recorder.deaths > DEATHS
        for name, plugin in self._recorder.notes_of(SCHEDULER_PLUGIN).items():
            if suspected:
                self._recorder.noted(SCHEDULER_PLUGIN, name, None)
                words = f"the scheduler ended so often that its plugin {name!r} is left out: register it again"
                self._tell("plugin-lost", words)
                continue
            try:
                await self._scheduler.register_plugin_again(name, plugin)
            except Exception as error:  # it is a user's code
                logger.exception("The plugin %s can't be registered again", name)
                words = f"the scheduler's plugin {name!r} can't be registered again: {type(error).__name__}: {error}"
                self._tell("plugin-lost", words)


def _plain(value: Any) -> Any:
    """A value with its bytes as bytes: what came over the wire may be a view of a buffer."""
    if isinstance(value, Serialized):
        return {"daskd-header": value.header, "daskd-frames": [bytes(frame) for frame in value.frames]}
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return bytes(value) if isinstance(value, memoryview | bytearray) else value


def _whole(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"daskd-header", "daskd-frames"}:
            return Serialized(value["daskd-header"], value["daskd-frames"])
        return {name: _whole(each) for name, each in value.items()}
    return value
