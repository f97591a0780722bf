"""The commands against a real daemon, each as a process of its own, as people and scripts run it."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from daskctl.commands.completion import VARIABLE

from ..daemon_process import DaemonProcess, until

WAIT_S = 60.0


class Shell:
    """Runs daskctl against one daemon."""

    def __init__(self, daemon: DaemonProcess) -> None:
        self.environment = {**daemon.env, "NO_COLOR": "1", "COLUMNS": "200"}

    def start(self, *arguments: str, **kwargs: Any) -> subprocess.Popen[str]:
        """Start it, its output in pipes unless told otherwise."""
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": self.environment}
        return subprocess.Popen([sys.executable, "-m", "daskctl", *arguments], **{**streams, **kwargs})

    def run(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run it to its end, which must be as expected."""
        process = self.start(*arguments)
        try:
            out, err = process.communicate(timeout=WAIT_S)
        finally:
            process.kill()
        assert process.returncode == code, f"{arguments}: exit code {process.returncode}\n{out}\n{err}"
        assert "Traceback" not in err
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def json(self, *arguments: str) -> Any:
        """The one document that it prints with -o json."""
        return json.loads(self.run(*arguments, "-o", "json").stdout)


@pytest.fixture
def shell(daemon: DaemonProcess) -> Shell:
    """A shell whose DASKD_ADDRESS is a daemon's."""
    return Shell(daemon)


@pytest.fixture
def etl(shell: Shell) -> Any:
    """A cluster of one worker."""
    return shell.json("create", "etl", "-n", "1", "--threads", "1", "--memory", "512MiB")


@pytest.fixture
def never_starts(tmp_path: Path) -> Path:
    """A Python whose scheduler never comes up."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexec sleep 600\n")
    python.chmod(0o755)
    return python


def test_a_clusters_life(shell: Shell) -> None:
    """Created, seen, scaled, adapted, looked into, deleted; every answer is a document."""
    made = shell.json("create", "etl", "-n", "2", "--threads", "1", "--memory", "512MiB")
    assert (made["name"], made["phase"], made["groups"][0]["running"]) == ("etl", "PHASE_RUNNING", 2)
    assert type(made["revision"]) is int
    assert made["groups"][0]["memory_limit_bytes"] == 512 << 20
    assert [cluster["uid"] for cluster in shell.json("list")["clusters"]] == [made["uid"]]
    assert shell.json("get", "etl")["scheduler"]["address"] == made["scheduler"]["address"]
    workers = shell.json("workers", "etl")["workers"]
    assert [worker["state"] for worker in workers] == ["WORKER_STATE_RUNNING"] * 2

    assert shell.json("scale", "etl", "1")["groups"][0]["running"] == 1
    assert _states(shell).count("WORKER_STATE_RUNNING") == 1
    # Whoever left the scheduler may still be on its way out as a process.
    until(lambda: _states(shell) == ["WORKER_STATE_RUNNING"], "the other one has ended")
    assert sorted(_states(shell, "--all")) == ["WORKER_STATE_ENDED", "WORKER_STATE_RUNNING"]
    adapted = shell.json("adapt", "etl", "--min", "1", "--max", "3", "--interval", "2s")
    assert adapted["groups"][0]["adaptive"]["policy"]["maximum"] == 3
    assert adapted["groups"][0]["adaptive"]["policy"]["interval"] == "2s"
    assert shell.json("adapt", "etl", "--off")["groups"][0]["adaptive"] is None

    types = [event["type"] for event in shell.json("events", "etl")["events"]]
    assert types[0] == "CREATED"
    assert "SCALED" in types
    assert shell.json("lost", "etl") == {"held_work": []}
    assert shell.json("lost", "etl", "--discard") == {"keys": 0, "bytes": 0}

    assert shell.json("delete", "etl")["phase"] == "PHASE_STOPPED"
    assert shell.json("list") == {"clusters": []}
    assert [cluster["uid"] for cluster in shell.json("list", "--all")["clusters"]] == [made["uid"]]
    assert "etl" in shell.run("get", "etl", code=1).stderr
    assert shell.json("get", made["uid"])["end_time"] is not None


def _states(shell: Shell, *arguments: str) -> list[str]:
    return [worker["state"] for worker in shell.json("workers", "etl", *arguments)["workers"]]


def test_the_daemon_and_what_it_offers(shell: Shell) -> None:
    """Each as a document."""
    assert shell.json("info")["listen_addresses"]
    assert "local" in [driver["name"] for driver in shell.json("drivers")["drivers"]]
    assert isinstance(shell.json("profiles")["profiles"], list)


def test_a_pipe_gets_fields_and_no_words(shell: Shell, etl: dict[str, Any]) -> None:
    """What a script cuts and reads."""
    done = shell.run("list")
    assert done.stdout.split("\t")[:4] == ["etl", etl["owner"], "RUNNING", "1/1"]
    assert done.stderr == ""
    assert f"uid\t{etl['uid']}\n" in shell.run("get", "etl").stdout


def test_logs_are_of_the_scheduler_or_of_a_worker(shell: Shell, etl: dict[str, Any]) -> None:
    """Or of all; each line says whose it is."""
    worker = shell.json("workers", "etl")["workers"][0]["name"]
    sources = {line["source"] for line in shell.json("logs", "etl")["lines"]}
    assert sources == {"scheduler", "default"}
    assert {line["source"] for line in shell.json("logs", "etl", "--scheduler")["lines"]} == {"scheduler"}
    assert {tuple(line["workers"]) for line in shell.json("logs", "etl", "--worker", worker)["lines"]} == {(worker,)}
    assert len(shell.json("logs", "etl", "--scheduler", "--tail", "1")["lines"]) == 1
    assert shell.json("logs", "etl", "--since", "2999-01-01T00:00:00Z") == {"lines": []}
    assert all(line.count("\t") >= 2 for line in shell.run("logs", "etl").stdout.splitlines())


def test_following_ends_with_the_cluster(shell: Shell) -> None:
    """Logs and events go on until then; each event is told once, in order."""
    shell.run("create", "etl", "-n", "1", "--memory", "512MiB")
    uid = shell.json("get", "etl")["uid"]
    logs, events = shell.start("logs", "etl", "-f"), shell.start("events", "etl", "-f", "-o", "json")
    try:
        assert logs.stdout is not None
        assert logs.stdout.readline()
        shell.run("delete", "etl")
        logs.communicate(timeout=WAIT_S)
        told = events.communicate(timeout=WAIT_S)[0]
        assert (logs.returncode, events.returncode) == (0, 0)
    finally:
        logs.kill()
        events.kill()
    revisions = [json.loads(line)["revision"] for line in told.splitlines()]
    assert revisions == sorted(set(revisions))
    assert revisions == [event["revision"] for event in shell.json("events", uid)["events"]]


def test_what_the_daemon_refuses_is_exit_code_1_with_its_words(shell: Shell, etl: dict[str, Any]) -> None:
    """On stderr; stdout stays empty, whatever the format."""
    for arguments, words in (
        (("create", "etl", "-n", "1"), "etl"),
        (("create", "b", "-n", "1", "--memory", "lots"), "memory_limit"),
        (("create", "b", "-n", "1", "--driver", "abacus"), "abacus"),
        (("create", "b", "--option", "colour=red"), "colour"),
        (("create", "b", "--profile", "nobodys"), "nobodys"),
        (("create", "Not A Name", "-n", "1"), "name"),
        (("scale", "etl", "1", "--group", "gpu"), "gpu"),
        (("logs", "etl", "--worker", "nobody"), "nobody"),
        (("delete", "nothing"), "nothing"),
    ):
        done = shell.run(*arguments, "-o", "json", code=1)
        assert words in done.stderr, arguments
        assert done.stdout == ""


def test_a_dry_run_shows_what_would_be_made_and_makes_nothing(shell: Shell) -> None:
    """Defaults filled in, errors told."""
    shown = shell.json("create", "etl", "-n", "3", "--dry-run")
    assert shown["spec"]["groups"][0]["driver"] == "local"
    assert shell.json("list") == {"clusters": []}
    shell.run("create", "etl", "-n", "3", "--threads", "2", "--memory", "lots", "--dry-run", code=1)


def test_no_wait_returns_before_the_cluster_is_there(shell: Shell, never_starts: Path) -> None:
    """What was asked for is recorded."""
    made = shell.json("create", "etl", "-n", "1", "--python", str(never_starts), "--no-wait")
    assert made["phase"] in ("PHASE_PENDING", "PHASE_STARTING")


def test_a_timeout_ends_the_wait_and_not_the_cluster(shell: Shell, never_starts: Path) -> None:
    """Exit code 1, and words that say so."""
    done = shell.run("create", "etl", "--python", str(never_starts), "--timeout", "100ms", code=1)
    assert "The time was up before etl runs" in done.stderr
    assert shell.json("get", "etl")["delete_requested"] is False


def test_a_cluster_that_fails_is_exit_code_1_with_its_last_words(shell: Shell, tmp_path: Path) -> None:
    """The daemon's message and the log's tail."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho no such interpreter here >&2\nexit 9\n")
    python.chmod(0o755)
    done = shell.run("create", "etl", "-n", "1", "--python", str(python), code=1)
    assert "etl failed" in done.stderr
    assert "no such interpreter here" in done.stderr


def test_a_cluster_that_somebody_ends_meanwhile_ends_the_wait(shell: Shell, never_starts: Path) -> None:
    """Exit code 1, and words that say whose doing it was."""
    waiting = shell.start("create", "etl", "--python", str(never_starts))
    try:
        until(lambda: shell.json("list")["clusters"], "the cluster is recorded")
        owner = shell.json("delete", "etl")["owner"]
        _, err = waiting.communicate(timeout=WAIT_S)
    finally:
        waiting.kill()
    assert waiting.returncode == 1
    assert f"etl was ended before it runs with its workers: deleted by {owner}" in err


def test_ctrl_c_leaves_a_wait_and_says_so(shell: Shell, never_starts: Path) -> None:
    """The cluster stays as it was asked for."""
    waiting = shell.start("create", "etl", "--python", str(never_starts))
    try:
        until(lambda: shell.json("list")["clusters"], "the cluster is recorded")
        waiting.send_signal(signal.SIGINT)
        _, err = waiting.communicate(timeout=WAIT_S)
    finally:
        waiting.kill()
    assert waiting.returncode == 130
    assert "the daemon goes on" in err
    assert shell.json("get", "etl")["delete_requested"] is False


def test_a_reader_that_goes_away_is_no_error(shell: Shell, etl: dict[str, Any]) -> None:
    """As in `daskctl list | head -1`: nothing is said about it."""
    for arguments in (("list",), ("list", "-o", "json"), ("logs", "etl"), ("events", "etl", "-f")):
        reading, writing = os.pipe()
        os.close(reading)
        process = shell.start(*arguments, stdout=writing)
        os.close(writing)
        try:
            _, err = process.communicate(timeout=WAIT_S)
        finally:
            process.kill()
        assert err == "", arguments
        assert process.returncode == 128 + signal.SIGPIPE, arguments


def test_a_terminal_shows_progress_and_then_the_cluster(shell: Shell) -> None:
    """Fed by the daemon's watch, on stderr."""
    own, other = pty.openpty()
    process = shell.start("create", "etl", "-n", "1", "--memory", "512MiB", stderr=other)
    os.close(other)
    try:
        shown = b""
        while chunk := _read(own):
            shown += chunk
        out, _ = process.communicate(timeout=WAIT_S)
    finally:
        process.kill()
        os.close(own)
    assert process.returncode == 0
    assert re.search(r"Waiting until etl runs with its workers: \w+, 0/1 workers", shown.decode())
    assert 'RemoteCluster.attach("etl")' in shown.decode()
    assert out.startswith("etl\t")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # how Linux tells that the other end is closed
        return b""


def test_what_a_killed_client_left_is_listed_and_let_go(shell: Shell, etl: dict[str, Any]) -> None:
    """With its keys and their size; letting go says how much that was."""
    client = Path(__file__).with_name("losing_client.py")
    lost = subprocess.run([sys.executable, str(client), "etl"], env=shell.environment, timeout=WAIT_S, check=False)
    assert lost.returncode == -signal.SIGKILL
    held = until(lambda: shell.json("lost", "etl")["held_work"], "the client is missed")
    assert [(work["keys"], work["states"]) for work in held] == [(3, {"memory": 3})]
    assert "3 memory" in shell.run("lost", "etl").stdout
    assert shell.json("lost", "etl", "--discard", "--client", "Client-of-nobody")["keys"] == 0
    assert shell.json("lost", "etl", "--discard", "--client", held[0]["client"])["keys"] == 3
    assert shell.json("lost", "etl") == {"held_work": []}


def test_names_of_clusters_are_completed(shell: Shell, etl: dict[str, Any]) -> None:
    """Those that begin so."""
    shell.environment |= {VARIABLE: "bash_complete", "COMP_CWORD": "2"}
    shell.environment["COMP_WORDS"] = "daskctl scale e"
    assert shell.run().stdout == "plain,etl\n"
    shell.environment["COMP_WORDS"] = "daskctl scale x"
    assert shell.run().stdout.strip() == ""


def test_the_daemons_own_history_is_for_administrators(shell: Shell) -> None:
    """What was no cluster's, refused calls too; anybody else is told whose it is."""
    secret = shell.json("token", "create", "nightly", "--role", "user")["secret"]
    as_admin, shell.environment = shell.environment, {**shell.environment, "DASKD_TOKEN": secret}
    shell.run("token", "list", "--all-users", code=1)
    assert "for administrators" in shell.run("events", "--daemon", code=1).stderr
    shell.environment = as_admin
    told = shell.json("events", "--daemon")["events"]
    assert [event["type"] for event in told[:2]] == ["TOKEN_CREATED", "CALL_REFUSED"]
    assert {event["cluster_uid"] for event in told} == {""}
    assert "TOKEN_CREATED" in shell.run("events", "--daemon").stdout
