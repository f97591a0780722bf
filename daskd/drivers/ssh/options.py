"""What a worker group, and the administrator, may say of hosts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from daskd.model.quantity import Amount
from daskd.model.spec import Text

from .endpoint import INSECURE, SSH_PORT, Endpoint
from .placement import Room

_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:%-]{0,252}", re.ASCII)
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,62}\$?", re.ASCII)
_TARGET = re.compile(
    r"(?:(?P<user>[^\s@]+(?:@[^\s@]+)?)@)?(?:\[(?P<six>[^\]]+)\]|(?P<host>[^\s@:\[\]]+))(?::(?P<port>\d{1,5}))?"
)


def split_target(text: str) -> tuple[str, str, int | None]:
    """User ("" where none is said), host and port of "[user@]host[:port]"; an IPv6 address stands in brackets.

    Raises
    ------
    ValueError
        When it is none.
    """
    match = _TARGET.fullmatch(text.strip())
    if match is None or not 0 < int(match["port"] or 1) < 65_536:
        raise ValueError(f"{text!r:.100} is no host: write HOST, USER@HOST or USER@HOST:PORT")
    user, host = match["user"] or "", match["six"] or match["host"]
    return (_user(user) if user else ""), _host(host), int(match["port"]) if match["port"] else None


def _host(name: str) -> str:
    if not _HOST.fullmatch(name):
        raise ValueError(f"{name!r:.100} is no host: a name or an address, of letters, digits, dots, dashes")
    return name


def _user(name: str) -> str:
    if not _USER.fullmatch(name):
        raise ValueError(f"{name!r:.100} is no user's name")
    return name


def _jump(text: str) -> str:
    split_target(text)
    return text.strip()


def _file(path: str) -> str:
    if not path.startswith(("/", "~/")):
        raise ValueError(f"{path!r} is not absolute: write the whole path, beginning with / or ~/")
    return path


File = Annotated[Text, AfterValidator(_file)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Login(_Frozen):
    """How a host is reached."""

    username: Annotated[str, AfterValidator(_user)] | None = Field(
        default=None, description="The user to log in as; by default what ~/.ssh/config says, else the owner's name."
    )
    port: int | None = Field(default=None, ge=1, le=65_535, description="The port of its SSH server: 22.")
    key: File | None = Field(
        default=None,
        description="The file of the private key, on the daemon's machine; by default those in ~/.ssh or the agent.",
    )
    known_hosts: Text | None = Field(
        default=None,
        description=f'The file of the hosts\' keys; by default ~/.ssh/known_hosts. "{INSECURE}" takes any key.',
    )
    jump: Annotated[Text, AfterValidator(_jump)] | None = Field(
        default=None, description="The host through which it is reached: [USER@]HOST[:PORT]."
    )
    python: Text | None = Field(
        default=None,
        min_length=1,
        description="Its Python, a path or a name; by default the cluster's where the host has it, else python3.",
    )

    @field_validator("known_hosts", mode="before")
    @classmethod
    def _checked(cls, path: Any) -> Any:
        # elsewhere null means that nothing is checked
        if path is None:
            raise ValueError(f'host keys are checked: leave it out, name a file, or write "{INSECURE}" to take any key')
        return path if path == INSECURE or not isinstance(path, str) else _file(path)


class Access(Login):
    """How hosts are reached and what they have; a host's own word goes before its group's."""

    cores: int | None = Field(default=None, ge=1, le=65_536, description="How many cores workers may take.")
    memory: Amount | None = Field(default=None, description="How much memory workers may take.")
    slots: int | None = Field(default=None, ge=0, le=65_536, description="How many workers it may have.")
    interface: Text | None = Field(
        default=None,
        min_length=1,
        max_length=253,
        description="The network interface, or address, at which its workers listen; by default the one towards the "
        "scheduler.",
    )
    directory: File | None = Field(default=None, description="The daemon's folder there: ~/.daskd.")


class HostOptions(Access):
    """One host."""

    host: Annotated[str, AfterValidator(_host)] = Field(description="Its name or address.")


class LoginHost(Login):
    """A host that commands are run on."""

    host: Annotated[str, AfterValidator(_host)] = Field(description="Its name or address.")


def one_host(value: Any) -> Any:
    """A host as a table, where "[user@]host[:port]" was written; what is something else stays as it is."""
    if not isinstance(value, str):
        return value
    user, host, port = split_target(value)
    return {"host": host, **({"username": user} if user else {}), **({"port": port} if port else {})}


def _hosts(value: Any) -> Any:
    return [part for part in re.split(r"[,\s]+", value) if part] if isinstance(value, str) else value


Host = Annotated[HostOptions, BeforeValidator(one_host)]
Hosts = Annotated[tuple[Host, ...], BeforeValidator(_hosts)]


class SshOptions(Access):
    """What a worker group may ask for: hosts, and what holds for all of them."""

    hosts: Hosts = Field(
        default=(),
        max_length=1000,
        description="The hosts, as [USER@]HOST[:PORT] or as tables; by default those of the daemon's configuration.",
    )


class SshSettings(SshOptions):
    """The administrator's `[drivers.ssh]`: the same words, which a request's go before."""


def rooms(options: SshOptions, settings: SshSettings) -> list[tuple[Room, str]]:
    """The hosts of a group with all that was said of them, and the interface of each ("": to be found out).

    What is said goes in this order: the request of the host, the request, the configuration of the host, the
    configuration.
    """
    listed = {host.host: host for host in settings.hosts}
    found: dict[str, tuple[Room, str]] = {}
    for host in options.hosts or settings.hosts:
        said = _merged(settings, listed.get(host.host), options, host)
        endpoint = Endpoint(
            host=host.host,
            port=said.get("port", SSH_PORT),
            directory=said.get("directory", "~/.daskd"),
            **{name: said.get(name, "") for name in ("username", "key", "known_hosts", "jump", "python")},
        )
        room = Room(endpoint, said.get("slots"), said.get("cores", 0), said.get("memory", 0))
        found.setdefault(endpoint.folder, (room, said.get("interface", "")))
    return list(found.values())


def _merged(*layers: Access | None) -> Mapping[str, Any]:
    merged: dict[str, Any] = {}
    for layer in layers:
        if layer is not None:
            merged |= {name: value for name in Access.model_fields if (value := getattr(layer, name)) is not None}
    return merged
