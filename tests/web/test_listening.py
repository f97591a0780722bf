"""Where browsers connect: by TLS on TCP, on a unix socket behind a proxy, or not at all."""

from __future__ import annotations

import asyncio
import socket
import ssl
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from daskd.model.errors import InvalidConfig, StateUnusable
from daskd.security.peer import identity_of

from ..api.tls_files import Authority
from .proxied import OWNER_UID, PLAIN, a_proxy


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path, which unix sockets need."""
    with tempfile.TemporaryDirectory(prefix="dkl-", dir="/tmp") as name:
        yield Path(name)


def fetched(connection: socket.socket, path: str) -> str:
    """Head and body of the answer to a request."""
    connection.settimeout(60)
    connection.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
    with connection.makefile("rb") as answer:
        return answer.read().decode()


async def test_a_certificate_is_shown_and_the_cookie_is_for_tls_alone(folder: Path) -> None:
    """With `[tls]` the link is https, a client that trusts the authority gets in by it, and the cookie is Secure."""
    authority = Authority(folder)
    certificate, key = authority.issue("head")
    toml = f'[web]\nlisten = "127.0.0.1:0"\n[tls]\ncertificate = "{certificate}"\nkey = "{key}"\n'
    async with a_proxy(folder, toml=toml) as proxied:
        link = proxied.web.links.create(proxied.caller(identity_of(OWNER_UID)), proxied.cluster.uid).url
        assert link.startswith("https://127.0.0.1:")
        origin = proxied.web.links.origin(proxied.cluster.uid)

        def get() -> str:
            context = ssl.create_default_context(cafile=authority.file)
            plain = socket.create_connection(("127.0.0.1", int(origin.rpartition(":")[2])), 60)
            with context.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
                return fetched(connection, link.removeprefix(origin))

        answer = await asyncio.to_thread(get)
    (cookie,) = [line for line in answer.split("\r\n") if line.lower().startswith("set-cookie")]
    assert "__Secure-daskd-dashboard=" in cookie
    assert {"Secure", "HttpOnly", "SameSite=Strict", f"Path=/clusters/{proxied.cluster.uid}/"} <= set(
        cookie.split("; ")
    )


async def test_a_unix_socket_is_for_a_proxy_that_does_tls(folder: Path) -> None:
    """It is served on the socket, links begin as `public_url` says, and the file goes with the daemon."""
    path = folder / "web.sock"
    toml = f'[web]\nlisten = "unix:{path}"\npublic_url = "https://dask.example.org"\n'
    async with a_proxy(folder, toml=toml) as proxied:
        assert proxied.web.links.plain("c").startswith("https://dask.example.org/clusters/")
        assert stat.S_ISSOCK(path.stat().st_mode)

        def get() -> str:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(path))
                return fetched(connection, proxied.prefix + "/status")

        assert " 401 " in await asyncio.to_thread(get)
    assert not path.exists()


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ('[web]\nlisten = "127.0.0.1:0"', "take the port while daskd is down"),
        ('[web]\nlisten = "0.0.0.0:0"\npublic_url = "https://x.org"', "can be reached from other machines"),
        (
            '[web]\nlisten = "127.0.0.1:0"\n[tls]\ncertificate = "/no/c"\nkey = "/no/k"',
            "`tls.key`: /no/k can't be read",
        ),
    ],
)
async def test_what_is_not_safe_is_refused_in_the_apis_own_words(folder: Path, toml: str, words: str) -> None:
    """Without TLS, or with files that are not there, nothing is opened."""
    with pytest.raises(InvalidConfig, match=words):
        async with a_proxy(folder, toml=toml):
            pytest.fail("it was opened")


async def test_a_port_that_is_taken_is_told_with_the_mend(folder: Path) -> None:
    """The words name the address and the setting."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StateUnusable, match=f"127.0.0.1:{port} can't be listened on.*web.listen"):
            async with a_proxy(folder, toml=PLAIN.replace(":0", f":{port}")):
                pytest.fail("it was opened")
