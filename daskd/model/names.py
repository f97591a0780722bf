"""Names: what users may call things, and what the daemon calls instances."""

from __future__ import annotations

import base64
import os
import re
import secrets

NAME_WORDS = (
    "a name is a lower-case letter, then lower-case letters, digits and dashes, not ending with a dash, at most 63"
)
_NAME = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_UID = re.compile(r"c[a-z2-7]{19}", re.ASCII)
_INSTANCE = re.compile(r"d[a-z2-7]{13}", re.ASCII)
_ENVIRONMENT_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,255}", re.ASCII)

_ADJECTIVES = (
    "able amber brave brisk calm clear coral deft eager early fair fleet fresh gentle glad golden keen kind light "
    "lively lucid mellow merry mild neat noble plain proud quick quiet ready royal sharp silver sleek snowy solid "
    "spry steady sunny swift tidy true vivid warm wise"
).split()
_NOUNS = (
    "alder aspen badger beacon birch brook cedar cliff clover comet condor cove crane delta ember falcon fern finch "
    "fjord glade grove harbor hazel heron island juniper lagoon larch lark linden lynx maple marten meadow mesa "
    "orchid osprey otter petrel pine plover quartz raven reef ridge river robin rowan spruce summit swan tern thrush "
    "valley willow wren"
).split()


def check_name(name: str) -> str:
    """The name itself, if a cluster or a worker group may be called so.

    Raises
    ------
    ValueError
        With the rule, and what is wrong.
    """
    if not name:
        raise ValueError(f"it is empty: {NAME_WORDS}")
    if len(name) > 63:
        raise ValueError(f"it has {len(name)} characters: {NAME_WORDS}")
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is none: {NAME_WORDS}")
    return name


def check_variable(name: str) -> str:
    """The name itself, if an environment variable may be called so.

    Raises
    ------
    ValueError
        When it may not.
    """
    if not _ENVIRONMENT_VARIABLE.fullmatch(name):
        raise ValueError(f"{name!r} is no name of an environment variable: letters, digits and underscores")
    return name


def is_uid(text: str) -> bool:
    """Whether it has the form of a cluster's uid."""
    return _UID.fullmatch(text) is not None


def is_instance_id(text: str) -> bool:
    """Whether it has the form of an instance's id."""
    return _INSTANCE.fullmatch(text) is not None


def _base32(n_bytes: int) -> str:
    return base64.b32encode(os.urandom(n_bytes)).decode().rstrip("=").lower()


def new_state_id() -> str:
    """Five characters that tell one daemon's state from another's; part of every instance id."""
    return _base32(4)[:5]


def new_uid() -> str:
    """A cluster's identity; where a name and a uid look alike, the name is looked up first."""
    return "c" + _base32(12)[:19]


def new_instance_id(state_id: str) -> str:
    """`d`, the state's five characters, eight of its own: a legal job name, DNS label and unit name everywhere."""
    return "d" + state_id + _base32(5)


def new_cluster_name() -> str:
    """A name for a cluster whose user gave none."""
    return f"{secrets.choice(_ADJECTIVES)}-{secrets.choice(_NOUNS)}-{secrets.randbelow(900) + 100}"
