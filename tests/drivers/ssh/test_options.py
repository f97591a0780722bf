"""What may be said of hosts, and how what is said in several places goes together."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import pytest
from pydantic import ValidationError

from daskd.api.checks import option_problems
from daskd.drivers.ssh import SshDriver
from daskd.drivers.ssh.options import SshOptions, SshSettings, rooms, split_target
from daskd.model.spec import WorkerGroupSpec
from daskd.security.peer import identity_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("h1", ("", "h1", None)),
        ("ann@h1.example.org", ("ann", "h1.example.org", None)),
        ("ann@h1:2222", ("ann", "h1", 2222)),
        ("[2001:db8::1]:2222", ("", "2001:db8::1", 2222)),
        ("ann@example.org@gate", ("ann@example.org", "gate", None)),
    ],
)
def test_a_host_may_be_written_in_short(text: str, expected: tuple[str, str, int | None]) -> None:
    """[USER@]HOST[:PORT], an IPv6 address in brackets."""
    assert split_target(text) == expected


@pytest.mark.parametrize(
    "text", ["", "-oProxyCommand=x", "h1 h2", "ann@", "h1:", "h1:99999", "h;reboot", "@h1", "h\nx"]
)
def test_what_is_no_host_is_refused(text: str) -> None:
    """Neither options of a program nor shell nor nonsense passes for a host."""
    with pytest.raises(ValueError, match=r"no host|no user"):
        split_target(text)


@pytest.mark.parametrize(
    ("options", "field", "words"),
    [
        ({"hosts": ["h1"], "known_hosts": None}, "options.known_hosts", "insecure"),
        ({"hosts": ["h1"], "known_hosts": "none"}, "options.known_hosts", "whole path"),
        ({"hosts": ["h1"], "key": "id_rsa"}, "options.key", "whole path"),
        ({"hosts": ["h 1"]}, "options.hosts[0]", "USER@HOST"),
        ({"hosts": [{"host": "h1", "slot": 3}]}, "options.hosts[0].slot", "slot"),
        ({"hosts": ["h1"], "usrname": "ann"}, "options.usrname", "username"),
        ({"hosts": ["h1"], "slots": -1}, "options.slots", "at least 0"),
        ({"hosts": ["h1"], "directory": "daskd"}, "options.directory", "whole path"),
    ],
)
def test_wrong_options_are_named_with_the_mend(options: dict[str, Any], field: str, words: str) -> None:
    """Each problem has its field and says what to write."""
    [problem] = option_problems(SshOptions, options)
    assert problem.field == field
    assert words in problem.words


def test_the_requests_word_goes_first_and_a_hosts_before_its_groups() -> None:
    """In order: the host's in the request, the request's, the host's in the configuration, the configuration's."""
    settings = SshSettings.model_validate(
        {"username": "all", "key": "/conf", "slots": 8, "hosts": [{"host": "h1", "slots": 4, "python": "/conf/python"}]}
    )
    options = SshOptions.model_validate({"hosts": ["h1", {"host": "h2", "slots": 1}], "key": "/asked", "slots": 2})
    (first, _), (second, _) = rooms(options, settings)
    assert (first.slots, first.endpoint.python, first.endpoint.key) == (2, "/conf/python", "/asked")
    assert (second.slots, second.endpoint.python, second.endpoint.username) == (1, "", "all")


def test_hosts_come_from_the_configuration_where_the_request_names_none() -> None:
    """An administrator's list serves who asks for the driver alone; each host once."""
    settings = SshSettings.model_validate({"hosts": "h1,h2 h1"})
    assert [room.endpoint.host for room, _ in rooms(SshOptions(), settings)] == ["h1", "h2"]


def test_another_users_group_is_refused_in_words() -> None:
    """A daemon logs in with nobody's keys but its own user's."""
    own = identity_of(os.geteuid())
    group = WorkerGroupSpec(driver="ssh", options={"hosts": ["h1"]})
    assert SshDriver().validate(group, own) == []
    [problem] = SshDriver().validate(group, dataclasses.replace(own, uid=own.uid + 1, name="ann"))
    assert "ann" in problem.words


def test_host_keys_are_checked_unless_it_says_insecure() -> None:
    """There is no other word that takes any key."""
    assert SshOptions.model_validate({"known_hosts": "insecure"}).known_hosts == "insecure"
    assert SshOptions.model_validate({}).known_hosts is None
    with pytest.raises(ValidationError):
        SshOptions.model_validate({"known_hosts": False})
