"""Which group can run which class of tasks, and which tasks none can ever run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from daskd.control.adaptive.supply import fresh
from daskd.model.adaptive import ClassRow, Group, Instance, InstanceState, Snapshot, Unplaceable


@dataclass(frozen=True)
class Served:
    """A class and the names of the groups that can start workers for it, in order of preference."""

    row: ClassRow
    groups: tuple[str, ...]

    @property
    def ranks(self) -> dict[str, int]:
        """The groups' places in the order of preference."""
        return {name: rank for rank, name in enumerate(self.groups)}


def place(
    snapshot: Snapshot, groups: Sequence[Group], instances: Iterable[Instance]
) -> tuple[list[Served], tuple[Unplaceable, ...]]:
    """Sort the classes into those that groups can serve, most restricted first, and those that none can.

    A class that names workers, or hosts in a group which does not know its hosts, is in neither: no launch
    is sure to help it, yet what it waits for may be there. Nor is one that workers run which are no group's.
    """
    known = {name for i in instances if i.state is not InstanceState.ENDING for name in i.workers}
    known.update(row.name for row in snapshot.workers)
    served: list[Served] = []
    lost: list[Unplaceable] = []
    for row in snapshot.classes:
        names = tuple(group.name for group in groups if _starts_for(group, row))
        if names:
            served.append(Served(row, names))
        elif row.stuck and not _may_be_there(row, groups, known):
            lost.append(_unplaceable(row, groups))
    served.sort(key=lambda item: (len(item.groups), -_restrictions(item.row), item.row.key))
    return served, tuple(sorted(lost, key=lambda item: item.restriction))


def _starts_for(group: Group, row: ClassRow) -> bool:
    return group.ceiling > 0 and _would_start_for(group, row)


def _would_start_for(group: Group, row: ClassRow) -> bool:
    """Whether the group could serve the class, had it any workers."""
    hosts_match = not row.hosts or (group.hosts is not None and not group.hosts.isdisjoint(row.hosts))
    return not row.workers and hosts_match and _has_resources(group, row)


def _may_be_there(row: ClassRow, groups: Sequence[Group], known: set[str]) -> bool:
    if row.workers:
        return not known.isdisjoint(row.workers)
    if row.hosts:
        return any(group.hosts is None and group.ceiling > 0 and _has_resources(group, row) for group in groups)
    return False


def _has_resources(group: Group, row: ClassRow) -> bool:
    return fresh(group, 1).slots(row) > 0


def _restrictions(row: ClassRow) -> int:
    return len(row.resources) + bool(row.hosts)


def _unplaceable(row: ClassRow, groups: Sequence[Group]) -> Unplaceable:
    count, restriction = row.stuck, _restriction(row)
    example = f" (for example `{row.example}`)" if row.example else ""
    tasks = "1 task needs" if count == 1 else f"{count:,} tasks need"
    return Unplaceable(count, restriction, row.example, f"{tasks} {restriction}: {_mend(row, groups)}{example}")


def _mend(row: ClassRow, groups: Sequence[Group]) -> str:
    """What would help: a group that would do, had it any workers, or one that there is not."""
    empty = next((group for group in groups if _would_start_for(group, row)), None)
    if empty is not None and empty.fixed:
        return f"group `{empty.name}` has 0 workers: scale it"
    if empty is not None:
        return f"group `{empty.name}` may have no worker: raise its maximum"
    return "no group has it"


def _restriction(row: ClassRow) -> str:
    parts = [f"{name} {amount:g}" for name, amount in row.resources]
    if row.hosts:
        parts.append("host " + " or ".join(row.hosts))
    if row.workers:
        parts.append("worker " + " or ".join(row.workers))
    return " and ".join(parts) or "a worker"
