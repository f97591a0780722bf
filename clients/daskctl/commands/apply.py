"""`daskctl apply`."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import click

from daskd_client import AsyncDaskd
from daskd_client.types import Applied

from ..failures import Misused
from ..framing import Example, command
from ..manifest import BadManifest, Manifest, read_manifests
from ..render import changes
from ..session import Session


@dataclass(frozen=True)
class ApplyOptions:
    """What `apply` is asked for."""

    file: str
    dry_run: bool


@command(
    "apply",
    ApplyOptions,
    examples=(
        Example("Make a cluster, or bring it up to date", "daskctl apply -f cluster.yaml"),
        Example("See what that would change", "daskctl apply -f cluster.yaml --dry-run"),
    ),
)
@click.option("-f", "--file", metavar="FILE", required=True, help='YAML or JSON; "-": standard input.')
@click.option("--dry-run", is_flag=True, help="Do every check, change nothing, and say what would be changed.")
async def apply(options: ApplyOptions, session: Session) -> None:
    """Make clusters be as a file says: what is not there is made, groups are added, removed, scaled and adapted.

    A repeat changes nothing. It takes what `daskctl get NAME -o yaml` prints; several clusters are separated by ---.
    """
    try:
        wanted = read_manifests(_read(options.file), "standard input" if options.file == "-" else options.file)
    except BadManifest as error:
        raise Misused(str(error)) from error
    async with session.connect() as daskd:
        await session.printer.stream("applied", _applied(daskd, wanted, options.dry_run), changes.LINE, endless=False)


async def _applied(daskd: AsyncDaskd, wanted: list[Manifest], dry_run: bool) -> AsyncIterator[Applied]:
    for manifest in wanted:
        yield await daskd.apply(manifest.name, manifest.spec, validate_only=dry_run)


def _read(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
    except OSError as error:
        raise Misused(f"{file} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Misused(f"{file} is no UTF-8 at byte {error.start}: save it as UTF-8") from error
