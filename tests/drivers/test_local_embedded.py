"""Schedulers in this process: where their log goes, and what a folder says of one whose process is gone."""

from __future__ import annotations

import json
import logging
import os
import threading
from dataclasses import asdict
from pathlib import Path

import pytest

from daskd.drivers.local.embedded_logs import InstanceLogs
from daskd.drivers.local.observe import HOLDER, observe
from daskd.drivers.local.process import ProcessId
from daskd.model.cluster import Cause, Handle, State

HANDLE = Handle("local", 1, "i-x", "i-x")


class Kept:
    """A log file that keeps what it is fed."""

    def __init__(self) -> None:
        self.data = b""

    def feed(self, data: bytes) -> None:
        """Keep it."""
        self.data += data


@pytest.fixture
def logs() -> InstanceLogs:
    """Logs that nobody's records reach by themselves."""
    return InstanceLogs()


def test_each_thread_logs_to_its_own_instance(logs: InstanceLogs) -> None:
    """And what other threads log goes to none of them."""
    logger = logging.Logger("distributed.scheduler")
    logger.addHandler(logs)
    files = {"one": Kept(), "two": Kept()}
    both = threading.Barrier(2, timeout=60)

    def run(name: str) -> None:
        with logs.of_this_thread(files[name]):
            both.wait()
            logger.info("I am %s", name)
            both.wait()
        logger.info("nobody's")

    threads = [threading.Thread(target=run, args=(name,)) for name in files]
    for thread in threads:
        thread.start()
    logger.info("nobody's either")
    for thread in threads:
        thread.join(60)
    for name, file in files.items():
        assert file.data.endswith(f"distributed.scheduler - INFO - I am {name}\n".encode())
        assert file.data.count(b"\n") == 1


def hold(folder: Path, process: ProcessId) -> None:
    """Write down whose process a scheduler runs in."""
    (folder / HOLDER).write_text(json.dumps({"version": 1, **asdict(process)}))


def test_one_in_a_process_that_lives_runs(tmp_path: Path) -> None:
    """It starts until it reports, and has the process's id."""
    me = ProcessId.of(os.getpid())
    assert me is not None
    hold(tmp_path, me)
    seen = observe(HANDLE, tmp_path, "state")
    assert (seen.state, seen.pid) == (State.STARTING, os.getpid())
    (tmp_path / "report.json").write_text(json.dumps({"version": 1, "phase": "running"}))
    assert observe(HANDLE, tmp_path, "state").state is State.RUNNING


def test_one_in_a_process_that_is_gone_ended_with_it(tmp_path: Path) -> None:
    """Another process that has its id by now is not it; and what it wrote of its end goes before."""
    me = ProcessId.of(os.getpid())
    assert me is not None
    hold(tmp_path, ProcessId(me.boot, me.pid, me.start - 1))
    seen = observe(HANDLE, tmp_path, "state")
    assert seen.end is not None
    assert (seen.state, seen.end.cause, seen.end.certain) == (State.ENDED, Cause.VANISHED, True)
    assert "ended with the daemon" in seen.words
    (tmp_path / "end.json").write_text(json.dumps({"cause": "exited", "code": 0, "words": "told to end"}))
    written = observe(HANDLE, tmp_path, "state").end
    assert written is not None
    assert written.words == "told to end"
