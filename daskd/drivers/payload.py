"""Pure: code and data in one text that a Python runs which has nothing of daskd.

Where such a text comes in its loader, which holds nothing of it, checks length and SHA-256 first: what was damaged or
cut on its way starts nothing.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

LEAST_PYTHON = (3, 10)
EXIT_DAMAGED = 80
EXIT_OLD_PYTHON = 81

LOADER = f"""\
import sys, base64, hashlib, zlib
if sys.version_info < {LEAST_PYTHON}:
    sys.stderr.write("daskd: " + sys.executable + " is older than Python {LEAST_PYTHON[0]}.{LEAST_PYTHON[1]}\\n")
    sys.exit({EXIT_OLD_PYTHON})
head, _, body = sys.stdin.buffer.read().partition(b"\\n")
code = base64.b64decode(body)
if head.split() != [b"%d" % len(code), hashlib.sha256(code).hexdigest().encode()]:
    sys.stderr.write("daskd: what was sent arrived damaged\\n")
    sys.exit({EXIT_DAMAGED})
exec(zlib.decompress(code))
"""

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
    made("daskd_sent" + (package and "." + package), [])
for package, name, source in modules:
    last = made("daskd_sent." + package + "." + name)
    exec(compile(source, package + "/" + name + ".py", "exec"), last.__dict__)
last.main(request)
"""


@dataclass(frozen=True, slots=True)
class Runtime:
    """The runtime's files as a zip, and its SHA-256."""

    code: bytes
    digest: str


def packed(modules: Sequence[tuple[str, str]], request: Mapping[str, Any]) -> str:
    """The text that `LOADER` reads: it calls `main` of the last module with the request.

    Parameters
    ----------
    modules
        Package below `daskd.drivers`, and name, of each; of the standard library alone but for those before it.
    """
    text = json.dumps([[(package, name, _source(package, name)) for package, name in modules], request])
    code = zlib.compress(_BEGIN.replace("TEXT", repr(text)).encode(), 6)
    return f"{len(code)} {hashlib.sha256(code).hexdigest()}\n{base64.encodebytes(code).decode()}"


@lru_cache(maxsize=64)
def _source(package: str, name: str) -> str:
    return (resources.files("daskd") / "drivers" / package / f"{name}.py").read_text("utf-8")


@lru_cache(maxsize=1)
def runtime() -> Runtime:
    """The runtime of this very daskd; found, not imported, for the daemon never loads what speaks Dask."""
    buffer = io.BytesIO()
    package = resources.as_file(resources.files("daskd") / "runtime")
    with package as folder, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*.py")):
            # no times: the same files are the same bytes
            name = file.relative_to(folder).as_posix()
            archive.writestr(zipfile.ZipInfo(name), file.read_bytes(), zipfile.ZIP_DEFLATED)
    code = buffer.getvalue()
    return Runtime(code, hashlib.sha256(code).hexdigest())


def text_of(data: bytes) -> str:
    """Bytes as a request carries them."""
    return base64.b64encode(data).decode()
