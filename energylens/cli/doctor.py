"""``energylens doctor``."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from energylens.cli.options import given_options, naming, positive
from energylens.cli.progress import progress
from energylens.cli.tables import Column, show

if TYPE_CHECKING:
    from energylens.checks import Diagnosis, Finding


@click.command("doctor")
@click.argument("model")
@click.option("--n", type=int, callback=positive, metavar="N", help="How many samples, at least 48 [default: 64].")
@naming
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON, and nothing else.")
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
        click.echo(json.dumps(diagnosis.as_numbers(), indent=2))
    else:
        _print(diagnosis)
    if not diagnosis.healthy:
        sys.exit(1)


def _print(diagnosis: Diagnosis) -> None:
    """Every finding in a line, then what to do about those that are not ok."""
    rows = [(finding.check, finding.verdict, finding.measured) for finding in diagnosis.findings]
    title = f"{diagnosis.model} on {diagnosis.dataset}, {diagnosis.n} samples"
    show((Column("check"), Column("verdict"), Column("measured", wrap=40)), rows, title=title)
    for finding in diagnosis.findings:
        if finding.remedy:
            click.echo(_advice(finding))
    click.echo(_verdict(diagnosis))


def _advice(finding: Finding) -> str:
    return f"{finding.verdict.upper()} {finding.check}: {finding.meaning}.\n    What to do: {finding.remedy}.\n"


def _verdict(diagnosis: Diagnosis) -> str:
    if diagnosis.healthy:
        return "Nothing fails: energies and accuracies of this model can be read as they are."
    return f"Failed: {', '.join(diagnosis.failed)}. Mend that before you believe a number."
