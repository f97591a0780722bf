"""`daskd.toml`: what an administrator may set, its defaults, and how it is read.

Every error names the file, the key, what is wrong and the mend; all of a file's errors are told at once.
"""

from __future__ import annotations

import ipaddress
import os
import re
import stat
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from . import places
from .model.access import check_subject
from .model.errors import InvalidConfig, Problem
from .model.listen import Listener, parse_listener
from .model.problems import not_there, problems_of
from .model.quantity import Seconds, parse_size
from .model.spec import MOST_WORKERS, ClusterSpec, Name, WorkerGroupSpec

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT_PROFILE = "default"
"""The profile of a request that names none, if the configuration has one of that name."""

_HOST = re.compile(r"(\{cluster\}\.)?([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?", re.ASCII)
_MOST_FILE_BYTES = 1 << 20
_DAY = 86_400.0


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError(f"{str(path)!r} is not absolute: write the whole path, beginning with /")
    return path


def _address(address: str) -> str:
    return str(parse_listener(address))


def _loopback(address: str) -> str:
    """Where metrics are served: they ask nobody who they are."""
    if address.startswith("unix:"):
        return _address(address)
    host, _, port = address.rpartition(":")
    with suppress(ValueError):
        if ipaddress.ip_address(host.strip("[]")).is_loopback and 0 <= int(port) < 1 << 16:
            return address
    raise ValueError(
        f'{address!r} is no address of this machine alone: write "127.0.0.1:9108", or "unix:" and an absolute '
        "path, and let a proxy with a login serve others"
    )


def _public_url(url: str) -> str:
    """What links to dashboards begin with, without a slash at the end."""
    mend = 'write it as "https://dask.example.org", a port after it if need be'
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 0
    except ValueError:
        raise ValueError(f"{url!r} is no URL: {mend}") from None
    if parts.scheme not in ("http", "https") or not _HOST.fullmatch(parts.netloc):
        raise ValueError(f"{url!r} is no URL of a web server: {mend}")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError(f"{url!r} has more than a host: dashboards lie at /clusters/, so a host is all it may have")
    # names below localhost are loopback's, too, for browsers
    if parts.scheme == "http" and not (host.endswith(".localhost") or Listener(host=host, port=port).is_loopback):
        raise ValueError(f"{url!r}: without TLS whoever is between takes over sessions: begin it with https://")
    return url.rstrip("/")


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
Subject = Annotated[str, AfterValidator(check_subject)]
Address = Annotated[str, AfterValidator(_address)]
Loopback = Annotated[str, AfterValidator(_loopback)]
PublicUrl = Annotated[str, AfterValidator(_public_url)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Daemon(_Section):
    """The daemon itself.

    Attributes
    ----------
    state_dir, runtime_dir
        None: systemd's or the XDG directories (`daskd.places`).
    listen
        Addresses, "unix:PATH" or "HOST:PORT" (see `Tls`); empty: `daskd.sock` in the runtime directory.
    orphan_grace
        Seconds after the start before what no record knows is ended.
    end_orphans
        False: what no record knows is told in the log, and left alone.
    units
        "auto": where the daemon is a systemd unit, each cluster has units of its own; "never": they share the daemon's.
    metrics
        Where Prometheus' metrics are served, "127.0.0.1:PORT" or "unix:PATH"; None: nowhere.
    max_message_bytes
        The largest request.
    """

    state_dir: AbsolutePath | None = None
    runtime_dir: AbsolutePath | None = None
    listen: tuple[Address, ...] = Field(default=(), max_length=16)
    log_format: Literal["auto", "json", "console"] = "auto"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    orphan_grace: Seconds = Field(default=60.0, le=_DAY)
    end_orphans: bool = True
    units: Literal["auto", "never"] = "auto"
    metrics: Loopback | None = None
    max_message_bytes: int = Field(default=4 << 20, ge=64 << 10, le=256 << 20)

    _sizes = field_validator("max_message_bytes", mode="before")(parse_size)


class Tls(_Section):
    """What listeners on TCP show, and ask for. Without a certificate none is opened.

    Attributes
    ----------
    certificate, key
        PEM files of the daemon's own.
    client_ca
        A PEM file with authorities: every client on TCP must have a certificate that one of them signed. One whose
        common name is a user's of this machine says who calls, without a token.
    loopback_without_tls_though_others_could_pose_as_daskd
        True: a listener on loopback needs no certificate. Whoever takes its port while daskd is down gets tokens.
    """

    certificate: AbsolutePath | None = None
    key: AbsolutePath | None = None
    client_ca: AbsolutePath | None = None
    loopback_without_tls_though_others_could_pose_as_daskd: bool = False

    @model_validator(mode="after")
    def _whole(self) -> Tls:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("a certificate and its key go together: set both `certificate` and `key`")
        if self.client_ca is not None and self.certificate is None:
            raise ValueError("to ask clients for certificates takes one of one's own: set `certificate` and `key`")
        return self


class Web(_Section):
    """Where browsers see clusters' dashboards, after a login by a link that `daskctl dashboard` makes.

    Attributes
    ----------
    listen
        "HOST:PORT", under the same rules of `Tls` as the API's listeners, or "unix:PATH"; None: nowhere.
    public_url
        What links begin with; None: what `listen` says. "https://{cluster}.example.org" gives each cluster a host of
        its own.
    session
        Seconds that a login is good for; it ends with the daemon, too.
    """

    listen: Address | None = None
    public_url: PublicUrl | None = None
    session: Seconds = Field(default=43_200.0, ge=60, le=30 * _DAY)

    @model_validator(mode="after")
    def _reachable(self) -> Web:
        if self.listen is None or self.public_url is not None:
            return self
        listener = parse_listener(self.listen)
        if listener.socket is not None or listener.host in ("0.0.0.0", "::"):  # noqa: S104
            raise ValueError(f"{self.listen} is nothing that a link can begin with: set `public_url`, too")
        return self


class Clusters(_Section):
    """How clusters are started, kept up and ended; times in seconds.

    Attributes
    ----------
    start_timeout
        How long a scheduler may take to answer.
    max_launch_failures
        So many failed launches in a row, and the cluster has failed.
    max_scheduler_restarts, restart_window
        So many restarts of a scheduler within the window, and the cluster has failed.
    orphan_timeout
        A runtime that no daemon spoke to for so long, idle, ends itself.
    drain
        How long a worker that leaves may finish what it computes.
    grace
        How long a process has between being asked to end and being killed.
    lost_after
        Where a machine does not answer, and its workers have left the scheduler, others take their place after so long.
    contact_host
        Name or address by which the machines that workers run on reach this one; empty: the address of its default
        route.
    journal_max_bytes
        Size of the journal from which a scheduler's successor goes on; of more work than that it can't.
    embedded
        The daemon's own user may have schedulers that run in the daemon itself, and with them users' code.
    """

    start_timeout: Seconds = Field(default=60.0, ge=1, le=3600)
    max_launch_failures: int = Field(default=5, ge=1, le=1000)
    max_scheduler_restarts: int = Field(default=5, ge=0, le=1000)
    restart_window: Seconds = Field(default=600.0, ge=1, le=_DAY)
    orphan_timeout: Seconds = Field(default=_DAY, ge=60, le=365 * _DAY)
    drain: Seconds = Field(default=60.0, le=_DAY)
    grace: Seconds = Field(default=10.0, ge=0.1, le=3600)
    lost_after: Seconds = Field(default=120.0, ge=1, le=_DAY)
    contact_host: str = Field(default="", max_length=253, pattern=r"[A-Za-z0-9._:-]*")
    journal_max_bytes: int = Field(default=1 << 30, ge=1 << 20, le=1 << 40)
    embedded: bool = False

    _sizes = field_validator("journal_max_bytes", mode="before")(parse_size)


class AdaptiveDefaults(_Section):
    """The adaptive policy where a user leaves it open; times in seconds. `maximum` holds where no limit is lower.

    `wait_count` and `target_duration` are taken literally where they are set; left out, they follow what a start takes.
    """

    interval: Seconds = Field(default=1.0, ge=0.1, le=3600)
    maximum: int = Field(default=64, ge=1, le=MOST_WORKERS)
    wait_count: int | None = Field(default=None, ge=0, le=10_000)
    target_duration: Seconds | None = Field(default=None, gt=0, le=_DAY)


class HeldWork(_Section):
    """What lost clients leave: kept for `keep` seconds, up to a share of the workers' memory limit."""

    keep: Seconds = Field(default=_DAY, le=365 * _DAY)
    memory_share: float = Field(default=0.5, ge=0, le=1)


class Logs(_Section):
    """An instance's log: `files` of `max_bytes`, kept for `keep` seconds after the cluster's end."""

    max_bytes: int = Field(default=10 << 20, ge=4096, le=1 << 40)
    files: int = Field(default=5, ge=1, le=100)
    keep: Seconds = Field(default=7 * _DAY, le=10 * 365 * _DAY)

    _sizes = field_validator("max_bytes", mode="before")(parse_size)


class History(_Section):
    """How long ended clusters and events are remembered, in seconds, and how many events at most."""

    keep_clusters: Seconds = Field(default=30 * _DAY, le=10 * 365 * _DAY)
    keep_events: Seconds = Field(default=30 * _DAY, le=10 * 365 * _DAY)
    max_events: int = Field(default=100_000, ge=1000, le=100_000_000)


class Quota(_Section):
    """What the live clusters of one user may take together; an adaptive group counts with its maximum. None: no limit.

    Attributes
    ----------
    max_cores
        Threads of all workers.
    max_memory
        Memory limits of all workers, in bytes; workers must have one then.
    """

    max_clusters: int | None = Field(default=None, ge=0, le=1_000_000)
    max_workers: int | None = Field(default=None, ge=0, le=MOST_WORKERS)
    max_cores: int | None = Field(default=None, ge=0, le=100_000_000)
    max_memory: int | None = Field(default=None, ge=0)

    _sizes = field_validator("max_memory", mode="before")(parse_size)


class Limits(_Section):
    """`max_clusters` a user, `max_workers` a cluster, `max_clusters_total` of all users; counts of live ones.

    `user` is what all clusters of one user may take.
    """

    max_clusters: int = Field(default=100, ge=1, le=1_000_000)
    max_workers: int = Field(default=1000, ge=1, le=MOST_WORKERS)
    max_clusters_total: int = Field(default=1000, ge=1, le=1_000_000)
    user: Quota = Quota()


class Access(_Section):
    """Who is more than a user: names, or "@" and a group's name. Root and the daemon's own user are admins anyhow.

    Attributes
    ----------
    admins
        May do all that owners may, connecting included, which is to run code as them; root's clusters aside.
    operators
        See all clusters, scale and end them.
    """

    admins: tuple[Subject, ...] = Field(default=(), max_length=1000)
    operators: tuple[Subject, ...] = Field(default=(), max_length=1000)


class ProfileSpec(ClusterSpec):
    """What a profile lays under a spec; `group` (here `every_group`) under every group of it."""

    every_group: WorkerGroupSpec = Field(default=WorkerGroupSpec(), alias="group")

    @field_validator("profile")
    @classmethod
    def _no_profile(cls, name: str) -> str:
        raise ValueError(f"a profile can't be laid over another ({name!r}): remove it")

    @field_validator("every_group", "groups")
    @classmethod
    def _no_nodes(cls, given: WorkerGroupSpec | tuple[WorkerGroupSpec, ...]) -> Any:
        groups = given if isinstance(given, tuple) else (given,)
        if any("nodes" in group.model_fields_set for group in groups):
            raise ValueError("how many nodes a job has is an option: write `options.nodes_per_job` instead of `nodes`")
        return given


class Profile(_Section):
    """A named template of a spec.

    Attributes
    ----------
    max_workers
        The most workers that one group may have; None: the limit of a cluster.
    user
        What the clusters of this profile that one user has may take together.
    spec
        What it lays under a request; only what is set counts.
    dashboard_open_to_every_local_user
        Where the daemon serves other users than its own: without `Web.listen` their clusters have no Dask dashboard,
        for that asks nobody who they are. True: they have one on loopback, and every user of the machine can read it.
    fixed
        What a request may not change: fields of the spec ("python"), of every group ("group.driver"), or an entry of
        one of their tables ("environment.LANG", "group.options.queue").
    """

    description: str = Field(default="", max_length=1000)
    max_workers: int | None = Field(default=None, ge=0, le=MOST_WORKERS)
    user: Quota = Quota()
    spec: ProfileSpec = ProfileSpec()
    dashboard_open_to_every_local_user: bool = False
    fixed: tuple[str, ...] = ()

    @field_validator("fixed")
    @classmethod
    def _known(cls, fixed: tuple[str, ...]) -> tuple[str, ...]:
        for name in fixed:
            of_group = name.startswith("group.")
            fields = WorkerGroupSpec.model_fields if of_group else ClusterSpec.model_fields
            field = name.removeprefix("group.").partition(".")[0]
            if field not in fields:
                known = [f"group.{known}" if of_group else known for known in fields]
                raise ValueError(not_there("field", f"group.{field}" if of_group else field, known))
        return fixed

    def defaults(self) -> dict[str, Any]:
        """What is set, as plain data, sparse."""
        return self.spec.model_dump(exclude_unset=True)


class Config(_Section):
    """The whole configuration; `file` is where it was read from, None if there is no file.

    `drivers`: what each driver is set to, by its name, which its own model checks (`drivers.registry`).
    """

    daemon: Daemon = Daemon()
    clusters: Clusters = Clusters()
    adaptive: AdaptiveDefaults = AdaptiveDefaults()
    held_work: HeldWork = HeldWork()
    logs: Logs = Logs()
    history: History = History()
    limits: Limits = Limits()
    access: Access = Access()
    tls: Tls = Tls()
    drivers: Mapping[str, Mapping[str, Any]] = Field(default_factory=dict)
    web: Web = Web()
    profiles: Mapping[Name, Profile] = Field(default_factory=dict)
    file: Path | None = Field(default=None, exclude=True)

    def profile(self, name: str) -> Profile | None:
        """The profile of that name; for an empty one the default one; None if there is none."""
        return self.profiles.get(name or DEFAULT_PROFILE)

    def group_limit(self, profile: str) -> int:
        """The most workers that one group of a cluster of that profile may have."""
        found = self.profile(profile)
        of_profile = found.max_workers if found is not None else None
        return self.limits.max_workers if of_profile is None else min(of_profile, self.limits.max_workers)


_AT_START = (
    "daemon.state_dir",
    "daemon.runtime_dir",
    "daemon.listen",
    "daemon.log_format",
    "daemon.orphan_grace",
    "daemon.units",
    "daemon.metrics",
    "daemon.max_message_bytes",
    "drivers",
    "tls.certificate",
    "tls.key",
    "tls.client_ca",
    "web.listen",
    "web.public_url",
    "web.session",
)


def kept_until_restart(old: Config, new: Config) -> tuple[str, ...]:
    """The keys that differ, and that a running daemon does not take up."""
    return tuple(key for key in _AT_START if _value(old, key) != _value(new, key))


def _value(config: Config, key: str) -> object:
    section, _, name = key.partition(".")
    found = getattr(config, section)
    return getattr(found, name) if name else found


def load_config(path: Path | None = None, *, environ: Mapping[str, str] | None = None) -> Config:
    """Read the configuration.

    Parameters
    ----------
    path
        The file; None: the first of `places.config_files` that exists, and only defaults if there is none.
    environ
        Where XDG's and systemd's variables are looked up; None: this process's.

    Raises
    ------
    InvalidConfig
        With all that is wrong, a line each; `problems` has them by key.
    """
    file = path
    if file is None:
        candidates = places.config_files(os.environ if environ is None else environ, os.geteuid())
        file = next((candidate for candidate in candidates if candidate.exists()), None)
    return Config() if file is None else parse_config(_read(file), file)


def parse_config(text: str, file: Path) -> Config:
    """The configuration that a text holds; `file` is for the errors.

    Raises
    ------
    InvalidConfig
        With all that is wrong, a line each; `problems` has them by key.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidConfig(f"{file}: this is no TOML: {error}", facts={"file": str(file)}) from None
    if "file" in document:
        raise _invalid(file, [Problem("file", "there is no 'file' here: remove it")])
    try:
        return Config.model_validate({**document, "file": file})
    except ValidationError as error:
        raise _invalid(file, problems_of(error, Config)) from None


def _read(file: Path) -> str:
    facts = {"file": str(file)}
    try:
        found = file.stat()
        if not stat.S_ISREG(found.st_mode):
            raise InvalidConfig(f"{file}: it is no regular file: name a TOML file", facts=facts)
        if found.st_mode & stat.S_IWOTH:
            # whoever may write it decides what the daemon runs
            raise InvalidConfig(f"{file}: everybody may write it: chmod o-w {file}", facts=facts)
        if found.st_size > _MOST_FILE_BYTES:
            raise InvalidConfig(f"{file}: it is larger than 1 MiB: is it the right file?", facts=facts)
        return file.read_text("utf-8")
    except FileNotFoundError:
        raise InvalidConfig(f"{file}: there is no such file: create it, or leave --config out", facts=facts) from None
    except UnicodeDecodeError as error:
        raise InvalidConfig(f"{file}: it is no UTF-8 at byte {error.start}: save it as UTF-8", facts=facts) from None
    except OSError as error:
        raise InvalidConfig(
            f"{file}: it can't be read: {error.strerror}: check its owner and mode", facts=facts
        ) from error


def _invalid(file: Path, problems: Iterable[Problem]) -> InvalidConfig:
    found = tuple(problems)
    lines = [f"{file}: {problem.field}: {problem.words}" for problem in found]
    return InvalidConfig("\n".join(lines), facts={"file": str(file), "key": found[0].field}, problems=found)
