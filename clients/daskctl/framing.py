"""How a command is made: an options object and a run function become a command that teaches by examples.

Every command takes `--address` and `-o`, as the group does, so that both are accepted before and after its name.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from .failures import execute
from .render.printer import Format, Printer
from .session import Session
from .values import Duration

Options = TypeVar("Options")
Run = Callable[[Options, Session], Coroutine[Any, Any, None]]
Decorated = TypeVar("Decorated", bound=Callable[..., Any])


@dataclass
class Shared:
    """The shared options as parsed so far; what stands nearer to the command's name wins."""

    address: str | None = None
    format: Format = Format.TABLE

    def session(self) -> Session:
        """The session that these options ask for."""
        return Session(self.address, Printer(self.format))


@dataclass(frozen=True, slots=True)
class Example:
    """A line that can be run as it stands, and what for."""

    purpose: str
    line: str


def write_examples(examples: Sequence[Example], formatter: click.HelpFormatter) -> None:
    """Add the examples to a command's help."""
    with formatter.section("Examples"):
        for number, example in enumerate(examples):
            if number:
                formatter.write_paragraph()
            formatter.write_text(f"# {example.purpose}")
            formatter.write(f"{'':>{formatter.current_indent}}$ {example.line}\n")


class TaughtCommand(click.Command):
    """A command whose help leads with examples."""

    def __init__(self, *args: Any, examples: Sequence[Example] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = examples

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The examples, then the options."""
        write_examples(self.examples, formatter)
        super().format_options(ctx, formatter)


class TaughtGroup(click.Group):
    """A command of several actions, whose help leads with examples."""

    def __init__(self, *args: Any, examples: Sequence[Example] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = examples

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the actions, in the order in which they were added."""
        return list(self.commands)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The examples, then options and actions."""
        write_examples(self.examples, formatter)
        super().format_options(ctx, formatter)


def shared_options(function: Decorated) -> Decorated:
    """Give a command or the group `--address` and `-o`."""
    output = click.option(
        "-o",
        "--output",
        type=click.Choice([kind.value for kind in Format]),
        expose_value=False,
        callback=_remember_format,
        help="How to print: a table, or one document for programs.",
    )
    address = click.option(
        "--address",
        metavar="ADDRESS",
        expose_value=False,
        callback=_remember_address,
        help="The daemon: unix:/path or host:port.  [default: DASKD_ADDRESS, else the local daemon's socket]",
    )
    return address(output(function))


def _remember_format(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    shared = ctx.ensure_object(Shared)
    if value is not None:
        shared.format = Format(value)


def _remember_address(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    shared = ctx.ensure_object(Shared)
    if value is not None:
        shared.address = value


def command(
    name: str, options_type: Callable[..., Options], examples: Sequence[Example]
) -> Callable[[Run[Options]], TaughtCommand]:
    """Make a command of a run function; its docstring is the command's help.

    Parameters
    ----------
    name
        What users type.
    options_type
        Built from the parsed parameters, by their names, and handed to the function with the session.
    examples
        Shown in the help.
    """

    def make(run: Run[Options]) -> TaughtCommand:
        @click.pass_context
        def callback(ctx: click.Context, /, **given: Any) -> None:
            execute(run(options_type(**given), ctx.ensure_object(Shared).session()))

        callback.__doc__ = run.__doc__
        callback.__click_params__ = list(getattr(run, "__click_params__", ()))  # type: ignore[attr-defined]
        return click.command(name, cls=TaughtCommand, examples=examples)(shared_options(callback))

    return make


def cluster_argument(function: Decorated) -> Decorated:
    """The argument NAME: a cluster's name, owner/name or uid."""
    return click.argument("name", shell_complete=complete_cluster)(function)


def complete_cluster(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of live clusters that begin so; none when the daemon does not answer at once."""
    from .completion import cluster_names

    return [CompletionItem(name) for name in cluster_names(ctx.ensure_object(Shared).session(), incomplete)]


def wait_options(until: str) -> Callable[[Decorated], Decorated]:
    """`--no-wait` and `--timeout`, of commands that wait."""

    def decorate(function: Decorated) -> Decorated:
        no_wait = click.option("--no-wait", is_flag=True, help=f"Return at once instead of waiting until {until}.")
        timeout = click.option("--timeout", type=Duration(), help="Wait no longer than this; exits with 1 then.")
        return no_wait(timeout(function))

    return decorate
