"""A tiny world that a cluster lives in: processes, and the scheduler that they talk to. Nothing in it waits."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cluster_states import ADDRESS, NOW, handle, node, scheduler, state

from daskd.control.absorb import absorb
from daskd.control.link import HubWorker
from daskd.control.merge import merge
from daskd.control.plan import Action, Cancel, Chosen, LaunchNodes, LaunchScheduler, Plan, Retire, Terminate, decide
from daskd.control.settings import Settings
from daskd.control.view import HubView, Listing, View
from daskd.drivers.protocol import Observation
from daskd.model.cluster import Cause, Cluster, End, Instance, Record, Role, State

SETTINGS = Settings(max_launch_failures=10_000, max_scheduler_restarts=10_000)


@dataclass
class Process:
    """What was launched under an id. `born` counts the ticks that it lives (below 0: it waits in a queue), `end` says
    how it ended."""

    role: Role
    scheduler: str
    workers: tuple[str, ...]
    born: int = 0
    joined: bool = False
    stubborn: bool = False
    leaving: bool = False
    asked: bool = False
    end: End | None = None


class World:
    """The system and the scheduler, with the record of a daemon that looks once a tick and does what it decides.

    Attributes
    ----------
    queue, walltime
        Ticks that a node waits before it runs, and may run.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.instances: dict[str, Instance] = {}
        self.processes: dict[str, Process] = {}
        self.now = NOW
        self.is_silent = False
        self.does_crash = False
        self.fenced: set[str] = set()
        self.asked: dict[str, float] = {}
        self.refused: dict[str, float] = {}
        self.forced: dict[str, float] = {}
        self.refusals = 0
        self.queue = 0
        self.walltime: int | None = None
        self._hub: HubView = HubView()
        self._launched = 0

    def tick(self) -> tuple[View, View, Plan]:
        """One pass; answers with what it saw, what was recorded of it, and what was done."""
        self.now += 1.0
        self._live()
        seen = self.view()
        ledger = absorb(seen, self.now)
        for instance in ledger.changed:
            self._put(instance)
        self.cluster = merge(self.cluster, self.cluster, ledger.cluster)
        decided_on = replace(self.view(), hub=seen.hub)
        plan = decide(decided_on, Chosen(), self.now)
        for action in plan.actions:
            self._perform(action)
        return seen, decided_on, plan

    def view(self) -> View:
        """What a daemon sees, that looked just now."""
        return View(
            self.cluster,
            tuple(self.instances.values()),
            SETTINGS,
            {key: self._observe(key) for key in self.instances},
            listings={"local": Listing(self.now)},
            hub=self._listen(),
            asked=self.asked,
            refused=self.refused,
            forced=self.forced,
        )

    def alive(self, role: Role) -> list[str]:
        """Ids of what runs."""
        return [key for key, process in self.processes.items() if process.role is role and process.end is None]

    def restart_daemon(self) -> None:
        """What it remembers is gone, what it recorded is not; it has not yet heard of the scheduler."""
        self.asked, self.refused, self.forced, self._hub = {}, {}, {}, HubView()
        for key, instance in self.instances.items():
            if instance.record is Record.INTENDED:
                self.instances[key] = replace(instance, record=Record.UNSURE)

    def kill(self, key: str) -> None:
        """It dies of nobody's asking."""
        self.processes[key].end = End(Cause.SIGNAL, signal=9)

    def _live(self) -> None:
        schedulers = self.alive(Role.SCHEDULER)
        for key in [*schedulers, *self.alive(Role.NODE)]:
            process = self.processes[key]
            process.born += 1
            if process.asked and not process.stubborn:
                process.end = End(Cause.SIGNAL, signal=15)
            elif process.role is Role.NODE and process.scheduler not in schedulers:
                process.end = End(Cause.EXITED, code=85)
            elif process.leaving:
                process.end = End(Cause.EXITED, code=0)
            elif process.role is Role.NODE and self.walltime is not None and process.born > self.walltime:
                process.end = End(Cause.TIME_LIMIT, words="its time is over")
            elif process.role is Role.NODE and not process.joined and process.born >= 2:
                if key in self.fenced:
                    process.end = End(Cause.EXITED, code=83)
                process.joined = key not in self.fenced

    def _observe(self, key: str) -> Observation:
        process = self.processes.get(key)
        if process is None:
            end = End(Cause.VANISHED, words="it was never launched here")
            return Observation(handle(key), State.ENDED, end=end)
        if process.end is not None:
            return Observation(handle(key), State.ENDED, end=process.end)
        if process.born < 0:
            return Observation(handle(key), State.QUEUED)
        over = None
        if self.walltime is not None and process.role is Role.NODE and process.born >= 1:
            over = self.now + self.walltime - process.born
        what = State.RUNNING if process.born >= 1 else State.STARTING
        return Observation(handle(key), what, pid=1, expected_end=over)

    def _listen(self) -> HubView:
        key = next(
            (i.id for i in self.instances.values() if i.role is Role.SCHEDULER and i.record is Record.ACCEPTED), ""
        )
        if not key:
            return HubView()
        if self._hub.instance != key:
            self._hub = HubView(instance=key)
        if self.is_silent or self.processes[key].end is not None or self.processes[key].born < 1:
            self._hub = replace(self._hub, connected=False, trouble="timed out")
            return self._hub
        workers = [
            HubWorker(name=name, instance=each, address="tls://x:1", status="running")
            for each, process in self.processes.items()
            if process.joined and process.end is None and process.scheduler == key and not process.leaving
            for name in process.workers
        ]
        said = state(workers, address=ADDRESS)
        self._hub = HubView(instance=key, state=said, connected=True, heard=self.now)
        return self._hub

    def _put(self, instance: Instance) -> None:
        self.instances[instance.id] = instance
        if instance.state is State.ENDED:
            del self.instances[instance.id]

    def _perform(self, action: Action) -> None:
        if isinstance(action, LaunchScheduler):
            self._launch(scheduler(f"s{self._launched}", host=""))
        elif isinstance(action, LaunchNodes):
            group = self.cluster.spec.groups[0]
            for _ in range(action.count):
                self._launch(node(self._launched, each=group.workers_per_node, host=""))
        elif isinstance(action, Cancel):
            self._cancel(action)
        elif isinstance(action, Retire):
            self._retire(action)
        else:
            self._terminate(action)

    def _launch(self, like: Instance) -> None:
        self._launched += 1
        intent = replace(like, created=self.now, launched=None, joined=None, pid=None, record=Record.INTENDED)
        self._put(replace(intent, state=State.UNKNOWN))
        if self.does_crash and self._launched % 2:
            return
        ours = next((i.id for i in self.instances.values() if i.role is Role.SCHEDULER), "")
        born = -self.queue if like.role is Role.NODE else 0
        self.processes[like.id] = Process(like.role, ours, like.workers, born)
        if not self.does_crash:
            self._put(replace(intent, record=Record.ACCEPTED, launched=self.now, state=State.STARTING))

    def _cancel(self, action: Cancel) -> None:
        free = [key for key in action.ids if key not in self.processes or not self.processes[key].joined]
        self.fenced.update(free)
        self._terminate(Terminate(tuple(free)))

    def _retire(self, action: Retire) -> None:
        for key in action.ids:
            instance = self.instances[key]
            self.asked[key] = self.now
            if self.refusals:
                self.refusals -= 1
                self.refused[key] = self.now
                self._put(replace(instance, retiring=None))
                continue
            self._put(replace(instance, retiring=instance.retiring or self.now))
            if not self.is_silent and key in self.processes:
                self.processes[key].leaving = True

    def _terminate(self, action: Terminate) -> None:
        for key in action.ids:
            self._put(replace(self.instances[key], stopping=self.instances[key].stopping or self.now))
            if action.force:
                self.forced[key] = self.now
            if process := self.processes.get(key):
                process.asked = True
                process.stubborn = process.stubborn and not action.force
