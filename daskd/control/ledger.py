"""Changes of one pass, collected: the new record, the instances that changed, the events that tell it."""

from __future__ import annotations

import dataclasses
from typing import Any

from daskd.model.cluster import Cluster, Instance
from daskd.model.event import NewEvent


class Ledger:
    """Starts from a record and its instances; `put` and `edit` replace values, nothing is changed in place."""

    def __init__(self, cluster: Cluster, instances: tuple[Instance, ...]) -> None:
        self.cluster = cluster
        self._before = {instance.id: instance for instance in instances}
        self._now = dict(self._before)
        self.events: list[NewEvent] = []

    @property
    def instances(self) -> tuple[Instance, ...]:
        """All, as they are now."""
        return tuple(self._now.values())

    @property
    def changed(self) -> tuple[Instance, ...]:
        """Those that are not as they were."""
        return tuple(now for key, now in self._now.items() if self._before.get(key) != now)

    def edit(self, **values: Any) -> None:
        """Change the record."""
        self.cluster = dataclasses.replace(self.cluster, **values)

    def edit_scheduler(self, **values: Any) -> None:
        """Change what the record says of the scheduler."""
        self.edit(scheduler=dataclasses.replace(self.cluster.scheduler, **values))

    def edit_group(self, name: str, **values: Any) -> None:
        """Change one group of the record."""
        self.edit(
            groups=tuple(
                dataclasses.replace(group, **values) if group.name == name else group for group in self.cluster.groups
            )
        )

    def edit_instance(self, key: str, **values: Any) -> Instance:
        """Change one instance."""
        self._now[key] = dataclasses.replace(self._now[key], **values)
        return self._now[key]

    def tell(self, type_: str, message: str, /, **facts: object) -> None:
        """Add an event of the daemon's own doing. Facts may have any name and hold any text."""
        texts = {_storable(name): _storable(str(value)[:1000]) for name, value in facts.items()}
        self.events.append(NewEvent(type=_storable(type_), message=_storable(message[:4000]), facts=texts))


def _storable(text: str) -> str:
    # JSON can hold halves of surrogate pairs, which no database takes
    return text.encode("utf-8", "replace").decode("utf-8")
