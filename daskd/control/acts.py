"""Performs what a plan says: intent on disk first, then the driver or the link, then what came of it."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import structlog

from daskd.crashpoints import reached
from daskd.drivers.protocol import Batch, Member, Outcome, Payload, Result
from daskd.measures import MEASURES
from daskd.model.cluster import Cause, Cluster, End, Handle, Instance, Record, Role, State
from daskd.model.event import NewEvent
from daskd.model.names import new_instance_id
from daskd.model.spec import WorkerGroupSpec
from daskd.security.vault import Vault

from . import failures, rotation
from .cluster_sites import drivers_of, scheduler_driver
from .doors import Door, door_of
from .ledger import Ledger
from .link import LinkError
from .plan import Action, Cancel, LaunchNodes, LaunchScheduler, Retire, Terminate

if TYPE_CHECKING:
    from .reconciler import Reconciler

log = structlog.get_logger(__name__)

SETTING_UP = 5
"""Times the driver's time-out: how long it may take to bring files to where a cluster runs, or to remove them."""


class Acts:
    """The hands of one reconciler.

    Parameters
    ----------
    reconciler
        Whose hands.
    vault
        Where the clusters' credentials are.
    """

    def __init__(self, reconciler: Reconciler, vault: Vault) -> None:
        self._of = reconciler
        self._vault = vault
        self._staged: set[str] = set()

    async def perform(self, cluster: Cluster, action: Action) -> None:
        """Do it."""
        if isinstance(action, LaunchScheduler):
            await self._launch(cluster, None, 1, action.address)
        elif isinstance(action, LaunchNodes):
            group = cluster.spec.group(action.group)
            assert group is not None
            await self._launch(cluster, group, action.count, cluster.scheduler.address)
        elif isinstance(action, Cancel):
            await self._cancel(action.ids)
        elif isinstance(action, Retire):
            await self._retire(action)
        else:
            await self._terminate(action)

    async def door(self, cluster: Cluster, scheduler: Instance) -> Door | None:
        """The way to a scheduler; None while there is none."""
        driver = scheduler.handle.driver
        if not self._of.sites.has(driver):
            return None
        return await door_of(self._of.sites.of(driver), scheduler, cluster, self._vault)

    async def clean_up(self, cluster: Cluster) -> None:
        """Nothing of the cluster runs any more: remove its keys, scratch files and sockets; logs stay."""
        reached("end.recorded")
        instances = await self._of.store.instances(cluster.uid, include_ended=True)
        used = drivers_of(cluster, instances)
        await self._of.sites.hold(used)
        for instance in instances:
            if instance.role is Role.SCHEDULER and self._of.sites.has(instance.handle.driver):
                site = self._of.sites.of(instance.handle.driver)
                for path in (site.link_path(instance.handle), site.dashboard_path(instance.handle)):
                    if path is not None:
                        path.unlink(missing_ok=True)
        there = [driver for driver in used if self._of.sites.has(driver)]
        for driver in there:
            try:
                await asyncio.wait_for(self._of.sites.of(driver).unstage(cluster.uid), self._set_up_within)
            except (asyncio.TimeoutError, TimeoutError):
                log.error("what an ended cluster left could not be removed in time; the next start tries again")
                return
        reached("end.unstaged")
        if there == used:
            # else what is left is removed at a later start: the credentials tell of it
            await self._vault.forget(cluster.uid)

    async def _launch(self, cluster: Cluster, group: WorkerGroupSpec | None, count: int, address: str) -> None:
        driver = group.driver if group else scheduler_driver(cluster)
        if not self._of.sites.has(driver):
            await self._cannot(cluster, group, self._of.sites.trouble(driver))
            return
        site = self._of.sites.of(driver)
        batch = self._batch(cluster, group, count, address)
        needs_address = site.capabilities.needs_address or cluster.spec.scheduler.is_placed
        if group is not None and needs_address and not batch.address:
            return  # the next pass has it, or the one after
        try:
            batch, handles = await asyncio.wait_for(self._prepare(cluster, driver, batch), self._set_up_within)
        except (asyncio.TimeoutError, TimeoutError):
            words = f"the driver {driver!r} did not answer within {self._set_up_within:g} s"
            await self._cannot(cluster, group, words)
            return
        if not handles:
            return  # another cluster has taken the room since it was planned
        now = time.time()
        intents = [
            self._intent(batch, member, handle, now) for member, handle in zip(batch.members, handles, strict=True)
        ]
        ordinals = cluster.next_ordinal + (len(batch.members) if group else 0)
        await self._of.commit(
            lambda current: dataclasses.replace(current, next_ordinal=max(current.next_ordinal, ordinals)),
            instances=intents,
        )
        reached("launch.intended")
        outcomes = await self._submit(driver, batch, handles)
        reached("launch.launched")
        await self._record(cluster, intents, outcomes)
        reached("launch.recorded")

    async def _cannot(self, cluster: Cluster, group: WorkerGroupSpec | None, words: str) -> None:
        """A system that can't be used now is a failure to launch like any other: told, and tried again later."""
        ledger = Ledger(cluster, tuple(self._of.instances.values()))
        ledger.tell("LAUNCH_REFUSED", words, driver=group.driver if group else scheduler_driver(cluster))
        if group is None:
            failures.scheduler_refused(ledger, self._of.settings, words, lasting=False, now=time.time())
        else:
            failures.count_failure(ledger, group.name, words, time.time())
            failures.give_up_if_hopeless(ledger, group.name, bound=self._of.settings.max_launch_failures)
        await self._of.settle(cluster, ledger)

    @property
    def _set_up_within(self) -> float:
        return SETTING_UP * self._of.settings.driver_timeout

    async def _prepare(self, cluster: Cluster, driver: str, batch: Batch) -> tuple[Batch, list[Handle]]:
        await self._stage(cluster, driver)
        reached("launch.staged")
        # without a pause between the two: `prepare` takes the room
        batch = self._fitting(batch)
        return batch, await self._of.sites.of(driver).prepare(batch) if batch.members else []

    async def _stage(self, cluster: Cluster, driver: str) -> None:
        if driver in self._staged:
            return
        credentials = await self._vault.credentials(cluster.uid)
        secret = {"ca.pem": credentials.ca.encode()}
        for role in ("scheduler", "worker"):
            secret[f"{role}.pem"] = credentials.certificates[role].encode()
            secret[f"{role}.key"] = credentials.keys[role].encode()
        await self._of.sites.of(driver).stage(Payload(cluster.uid, secret))
        self._staged.add(driver)

    def _batch(self, cluster: Cluster, group: WorkerGroupSpec | None, count: int, address: str) -> Batch:
        first = cluster.next_ordinal
        members = []
        for n in range(count):
            ordinal = first + n if group else 0
            names = _worker_names(group, ordinal) if group else ()
            members.append(Member(new_instance_id(self._of.store.state_id), ordinal, names))
        scheduler = next((i.id for i in self._of.instances.values() if i.role is Role.SCHEDULER), "")
        return Batch(
            cluster=cluster.uid,
            cluster_name=cluster.name,
            role=Role.NODE if group else Role.SCHEDULER,
            spec=cluster.spec,
            group=group,
            members=tuple(members),
            scheduler=scheduler,
            # a scheduler that has not yet said where it is now is learnt of from its report
            address=address if group is None or cluster.scheduler.instance == scheduler else "",
            runtime=self._of.settings.runtime(cluster.spec),
            dashboard_prefix=cluster.dashboard_prefix,
            beside=self._beside(cluster, group.driver if group else scheduler_driver(cluster)),
        )

    def _beside(self, cluster: Cluster, driver: str) -> tuple[tuple[int, int], ...]:
        """Workers and the memory limit of one, 0 for none, of each node of a driver that has not ended."""
        found = []
        for instance in self._of.instances.values():
            group = cluster.spec.group(instance.group) if instance.role is Role.NODE else None
            if group is not None and group.driver == driver:
                found.append((len(instance.workers), 0 if group.memory_limit == "auto" else group.memory_limit))
        return tuple(found)

    def _fitting(self, batch: Batch) -> Batch:
        room = self._of.room(batch.group) if batch.group is not None else None
        return batch if room is None else dataclasses.replace(batch, members=batch.members[: room.more])

    def _intent(self, batch: Batch, member: Member, handle: Handle, now: float) -> Instance:
        return Instance(
            id=member.id,
            cluster=batch.cluster,
            role=batch.role,
            group=batch.group.name if batch.group else "",
            ordinal=member.ordinal,
            workers=member.workers,
            handle=handle,
            created=now,
        )

    async def _submit(self, driver: str, batch: Batch, handles: Sequence[Handle]) -> list[Outcome]:
        timeout = self._of.settings.driver_timeout
        try:
            return await asyncio.wait_for(self._of.sites.of(driver).launch(batch, handles), timeout)
        except (asyncio.TimeoutError, TimeoutError):
            words = f"the driver did not answer within {timeout:g} s"
        except Exception as error:  # whatever a driver raises, the launch may have taken place
            log.exception("a launch went wrong", driver=driver)
            words = str(error) or repr(error)
        MEASURES.count("driver_failures", "launch")
        return [Outcome(handle, Result.UNSURE, words) for handle in handles]

    async def _record(self, cluster: Cluster, intents: Sequence[Instance], outcomes: Sequence[Outcome]) -> None:
        now = time.time()
        by_id = {outcome.handle.id: outcome for outcome in outcomes}
        launched, refused = [], []
        for intent in intents:
            outcome = by_id.get(intent.id) or Outcome(intent.handle, Result.UNSURE, "the driver said nothing of it")
            if outcome.result is Result.REFUSED:
                refused.append((intent, outcome))
                continue
            record = Record.ACCEPTED if outcome.result is Result.ACCEPTED else Record.UNSURE
            launched.append(
                dataclasses.replace(
                    intent,
                    record=record,
                    handle=outcome.handle,
                    launched=now,
                    words=outcome.words,
                    state=State.STARTING if record is Record.ACCEPTED else State.UNKNOWN,
                )
            )
        if launched:
            await self._of.commit(instances=launched)
        if refused:
            await self._refused(cluster, refused, now)

    async def _refused(self, cluster: Cluster, refused: Sequence[tuple[Instance, Outcome]], now: float) -> None:
        before = await self._of.store.get(cluster.uid)
        assert before is not None
        ledger = Ledger(before, tuple(intent for intent, _ in refused))
        for intent, outcome in refused:
            end = End(Cause.FAILED_TO_START, words=outcome.words)
            ledger.edit_instance(
                intent.id, record=Record.REFUSED, state=State.ENDED, end=end, ended=now, words=outcome.words
            )
        intent, outcome = refused[0]
        told = f"the driver {intent.handle.driver!r} refused: {outcome.words}"
        ledger.tell("LAUNCH_REFUSED", told, instance=intent.id, count=len(refused))
        if intent.role is Role.SCHEDULER:
            failures.scheduler_refused(
                ledger, self._of.settings, told, lasting=outcome.lasting, now=now, full=outcome.full
            )
        else:
            failures.count_failure(ledger, intent.group, told, now)
            bound = 1 if outcome.lasting else self._of.settings.max_launch_failures
            if not outcome.full:
                failures.give_up_if_hopeless(ledger, intent.group, bound=bound)
        await self._of.settle(before, ledger)

    async def _cancel(self, ids: Sequence[str]) -> None:
        """A node that joins just now must not be ended as one that waits: the fence settles it."""
        hub = self._of.hub
        if hub is None or hub.view.state is None:
            return
        try:
            lost = [key for key in ids if self._is_given_up(key) and self._of.instances[key].joined is not None]
            answers = await hub.link.fence(list(ids), lost)
        except LinkError as error:
            log.info("the fence was not answered; asked again", trouble=error.words)
            return
        reached("cancel.fenced")
        waiting = [key for key in ids if answers.get(key) == "fenced"]
        # what was given up and has joined after all is wanted: the next pass adopts it
        joined = [key for key in ids if answers.get(key) == "joined" and not self._is_given_up(key)]
        if waiting:
            await self._terminate(Terminate(tuple(waiting)))
        if joined:
            await self._retire(Retire(tuple(joined)))

    def _is_given_up(self, key: str) -> bool:
        instance = self._of.instances.get(key)
        return instance is not None and instance.record is Record.ABANDONED

    async def _retire(self, action: Retire) -> None:
        hub = self._of.hub
        if hub is None:
            return
        now = time.time()
        chosen = [self._of.instances[key] for key in action.ids if key in self._of.instances]
        fresh = [dataclasses.replace(i, retiring=now) for i in chosen if i.retiring is None]
        if fresh:
            await self._of.commit(instances=fresh, events=_late(fresh, now) if action.is_late else ())
        reached("retire.intended")
        for instance in chosen:
            self._of.asked[instance.id] = now
        names = [name for instance in chosen for name in instance.workers]
        try:
            drain = rotation.drain_bound(chosen, self._of.settings.drain, now)
            answers = await hub.link.retire(names, drain, action.if_idle_rev)
        except LinkError as error:
            log.info("the retirement was not answered; asked again", trouble=error.words)
            return
        reached("retire.asked")
        refused = [
            (instance, answers[name].words)
            for instance in chosen
            for name in instance.workers
            if name in answers and answers[name].state == "refused"
        ]
        await self._stay(refused, now)

    async def _stay(self, refused: Sequence[tuple[Instance, str]], now: float) -> None:
        """A node whose worker refuses to retire stays whole."""
        before = await self._of.store.get(self._of.uid)
        if not refused or before is None:
            return
        ledger = Ledger(before, tuple(self._of.instances.values()))
        for instance, words in {instance.id: (instance, words) for instance, words in refused}.values():
            self._of.refused[instance.id] = now
            ledger.edit_instance(instance.id, retiring=None, words=words)
            names = ", ".join(instance.workers)
            ledger.tell("RETIRE_REFUSED", f"{names} stays: {words}", workers=names, instance=instance.id)
        await self._of.settle(before, ledger)

    async def _terminate(self, action: Terminate) -> None:
        now = time.time()
        chosen = [self._of.instances[key] for key in action.ids if key in self._of.instances]
        if action.fault:
            await self._fault(chosen, action.fault, now)
        fresh = [dataclasses.replace(i, stopping=now) for i in chosen if i.stopping is None]
        if fresh:
            await self._of.commit(instances=fresh)
        reached("terminate.intended")
        if action.force:
            self._of.forced.update({instance.id: now for instance in chosen})
        by_driver: dict[str, list[Handle]] = {}
        for instance in chosen:
            by_driver.setdefault(instance.handle.driver, []).append(instance.handle)
        outcomes = [
            outcome
            for driver, handles in by_driver.items()
            for outcome in await self._ask_to_end(driver, handles, force=action.force)
        ]
        reached("terminate.asked")
        unwilling = [outcome for outcome in outcomes if outcome.result in (Result.REFUSED, Result.UNSURE)]
        if unwilling:
            await self._told_of(unwilling)

    async def _ask_to_end(self, driver: str, handles: list[Handle], *, force: bool) -> list[Outcome]:
        if not self._of.sites.has(driver):
            return [Outcome(handle, Result.UNSURE, f"the driver {driver!r} can't be used now") for handle in handles]
        timeout = self._of.settings.driver_timeout
        try:
            return await asyncio.wait_for(self._of.sites.of(driver).terminate(handles, force=force), timeout)
        except Exception as error:  # asked again, with force, until it is seen to have ended
            log.exception("an end could not be asked for", driver=driver)
            MEASURES.count("driver_failures", "terminate")
            return [Outcome(handle, Result.UNSURE, str(error) or repr(error)) for handle in handles]

    async def end_again(self, ids: Sequence[str]) -> None:
        """Ask for the end of what was to end when the daemon ended: it may have died before it asked.

        The time to end in peace begins anew, for what was never asked needs it. Asking twice is harmless.
        """
        if not ids:
            return
        now = time.time()
        await self._of.commit(instances=[dataclasses.replace(self._of.instances[key], stopping=now) for key in ids])
        await self._terminate(Terminate(tuple(ids)))

    async def _told_of(self, unwilling: Sequence[Outcome]) -> None:
        """A stop that failed is never recorded as stopped; its words are shown."""
        words = {outcome.handle.id: outcome.words for outcome in unwilling}
        known = [self._of.instances[key] for key in words if key in self._of.instances]
        await self._of.commit(instances=[dataclasses.replace(i, words=words[i.id]) for i in known])

    async def _fault(self, chosen: Sequence[Instance], words: str, now: float) -> None:
        before = await self._of.store.get(self._of.uid)
        if before is None:
            return
        ledger = Ledger(before, tuple(self._of.instances.values()))
        for instance in chosen:
            what = ", ".join(instance.workers) or "the scheduler"
            ledger.tell("START_TIMED_OUT", f"{what}: {words}", instance=instance.id)
            if instance.role is Role.NODE:
                failures.count_failure(ledger, instance.group, f"{what}: {words}", now)
                failures.give_up_if_hopeless(ledger, instance.group, bound=self._of.settings.max_launch_failures)
        await self._of.settle(before, ledger)


def _late(nodes: Sequence[Instance], now: float) -> list[NewEvent]:
    return [NewEvent(type="ROTATION_LATE", message=rotation.late_words(nodes, now), facts=rotation.facts(nodes))]


def _worker_names(group: WorkerGroupSpec, ordinal: int) -> tuple[str, ...]:
    if group.workers_per_instance == 1:
        return (f"{group.name}-{ordinal}",)
    return tuple(f"{group.name}-{ordinal}-{k}" for k in range(group.workers_per_instance))
