"""What schedulers that run as jobs say of themselves in their files, which no listing tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from daskd.model.cluster import Handle, State

from .elements import Element, element_of, is_scheduler
from .system import Row


class Reports:
    """Remembers reports that say where a link is, which does not change: listings come often, and files cost more."""

    def __init__(self) -> None:
        self._of: dict[str, dict[str, Any]] = {}

    def wanted(self, known: Sequence[Handle], listed: Mapping[Element, Row], *, deep: bool) -> list[Handle]:
        """Those that run and have not said so; all that run, when deep."""
        return [
            handle
            for handle in known
            if is_scheduler(handle)
            and (row := listed.get(element_of(handle))) is not None
            and row.state is State.RUNNING
            and (deep or handle.id not in self._of)
        ]

    def learnt(self, known: Sequence[Handle], records: Mapping[str, Mapping[str, Any]]) -> None:
        """Remember what was read; forget whom nobody asks about any more."""
        asked = {handle.id for handle in known if is_scheduler(handle)}
        self._of = {key: report for key, report in self._of.items() if key in asked}
        for key in asked & records.keys():
            report = records[key].get("report")
            if isinstance(report, dict) and report.get("link"):
                self._of[key] = report

    def of(self, handle: Handle, records: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any] | None:
        """The records of an instance, with the report that it is remembered by."""
        if handle.id not in self._of:
            return records.get(handle.id)
        return {"report": self._of[handle.id], **records.get(handle.id, {})}
