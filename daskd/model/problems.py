"""What a validation found wrong, in the user's words: no jargon of the validator, no URLs, no secrets."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from .errors import Problem

_BOUNDS = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}
_KINDS = {
    "int": "write a whole number",
    "float": "write a number",
    "finite": "write a finite number",
    "string": "write text",
    "bool": "write true or false",
    "tuple": "write a list",
    "list": "write a list",
    "set": "write a list",
    "frozen": "write a list",
    "dict": "write a table of names and values",
    "model": "write a table of names and values",
    "mapping": "write a table of names and values",
    "path": "write a path",
}


def near(name: str, known: Iterable[str]) -> str:
    """The one of `known` that `name` was probably meant to be; empty if none is like it."""
    found = difflib.get_close_matches(name[:100], list(known), n=1, cutoff=0.6)
    return found[0] if found else ""


def not_there(what: str, name: str, known: Iterable[str]) -> str:
    """Words for a name that is none of those known: the near one, else all of them."""
    names = sorted(known)
    if like := near(name, names):
        return f"there is no {what} {shown(name)}: did you mean {like!r}?"
    if not names:
        return f"there is no {what} {shown(name)}: there are none"
    listed = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    return f"there is no {what} {shown(name)}; there are: {listed}"


def shown(value: object) -> str:
    """A value as an error may quote it: one line, not long."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def field_path(loc: Iterable[int | str], prefix: str = "") -> str:
    """Where in a document: ("groups", 0, "memory_limit") is "groups[0].memory_limit"."""
    path = prefix
    for part in loc:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part != "[key]":  # how pydantic marks the key of a table, which no user wrote
            path += f".{part}" if path else part
    return path


def problems_of(error: ValidationError, model: type[BaseModel], prefix: str = "") -> list[Problem]:
    """Each thing that a validation found wrong, with its field.

    Parameters
    ----------
    error
        What `model` raised.
    model
        Where to look for the name that an unknown one is near to.
    prefix
        Put before each field's path.
    """
    problems: dict[tuple[str, str], Problem] = {}
    items = error.errors(include_url=False)
    for item in items:
        if item["type"] == "too_short" and any(_is_within(other["loc"], item["loc"]) for other in items):
            continue  # pydantic counts only the entries that are right
        # A union tells one error a branch; the field's first says it best.
        path = field_path(item["loc"], prefix)
        words = _words(item["type"], item.get("ctx", {}), item["loc"], item.get("input"), item["msg"], model)
        problems.setdefault((path, words), Problem(path, words))
    return list(problems.values())


def _is_within(inner: tuple[int | str, ...], outer: tuple[int | str, ...]) -> bool:
    return len(inner) > len(outer) and inner[: len(outer)] == outer


def _words(
    kind: str, ctx: Mapping[str, Any], loc: tuple[int | str, ...], given: object, message: str, model: type[BaseModel]
) -> str:
    if kind in {"value_error", "assertion_error"}:
        return str(ctx.get("error", message))
    if kind == "extra_forbidden":
        return _unknown(str(loc[-1]), fields_at(model, loc[:-1]))
    if kind == "missing":
        return "it is missing"
    quoted = _quoted(loc, given)
    if kind in _BOUNDS:
        word, bound = _BOUNDS[kind]
        return f"{quoted} is out of range: it must be {word} {ctx[bound]}"
    if kind in {"too_long", "string_too_long"}:
        return f"it is too long: at most {ctx['max_length']} {'characters' if kind[0] == 's' else 'entries'}"
    if kind in {"too_short", "string_too_short"}:
        return f"it is too short: at least {ctx['min_length']} {'characters' if kind[0] == 's' else 'entries'}"
    if kind in {"literal_error", "enum"}:
        return f"{quoted} is none of {ctx['expected']}"
    if kind == "int_from_float":
        return f"{quoted} is no whole number"
    mend = _KINDS.get(kind.partition("_")[0], "write another value")
    return f"{quoted} does not fit: {mend}"


def _quoted(loc: tuple[int | str, ...], given: object) -> str:
    if "environment" in loc or not isinstance(given, (str, int, float, bool)):
        return "what is there"  # an environment's values may be secrets; tables are too long to quote
    return shown(given)


def _unknown(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    if like := near(name, names):
        return f"there is no {shown(name)} here: did you mean {like!r}?"
    if not names:
        return f"there is no {shown(name)} here: nothing can be set here"
    return f"there is no {shown(name)} here; known are: {', '.join(names)}"


def fields_at(model: type[BaseModel], loc: Iterable[int | str]) -> list[str]:
    """Names that may stand at a place of a document, by the model that reads it; none where it can't be told."""
    here: type[BaseModel] | None = model
    for part in loc:
        if isinstance(part, int) or here is None:
            continue
        info = _written_fields(here).get(part)
        # A table by name ([profiles.NAME]) has the same model for each name: the part is a key, not a field.
        here = _model_in(info.annotation) if info is not None else here
    return list(_written_fields(here)) if here is not None else []


def _written_fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    return {field.alias or name: field for name, field in model.model_fields.items() if not field.exclude}


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in get_args(annotation):
        if (found := _model_in(part)) is not None:
            return found
    return None
