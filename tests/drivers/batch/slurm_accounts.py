"""Slurm's accounting for the tests: a slurmdbd over a MariaDB, in the folder of the Slurm that it is for."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from .lab import Slurm, Unavailable, free_ports, until

PROGRAMS = ("slurmdbd", "sacct", "sacctmgr", "mariadbd", "mariadb-install-db")

_CONF = """\
AuthType=auth/munge
AuthInfo=socket={folder}/run/munge.socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm_acct
LogFile={folder}/log/slurmdbd.log
PidFile={folder}/run/slurmdbd.pid
CommitDelay=1
"""


def accounts(system: Slurm) -> Mapping[str, str]:
    """Begin the accounting of a Slurm; answers with what its slurm.conf says of it.

    Raises
    ------
    Unavailable
        When it can't be had here.
    """
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        raise Unavailable(f"its accounting needs {', '.join(missing)}")
    [port] = free_ports(1)
    socket = _start_database(system)
    # slurmdbd reads it beside the slurm.conf, and takes it of mode 600 alone
    conf = system.folder / "slurmdbd.conf"
    conf.touch(mode=0o600)
    conf.write_text(_CONF.format(folder=system.folder, port=port))
    system.run("slurmdbd", "-D", env={"MYSQL_UNIX_PORT": str(socket)})
    until(lambda: _is_open(system), "slurmdbd answers")
    return {
        "AccountingStorageType": "accounting_storage/slurmdbd",
        "AccountingStorageHost": "127.0.0.1",
        "AccountingStoragePort": str(port),
        # towards slurmdbd munge's socket is named by this
        "AccountingStoragePass": f"{system.folder}/run/munge.socket",
        "AccountingStorageEnforce": "limits",
    }


def _start_database(system: Slurm) -> Path:
    data, socket = system.folder / "db", system.folder / "run" / "mariadb.sock"
    data.mkdir()
    made = ["mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={data}", "--skip-test-db"]
    subprocess.run([*made, "--auth-root-authentication-method=normal"], check=True, capture_output=True, timeout=120)
    options = [f"--datadir={data}", f"--socket={socket}", f"--pid-file={system.folder}/run/mariadb.pid"]
    sizes = ["--innodb-buffer-pool-size=64M", "--innodb-lock-wait-timeout=900"]
    system.run("mariadbd", "--no-defaults", "--user=root", "--skip-networking", *options, *sizes)
    until(socket.exists, "the database listens")
    return socket


def _is_open(system: Slurm) -> bool:
    log = system.folder / "log" / "slurmdbd.out"
    assert system.running["slurmdbd"].poll() is None, log.read_text()[-1000:]
    # the file is there when it listens
    return os.path.exists(system.folder / "run" / "slurmdbd.pid")
