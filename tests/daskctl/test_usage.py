"""The command line itself: what is refused before anything is asked, and what the help teaches."""

from __future__ import annotations

from datetime import timedelta

import click
import pytest
from click.testing import CliRunner, Result

from daskctl.app import COMMANDS, daskctl
from daskctl.commands import adapt, create
from daskctl.framing import TaughtCommand
from daskd_client.types import AdaptivePolicy, ClusterSpec, WorkerGroupSpec


def _run(*arguments: str) -> Result:
    # An address at which nobody can be: whatever gets as far as asking is told so, with exit code 3.
    return CliRunner().invoke(daskctl, [*arguments, "--address", "unix:/nonexistent/daskd.sock"])


@pytest.mark.parametrize(
    "line",
    [
        "frobnicate",
        "get",
        "get a b",
        "list -o xml",
        "scale etl",
        "scale etl many",
        "scale etl -- -1",
        "scale etl 2 --cores 4",
        "scale etl --memory 4GiB --cores 4",
        "create etl --resource GPU",
        "create etl --resource GPU=many",
        "create etl --worker-option validate",
        "group add etl",
        "group remove etl",
        "group add etl g --min 5 --max 2",
        "apply",
        "create etl -n -1",
        "create etl --threads 0",
        "create etl --option queue",
        "create etl --env =1",
        "create etl --min 5 --max 2",
        "create etl --idle-timeout soon",
        "adapt etl --min 5 --max 2",
        "adapt etl --off --max 2",
        "logs etl --scheduler --worker w",
        "logs etl --since yesterday",
        "logs etl --tail -1",
        "lost etl --client c",
        "delete",
        "completion tcsh",
        "top",
        "top etl -o json",
        "top --interval 0",
        "events",
        "events etl --daemon",
        "events --daemon -f",
    ],
)
def test_wrong_usage_is_exit_code_2_and_shows_the_usage(line: str) -> None:
    """Before the daemon is asked anything."""
    done = _run(*line.split())
    assert done.exit_code == 2, done.output
    assert "Usage: " in done.output


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_teaches_by_examples(command: TaughtCommand) -> None:
    """Lines of its own, each with a purpose."""
    assert command.examples
    shown = CliRunner().invoke(daskctl, [str(command.name), "--help"]).output
    for example in command.examples:
        assert example.line in shown
        assert f"daskctl {command.name}" in example.line or command.name == "completion"


def _parse(command: click.Command, line: str) -> click.Context:
    arguments = line.split("#")[0].split("|")[0].replace("<(", "").replace(")", "").split(">")[0].split()
    start = arguments.index("daskctl") + 2
    return command.make_context(str(command.name), arguments[start:])


@pytest.mark.parametrize(
    ("command", "line"),
    [(command, example.line) for command in COMMANDS for example in command.examples if "xargs" not in example.line],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_example_can_be_run(command: click.Command, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its options and arguments are the command's."""
    monkeypatch.setenv("API_TOKEN", "t")
    _parse(command, line)


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.name != "completion"])
def test_every_command_takes_address_and_output(command: click.Command) -> None:
    """As the group itself does."""
    names = {name for parameter in command.params for name in parameter.opts}
    assert {"--address", "-o", "--output"} <= names
    assert {"--address", "-o", "--output"} <= {name for parameter in daskctl.params for name in parameter.opts}


def test_the_version_is_told() -> None:
    """Without asking a daemon."""
    assert CliRunner().invoke(daskctl, ["--version"]).output.startswith("daskctl, version ")


def test_help_lists_the_commands_in_the_order_of_a_clusters_life() -> None:
    """After examples."""
    shown = CliRunner().invoke(daskctl, ["--help"]).output
    places = [shown.index(f"\n  {command.name} ") for command in COMMANDS]
    assert places == sorted(places)
    assert shown.index("Examples:") < shown.index("Commands:")


def _create_options(line: str) -> create.CreateOptions:
    params = create.create.make_context("create", line.split()).params
    return create.CreateOptions(**params)


def test_create_asks_for_what_it_was_told_and_leaves_the_rest_to_the_profile() -> None:
    """A group of its own would hide the profile's."""
    assert create.spec_of(_create_options("etl --profile gpu")) == ClusterSpec(profile="gpu")
    assert create.spec_of(_create_options("etl -n 0")) == ClusterSpec(groups=(WorkerGroupSpec(n_workers=0),))
    line = "etl -n 4 --driver slurm --threads 2 --memory 4GiB --workers-per-node 2"
    line += " --option queue=main --env TZ=UTC --min 1 --resource GPU=2 --death-timeout 2m --preload a --preload b"
    line += " --worker-class a.B --worker-option validate=true --local-directory /tmp/x"
    group = WorkerGroupSpec(
        "",
        "slurm",
        4,
        2,
        "4GiB",
        2,
        resources={"GPU": 2},
        options={"queue": "main"},
        adaptive=AdaptivePolicy(minimum=1),
        death_timeout=timedelta(minutes=2),
        preload=("a", "b"),
        worker_class="a.B",
        worker_options={"validate": True},
        local_directory="/tmp/x",
    )
    assert create.spec_of(_create_options(line)) == ClusterSpec(groups=(group,), environment={"TZ": "UTC"})


def test_adapt_leaves_to_the_daemon_what_it_was_not_told() -> None:
    """An absent parameter and 0 are different things."""
    params = adapt.adapt.make_context("adapt", ["etl", "--min", "0", "--interval", "2s"]).params
    policy = adapt.policy_of(adapt.AdaptOptions(**params))
    assert (policy.minimum, policy.maximum, policy.wait_count) == (0, None, None)
    assert policy.interval is not None
    assert policy.interval.total_seconds() == 2
