"""`docs/configuration.md`, `docs/adaptive.md`, `docs/drivers/local.md` against what the daemon reads."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from daskd.config import Config, ProfileSpec, load_config
from daskd.drivers.local.driver import LocalOptions
from daskd.drivers.registry import installed
from daskd.model.adaptive import Policy
from daskd.model.spec import AdaptivePolicy, ClusterSpec, HeldWorkPolicy, SchedulerSpec, WorkerGroupSpec

from .pages import ROOT, blocks, page, section, table

# What is not looked for on the page: where it was read from, what a profile may not say, what drivers' own pages show.
_NOT_IN_A_FILE = {"file", "profiles.spec.profile", "drivers"}
_NOT_IN_A_FILE |= {"profiles.spec.group.nodes", "profiles.spec.groups.nodes"}

# The models that stand in lists, in tables with names of the user's own, or may be left out.
_INSIDE: dict[str, type[BaseModel]] = {
    "profiles": Config.model_fields["profiles"].annotation.__args__[1],  # type: ignore[union-attr]
    "profiles.spec": ProfileSpec,
    "profiles.spec.group": WorkerGroupSpec,
    "profiles.spec.groups": WorkerGroupSpec,
    "profiles.spec.group.adaptive": AdaptivePolicy,
    "profiles.spec.groups.adaptive": AdaptivePolicy,
    "profiles.spec.scheduler": SchedulerSpec,
    "profiles.spec.held_work": HeldWorkPolicy,
}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """The page's configuration, as the daemon reads it."""
    file = tmp_path / "daskd.toml"
    file.write_text(blocks(page("configuration.md"), "toml")[0], "utf-8")
    return load_config(file)


def known_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every key that a model knows, dotted, without users' own names."""
    for name, field in model.model_fields.items():
        key = prefix + (field.alias or name)
        if key in _NOT_IN_A_FILE:
            continue
        inner = _INSIDE.get(key, field.annotation)
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from known_keys(inner, f"{key}.")
        else:
            yield key


def set_keys(model: BaseModel, prefix: str = "") -> Iterator[str]:
    """Every key that was given, likewise."""
    fields = type(model).model_fields
    for name in model.model_fields_set - {"file", "drivers"}:
        key, value = prefix + (fields[name].alias or name), getattr(model, name)
        several = value.values() if isinstance(value, Mapping) else value if isinstance(value, tuple) else (value,)
        inner = [each for each in several if isinstance(each, BaseModel)]
        if not inner:
            yield key
        for each in inner:
            yield from set_keys(each, f"{key}.")


def of_every_group(keys: Iterator[str]) -> set[str]:
    """The keys, those of a profile's groups taken for those of `group`, where they may stand as well."""
    return {key.replace("profiles.spec.groups.", "profiles.spec.group.") for key in keys}


def test_the_page_shows_every_key_and_no_other(config: Config) -> None:
    """The example loads, and what the daemon knows and what the page sets are the same keys."""
    assert of_every_group(set_keys(config)) == of_every_group(known_keys(Config))


def test_values_on_the_page_are_the_defaults(config: Config) -> None:
    """What the page does not mark as an example is what holds without a file."""
    text = blocks(page("configuration.md"), "toml")[0]
    examples = set(re.findall(r"^(\w+) = .*# default:", text, re.MULTILINE))
    defaults = Config().model_dump(exclude={"profiles", "drivers"})
    shown = config.model_dump(exclude={"profiles", "drivers"})
    differing = {
        f"{name}.{key}"
        for name, values in shown.items()
        for key, value in values.items()
        if value != defaults[name][key] and key not in examples
    }
    assert not differing


def test_the_clients_settings_are_included_from_their_file() -> None:
    """The page shows the very file that ships the clients' defaults."""
    target = re.search(r"\{literalinclude\} (\S+daskd\.yaml)", page("configuration.md"))
    assert target is not None
    assert (ROOT / "docs" / target[1]).is_file()


def test_the_local_drivers_table_has_its_options() -> None:
    """Every option of the driver stands in its page with its default, and no other does."""
    told = {row["option"]: row["default"] for row in table(page("drivers/local.md"), "option")}
    fields = LocalOptions.model_fields
    assert told == {name: str(field.default) for name, field in fields.items()}


def test_the_drivers_page_lists_the_drivers() -> None:
    """The drivers that are installed are those of the table."""
    assert {row["driver"] for row in table(page("drivers/README.md"), "driver")} == set(installed().drivers)


def test_adaptive_parameters_have_the_defaults_of_the_code() -> None:
    """Numbers of the table are those that the policy has; what a user can give is named, and nothing else is."""
    text = section(page("adaptive.md"), "Parameters")
    told = {row["parameter"]: row["default"].replace(",", "") for row in table(text, "parameter")}
    policy = {field.name: field.default for field in dataclasses.fields(Policy)}
    assert set(policy) <= set(told)
    numbers = {name: default for name, default in policy.items() if default is not None}
    assert {name: float(told[name]) for name in numbers} == numbers
    yours = text.partition("they are taken literally**")[2].partition("\n\n")[2].partition("are yours to give")[0]
    assert set(re.findall(r"`(\w+)`", yours)) == set(AdaptivePolicy.model_fields)


def test_a_profile_is_a_spec() -> None:
    """What can stand in a profile's spec is what a request can say, `group` aside: the page's words rest on it."""
    fields: dict[str, Any] = dict(ProfileSpec.model_fields)
    assert set(fields) - {"every_group"} == set(ClusterSpec.model_fields)
