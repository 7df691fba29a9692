"""``energylens doctor``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from energylens.cli.help import DATA, Command, option
from energylens.cli.options import COUNT, JSON, given_options, naming
from energylens.cli.progress import progress
from energylens.cli.tables import Column, print_json, show

if TYPE_CHECKING:
    from energylens.checks import Diagnosis

COLUMNS = (
    Column("check", lambda finding: finding.check),
    Column("verdict", lambda finding: finding.verdict),
    Column("measured", lambda finding: finding.measured, wrap=40),
)


@click.command("doctor", cls=Command, first=("arch", "dataset", "preprocessing", "n", "as_json"))
@click.argument("model")
@option("--n", **COUNT | {"allowed": "48 or more"}, metavar="N", group=DATA, usual="64", help="How many samples.")
@naming
@JSON
def command(model: str, as_json: bool, **options: Any) -> None:
    """Look for what would make MODEL's energies and accuracies worthless; exit status 1 where something does.

    \b
    energylens doctor digits-standard
    energylens doctor my.pt --arch resnet18 --dataset cifar10
    """
    from energylens.checks import examine

    with progress(model) as listener:
        diagnosis = examine(model, listener=listener, **given_options(options))
    if as_json:
        print_json(diagnosis.as_numbers())
    else:
        _print(diagnosis)
    if not diagnosis.healthy:
        sys.exit(1)


def _print(diagnosis: Diagnosis) -> None:
    """Every finding in a line, then what to do about those that are not ok."""
    show(COLUMNS, diagnosis.findings, title=f"{diagnosis.model} on {diagnosis.dataset}, {diagnosis.n} samples")
    for finding in diagnosis.findings:
        if finding.remedy:
            click.echo(f"{finding.verdict.upper()} {finding.check}: {finding.meaning}.")
            click.echo(f"    What to do: {finding.remedy}.\n")
    if diagnosis.healthy:
        click.echo("Nothing fails: energies and accuracies of this model can be read as they are.")
    else:
        click.echo(f"Failed: {', '.join(diagnosis.failed)}. Mend that before you believe a number.")
