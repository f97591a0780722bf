"""What a request says that this release of the API does not know: a newer client's, which must not be passed over.

A client may pass over what it does not know of an answer. A daemon that did so with a request would make another
cluster than was asked for, or list others.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

_MOST = 10


def unknown_fields(message: Message) -> tuple[str, ...]:
    """The first ten fields, at any depth, that no message of this release has, as in "field 21 of ClusterSpec"."""
    found: dict[str, None] = {}
    for text in _walk(message):
        found.setdefault(text)
        if len(found) == _MOST:
            break
    return tuple(found)


def _walk(message: Message) -> Iterator[str]:
    unknowns: Any = UnknownFieldSet(message)  # its stub lacks what makes it a sequence
    for unknown in unknowns:
        yield f"field {unknown.field_number} of {message.DESCRIPTOR.name}"
    for field, content in message.ListFields():
        if field.message_type is None:
            continue
        if isinstance(content, Message):
            yield from _walk(content)
        elif field.message_type.GetOptions().map_entry:
            if field.message_type.fields_by_name["value"].message_type is not None:
                for value in content.values():
                    yield from _walk(value)
        else:
            for item in content:
                yield from _walk(item)
