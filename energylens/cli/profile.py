"""``energylens profile``."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from energylens.cli.options import record_options, recording
from energylens.cli.progress import progress
from energylens.cli.tables import Column, show

if TYPE_CHECKING:
    from energylens.record import Record


@click.command("profile")
@click.option(
    "--model",
    "-m",
    "models",
    multiple=True,
    metavar="NAME",
    help="Default: digits-standard. Repeatable: JSON is then a list.",
)
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
        "eps": None if record.eps is None else parse_radius(record.eps),
        "norm": record.norm,
        "seed": record.seed,
        "rows": record.summary(),
    }


# heading, how a row of the summary shows it, and what may go on a narrow terminal
_COLUMNS: tuple[tuple[Column, Callable[[dict[str, Any]], str]], ...] = (
    (Column("attack"), lambda row: row["attack"]),
    (Column("accuracy", right=True), lambda row: f"{100 * row['accuracy']:.1f} %"),
    (Column("E(x)", right=True), lambda row: f"{row['marginal_mean']:.2f}"),
    (Column("E(x,y)", right=True), lambda row: f"{row['joint_mean']:.2f}"),
    (Column("dE(x)", right=True), lambda row: f"{row['delta_marginal_mean']:+.2f}"),
    (Column("dE(x,y)", right=True), lambda row: f"{row['delta_joint_mean']:+.2f}"),
    (Column("AAE", right=True, optional=1), lambda row: f"{100 * row['abnormal_share']:.1f} %"),
    (Column("Linf", right=True, optional=2), lambda row: f"{row['linf_mean']:.3f}"),
    (Column("L2", right=True, optional=3), lambda row: f"{row['l2_mean']:.3f}"),
    (Column("passes", right=True, optional=4), lambda row: f"{row['forwards']:.0f}+{row['backwards']:.0f}"),
    (Column("time", right=True, optional=5), lambda row: f"{row['seconds']:.1f} s"),
)


def _print(record: Record, out: str) -> None:
    """The summary as a table, natural first."""
    from energylens.published import beside_published

    columns = [column for column, _ in _COLUMNS]
    rows = [[form(row) for _, form in _COLUMNS] for row in record.summary()]
    title = f"{record.model} on {record.dataset}, {len(record)} samples, {record.threat}, seed {record.seed}"
    caption = f"Means over the samples; dE is natural minus adversarial. Kept in {out}."
    show(columns, rows, title=title, caption="\n".join([caption, *beside_published(record)]))
