"""How tokens look."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from daskd_client.types import CreatedToken, Token

from .table import Cell, Column, when_due, when_past

ROW: tuple[Column[Token], ...] = (
    Column("ID", lambda token, _now: Cell(token.id, style="bold")),
    Column("USER", lambda token, _now: Cell(token.user)),
    Column("ROLE", lambda token, _now: Cell(token.role)),
    Column("RIGHT", lambda token, _now: Cell(token.right.name.lower())),
    Column("CREATED", lambda token, now: when_past(token.create_time, now)),
    Column("EXPIRES", lambda token, now: when_due(token.expire_time, now)),
    Column("CLUSTERS", lambda token, _now: Cell(" ".join(token.clusters) or "all"), wraps=True),
    Column("DESCRIPTION", lambda token, _now: Cell(token.description), wraps=True),
)
"""One token a line."""


def created_facts(created: CreatedToken, now: datetime) -> Iterator[tuple[str, Cell]]:
    """A new token at length."""
    token = created.token
    yield "secret", Cell(created.secret, style="bold")
    yield "id", Cell(token.id)
    yield "role", Cell(token.role)
    yield "right", Cell(token.right.name.lower())
    yield "clusters", Cell(" ".join(token.clusters) or "all")
    yield "expires", when_due(token.expire_time, now)
