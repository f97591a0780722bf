"""The link's runtime end over a real unix socket, and the scheduler's process as a whole."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import gated
import pytest
from distributed import Client
from hub_cluster import PATIENCE, a_client, a_cluster, a_hub, event, lose, until

from daskd.runtime.link import MAX_BODY, serve_link
from daskd.runtime.roster import Roster
from daskd.runtime.scheduler_hub import Hub


class Caller:
    """Calls a link as the daemon does: HTTP/1.1 on a unix socket, a connection a call."""

    def __init__(self, path: str) -> None:
        self.path = path

    async def __call__(self, method: str, target: str, body: Any = None) -> tuple[int, Any]:
        """Send a request; the status and the decoded JSON of the answer."""
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        fields = f"Host: link\r\nConnection: close\r\nContent-Length: {len(data)}"
        head = f"{method} {target} HTTP/1.1\r\n{fields}\r\n\r\n"
        reader, writer = await asyncio.open_unix_connection(self.path)
        try:
            writer.write(head.encode() + data)
            answer = await asyncio.wait_for(reader.read(), PATIENCE)
        finally:
            writer.close()
        status, _, rest = answer.partition(b"\r\n")
        _, _, content = rest.partition(b"\r\n\r\n")
        return int(status.split()[1]), json.loads(content) if content else None


@asynccontextmanager
async def a_socket() -> AsyncIterator[tuple[str, int]]:
    """Bind a unix socket as the daemon does; its path and a descriptor to hand over."""
    folder = tempfile.mkdtemp(prefix="lnk")
    path = os.path.join(folder, "s")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as bound:
        bound.bind(path)
        try:
            yield path, bound.detach()
        finally:
            shutil.rmtree(folder)


@asynccontextmanager
async def linked(hub: Hub) -> AsyncIterator[Caller]:
    """Serve a hub's link."""
    async with a_socket() as (path, fd):
        server = serve_link(hub, fd)
        try:
            yield Caller(path)
        finally:
            server.stop()
            await server.close_all_connections()


async def test_hello_says_who_this_is_and_what_it_runs_on():
    """hello names protocol, cluster, instance, pid and versions."""
    async with a_hub() as hub, linked(hub) as call:
        status, hello = await call("GET", "/v1/hello")
        assert status == 200
        assert (hello["protocol"], hello["cluster"], hello["instance"]) == (1, "c-1", "s-1")
        assert hello["pid"] == os.getpid()
        assert hello["versions"]["python"].startswith("3.")
        assert {"dask", "distributed", "tornado", "msgpack"} <= set(hello["versions"])


async def test_the_state_tells_nodes_workers_and_tasks():
    """A joined node's workers are told with their instance, others without one."""
    async with a_cluster(2) as hub, linked(hub) as call, a_client(hub) as client:
        joined = await client.scheduler.daskd_join(
            instance="i-1", incarnation=0, group="default", workers=["w-0"], pid=7, host="h", versions={}
        )
        assert joined == {"result": "ok", "words": ""}
        await client.submit(gated.inc, 1)
        future = client.submit(gated.inc, 2)
        await future
        _, state = await call("GET", "/v1/state")
        assert [(n["instance"], n["group"], n["workers"]) for n in state["nodes"]] == [("i-1", "default", ["w-0"])]
        assert {w["name"]: w["instance"] for w in state["workers"]} == {"w-0": "i-1", "w-1": None}
        assert {w["status"] for w in state["workers"]} == {"running"}
        assert state["tasks"]["memory"] == 1
        assert (state["phase"], state["clients"], state["dashboard"]) == ("running", 1, None)
        assert state["address"] == hub.scheduler.address
        assert state["held"] == {"clients": 0, "keys": 0, "bytes": 0}


async def test_a_long_poll_answers_at_the_change():
    """state?since waits for the next revision, and for no gauge."""
    async with a_cluster(1) as hub, linked(hub) as call:
        _, state = await call("GET", "/v1/state")
        waiting = asyncio.ensure_future(call("GET", f"/v1/state?since={state['rev']}&wait=60"))
        await until(lambda: hub.changes._waiters)
        hub.journal("test", "something happened")
        _, changed = await waiting
        assert changed["rev"] == state["rev"] + 1
        assert changed["events"][-1]["words"] == "something happened"
        _, other = await call("GET", "/v1/state?since=99999&wait=60")
        assert other["rev"] == changed["rev"]


async def test_a_caller_that_goes_waits_no_more():
    """The end of a connection ends its long poll."""
    async with a_hub() as hub, linked(hub) as call:
        _, writer = await asyncio.open_unix_connection(call.path)
        writer.write(f"GET /v1/state?since={hub.changes.count}&wait=60 HTTP/1.1\r\nHost: link\r\n\r\n".encode())
        await until(lambda: hub.changes._waiters)
        writer.close()
        await until(lambda: not hub.changes._waiters)


async def test_a_snapshot_waits_for_a_wake_condition():
    """snapshot?since&wait answers when a worker came, with the worker's row."""
    async with a_hub() as hub, linked(hub) as call:
        _, first = await call("GET", "/v1/snapshot")
        waiting = asyncio.ensure_future(call("GET", f"/v1/snapshot?since={first['wake']}&wait=60&rev={first['rev']}"))
        await until(lambda: hub.facts.wake._waiters)
        hub.facts.wake.raise_()
        _, second = await waiting
        assert second["wake"] == first["wake"] + 1
        assert second["rev"] > first["rev"]


async def test_retirement_over_the_link():
    """retire answers a state per name, and the worker's leaving tells the rest."""
    async with a_cluster(2) as hub, linked(hub) as call:
        body = {"workers": ["w-1", "nobody"], "drain": 5, "if_idle_rev": None}
        _, answer = await call("POST", "/v1/retire", body)
        assert {name: row["state"] for name, row in answer["workers"].items()} == {
            "w-1": "draining",
            "nobody": "unknown",
        }
        await until(lambda: hub.state.left)
        _, state = await call("GET", "/v1/state")
        assert [(e["name"], e["why"]) for e in state["left"]] == [("w-1", "retired")]


async def test_a_fenced_instance_is_refused_and_one_that_joined_is_told():
    """fence settles the race: who joined first is told joined, who comes later is told fenced."""
    async with a_hub() as hub, linked(hub) as call, a_client(hub) as client:
        node = {"group": "g", "workers": ["a-0"], "pid": 1, "host": "h", "versions": {}}
        await client.scheduler.daskd_join(instance="i-1", incarnation=1, **node)
        _, answer = await call("POST", "/v1/fence", {"ids": ["i-1", "i-2"]})
        assert answer == {"ids": {"i-1": "joined", "i-2": "fenced"}}
        late = await client.scheduler.daskd_join(instance="i-2", incarnation=0, **node)
        assert late["result"] == "fenced"
        older = await client.scheduler.daskd_join(instance="i-1", incarnation=0, **node)
        assert older["result"] == "fenced"
        newer = await client.scheduler.daskd_join(instance="i-1", incarnation=2, **node)
        assert newer["result"] == "ok"
        assert [n["incarnation"] for n in hub.roster.documents()] == [2]
        with pytest.raises(ValueError, match="incarnation must be a whole number"):
            await client.scheduler.daskd_join(instance="i-3", incarnation=-1, **node)


def test_a_node_is_listed_until_its_own_workers_retired():
    """A node that has the names of workers that retired before it joined stays listed."""
    roster = Roster(lambda: None, lambda node: None)
    node = {"incarnation": 0, "group": "g", "workers": ["a-0"], "host": "h"}
    roster.join(instance="i-1", pid=1, **node)
    roster.look([], {"a-0": time.time() - 60})
    assert roster.instance_of("a-0") == "i-1"
    roster.look([], {"a-0": time.time() + 60})
    assert roster.documents() == []
    assert roster.instance_of("a-0") is None
    assert roster.fence(["i-1"]) == {"i-1": "joined"}


def test_a_lost_node_is_fenced_unless_a_worker_of_it_is_there():
    """One that joined and was given up never joins again; one whose worker is back is well."""
    roster = Roster(lambda: None, lambda node: None)
    node = {"incarnation": 0, "group": "g", "host": "h", "pid": 1}
    roster.join(instance="i-1", workers=["a-0"], **node)
    roster.join(instance="i-2", workers=["a-1"], **node)
    asked = ["i-1", "i-2"]
    assert roster.fence(asked, lost=asked, present=["a-1"]) == {"i-1": "fenced", "i-2": "joined"}
    assert roster.instance_of("a-0") is None
    assert roster.join(instance="i-1", workers=["a-0"], **node)["result"] == "fenced"
    assert roster.join(instance="i-2", workers=["a-1"], **node)["result"] == "ok"


async def test_held_work_over_the_link():
    """held lists what a lost client left, discard lets it go."""
    async with a_cluster(1) as hub, linked(hub) as call:
        async with a_client(hub) as lost:
            future = lost.submit(gated.inc, 1, key=("x", 1))
            await future
            await lose(hub, lost)
        _, held = await call("GET", "/v1/held")
        assert held["clients"][0]["sample"] == ["('x', 1)"]
        _, state = await call("GET", "/v1/state")
        assert state["held"]["keys"] == 1
        assert state["idle_since"] is None
        _, gone = await call("POST", "/v1/held/discard", {"client": None})
        assert gone["keys"] == 1
        assert not hub.scheduler.tasks


async def test_a_nodes_events_are_told():
    """What a node reports about its workers is an event of the state."""
    async with a_hub() as hub, a_client(hub) as client:
        await client.scheduler.daskd_node_event(instance="i-1", event="worker-failed", words="no such folder")
        assert event(hub, "worker-failed")["words"] == "no such folder"


@pytest.mark.parametrize(
    ("method", "target", "body", "status", "words"),
    [
        ("GET", "/v1/nothing", None, 404, "no call"),
        ("GET", "/v1/state?since=x&wait=1", None, 400, "'since'"),
        ("GET", "/v1/state?since=1&wait=600", None, 400, "'wait' must be a number from 0 to 60"),
        ("GET", "/v1/state?since=nan", None, 400, "'since'"),
        ("POST", "/v1/retire", b"{", 400, "JSON object"),
        ("POST", "/v1/retire", [], 400, "JSON object"),
        ("POST", "/v1/retire", {"workers": "w-0", "drain": 1}, 400, "'workers'"),
        ("POST", "/v1/retire", {"workers": ["w-0"], "drain": -1}, 400, "'drain'"),
        ("POST", "/v1/retire", {"workers": ["w-0"], "drain": 1, "if_idle_rev": True}, 400, "'if_idle_rev'"),
        ("POST", "/v1/fence", {"ids": [1]}, 400, "'ids'"),
        ("POST", "/v1/held/discard", {"client": 1}, 400, "'client'"),
        ("POST", "/v1/close", {"reason": "x" * 2000}, 400, "'reason'"),
        ("POST", "/v1/state", {}, 405, "Method Not Allowed"),
    ],
)
async def test_what_is_asked_wrongly_is_refused_in_words(method, target, body, status, words):
    """A request that can't be answered gets its status and an error that names what is wrong."""
    async with a_hub() as hub, linked(hub) as call:
        got, answer = await call(method, target, body)
        assert got == status
        assert words in answer["error"]


async def test_a_body_that_is_too_large_is_not_read():
    """A request beyond the bound is refused and the link goes on."""
    async with a_hub() as hub, linked(hub) as call:
        reader, writer = await asyncio.open_unix_connection(call.path)
        writer.write(f"POST /v1/fence HTTP/1.1\r\nHost: link\r\nContent-Length: {MAX_BODY + 1}\r\n\r\n".encode())
        answer = await asyncio.wait_for(reader.read(), PATIENCE)
        writer.close()
        assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
        assert (await call("GET", "/v1/hello"))[0] == 200


# -- the process ----------------------------------------------------------------------------------

LAUNCH = """
import json, sys
from types import SimpleNamespace as Spec
from daskd.runtime.exits import Ended
from daskd.runtime.scheduler import main
fields = json.loads(sys.argv[2])
for name in ("tls", "dashboard"):
    fields[name] = fields[name] and Spec(**fields[name])
try:
    code = main(Spec(**fields), sys.argv[1])
except Ended as ended:
    print(ended.words, file=sys.stderr)
    code = ended.code
sys.exit(code)
"""


def spec(**fields: Any) -> dict[str, Any]:
    """A scheduler's spec."""
    return {
        "cluster": "c-1",
        "cluster_name": "etl",
        "instance": "s-1",
        "runtime_version": "0.1.0",
        "link_fd": None,
        "host": "127.0.0.1",
        "port": 0,
        "tls": None,
        "dashboard": None,
        "held_seconds": 60.0,
        "held_memory_share": 0.5,
        "orphan_timeout": 3600.0,
        "sockets_fd": None,
        "contact_host": None,
        "dashboard_prefix": None,
        "placed": None,
        "preload": [],
        "options": {},
        "journal": None,
        **fields,
    }


@asynccontextmanager
async def a_process(
    directory: Path, fields: dict[str, Any], fds: tuple[int, ...] = ()
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the scheduler's process."""
    with (directory / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", LAUNCH, str(directory), json.dumps(fields), stderr=log, pass_fds=fds
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def reported(directory: Path) -> dict[str, Any]:
    """The report, or {} while there is none."""
    path = directory / "report.json"
    return json.loads(path.read_text()) if path.exists() else {}


async def running(directory: Path) -> dict[str, Any]:
    """Wait for the report that says running."""
    await until(lambda: reported(directory).get("phase") == "running", "the scheduler runs")
    return reported(directory)


async def ended(process: asyncio.subprocess.Process) -> int:
    """Wait for a process's end."""
    return await asyncio.wait_for(process.wait(), PATIENCE)


async def test_the_process_reports_serves_its_link_and_closes_when_told(tmp_path):
    """From the report to a first result to close over the link: exit code 0, no goodbye."""
    async with a_socket() as (path, fd), a_process(tmp_path, spec(link_fd=fd), (fd,)) as process:
        report = await running(tmp_path)
        assert (tmp_path / "report.json").stat().st_mode & 0o777 == 0o600
        assert (report["instance"], report["pid"], report["dashboard"]) == ("s-1", process.pid, None)
        call = Caller(path)
        status, hello = await call("GET", "/v1/hello")
        assert (status, hello["pid"]) == (200, process.pid)
        assert await call("POST", "/v1/close", {"reason": "deleted"}) == (200, {})
        assert await ended(process) == 0
        os.close(fd)
    assert reported(tmp_path)["phase"] == "ending"
    assert not (tmp_path / "goodbye.json").exists()


async def test_sigterm_ends_the_process_well(tmp_path):
    """SIGTERM closes the scheduler: exit code 0, no goodbye."""
    async with a_process(tmp_path, spec()) as process:
        await running(tmp_path)
        process.send_signal(signal.SIGTERM)
        assert await ended(process) == 0
    assert not (tmp_path / "goodbye.json").exists()


async def test_a_clients_shutdown_leaves_a_goodbye(tmp_path):
    """Client.shutdown() ends the process with 0 and goodbye.json says who did it."""
    async with a_process(tmp_path, spec()) as process:
        report = await running(tmp_path)
        client = await Client(report["address"], asynchronous=True)
        await client.shutdown()
        assert await ended(process) == 0
    goodbye = json.loads((tmp_path / "goodbye.json").read_text())
    assert goodbye["version"] == 1
    assert goodbye["by"].startswith("tcp://127.0.0.1:")


async def test_an_orphan_ends_itself(tmp_path):
    """Without daemon, client and task for orphan_timeout, the process ends with 0."""
    async with a_process(tmp_path, spec(orphan_timeout=0.5)) as process:
        assert await ended(process) == 0
    assert b"no daemon spoke" in (tmp_path / "log").read_bytes()


async def test_the_dashboards_server_listens_where_it_was_told(tmp_path):
    """With a dashboard the report names its URL on the host that the spec says."""
    async with a_process(tmp_path, spec(dashboard={"host": "127.0.0.1", "port": 0})):
        report = await running(tmp_path)
        assert report["dashboard"].startswith("http://127.0.0.1:")
        host, port = report["dashboard"].removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /health HTTP/1.0\r\n\r\n")
        assert b"200 OK" in await asyncio.wait_for(reader.readline(), PATIENCE)
        writer.close()


async def test_a_port_that_is_taken_is_told_in_words(tmp_path):
    """A start that fails ends with code 1 and the cause in words."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with a_process(tmp_path, spec(port=port)) as process:
            assert await ended(process) == 1
    last = (tmp_path / "log").read_text().strip().splitlines()[-1]
    assert f"did not start at 127.0.0.1:{port}" in last
    assert "in use" in last


async def test_a_certificate_that_cannot_be_read_is_told_in_words(tmp_path):
    """TLS files that are missing end the process with words that name the matter."""
    tls = {name: str(tmp_path / f"no-{name}.pem") for name in ("ca", "cert", "key")}
    async with a_process(tmp_path, spec(tls=tls)) as process:
        assert await ended(process) in (1, 84)
    assert "did not start" in (tmp_path / "log").read_text()
