"""Where the daemon is."""

from __future__ import annotations

import os
from pathlib import Path

import dask.config
import pytest

from daskd_client import InvalidAddress
from daskd_client.address import Address, find_address, find_token, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("unix:/run/d.sock", Address(socket=Path("/run/d.sock"))),
        ("unix:///run/d.sock", Address(socket=Path("/run/d.sock"))),
        ("host:8780", Address(host="host", port=8780)),
        ("[::1]:8780", Address(host="::1", port=8780)),
    ],
)
def test_address_forms(text: str, address: Address) -> None:
    """Each of the documented forms is read, and written in one of them again."""
    assert parse_address(text) == address
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        *("", "host", ":80", "host:", "host:0", "host:65536", "host:x", "host:\u0663", "::1:80", "http://host:80"),
        *("/run/d.sock", "unix:d", "unix://d.sock", "unix:/" + "x" * 103),
    ],
)
def test_bad_address_is_refused_with_the_mend(text: str) -> None:
    """What is no address is refused, quoting it."""
    with pytest.raises(InvalidAddress) as caught:
        parse_address(text)
    assert repr(text) in str(caught.value)


def test_argument_goes_before_environment_before_configuration_before_sockets(tmp_path: Path) -> None:
    """The first place that names an address wins."""
    (tmp_path / "daskd").mkdir()
    environment = {"DASKD_ADDRESS": "env:1", "XDG_RUNTIME_DIR": str(tmp_path)}
    with dask.config.set({"daskd.address": "config:2"}):
        assert str(find_address("argument:3", environment)) == "argument:3"
        assert str(find_address(None, environment)) == "env:1"
        del environment["DASKD_ADDRESS"]
        assert str(find_address(None, environment)) == "config:2"
    assert str(find_address(None, environment)) == f"unix:{tmp_path}/daskd/daskd.sock"


def test_bad_address_names_where_it_stood() -> None:
    """An address that is wrong in the environment is said to be there."""
    with pytest.raises(InvalidAddress, match=r"^DASKD_ADDRESS: "):
        find_address(None, {"DASKD_ADDRESS": "nonsense"})


def test_without_a_runtime_directory_the_socket_is_in_the_users_own_folder() -> None:
    """Without XDG_RUNTIME_DIR the user's socket is looked for below /tmp, by uid."""
    assert str(find_address(None, {})) in (f"unix:/tmp/daskd-{os.getuid()}/daskd.sock", "unix:/run/daskd/daskd.sock")


def test_token_is_found_like_the_address() -> None:
    """A token comes from the argument, DASKD_TOKEN, or Dask's configuration, in this order."""
    with dask.config.set({"daskd.token": "c"}):
        assert find_token("a", {"DASKD_TOKEN": "b"}) == "a"
        assert find_token(None, {"DASKD_TOKEN": "b"}) == "b"
        assert find_token(None, {}) == "c"
    assert find_token(None, {}) is None


@pytest.mark.parametrize(("text", "expected"), [("127.0.0.1:1", True), ("[::1]:1", True), ("localhost:1", True)])
def test_loopback_is_told_from_other_hosts(text: str, expected: bool) -> None:
    """Only this machine's own addresses are loopback."""
    assert parse_address(text).is_loopback is expected
    assert not parse_address("10.0.0.1:1").is_loopback
    assert not parse_address("example.org:1").is_loopback
