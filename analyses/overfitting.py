"""What holds catastrophic (CO) and robust overfitting (RO) off? Regularisers side by side, over seeds.

    python -m analyses.overfitting co --data-root DATA --jobs 2

trains what is missing under ``runs/`` and writes to ``energylens/figures/recorded/``: ``co-runs.csv``, a row a run,
``co-epochs.csv``, a row an epoch of each, and ``co-falls.csv``, the steps around collapses. `energylens figures` draws
them. DER's formula is its author's, what he leaves open is our choice [R]. Its defaults and the weights of
``energy-linearity`` and ``delta-l2`` were chosen on seeds 0 to 2 by the validation split, in ``der-co``, ``der-ro``,
``weights-co`` and ``weights-ro``; ``co`` and ``ro`` are judged on seeds 3 to 5 and on test images. Of the 72 runs of
``der-co`` 36 are recorded, of the 30 of ``der-ro`` 15.

A study may be made in parts, on several machines: what is recorded of the arms that are left out stays in the tables.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import click
import pandas as pd

from energylens.cli.program import run_program
from energylens.figures.run_cache import RunCache
from energylens.figures.studies import RECORDS, STUDIES, trained
from energylens.files import whole_file
from energylens.tables.origin import origin, write_origin
from energylens.tables.overfitting import epochs, falls, outcomes, summary

AS_TEXT: dict[str, Any] = {"dtype": str, "keep_default_na": False}


@click.command()
@click.argument("name", type=click.Choice(list(STUDIES)))
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs"), help="Where training runs are kept.")
@click.option("--data-root", type=click.Path(path_type=Path), help="Where data sets lie.")
@click.option("--jobs", default=1, help="Runs at a time, a thread each.")
@click.option("--results", type=click.Path(path_type=Path), default=RECORDS, help="Where the tables go.")
@click.option("--without", multiple=True, metavar="ARM", help="Leave this arm out, as in 'FGSM + GradAlign'.")
@click.option("--only", multiple=True, metavar="ARM", help="Run this arm, and only those that are named so.")
def main(
    name: str, runs: Path, data_root: Path | None, jobs: int, results: Path,
    without: tuple[str, ...], only: tuple[str, ...],
) -> None:  # fmt: skip
    """Run a study and write its tables."""
    known = STUDIES[name].arms
    check_arms(without, known, "--without")
    check_arms(only, known, "--only")
    without = tuple(arm for arm in known if arm in without or (only and arm not in only))
    cache = RunCache(runs=runs, root=data_root, jobs=jobs, tell=partial(click.echo, err=True))
    arms, found = trained(cache, name, without=without, diverged_too=True)
    results.mkdir(parents=True, exist_ok=True)
    table = outcomes(arms, found)
    tables = {"runs": table, "epochs": epochs(arms, found)}
    if (table["failed"] == "co").any():
        tables["falls"] = falls(arms, found)
    for what, one in tables.items():
        record(one, results, name, what, without)
    click.echo(summary(table).to_string(index=False, float_format="%.1f"))


def check_arms(given: Collection[str], known: Collection[str], option: str) -> None:
    """Refuse an arm that a study has not.

    Args:
        given: the arms that an option names.
        known: the study's.
        option: that names them.

    Raises:
        click.BadParameter: an arm is not known.
    """
    if unknown := [arm for arm in given if arm not in known]:
        raise click.BadParameter(f"no arm {unknown[0]!r}: one of {', '.join(known)}", param_hint=option)


def record(table: pd.DataFrame, results: Path, study: str, what: str, without: Sequence[str] = ()) -> None:
    """Write one of a study's tables, "runs" first, and beside it the command that makes it.

    What is recorded of the arms that are left out stays, to the digit.

    Args:
        table: of the arms that were run.
        results: the folder of the tables.
        study: a name of STUDIES.
        what: "runs", "epochs" or "falls".
        without: the arms that were left out.
    """
    csv, order = results / f"{study}-{what}.csv", list(STUDIES[study].arms)
    rows = pd.read_csv(StringIO(table.to_csv(index=False, float_format="%.4g")), **AS_TEXT)
    if csv.is_file():
        former = pd.read_csv(csv, **AS_TEXT)
        rows = pd.concat([former[former["arm"].isin(without)], rows])
    rows = rows.sort_values("arm", key=lambda arms: arms.map(order.index), kind="stable")
    with whole_file(csv) as temporary:
        rows.to_csv(temporary, index=False)
    made = set(pd.read_csv(results / f"{study}-runs.csv", **AS_TEXT)["arm"])
    left_out = set(order) - made
    option, told = ("--without", left_out) if len(left_out) <= len(made) else ("--only", made)
    part = "".join(f" {option} '{arm}'" for arm in order if arm in told)
    write_origin(origin(f"python -m analyses.overfitting {study} --data-root DATA{part}", STUDIES[study].seeds), csv)


if __name__ == "__main__":
    run_program(main)
