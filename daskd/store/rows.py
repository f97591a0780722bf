"""Records as rows: JSON text with a format of its own, beside the columns that are searched by."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from daskd.model.cluster import Cluster, Instance
from daskd.model.errors import StateUnusable
from daskd.model.event import Change, Event, NewEvent
from daskd.model.token import Token

from .formats import upgraded

FORMAT = 2
"""The format in which records are written. Older ones are read, newer ones refused."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _EventBody:
    cluster_name: str
    owner: str
    actor: str
    type: str
    message: str
    facts: dict[str, str] = field(default_factory=dict)


_CLUSTER = TypeAdapter(Cluster)
_INSTANCE = TypeAdapter(Instance)
_TOKEN = TypeAdapter(Token)
_EVENT = TypeAdapter(_EventBody)


def _encode(adapter: TypeAdapter[T], record: T) -> str:
    """The record as JSON that is known to be read back; else ValueError.

    Not pydantic's own JSON: that turns an infinity into null, silently.
    """
    try:
        plain = adapter.dump_python(record, warnings="error")
        text = json.dumps(plain, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        adapter.validate_json(text)
    except (TypeError, ValueError) as error:
        raise ValueError(f"a {type(record).__name__} holds what can't be stored: {error}") from error
    return text


def _decode(adapter: TypeAdapter[T], text: str, version: int, what: str) -> T:
    if version > FORMAT:
        raise StateUnusable(
            f"{what} is written in format {version}, and this daskd reads up to {FORMAT}: "
            "run the newer daskd that wrote it"
        )
    try:
        if version < FORMAT:
            return adapter.validate_python(upgraded(json.loads(text), version))
        return adapter.validate_json(text)
    except ValidationError as error:
        raise StateUnusable(
            f"{what} can't be read: {error.errors(include_input=False)[0]['msg']}. "
            "Run the daskd that wrote it, or restore a backup"
        ) from error


def encode_cluster(cluster: Cluster) -> str:
    """A cluster's record as text.

    Raises
    ------
    ValueError
        When a field holds what its type doesn't allow or JSON can't hold.
    """
    return _encode(_CLUSTER, cluster)


def decode_cluster(row: tuple[Any, ...]) -> Cluster:
    """The cluster of a row (uid, record, format).

    Raises
    ------
    StateUnusable
        When it can't be read.
    """
    uid, text, version = row
    return _decode(_CLUSTER, text, version, f"the record of cluster {uid}")


def encode_instance(instance: Instance) -> str:
    """An instance's record as text.

    Raises
    ------
    ValueError
        When a field holds what its type doesn't allow or JSON can't hold.
    """
    return _encode(_INSTANCE, instance)


def decode_instance(row: tuple[Any, ...]) -> Instance:
    """The instance of a row (id, record, format).

    Raises
    ------
    StateUnusable
        When it can't be read.
    """
    instance_id, text, version = row
    return _decode(_INSTANCE, text, version, f"the record of instance {instance_id}")


def encode_token(token: Token) -> str:
    """A token as text.

    Raises
    ------
    ValueError
        When a field holds what its type doesn't allow or JSON can't hold.
    """
    return _encode(_TOKEN, token)


def decode_token(row: tuple[Any, ...]) -> Token:
    """The token of a row (id, record, format).

    Raises
    ------
    StateUnusable
        When it can't be read.
    """
    token_id, text, version = row
    return _decode(_TOKEN, text, version, f"the record of token {token_id}")


def encode_event(cluster_name: str, owner: str, event: NewEvent) -> str:
    """An event of that cluster as text; both names are empty for one of the daemon's own.

    Raises
    ------
    ValueError
        When a field holds what its type doesn't allow or JSON can't hold.
    """
    body = _EventBody(cluster_name, owner, event.actor, event.type, event.message, event.facts)
    return _encode(_EVENT, body)


def decode_event(row: tuple[Any, ...]) -> Event:
    """The event of a row (revision, cluster, time, event, format).

    Raises
    ------
    StateUnusable
        When it can't be read.
    """
    revision, cluster, time, text, version = row
    body = _decode(_EVENT, text, version, f"event {revision}")
    return Event(
        revision=revision,
        time=time,
        cluster=cluster,
        cluster_name=body.cluster_name,
        owner=body.owner,
        actor=body.actor,
        type=body.type,
        message=body.message,
        facts=body.facts,
    )


def decode_change(row: tuple[Any, ...]) -> Change:
    """The change of a row (revision, cluster, time, event, format), whose event may be absent.

    Raises
    ------
    StateUnusable
        When it can't be read.
    """
    revision, cluster, _, text, _ = row
    return Change(revision, cluster, None if text is None else decode_event(row))
