"""Clusters from a file: YAML (hence JSON too) into specs, with every mistake told by its line.

What a field may hold is read off the API's dataclasses, so that the file's keys are the API's.
"""

from __future__ import annotations

import dataclasses
import difflib
import enum
import types as builtin_types
import typing
from collections.abc import Iterator, Mapping
from datetime import timedelta
from functools import cache
from typing import Any

import yaml

from daskd_client.types import Cluster, ClusterSpec

from .values import seconds_of

_WANTED = ("name", "spec")
_NULL = "tag:yaml.org,2002:null"
_LINES = "prologue"


@dataclasses.dataclass(frozen=True)
class Manifest:
    """A cluster as a file wants it."""

    name: str
    spec: ClusterSpec


class BadManifest(Exception):
    """A file says something else than clusters; its text has a line for each mistake."""


class _Mistake(Exception):
    """What is wrong with a value."""


def read_manifests(text: str, source: str) -> list[Manifest]:
    """The clusters that a file wants, in order.

    Parameters
    ----------
    text
        YAML documents, each ``{name, spec}``, or all that `daskctl get -o yaml` prints of a cluster.
    source
        What the file is called in errors.

    Raises
    ------
    BadManifest
        With all that is wrong.
    """
    try:
        nodes = [node for node in yaml.compose_all(text, Loader=yaml.SafeLoader) if node.tag != _NULL]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{source}:{mark.line + 1}" if mark is not None else source
        raise BadManifest(
            f"{where}: this is neither YAML nor JSON: {getattr(error, 'problem', None) or error}"
        ) from None
    reader = _Reader(source)
    read = [reader.manifest(node) for node in nodes]
    if not nodes:
        reader.mistakes.append(f"{source}: it is empty: write the `name` and the `spec` of a cluster")
    names = [manifest.name for manifest in read]
    twice = sorted({name for name in names if name and names.count(name) > 1})
    reader.mistakes += [f"{source}: there are two clusters {name!r}: give each a name of its own" for name in twice]
    if reader.mistakes:
        raise BadManifest("\n".join(reader.mistakes))
    return read


class _Reader:
    """Turns nodes into values, and notes what is wrong with them."""

    def __init__(self, source: str) -> None:
        self._source = source
        self.mistakes: list[str] = []

    def manifest(self, node: yaml.Node) -> Manifest:
        """One document."""
        entries = dict(self._entries(node, "", tuple(_hints(Cluster))))
        if "uid" not in entries:  # all else is what `get` tells of a cluster, and nobody can want
            for key, (at, _) in entries.items():
                if key not in _WANTED:
                    hint = "write it under `spec`" if key in _hints(ClusterSpec) else "a file has `name` and `spec`"
                    self._note(at, key, hint)
        for key in _WANTED:
            if key not in entries and isinstance(node, yaml.MappingNode):
                self._note(node, key, "it is missing")
        name = self._value(entries["name"][1], str, "name") if "name" in entries else ""
        spec = self._value(entries["spec"][1], ClusterSpec, "spec") if "spec" in entries else None
        return Manifest(name or "", spec or ClusterSpec())

    def _note(self, node: yaml.Node, path: str, words: str) -> None:
        where = f"{self._source}:{node.start_mark.line + 1}"
        self.mistakes.append(f"{where}: {path}: {words}" if path else f"{where}: {words}")

    def _entries(
        self, node: yaml.Node, path: str, known: tuple[str, ...]
    ) -> Iterator[tuple[str, tuple[yaml.Node, yaml.Node]]]:
        """Keys of a table that may be there, each with its own node and its value's."""
        seen: set[str] = set()
        for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
            name = str(key.value)
            here = f"{path}.{name}" if path else name
            if name in seen:
                self._note(key, here, "it is there twice")
            elif known and name not in known:
                self._note(key, here, _unknown(name, known))
            else:
                yield name, (key, value)
            seen.add(name)
        if not isinstance(node, yaml.MappingNode):
            self._note(node, path, "write a table of names and values")

    def _value(self, node: yaml.Node, hint: Any, path: str) -> Any:
        """The value of a node, of the type that a hint says; None where there is none, or a mistake was noted."""
        if node.tag == _NULL:
            return None
        options = [option for option in typing.get_args(hint) if option is not type(None)]
        if typing.get_origin(hint) in (typing.Union, builtin_types.UnionType):
            return self._value(node, options[0], path)
        origin = typing.get_origin(hint)
        if origin is tuple:
            return self._list(node, options[0], path)
        if origin is not None and issubclass(origin, Mapping):
            return self._table(node, options[1], path)
        if dataclasses.is_dataclass(hint):
            return self._dataclass(node, hint, path)
        try:
            return _scalar(node, hint)
        except (_Mistake, ValueError) as error:
            self._note(node, path, str(error))
            return None

    def _dataclass(self, node: yaml.Node, kind: Any, path: str) -> Any:
        hints = _hints(kind)
        values = {
            name: self._value(value, hints[name], f"{path}.{name}")
            for name, (_, value) in self._entries(node, path, tuple(hints))
        }
        return kind(**{name: value for name, value in values.items() if value is not None})

    def _list(self, node: yaml.Node, hint: Any, path: str) -> tuple[Any, ...]:
        if isinstance(node, yaml.ScalarNode) and path.rpartition(".")[2] == _LINES:
            return tuple(str(node.value).strip().splitlines())
        if not isinstance(node, yaml.SequenceNode):
            self._note(node, path, "write a list")
            return ()
        items = [self._value(item, hint, f"{path}[{n}]") for n, item in enumerate(node.value)]
        return tuple(item for item in items if item is not None)

    def _table(self, node: yaml.Node, hint: Any, path: str) -> dict[str, Any]:
        values = {}
        for name, (_, value) in self._entries(node, path, ()):
            values[name] = self._value(value, hint, f"{path}.{name}")
            if values[name] is None and hint is not Any and value.tag == _NULL:
                self._note(value, f"{path}.{name}", "there is no value: write one, or leave the name out")
        return values


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _scalar(node: yaml.Node, hint: Any) -> Any:
    """The value of a node that is neither a list of ours nor a table.

    Raises
    ------
    _Mistake, ValueError
        It is of another type.
    """
    if hint is Any:
        return _plain(node)
    if not isinstance(node, yaml.ScalarNode):
        raise _Mistake("write a single value")
    text = str(node.value)
    if hint is str:  # as it was written: neither 0 nor yes is anything else here
        # JSON writes what lies beyond 16 bits as two halves, which YAML leaves as they are
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    if hint is timedelta:
        return timedelta(seconds=seconds_of(text))
    if issubclass(hint, enum.Enum):
        return _choice(text, hint)
    value = _plain(node)
    fits = isinstance(value, (int, float) if hint is float else hint) and isinstance(value, bool) is (hint is bool)
    if not fits:
        words = {bool: "true or false", int: "a whole number", float: "a number"}[hint]
        raise _Mistake(f"{text!r} does not fit: write {words}")
    return value


def _plain(node: yaml.Node) -> Any:
    """A node's value as YAML has it, of the types that JSON has too."""
    loader = yaml.SafeLoader("")
    try:
        value = loader.construct_object(node, deep=True)
    except yaml.YAMLError as error:
        raise _Mistake(f"it can't be read: {getattr(error, 'problem', None) or error}") from None
    return str(node.value) if isinstance(node, yaml.ScalarNode) and not _is_json(value) else value


def _is_json(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, str))


def _choice(text: str, kind: type[enum.Enum]) -> enum.Enum:
    """A member by its name, with or without the enum's own before it, in any case."""
    names = [member.name for member in kind if member.name != "UNSPECIFIED"]
    for member in kind:
        if member.name in names and (text.upper() == member.name or text.upper().endswith(f"_ACTION_{member.name}")):
            return member
    if text.upper().endswith("_ACTION_UNSPECIFIED"):  # what an older daemon knows nothing of is printed so
        return kind["UNSPECIFIED"]
    raise _Mistake(f"{text!r} is none of {', '.join(name.lower() for name in names)}")


def _unknown(name: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    hint = f"did you mean `{near[0]}`?" if near else f"there are: {', '.join(sorted(known))}"
    return f"there is no such key here: {hint}"
