"""From `RemoteCluster`'s keywords to a spec. No I/O but a look at this interpreter."""

from __future__ import annotations

import difflib
import os
import site
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from .defaults import seconds
from .errors import InvalidSpec, Problem
from .types import (
    AdaptivePolicy,
    ClusterSpec,
    HeldWorkPolicy,
    IdleAction,
    SchedulerLossAction,
    SchedulerSpec,
    WorkerGroupSpec,
)

FROM_HERE = frozenset({"python", "cwd", "import_path"})
"""The fields that are taken from this process where nothing was said."""

_GROUP_KEYS = (
    "driver",
    "n_workers",
    "worker",
    "workers_per_node",
    "options",
    "environment",
    "adaptive",
    "python",
    "cwd",
    "prologue",
)
_DURATIONS = ("interval", "target_duration", "cool_down")
_ON_SCHEDULER_LOSS = {
    "resume": SchedulerLossAction.RESUME,
    "restart": SchedulerLossAction.RESTART,
    "fail": SchedulerLossAction.FAIL,
}
_ON_IDLE = {"delete": IdleAction.DELETE, "scale_to_zero": IdleAction.SCALE_TO_ZERO}
_WORKER_KEYS = (
    "nthreads",
    "memory_limit",
    "resources",
    "environment",
    "local_directory",
    "death_timeout",
    "preload",
    "worker_class",
    "options",
)
_SCHEDULER_KEYS = tuple(f.name for f in fields(SchedulerSpec))


@dataclass(frozen=True)
class Here:
    """This process, as far as workers shall be like it."""

    python: str
    cwd: str
    import_path: tuple[str, ...]


def here() -> Here:
    """This process's interpreter, working directory and import path."""
    try:
        cwd = os.getcwd()
    except FileNotFoundError:  # it was removed: the workers start at home
        cwd = ""
    return Here(sys.executable or "", cwd, import_path(sys.path, cwd, own_import_path()))


def own_import_path() -> frozenset[str]:
    """The folders that this interpreter puts on every process's ``sys.path`` by itself."""
    folders = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    for stdlib in {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}:
        folders.add(os.path.join(stdlib, "lib-dynload"))
    version = f"python{sys.version_info.major}{sys.version_info.minor}.zip"
    for prefix in {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}:
        folders.add(os.path.join(prefix, sys.platlibdir, version))
        folders.add(os.path.join(prefix, "lib", version))
    folders.update(site.getsitepackages() if hasattr(site, "getsitepackages") else ())
    if hasattr(site, "getusersitepackages"):
        folders.add(site.getusersitepackages())
    return frozenset(os.path.realpath(folder) for folder in folders | _named_in_pth_files(folders))


def _named_in_pth_files(folders: set[str]) -> set[str]:
    """What the ``.pth`` files of site folders add, such as packages installed to be edited."""
    named: set[str] = set()
    for folder in folders:
        for file in Path(folder).glob("*.pth"):
            with suppress(OSError, UnicodeDecodeError):
                lines = file.read_text(encoding="utf-8").splitlines()
                named.update(
                    os.path.join(folder, line.strip()) for line in lines if not line.startswith(("#", "import"))
                )
    return named


def import_path(entries: Sequence[str], cwd: str, own: frozenset[str]) -> tuple[str, ...]:
    """What of `entries` a worker needs: all that exists and is not in `own`; "" stands for `cwd`.

    An entry below one of the interpreter's own folders was put there by a ``.pth`` file, which workers read too. One
    with a colon in its name can't be handed on in PYTHONPATH.
    """
    wanted: list[str] = []
    for entry in entries:
        folder = os.path.join(cwd, entry) if cwd else entry
        folder = os.path.normpath(folder) if folder else ""
        real = os.path.realpath(folder) if folder else ""
        is_own = (
            any(real == mine or real.startswith(mine + os.sep) for mine in own if "-packages" in mine) or real in own
        )
        if folder and not is_own and os.pathsep not in folder and os.path.exists(folder) and folder not in wanted:
            wanted.append(folder)
    return tuple(wanted)


def cluster_spec(
    *,
    profile: str | None = None,
    groups: Mapping[str, Mapping[str, Any]] | None = None,
    group: Mapping[str, Any],
    python: str | None = None,
    cwd: str | None = None,
    environment: Mapping[str, str] | None = None,
    idle_timeout: Any = None,
    on_idle: str | None = None,
    on_scheduler_loss: str | None = None,
    max_lifetime: Any = None,
    lifetime_warning: Any = None,
    held_work: HeldWorkPolicy | Mapping[str, Any] | None = None,
    dashboard: bool | None = None,
    scheduler: Mapping[str, Any] | None = None,
) -> ClusterSpec:
    """The spec that `RemoteCluster`'s keywords say.

    Parameters
    ----------
    groups
        The worker groups by name.
    group
        The keywords of the one group there is without `groups`; those that are None were not given.

    Raises
    ------
    InvalidSpec
        A keyword is unknown, or not of its type; all that is wrong is told at once.
    """
    problems: list[Problem] = []
    given = {key: value for key, value in group.items() if value is not None}
    if groups is not None and given:
        problems.append(Problem("groups", f"say {', '.join(sorted(given))} within the groups, or leave groups out"))
    asked = list(groups.items()) if groups is not None else [("", given)] if given else []
    spec = ClusterSpec(
        profile=profile or "",
        groups=tuple(_group(name, content, f"groups[{i}]", problems) for i, (name, content) in enumerate(asked)),
        python=python or "",
        cwd=cwd or "",
        environment=_strings(environment, "environment", problems),
        idle_timeout=_duration(idle_timeout, "idle_timeout", problems),
        on_idle=_idle_action(on_idle, problems),
        on_scheduler_loss=_scheduler_loss_action(on_scheduler_loss, problems),
        max_lifetime=_duration(max_lifetime, "max_lifetime", problems),
        lifetime_warning=_duration(lifetime_warning, "lifetime_warning", problems),
        held_work=_policy(HeldWorkPolicy, held_work, "held_work", ("keep",), problems),
        dashboard=dashboard,
        scheduler=_scheduler(scheduler, problems),
    )
    if problems:
        raise InvalidSpec(_words(problems), problems=tuple(problems))
    return spec


def worker_group(name: str, keywords: Mapping[str, Any]) -> WorkerGroupSpec:
    """The worker group that the keywords of `RemoteCluster.add_worker_group` say; those that are None were not given.

    Raises
    ------
    InvalidSpec
        A keyword is unknown, or not of its type; all that is wrong is told at once.
    """
    problems: list[Problem] = []
    given = {key: value for key, value in keywords.items() if value is not None}
    spec = _group(name, given, "group", problems)
    if problems:
        raise InvalidSpec(_words(problems), problems=tuple(problems))
    return spec


def like_here(spec: ClusterSpec, process: Here) -> tuple[ClusterSpec, frozenset[str]]:
    """`spec` with what it does not say taken from this process, and the names of the fields that were.

    Another interpreter than this process's has modules of its own: then the import path is left alone.
    """
    taken: dict[str, Any] = {}
    if not spec.cwd and process.cwd:
        taken["cwd"] = process.cwd
    if not spec.python and process.python:
        taken["python"] = process.python
    if spec.python in ("", process.python) and not spec.import_path and process.import_path:
        taken["import_path"] = process.import_path
    return replace(spec, **taken), frozenset(taken)


def adaptive_policy(**keywords: Any) -> AdaptivePolicy:
    """The policy that `RemoteCluster.adapt`'s keywords say.

    Raises
    ------
    InvalidSpec
        One of them is not of its type.
    """
    problems: list[Problem] = []
    policy = _policy(AdaptivePolicy, keywords, "adaptive", _DURATIONS, problems)
    if problems:
        raise InvalidSpec(_words(problems), problems=tuple(problems))
    return policy or AdaptivePolicy()


def _group(name: str, content: Mapping[str, Any], where: str, problems: list[Problem]) -> WorkerGroupSpec:
    _refuse_unknown(content, _GROUP_KEYS, where, problems)
    worker = content.get("worker") or {}
    _refuse_unknown(worker, _WORKER_KEYS, f"{where}.worker", problems)
    # A worker's environment may stand at the group or at its worker; the closer one wins.
    environment = {
        **_strings(content.get("environment"), f"{where}.environment", problems),
        **_strings(worker.get("environment"), f"{where}.worker.environment", problems),
    }
    return WorkerGroupSpec(
        name=name,
        driver=content.get("driver") or "",
        n_workers=content.get("n_workers"),
        nthreads=worker.get("nthreads") or 0,
        memory_limit=_memory(worker, f"{where}.worker.memory_limit", problems),
        workers_per_node=content.get("workers_per_node") or 0,
        resources=dict(worker.get("resources") or {}),
        environment=environment,
        local_directory=os.fspath(worker.get("local_directory") or ""),
        death_timeout=_duration(worker.get("death_timeout"), f"{where}.worker.death_timeout", problems),
        options=dict(content.get("options") or {}),
        adaptive=_policy(AdaptivePolicy, content.get("adaptive"), f"{where}.adaptive", _DURATIONS, problems),
        python=os.fspath(content.get("python") or ""),
        cwd=os.fspath(content.get("cwd") or ""),
        preload=_texts(worker.get("preload"), f"{where}.worker.preload", problems),
        worker_class=_class_name(worker.get("worker_class"), f"{where}.worker.worker_class", problems),
        worker_options=_options(worker.get("options"), f"{where}.worker.options", problems),
        prologue=_lines(content.get("prologue"), f"{where}.prologue", problems),
    )


def _scheduler(given: Mapping[str, Any] | None, problems: list[Problem]) -> SchedulerSpec | None:
    if given is None:
        return None
    _refuse_unknown(given, _SCHEDULER_KEYS, "scheduler", problems)
    return SchedulerSpec(
        placement=given.get("placement") or "",
        preload=_texts(given.get("preload"), "scheduler.preload", problems),
        options=_options(given.get("options"), "scheduler.options", problems),
        prologue=_lines(given.get("prologue"), "scheduler.prologue", problems),
        network=given.get("network"),
        driver=given.get("driver") or "",
        driver_options=_options(given.get("driver_options"), "scheduler.driver_options", problems),
    )


def _options(given: Any, where: str, problems: list[Problem]) -> dict[str, Any]:
    if given is not None and not isinstance(given, Mapping):
        problems.append(Problem(where, f"{given!r} is no mapping of names and values"))
        return {}
    return dict(given or {})


def _texts(given: Any, where: str, problems: list[Problem]) -> tuple[str, ...]:
    """One text, or several."""
    texts = [given] if isinstance(given, (str, os.PathLike)) else [] if given is None else given
    if not isinstance(texts, (list, tuple)) or not all(isinstance(text, (str, os.PathLike)) for text in texts):
        problems.append(Problem(where, f"{given!r} is neither text nor a list of texts"))
        return ()
    return tuple(map(os.fspath, texts))


def _lines(given: Any, where: str, problems: list[Problem]) -> tuple[str, ...]:
    """Lines of shell, from a text or a list of lines."""
    return tuple(given.strip().splitlines()) if isinstance(given, str) else _texts(given, where, problems)


def _class_name(given: Any, where: str, problems: list[Problem]) -> str:
    """A class, or its name, as workers import it; one that was defined in a session can't be."""
    if given is None or isinstance(given, str):
        return given or ""
    if not isinstance(given, type):
        problems.append(Problem(where, f"{given!r} is neither a class nor the name of one"))
        return ""
    if given.__module__ == "__main__" or given.__qualname__ != given.__name__:
        words = f"{given.__qualname__} can't be imported by workers: define it at the top of a module of your own"
        problems.append(Problem(where, words))
        return ""
    return f"{given.__module__}.{given.__name__}"


def _memory(worker: Mapping[str, Any], where: str, problems: list[Problem]) -> str:
    """A memory limit as the API takes it; as in Dask, None that was said, and 0, mean none."""
    if "memory_limit" not in worker:
        return ""
    limit = worker["memory_limit"]
    if isinstance(limit, str):
        return limit
    if limit is None:
        return "0"
    if isinstance(limit, bool) or not isinstance(limit, (int, float)) or limit < 0 or (0 < limit <= 1):
        problems.append(Problem(where, f"{limit!r} is no memory limit: write bytes, or text such as '4GiB'"))
        return ""
    return str(int(limit))


def _policy(kind: Any, given: Any, where: str, durations: tuple[str, ...], problems: list[Problem]) -> Any:
    if given is None or isinstance(given, kind):
        return given
    _refuse_unknown(given, tuple(f.name for f in fields(kind)), where, problems)
    known = {f.name: given[f.name] for f in fields(kind) if given.get(f.name) is not None}
    return kind(
        **{
            name: _duration(value, f"{where}.{name}", problems) if name in durations else value
            for name, value in known.items()
        }
    )


def _duration(given: Any, where: str, problems: list[Problem]) -> timedelta | None:
    try:
        value = seconds(where, given)
        return None if value is None else timedelta(seconds=value)
    except (ValueError, OverflowError):
        problems.append(
            Problem(where, f"{given!r} is no duration: write seconds, or text such as '30s' or '5 minutes'")
        )
        return None


def _idle_action(given: str | None, problems: list[Problem]) -> IdleAction:
    if given is not None and given not in _ON_IDLE:
        problems.append(Problem("on_idle", f"{given!r} is none of {', '.join(map(repr, _ON_IDLE))}"))
    return _ON_IDLE.get(given or "", IdleAction.UNSPECIFIED)


def _scheduler_loss_action(given: str | None, problems: list[Problem]) -> SchedulerLossAction:
    if given is not None and given not in _ON_SCHEDULER_LOSS:
        words = f"{given!r} is none of {', '.join(map(repr, _ON_SCHEDULER_LOSS))}"
        problems.append(Problem("on_scheduler_loss", words))
    return _ON_SCHEDULER_LOSS.get(given or "", SchedulerLossAction.UNSPECIFIED)


def _strings(given: Mapping[str, Any] | None, where: str, problems: list[Problem]) -> dict[str, str]:
    for name, value in (given or {}).items():
        if not isinstance(name, str) or not isinstance(value, str):
            problems.append(Problem(f"{where}[{name!r}]", "names and values of environment variables are text"))
    return dict(given or {})


def _refuse_unknown(content: Any, known: tuple[str, ...], where: str, problems: list[Problem]) -> None:
    if not isinstance(content, Mapping):
        raise InvalidSpec(
            f"{where}: {content!r} is no mapping of {', '.join(known)}.", problems=(Problem(where, "not a mapping"),)
        )
    for key in content:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]}?" if near else f"it may be one of {', '.join(known)}"
            problems.append(Problem(f"{where}.{key}", f"unknown: {hint}"))


def _words(problems: Sequence[Problem]) -> str:
    return "; ".join(f"{problem.field}: {problem.words}" for problem in problems)
