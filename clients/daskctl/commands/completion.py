"""`daskctl completion`."""

from __future__ import annotations

import sys

import click
from click.shell_completion import get_completion_class

from ..framing import Example, TaughtCommand

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_DASKCTL_COMPLETE"
"""By which the shell asks for completions; click makes it of the program's name."""


@click.command(
    "completion",
    cls=TaughtCommand,
    examples=(
        Example("For this shell", "source <(daskctl completion bash)"),
        Example("For every bash", "daskctl completion bash > ~/.local/share/bash-completion/completions/daskctl"),
        Example("For every fish", "daskctl completion fish > ~/.config/fish/completions/daskctl.fish"),
    ),
)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print what makes a shell complete commands, options and names of clusters."""
    script = get_completion_class(shell)
    assert script is not None  # click has all of SHELLS
    sys.stdout.write(script(ctx.find_root().command, {}, "daskctl", VARIABLE).source() + "\n")
