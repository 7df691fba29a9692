"""``energylens curve``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from energylens.cli import pictures
from energylens.cli.help import Command
from energylens.cli.options import FIGURE, JSON, models, radii, record_options, recording_at
from energylens.cli.tables import Column, percent, print_json, show

COLUMNS = (
    Column("model", lambda row: row["model"], wrap=16),
    Column("attack", lambda row: row["attack"], wrap=16),
    Column("n", lambda row: str(row["n"]), right=True, optional=1),
    Column("natural", lambda row: percent(row["natural"]), right=True),
    Column("at the largest", lambda row: percent(row["last"]), right=True),
    Column("largest", lambda row: f"{row['largest']:.4g}", right=True, optional=2),
    Column("area", lambda row: f"{row['area']:.3f}", right=True),
    Column("median", lambda row: "" if row["median"] != row["median"] else f"{row['median']:.4g}", right=True),
)
CAPTION = (
    "Area: mean accuracy over the radii from 0 to the largest; median: of the smallest perturbations, of attacks that "
    "seek them"
)


@click.command("curve", cls=Command, first=pictures.USED_MOST)
@models
@recording_at(radii)
@FIGURE(usual="OUT/MODEL/curve-ATTACKS.png", help=pictures.KEPT)
@JSON
def command(models: tuple[str, ...], figure: Path | None, as_json: bool, **options: Any) -> None:
    """Draw robust accuracy and energies against the radius, for one model or several. Default: PGD.

    Attacks in a ball are run at each radius, each a record of its own. Those that seek the smallest perturbation, such
    as fmn and cw-search, run once.

    \b
    energylens curve --model digits-pgd --eps 0,0.1,0.2,0.3
    energylens curve --model digits-standard --model digits-pgd --attack pgd --attack fmn --n 200
    """
    from energylens.cli.progress import progress
    from energylens.curves import curve, together
    from energylens.figures.accuracy_curve import draw
    from energylens.records.shards import launched_ranks

    asked = record_options(options)
    asked.setdefault("attacks", "pgd")
    curves = []
    for model in dict.fromkeys(models):
        with progress(model) as listener:
            curves.append(curve(model, listener=listener, **asked))
    if not launched_ranks().speaks:
        return
    found = together(curves)
    rows = found.summary().to_dict("records")
    if as_json:
        told = {"summary": rows, "points": found.table.to_dict("records")}
        print_json(told)
    else:
        show(COLUMNS, rows, caption=CAPTION, all_of_it="--json")
    first = found.records[0]
    others = [f"beside-{one}" for one in dict.fromkeys(found.table["model"]) if one != first.model_title]
    names = [*dict.fromkeys(found.table["attack"]), *others]
    where = figure or pictures.beside(first, options["out"], "curve", names)
    pictures.keep(first, found.table, draw, where, quiet=as_json)
