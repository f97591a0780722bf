"""`daskctl token create`, `list`, `revoke`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import click

from ..framing import Example, TaughtGroup, command, shared_options
from ..render import tokens
from ..session import Session
from ..values import Duration
from .share import RIGHTS

ROLES = ("user", "operator", "admin")


@click.group(
    "token",
    cls=TaughtGroup,
    examples=(
        Example("For a program on another machine", "daskctl token create nightly --lifetime 90d"),
        Example("One that can only look at one cluster", "daskctl token create --right view --cluster etl"),
        Example("What there is, and to end one", "daskctl token list"),
    ),
)
@shared_options
def token() -> None:
    """Tokens: how programs, and you from other machines, say who they are (DASKD_TOKEN)."""


@dataclass(frozen=True)
class CreateOptions:
    """What `token create` is asked for; seconds."""

    description: str
    role: str
    right: str
    cluster: tuple[str, ...]
    lifetime: float | None


@command(
    "create", CreateOptions, examples=(Example("For a nightly job", "daskctl token create nightly --lifetime 90d"),)
)
@click.argument("description", default="")
@click.option("--role", type=click.Choice(ROLES), default="user", show_default=True, help="The most that it is.")
@click.option("--right", type=click.Choice(RIGHTS), default="manage", show_default=True, help="The most that it may.")
@click.option("--cluster", multiple=True, metavar="NAME", help="Only for this cluster. Repeatable.  [default: all]")
@click.option("--lifetime", type=Duration(), help="How long it is good, a year at most.  [default: 30d]")
async def create(options: CreateOptions, session: Session) -> None:
    """Make a token that calls as you. Its secret is shown once: who has it can do what the token may."""
    lifetime = None if options.lifetime is None else timedelta(seconds=options.lifetime)
    async with session.connect() as daskd:
        created = await daskd.create_token(
            options.description, role=options.role, right=options.right, clusters=options.cluster, lifetime=lifetime
        )
    session.printer.facts(created, partial(tokens.created_facts, created))
    session.printer.say("Keep the secret, and give it by DASKD_TOKEN: it is shown nowhere else.")


@dataclass(frozen=True)
class ListOptions:
    """What `token list` is asked for."""

    all_users: bool


@command("list", ListOptions, examples=(Example("Yours", "daskctl token list"),))
@click.option("--all-users", is_flag=True, help="Everybody's, for administrators.")
async def list_tokens(options: ListOptions, session: Session) -> None:
    """List tokens, without their secrets."""
    async with session.connect() as daskd:
        found = await daskd.list_tokens(all_users=options.all_users)
    session.printer.rows("tokens", found, tokens.ROW, nothing="No tokens.")


@dataclass(frozen=True)
class RevokeOptions:
    """What `token revoke` is asked for."""

    id: str


@command("revoke", RevokeOptions, examples=(Example("End a token", "daskctl token revoke t0123456789"),))
@click.argument("id")
async def revoke(options: RevokeOptions, session: Session) -> None:
    """End a token at once."""
    async with session.connect() as daskd:
        ended = await daskd.revoke_token(options.id)
    session.printer.row(ended, tokens.ROW)


for _action in (create, list_tokens, revoke):
    token.add_command(_action)
