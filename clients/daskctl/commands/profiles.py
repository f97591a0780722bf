"""`daskctl profiles`."""

from __future__ import annotations

from dataclasses import dataclass

from ..framing import Example, command
from ..render import offers
from ..session import Session


@dataclass(frozen=True)
class ProfilesOptions:
    """`profiles` has none."""


@command("profiles", ProfilesOptions, examples=(Example("What create's --profile takes", "daskctl profiles"),))
async def profiles(_options: ProfilesOptions, session: Session) -> None:
    """List the administrator's templates of clusters."""
    async with session.connect() as daskd:
        found = await daskd.profiles()
    session.printer.rows("profiles", found, offers.PROFILE_ROW, nothing="No profiles are configured.")
