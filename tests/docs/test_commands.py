"""Commands that the documentation shows exist and take the options that it gives them."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

import click
import pytest

from daskctl.app import daskctl

from .pages import README, ROOT, commands, every_page, page, section, table

PAGES = every_page()
_OTHER_PROGRAM = re.compile(r"\s(\||>|#|&&)\s")
_PLACEHOLDER = re.compile(r"[A-Z]+")


def shown(program: str) -> list[tuple[str, str]]:
    """Every command line of a program in README and the pages, with its page."""
    return [(name, line) for name, text in PAGES.items() for line in commands(text, program)]


def help_of(*argv: str) -> str:
    """What `--help` prints."""
    done = subprocess.run(
        [sys.executable, "-m", *argv, "--help"], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


def options_in(text: str) -> set[str]:
    """The long options that a text names."""
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text))


def parse(line: str) -> None:
    """Parse a line as `daskctl` would, without running it; a placeholder stands for what users put in."""
    argv = [_PLACEHOLDER.sub("1", word) if _PLACEHOLDER.fullmatch(word) else word for word in shlex.split(line)]
    command = daskctl.commands.get(argv[1])
    if command is None:
        raise click.UsageError(f"there is no command {argv[1]!r}")
    with command.make_context(argv[1], argv[2:]):
        pass


def test_every_daskctl_command_shown_is_one() -> None:
    """What the pages call exists, with these options and that many arguments."""
    lines = [(name, _OTHER_PROGRAM.split(line.replace("\\|", "|"))[0].rstrip(")")) for name, line in shown("daskctl")]
    whole = [(name, line) for name, line in lines if len(line.split()) > 1 and "COMMAND" not in line]
    assert len(whole) > 20
    for name, line in whole:
        try:
            parse(line)
        except click.UsageError as error:
            # in running text a command may stand for itself, without the name of a cluster
            if not isinstance(error, click.MissingParameter) or len(line.split()) > 2:
                pytest.fail(f"{name}: {line}: {error.format_message()}")


def test_daskctls_page_lists_its_commands() -> None:
    """The table of commands and the program have the same ones."""
    rows = table(section(page("daskctl.md"), "Commands"), "command")
    listed = [name.strip("`") for row in rows for name in row["command"].split(", ")]
    assert {name.split()[0] for name in listed} == set(daskctl.commands)


def test_daskctls_help_lists_its_commands() -> None:
    """`daskctl --help` and the page's table agree."""
    _, _, text = help_of("daskctl").partition("Commands:\n")
    listed = re.findall(r"^  ([a-z]+) ", text, re.MULTILINE)
    assert listed == list(daskctl.commands)


def test_daskds_usage_on_the_page_is_its_help() -> None:
    """Options and commands of `daskd` in "Run it" are those of its help."""
    usage = [line for line in commands(section(page("administration.md"), "Run it"), "daskd") if " --" in line]
    told = {line.split()[1]: options_in(line) for line in usage}
    listed = re.findall(r"^    ([a-z-]+)\b", help_of("daskd"), re.MULTILINE)
    assert told == {name: options_in(help_of("daskd", name)) - {"--help"} for name in listed}


def test_every_daskd_command_shown_is_one() -> None:
    """No page calls a command of `daskd` that does not exist."""
    listed = re.findall(r"^    ([a-z-]+)\b", help_of("daskd"), re.MULTILINE)
    for name, line in shown("daskd"):
        words = line.split()[1:]
        assert not words or words[0] in listed or words[0].startswith("-"), f"{name}: {line}"


def test_every_make_target_shown_is_one() -> None:
    """What README and the pages tell to make can be made."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for name, line in shown("make"):
        for word in line.split("#")[0].split()[1:]:
            assert word in targets, f"{name}: {line}"


def test_links_of_the_readme_lead_somewhere() -> None:
    """Files that README links to exist; the pages' own links are checked by the documentation's build."""
    links = re.findall(r"\]\((?!https?:)([^)#]+)", README.read_text("utf-8"))
    assert links
    assert [link for link in links if not (ROOT / link).is_file()] == []
