"""The daemon's end of the link against what users' code in a scheduler could answer: anything."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import re
import socket
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hostile_server import HELLO, Reply, answers, drips, http, says, serving, silent, streams

from daskd.control.hub import Hub
from daskd.control.link import Link, LinkError, unix

GIB = 1 << 30
MIB = 1 << 20


class Evil:
    """What a pickle runs when it is loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.abort, ()


PICKLE = pickle.dumps(Evil())
STATE = {"rev": 1, "t": 1.0, "phase": "running", "address": "tls://127.0.0.1:8786"}
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def said(**values: Any) -> Reply:
    """Answers with a state that has these values."""
    return says(http(json.dumps({**STATE, **values}).encode()))


HOSTILE: dict[str, tuple[Reply, str]] = {
    "a pickle": (says(PICKLE), "no HTTP"),
    "a pickle in HTTP": (says(http(PICKLE)), "no JSON"),
    "garbage": (says(os.urandom(4096)), "no HTTP|hung up"),
    "nothing and a hang-up": (says(b""), "hung up|no HTTP"),
    "half an answer": (says(http(HELLO)[:-10]), "hung up|no HTTP"),
    "a gigabyte with its length": (streams(http(b"")[:17] + b"Content-Length: %d\r\n\r\n" % GIB, b"1", GIB), "longer"),
    "a gigabyte without a length": (streams(b"HTTP/1.1 200 OK\r\n\r\n", b"1", GIB), "how long"),
    "a gigabyte of headers": (streams(b"HTTP/1.1 200 OK\r\nX: ", b"1", GIB), "no HTTP"),
    "a gigabyte of one-byte chunks": (streams(CHUNKED, b"1\r\n1\r\n", GIB), "how long"),
    "endless interim answers": (streams(b"", b"HTTP/1.1 100 Continue\r\n\r\n", GIB), "announces another"),
    "a length that is none": (says(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"), "no HTTP"),
    "a length of ten thousand digits": (says(b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 10_000), "no HTTP|hung"),
    "silence": (silent, "did not answer within"),
    "a slow drip": (drips(http(HELLO)), "did not answer within"),
    "an error": (says(http(b"oh", "500 Broken")), "answered 500"),
    "deep JSON": (says(http(b"[" * (4 * MIB))), "no JSON"),
    "a number of a million digits": (says(http(b'{"rev": ' + b"9" * MIB + b"}")), "no JSON"),
    "a number beyond 2**53": (said(rev=1 << 54), "rev"),
    "not a number": (says(http(b'{"rev": 1, "t": NaN, "phase": "", "address": "tls://a:1"}')), "t: "),
    "infinity": (says(http(b'{"rev": 1, "t": 1e999, "phase": "", "address": "tls://a:1"}')), "t: "),
    "another document": (says(http(b"[]")), "not what a runtime says"),
    "an address that is none": (said(address="javascript:alert(1)"), "address"),
    "a port that is none": (said(address="tls://127.0.0.1:abc"), "address"),
    "a dashboard that is no page": (said(dashboard="javascript:alert(1)"), "dashboard"),
    "a hundred thousand workers": (said(workers=[0] * 100_000), "workers"),
    "a text of eight megabytes": (said(phase="x" * (7 * MIB)), "phase"),
}


def link_to(path: Path, uid: int | None = None) -> Link:
    """A link with little patience."""
    return Link(unix(path, os.geteuid() if uid is None else uid), "c", "i", timeout=1.0)


async def refused(call: Callable[[], Awaitable[object]]) -> tuple[str, float]:
    """The words of the LinkError that a call ends with, and the longest time for which the loop stood still."""
    longest = 0.0

    async def tick() -> None:
        nonlocal longest
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            longest = max(longest, time.monotonic() - before)

    ticking = asyncio.create_task(tick())
    try:
        with pytest.raises(LinkError) as caught:
            await asyncio.wait_for(call(), 60)
    finally:
        ticking.cancel()
    return caught.value.words, longest


@pytest.mark.parametrize("what", HOSTILE)
async def test_whatever_answers_is_told_in_words_and_costs_little(what: str, tmp_path: Path) -> None:
    """Each hostile answer is a LinkError in short words, within bounded memory, while the loop serves others."""
    reply, words = HOSTILE[what]
    path = tmp_path / "l"
    link = link_to(path)
    # a state waits by itself; what never answers is asked by a call that has little patience
    call = link.hello if reply is silent or what == "a slow drip" else lambda: link.state(None, 0)
    with serving(path, reply):
        tracemalloc.start()
        try:
            told, stood_still = await refused(call)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert re.search(words, told), told
    assert len(told) <= 1000
    assert peak < 128 * MIB
    assert stood_still < 10


@pytest.mark.parametrize(
    ("hello", "words"),
    [
        ({"protocol": 2}, "speaks version 2 of the link"),
        ({"cluster": "another"}, "another cluster"),
        ({"instance": "another"}, "another cluster"),
    ],
)
async def test_a_runtime_of_another_cluster_or_protocol_is_refused(
    hello: dict[str, Any], words: str, tmp_path: Path
) -> None:
    """Who answers must speak this protocol for this instance of this cluster."""
    path = tmp_path / "l"
    with serving(path, says(http(json.dumps({**json.loads(HELLO), **hello}).encode()))):
        told, _ = await refused(link_to(path).hello)
    assert words in told


LISTENS_AS_NOBODY = """
import os, socket, sys
listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
listener.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o666)
os.setuid(65534)
listener.listen()
print("listens", flush=True)
connection, _ = listener.accept()
print(len(connection.recv(1)), flush=True)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
async def test_another_users_listener_is_sent_nothing(tmp_path: Path) -> None:
    """Where another user's process listens on a cluster's link, not a byte is sent to it."""
    path = tmp_path / "l"
    argv = [sys.executable, "-I", "-S", "-c", LISTENS_AS_NOBODY, str(path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as stranger:
        assert stranger.stdout is not None
        assert stranger.stdout.readline() == "listens\n"
        told, _ = await refused(link_to(path).hello)
        assert stranger.stdout.readline() == "0\n"
    assert "the user 65534 listens on its link" in told


async def test_a_link_that_nobody_accepts_any_more_is_told_as_that(tmp_path: Path) -> None:
    """A listener whose queue is full, as a blocked scheduler's is in the end, is told as busy and not as a stranger."""
    path = tmp_path / "l"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen(0)
        link = link_to(path)
        told = [(await refused(link.hello))[0] for _ in range(2)]
    assert "did not answer" in told[0]
    assert "takes no more connections" in told[1]


@pytest.mark.parametrize("exists", [True, False])
async def test_a_link_without_a_listener_is_told_as_that(exists: bool, tmp_path: Path) -> None:
    """A scheduler that is gone, or has never been there, is an error in words as well."""
    path = tmp_path / "l"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        if exists:
            listener.bind(str(path))
        told, _ = await refused(link_to(path).hello)
    assert "nobody answers on its link" in told


async def test_text_that_is_no_unicode_is_mended(tmp_path: Path) -> None:
    """Half a surrogate pair, which JSON can hold and no database, is replaced wherever it stands."""
    path = tmp_path / "l"
    event = {"seq": 1, "t": 1.0, "type": "held", "words": "a\ud800", "facts": {"k\udfff": ["\ud800", "\U0001f600"]}}
    with serving(path, said(events=[event])):
        state = await link_to(path).state(None, 0)
    assert state.events[0].words == "a?"
    assert state.events[0].facts == {"k?": ["?", "\U0001f600"]}


async def until(condition: Callable[[], object]) -> None:
    """Waits until that is true, a minute at most."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_a_hub_that_hears_nonsense_recovers(tmp_path: Path) -> None:
    """What a scheduler once said stays known while nonsense comes, its trouble is told, and sense is heard again."""
    path = tmp_path / "l"
    wakes: list[None] = []
    sent = {"/v1/hello": http(HELLO), "/v1/state": http(json.dumps(STATE).encode())}
    with serving(path, answers(lambda target: sent[target.partition("?")[0]])):
        hub = Hub(link_to(path), lambda: wakes.append(None))
        try:
            await until(lambda: hub.view.connected)
            sent["/v1/hello"] = sent["/v1/state"] = PICKLE
            await until(lambda: not hub.view.connected)
            assert "no HTTP" in hub.view.trouble
            assert hub.view.state is not None
            sent |= {"/v1/hello": http(HELLO), "/v1/state": http(json.dumps({**STATE, "rev": 2}).encode())}
            await until(lambda: hub.view.connected)
            assert hub.view.state.rev == 2
        finally:
            await hub.close()
    assert len(wakes) >= 3


async def test_a_scheduler_that_always_has_news_is_asked_now_and_then(tmp_path: Path) -> None:
    """Answers that come at once, each with another revision, do not become a loop that does nothing else."""
    path = tmp_path / "l"
    asked = 0

    def always_news(target: str) -> bytes:
        nonlocal asked
        asked += target.startswith("/v1/state")
        return http(HELLO) if target == "/v1/hello" else http(json.dumps({**STATE, "rev": asked}).encode())

    with serving(path, answers(always_news)):
        hub = Hub(link_to(path), lambda: None)
        try:
            await until(lambda: asked >= 2)
            before, begun = asked, time.monotonic()
            await until(lambda: asked >= before + 20)
            took = time.monotonic() - begun
        finally:
            await hub.close()
    assert took >= 0.2


LOADS_NO_PICKLE = """
import asyncio, os, sys
from pathlib import Path
from daskd.control.link import Link, LinkError, unix

async def ask():
    for answer in ("hello", "held"):
        try:
            await getattr(Link(unix(Path(sys.argv[1]), os.geteuid()), "c", "i", timeout=5), answer)()
        except LinkError as error:
            print(error.words)

def hook(event, arguments):
    if event.startswith("pickle.") or event in ("os.system", "subprocess.Popen", "os.exec", "os.fork"):
        print("ran", event)
        os._exit(3)

sys.addaudithook(hook)
asyncio.run(ask())
print("pickle" in sys.modules, "distributed" in sys.modules)
"""


@pytest.mark.parametrize("answer", [PICKLE, http(PICKLE)], ids=["bare", "http"])
def test_no_pickle_is_loaded(answer: bytes, tmp_path: Path) -> None:
    """The interpreter's own audit sees no pickle loaded and nothing run while a pickle is the answer."""
    path = tmp_path / "l"
    with serving(path, says(answer)):
        argv = [sys.executable, "-c", LOADS_NO_PICKLE, str(path)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == 3
    assert done.stdout.splitlines()[-1].endswith("False")
