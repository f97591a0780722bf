"""What a TCP listener needs before it may open: certificates, or words that say that there are none."""

from __future__ import annotations

import os
import ssl
import stat
from collections.abc import Iterable
from pathlib import Path

import grpc

from daskd.config import Tls
from daskd.model.errors import InvalidConfig
from daskd.model.listen import Listener


def check_listeners(listeners: Iterable[Listener], tls: Tls) -> None:
    """Refuse a listener on which callers' tokens could be read by others.

    Raises
    ------
    InvalidConfig
        When one has no certificate, unless it is on loopback and the configuration says so.
    """
    for listener in listeners:
        if listener.socket is not None or tls.certificate is not None:
            continue
        if not listener.is_loopback:
            raise InvalidConfig(
                f"{listener} can be reached from other machines, and without TLS whoever is between reads every token: "
                "set `tls.certificate` and `tls.key`, or listen on a unix socket",
                facts={"listen": str(listener), "key": "tls.certificate"},
            )
        if not tls.loopback_without_tls_though_others_could_pose_as_daskd:
            raise InvalidConfig(
                f"{listener} has no TLS: another user of this machine could take the port while daskd is down, and "
                "collect tokens. Set `tls.certificate` and `tls.key`, or, if you accept that, "
                "`tls.loopback_without_tls_though_others_could_pose_as_daskd = true`",
                facts={"listen": str(listener), "key": "tls.certificate"},
            )


def server_credentials(tls: Tls) -> grpc.ServerCredentials | None:
    """What TCP listeners show and ask for; None without a certificate. Blocks.

    Raises
    ------
    InvalidConfig
        When a file can't be read, or others may read the key.
    """
    if tls.certificate is None or tls.key is None:
        return None
    _check_key(tls.key)
    pair = (_read(tls.key, "tls.key"), _read(tls.certificate, "tls.certificate"))
    if tls.client_ca is None:
        return grpc.ssl_server_credentials([pair])
    authority = _read(tls.client_ca, "tls.client_ca")
    return grpc.ssl_server_credentials([pair], root_certificates=authority, require_client_auth=True)


def browser_context(tls: Tls) -> ssl.SSLContext | None:
    """The same for browsers. Blocks.

    Raises
    ------
    InvalidConfig
        When a file can't be read or is no PEM, or others may read the key.
    """
    if tls.certificate is None or tls.key is None:
        return None
    _check_key(tls.key)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(tls.certificate, tls.key)
        if tls.client_ca is not None:
            context.load_verify_locations(tls.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except OSError as error:  # ssl.SSLError is one
        words = f"`[tls]`: its files can't be used: {error.strerror or error}: are they there, readable, and PEM?"
        raise InvalidConfig(words, facts={"key": "tls.certificate"}) from error
    return context


def _check_key(key: Path) -> None:
    if stat.S_IMODE(_stat(key).st_mode) & 0o007:
        raise InvalidConfig(f"everybody may touch the key {key}: chmod o-rwx {key}", facts={"key": "tls.key"})


def _stat(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise _unreadable(path, "tls.key", error) from error


def _read(path: Path, key: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, key, error) from error


def _unreadable(path: Path, key: str, error: OSError) -> InvalidConfig:
    return InvalidConfig(f"`{key}`: {path} can't be read: {error.strerror}", facts={"key": key, "path": str(path)})
