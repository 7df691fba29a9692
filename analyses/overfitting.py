"""What holds catastrophic (CO) and robust overfitting (RO) off? Regularisers side by side, over seeds.

    python -m analyses.overfitting co --data-root DATA --jobs 2

trains what is missing under ``runs/`` and writes to ``analyses/results/``: ``co-runs.csv``, a row a run,
``co-epochs.csv``, a row an epoch of each, and ``co-falls.csv``, the steps around collapses. `energylens figures` draws
them. DER's formula is its author's, what he leaves open is our choice [R]. Its defaults were chosen on seeds 0 to 2, by
test accuracy on images that are among the 500 that ``co`` and ``ro`` are judged on, there on seeds 3 to 5: the seeds
are new, the images are not. ``der-co`` and ``der-ro`` are grids to choose by the validation split; there is no record
of them yet.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from energylens.cli.program import run_program
from energylens.figures.run_cache import RunCache
from energylens.figures.studies import RECORDS, STUDIES, trained
from energylens.tables.origin import origin, write_origin
from energylens.tables.overfitting import epochs, falls, outcomes, summary


@click.command()
@click.argument("name", type=click.Choice(list(STUDIES)))
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs"), help="Where training runs are kept.")
@click.option("--data-root", type=click.Path(path_type=Path), help="Where data sets lie.")
@click.option("--jobs", default=1, help="Runs at a time, a thread each.")
@click.option("--results", type=click.Path(path_type=Path), default=RECORDS, help="Where the tables go.")
@click.option("--without", multiple=True, metavar="ARM", help="Leave this arm out, as in 'FGSM + GradAlign'.")
def main(name: str, runs: Path, data_root: Path | None, jobs: int, results: Path, without: tuple[str, ...]) -> None:
    """Run a study and write its tables."""
    if unknown := [arm for arm in without if arm not in STUDIES[name].arms]:
        raise click.BadParameter(
            f"no arm {unknown[0]!r}: one of {', '.join(STUDIES[name].arms)}", param_hint="--without"
        )
    cache = RunCache(runs=runs, root=data_root, jobs=jobs, tell=partial(click.echo, err=True))
    arms, found = trained(cache, name, without=without, diverged_too=True)
    results.mkdir(parents=True, exist_ok=True)
    table = outcomes(arms, found)
    tables = {"runs": table, "epochs": epochs(arms, found)}
    if (table["failed"] == "co").any():
        tables["falls"] = falls(arms, found)
    for what, one in tables.items():
        one.to_csv(csv := results / f"{name}-{what}.csv", index=False, float_format="%.4g")
        left_out = "".join(f" --without '{arm}'" for arm in without)
        command = f"python -m analyses.overfitting {name} --data-root DATA{left_out}"
        write_origin(origin(command, STUDIES[name].seeds), csv)
    click.echo(summary(table).to_string(index=False, float_format="%.1f"))


if __name__ == "__main__":
    run_program(main)
