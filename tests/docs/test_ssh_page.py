"""`docs/drivers/ssh.md` against what the driver reads."""

from __future__ import annotations

import sys

from daskd.drivers.ssh.options import Access, SshOptions, SshSettings
from daskd.drivers.ssh.program import LEAST_PYTHON

from .pages import blocks, page, section, table

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def test_the_table_has_the_drivers_options() -> None:
    """Every option stands in the page, and no other does."""
    told = {row["option"] for row in table(page("drivers/ssh.md"), "option")}
    assert told == set(SshOptions.model_fields)
    assert told - {"hosts", "port_range"} == set(Access.model_fields)


def test_the_configuration_on_the_page_is_one() -> None:
    """The example of `[drivers.ssh]` is read as it stands."""
    [text] = blocks(page("drivers/ssh.md"), "toml")
    settings = SshSettings.model_validate(tomllib.loads(text)["drivers"]["ssh"])
    assert [host.host for host in settings.hosts] == ["h1", "h2", "h3"]


def test_the_oldest_python_is_told() -> None:
    """The page says which Python a host needs."""
    assert "{}.{} or\nnewer".format(*LEAST_PYTHON) in page("drivers/ssh.md")
    assert section(page("drivers/ssh.md"), "Host keys")
