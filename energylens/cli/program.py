"""A command as a program: one clear line for what goes wrong, and a status that says whose fault it is."""

from __future__ import annotations

import os
import sys

import click

from energylens.errors import InputError, RunError

INTERRUPTED = "interrupted. What is finished is kept: the same command goes on (leave out --overwrite if you gave it)."


def run_program(command: click.Command) -> None:
    """Run the command on this process's arguments; leaves with status 0 only by returning.

    Args:
        command: a group or one command.

    Raises:
        SystemExit: 2 for a wrong request, 1 for work that could not be done, 130 for an interruption, 141 for a reader
            that has gone; a message is on standard error.
    """
    try:
        command.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (InputError, RunError) as error:
        click.echo(f"energylens: {error}", err=True)
        sys.exit(error.exit_status)
    except (KeyboardInterrupt, click.Abort):
        click.echo(f"energylens: {INTERRUPTED}", err=True)
        sys.exit(130)
    except BrokenPipeError:  # the reader, `head` say, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        click.echo(f"energylens: {error}", err=True)
        sys.exit(1)
