"""What is sent to a host: a small loader in the command line, and on its standard input the program and a request.

The loader is the same for everybody and holds nothing of a request, for `ps` shows it. It runs nothing that came
damaged or in part: length and SHA-256 are checked first.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shlex
import zlib
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from typing import Any

LEAST_PYTHON = (3, 10)
EXIT_DAMAGED = 80
EXIT_OLD_PYTHON = 81

LOADER = (
    "import sys,hashlib,zlib;i=sys.stdin.buffer;"
    f"sys.version_info<{LEAST_PYTHON} and sys.exit({EXIT_OLD_PYTHON});"
    "n,d=i.readline().split();c=i.read(int(n));"
    f"hashlib.sha256(c).hexdigest()==d.decode() or sys.exit({EXIT_DAMAGED});"
    "exec(zlib.decompress(c))"
)

Modules = tuple[tuple[str, str], ...]

MODULES: Modules = (
    ("local", "files"),
    ("local", "process"),
    ("local", "variables"),
    ("local", "logs"),
    ("local", "records"),
    ("ssh", "remote"),
)
"""Package below `daskd.drivers`, and name, of what is sent: what others import before them, last what has `main`."""

_BEGIN = """
import json, sys, types
def made(name, path=None):
    module = sys.modules[name] = types.ModuleType(name)
    module.__package__ = name if path is not None else name.rpartition(".")[0]
    if path is not None:
        module.__path__ = path
    parent, _, leaf = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], leaf, module)
    return module
modules, request = json.loads(TEXT)
for package in ["", *sorted({package for package, _, _ in modules})]:
    made("daskd_host" + (package and "." + package), [])
for package, name, source in modules:
    last = made("daskd_host." + package + "." + name)
    exec(compile(source, package + "/" + name + ".py", "exec"), last.__dict__)
last.main(request)
"""

_UNREADABLE = "its answer can't be read: {}"


class Unreadable(Exception):
    """What a host wrote is no answer to what it was asked; the text says what it is."""


def command(python: str) -> str:
    """The command line that a host's login shell runs."""
    # a ~ is the shell's to expand, and the rest is not its to understand
    home, slash, rest = python.partition("/")
    program = f"{home}/{shlex.quote(rest)}" if home == "~" and slash else shlex.quote(python)
    # isolated: what lies in the user's home must not pass for a module
    return f"{program} -I -S -c {shlex.quote(LOADER)}"


def encode(request: Mapping[str, Any], nonce: str, modules: Modules = MODULES) -> bytes:
    """A request, with the program that answers it, as the loader reads it."""
    text = json.dumps([_sources(modules), {**request, "nonce": nonce}])
    code = zlib.compress(_BEGIN.replace("TEXT", repr(text)).encode(), 6)
    return b"%d %s\n%s" % (len(code), hashlib.sha256(code).hexdigest().encode(), code)


def new_nonce() -> str:
    """A mark that nothing else that a login prints bears."""
    return secrets.token_hex(16)


def decode(output: bytes, nonce: str) -> dict[str, Any]:
    """The answer within what a host wrote.

    Returns
    -------
    dict
        With `answer`, or `refused` and why.

    Raises
    ------
    Unreadable
        When it is none, or not whole.
    """
    _, found, rest = output.partition(b"\n" + nonce.encode() + b" ")
    size, _, text = rest.partition(b"\n")
    if not found or not size.isdigit() or len(size) > 12:
        raise Unreadable(_UNREADABLE.format("there is none"))
    if len(text) < int(size):
        raise Unreadable(_UNREADABLE.format("it broke off"))
    try:
        answer = json.loads(text[: int(size)])
    except (ValueError, RecursionError) as error:
        raise Unreadable(_UNREADABLE.format("it is no JSON")) from error
    is_one = isinstance(answer, dict) and (isinstance(answer.get("answer"), dict) or "refused" in answer)
    if not is_one:
        raise Unreadable(_UNREADABLE.format("it says something else"))
    return dict(answer)


@lru_cache(maxsize=4)
def _sources(modules: Modules) -> list[tuple[str, str, str]]:
    drivers = resources.files("daskd") / "drivers"
    return [(package, name, (drivers / package / f"{name}.py").read_text("utf-8")) for package, name in modules]
