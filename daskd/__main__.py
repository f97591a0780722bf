"""The `daskd` command."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from . import __version__, crashpoints, logs
from .config import load_config
from .model.errors import DaskdError
from .model.listen import parse_listener

CANT_START = 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="daskd", description="A daemon that owns Dask clusters.")
    parser.add_argument("--version", action="version", version=f"daskd {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="run the daemon")
    serve.add_argument("--config", type=Path, metavar="FILE", help="daskd.toml; else the user's or the system's")
    serve.add_argument("--state-dir", type=Path, metavar="DIR", help="durable state; else the configuration's")
    serve.add_argument(
        "--listen",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="unix:PATH or HOST:PORT; may be given more than once; else the configuration's",
    )
    check = commands.add_parser("check-config", help="say what is wrong with a configuration")
    check.add_argument("--config", type=Path, metavar="FILE", help="daskd.toml; else the user's or the system's")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; answers with the exit code: 0, 1 (it can't; stderr says why), 2 (usage)."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    try:
        if arguments.command == "check-config":
            config = load_config(arguments.config)
            print(f"{config.file or 'no configuration file; defaults'}: good")  # noqa: T201
            return 0
        _serve(parser, arguments)
    except DaskdError as error:
        sys.stderr.write(f"daskd: {error.words}\n")
        return CANT_START
    return 0


def _serve(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    for address in arguments.listen:
        try:
            parse_listener(address)
        except ValueError as error:
            parser.error(f"--listen: {error}")
    if arguments.state_dir is not None and not arguments.state_dir.is_absolute():
        arguments.state_dir = Path.cwd() / arguments.state_dir
    # files that others may read are made so on purpose, one by one
    os.umask(0o077)
    crashpoints.arm(os.environ)
    config = load_config(arguments.config)
    logs.configure(config.daemon.log_format, config.daemon.log_level)
    # a process that is started as another user is forked, and gRPC's handlers have no business in it
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
    # after the log is set up, so that what these say at import is in it
    from .daemon import Daemon, place
    from .notify import Notifier

    where = place(config, arguments.state_dir, arguments.listen)
    notifier = Notifier.from_environ(os.environ, os.getpid())
    asyncio.run(Daemon(config, where, lambda: load_config(arguments.config), notifier).run())


if __name__ == "__main__":
    sys.exit(main())
