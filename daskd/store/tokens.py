"""Tokens as SQL. Each function runs in the store's thread."""

from __future__ import annotations

import sqlite3

from daskd.model.token import Token

from .rows import FORMAT, decode_token, encode_token

_TOKEN = "SELECT id, record, format FROM tokens"  # noqa: S105 - a statement


def put(db: sqlite3.Connection, token: Token, secret_hash: str) -> None:
    """Insert a token, and forget those that have expired by its creation."""
    db.execute("DELETE FROM tokens WHERE expires <= ?", (token.created,))
    db.execute(
        "INSERT INTO tokens (id, secret, uid, expires, format, record) VALUES (?, ?, ?, ?, ?, ?)",
        (token.id, secret_hash, token.uid, token.expires, FORMAT, encode_token(token)),
    )


def find(db: sqlite3.Connection, secret_hash: str) -> Token | None:
    """The token whose secret has that hash."""
    row = db.execute(f"{_TOKEN} WHERE secret = ?", (secret_hash,)).fetchone()
    return decode_token(row) if row else None


def listed(db: sqlite3.Connection, uid: int | None) -> list[Token]:
    """One user's tokens, or all, oldest first."""
    rows = db.execute(f"{_TOKEN} WHERE uid = ? OR ?", (uid, uid is None))
    return sorted(map(decode_token, rows), key=lambda token: (token.created, token.id))


def forget(db: sqlite3.Connection, token_id: str) -> bool:
    """Delete a token; whether there was one."""
    return db.execute("DELETE FROM tokens WHERE id = ?", (token_id,)).rowcount > 0
