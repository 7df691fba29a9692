"""The command line: parse -> settings -> call -> print. One file a command; no logic lives here."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from importlib import import_module
from typing import Any

import click

from energylens.cli.program import run_program
from energylens.errors import InputError, Note, did_you_mean
from energylens.records.shards import launched_ranks

#: the commands by what they are for, as the help shows them
GROUPS = {
    "Look at a model": ("profile", "histogram", "trajectory", "curve", "doctor"),
    "Train and generate": ("train", "generate", "score"),
    "Show and share": ("compare", "report", "figures", "merge"),
    "List what there is": ("models", "attacks", "datasets"),
}
COMMANDS = tuple(name for names in GROUPS.values() for name in names)


class Commands(click.Group):
    """The commands, each imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands.

        Args:
            ctx: click's context, which changes nothing.

        Returns:
            The names in the order of the help.
        """
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name, imported now.

        Args:
            ctx: click's context, which changes nothing.
            cmd_name: as it was typed.

        Returns:
            The command; None where there is none of this name.
        """
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"energylens.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the arguments name.

        Args:
            ctx: click's context, for the usage line of the error.
            args: what was typed behind ``energylens`` and its own options.

        Returns:
            The command's name, the command and its own arguments.

        Raises:
            click.UsageError: for an unknown command; it names the closest one.
        """
        if args and args[0] not in COMMANDS:
            hint = did_you_mean(args[0], COMMANDS)
            ctx.fail(f"unknown command {args[0]!r}: {hint}the commands are {', '.join(COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands, a section a group, each with the first sentence of its help.

        Args:
            ctx: click's context, which changes nothing.
            formatter: takes the lines of the help screen.
        """
        width = max(map(len, COMMANDS))
        for heading, names in GROUPS.items():
            commands = [command for name in names if (command := self.get_command(ctx, name))]
            with formatter.section(heading):
                formatter.write_dl([(str(one.name).ljust(width), one.get_short_help_str(200)) for one in commands])


def _version(ctx: click.Context, option: click.Parameter, asked: bool) -> None:
    """Print the version and end; with --verbose all that a bug report needs."""
    if asked and not ctx.resilient_parsing:
        from energylens.cli.environment import environment, version

        click.echo(environment() if ctx.params.get("verbose") else f"energylens {version('energylens')}")
        ctx.exit()


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=True)
@click.option("--verbose", is_flag=True, is_eager=True, help="With --version: all that a bug report needs.")
@click.option("--version", is_flag=True, expose_value=False, callback=_version, help="Print the version.")
def root(verbose: bool) -> None:
    """Look at image classifiers through their energies.

    E(x, y) = -f(x)[y] and E(x) = -logsumexp f(x), for natural and adversarial images.
    """


def main() -> None:
    """Entry point. Of the processes that a launcher has started only the first prints its results."""
    try:
        speaks = launched_ranks().speaks
    except InputError as error:
        click.echo(f"energylens: {error}", err=True)
        sys.exit(error.exit_status)
    with nullcontext() if speaks else redirect_stdout(None), _notes_in_a_line():
        run_program(root)


@contextmanager
def _notes_in_a_line() -> Iterator[None]:
    """A Note within this context is a line on standard error, without the line of code that a warning comes with."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", Note)
        show = warnings.showwarning

        def shown(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if not issubclass(category, Note):
                show(message, category, *where, **more)
            elif launched_ranks().speaks:
                click.echo(f"energylens: {message}", err=True)

        warnings.showwarning = shown
        yield
