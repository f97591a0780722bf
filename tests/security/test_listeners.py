"""Where a daemon may listen, and what it needs for that."""

from __future__ import annotations

from pathlib import Path

import pytest

from daskd.config import Config, Tls, parse_config
from daskd.model.errors import InvalidConfig
from daskd.model.listen import Listener, parse_listener
from daskd.security.listeners import check_listeners, server_credentials

ENCRYPTED = Tls(certificate=Path("/c.pem"), key=Path("/k.pem"))
PLAIN = Tls(loopback_without_tls_though_others_could_pose_as_daskd=True)


@pytest.mark.parametrize(
    ("text", "listener", "is_loopback"),
    [
        ("unix:/run/s", Listener(socket=Path("/run/s")), True),
        ("unix:///run/s", Listener(socket=Path("/run/s")), True),
        ("127.0.0.1:1", Listener(host="127.0.0.1", port=1), True),
        ("localhost:1", Listener(host="localhost", port=1), True),
        ("[::1]:1", Listener(host="::1", port=1), True),
        ("0.0.0.0:8780", Listener(host="0.0.0.0", port=8780), False),
        ("[::]:0", Listener(host="::", port=0), False),
        ("head.example.org:8780", Listener(host="head.example.org", port=8780), False),
        ("127.0.0.1.example.org:1", Listener(host="127.0.0.1.example.org", port=1), False),
    ],
)
def test_addresses_are_read_and_loopback_is_known(text: str, listener: Listener, is_loopback: bool) -> None:
    """A name that looks like loopback is none."""
    assert parse_listener(text) == listener
    assert listener.is_loopback is is_loopback
    assert parse_listener(str(listener)) == listener


@pytest.mark.parametrize(
    "text", ["", "unix:", "unix:s", "host", ":1", "host:", "host:x", "host:65536", "::1:1", "/s:1"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    """The words show both forms."""
    with pytest.raises(ValueError, match=r"unix:.*HOST:PORT"):
        parse_listener(text)


@pytest.mark.parametrize(
    ("address", "tls", "words"),
    [
        ("0.0.0.0:1", Tls(), "tls.certificate"),
        ("0.0.0.0:1", PLAIN, "tls.certificate"),
        ("127.0.0.1:1", Tls(), "loopback_without_tls"),
        ("127.0.0.1:1", PLAIN, ""),
        ("0.0.0.0:1", ENCRYPTED, ""),
        ("unix:/s", Tls(), ""),
    ],
)
def test_tcp_needs_a_certificate(address: str, tls: Tls, words: str) -> None:
    """On loopback alone words of the configuration do instead, and they warn."""
    if not words:
        check_listeners([parse_listener(address)], tls)
        return
    with pytest.raises(InvalidConfig, match=words):
        check_listeners([parse_listener("unix:/s"), parse_listener(address)], tls)


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    """As is one that is not there; each with its file and the mend."""
    for name in ("c.pem", "k.pem"):
        (tmp_path / name).write_text("x")
    (tmp_path / "k.pem").chmod(0o644)
    with pytest.raises(InvalidConfig, match="chmod o-rwx"):
        server_credentials(Tls(certificate=tmp_path / "c.pem", key=tmp_path / "k.pem"))
    with pytest.raises(InvalidConfig, match=r"tls\.key.*no\.pem.*No such file"):
        server_credentials(Tls(certificate=tmp_path / "c.pem", key=tmp_path / "no.pem"))


@pytest.mark.parametrize("toml", ['[tls]\ncertificate = "/c.pem"\n', '[tls]\nclient_ca = "/ca.pem"\n'])
def test_half_of_what_tls_takes_is_refused(toml: str) -> None:
    """A certificate without its key says nothing."""
    with pytest.raises(InvalidConfig, match=r"tls.*`key`"):
        parse_config(toml, Path("/etc/daskd.toml"))
    assert Config().tls.certificate is None
