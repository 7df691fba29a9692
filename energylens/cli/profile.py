"""``energylens profile``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from energylens.cli.options import record_options, recording
from energylens.cli.progress import progress
from energylens.cli.tables import new_table, show

if TYPE_CHECKING:
    from energylens.record import Record


@click.command("profile")
@click.option("--model", "-m", "models", multiple=True, metavar="NAME", help="Default: digits-standard. Repeatable.")
@recording
@click.option(
    "--json", "as_json", is_flag=True, help="Print the numbers as JSON, and nothing else, to standard output."
)
def command(models: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Attack a model and record every sample's energies.

    \b
    energylens profile
    energylens profile --model Carmon2019 --attack pgd --attack cw --n 1000
    energylens profile --model my.pt --arch resnet18 --dataset cifar10
    """
    from energylens.profiling import DEFAULT_MODEL, profile

    records = []
    for model in models or (DEFAULT_MODEL,):
        with progress(model) as listener:
            record = profile(model, listener=listener, **record_options(options))
        records.append(as_numbers(record))
        if not as_json:
            _print(record, str(options["out"]))
    if as_json:
        click.echo(json.dumps(records[0] if len(records) == 1 else records, indent=2))


def as_numbers(record: Record) -> dict[str, Any]:
    """The record's summary as ``--json`` prints it."""
    from energylens.attacks.radius import parse_radius

    return {
        "model": record.model,
        "dataset": record.dataset,
        "n": len(record),
        "eps": parse_radius(record.eps),
        "norm": record.norm,
        "seed": record.seed,
        "rows": record.summary(),
    }


_COLUMNS = (
    # heading, column of the summary, format
    ("accuracy", "accuracy", lambda share: f"{100 * share:.1f} %"),
    ("E(x)", "marginal_mean", "{:.2f}".format),
    ("E(x,y)", "joint_mean", "{:.2f}".format),
    ("dE(x)", "delta_marginal_mean", "{:+.2f}".format),
    ("dE(x,y)", "delta_joint_mean", "{:+.2f}".format),
    ("AAE", "abnormal_share", lambda share: f"{100 * share:.1f} %"),
    ("Linf", "linf_mean", "{:.3f}".format),
    ("L2", "l2_mean", "{:.3f}".format),
)


def _print(record: Record, out: str) -> None:
    """The summary as a table, natural first."""
    threat = f"eps {record.eps} {record.norm}, seed {record.seed}"
    table = new_table(
        title=f"{record.model} on {record.dataset}, {len(record)} samples, {threat}",
        caption=f"Means over the samples; dE is natural minus adversarial. Recorded in {out}.",
    )
    table.add_column("attack", overflow="fold")
    for heading in (*(heading for heading, *_ in _COLUMNS), "passes", "time"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in record.summary():
        table.add_row(
            row["attack"],
            *(form(row[column]) for _, column, form in _COLUMNS),
            f"{row['forwards']:.0f}+{row['backwards']:.0f}",
            f"{row['seconds']:.1f} s",
        )
    show(table)
