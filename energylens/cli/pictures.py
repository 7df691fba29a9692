"""What ``energylens histogram``, ``trajectory`` and ``curve`` share: attack models, draw their records, keep both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from energylens.cli.options import record_options
from energylens.cli.progress import progress
from energylens.errors import InputError
from energylens.files import shown
from energylens.records.shards import launched_ranks

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from energylens.records.record import Record

USED_MOST = ("models", "attacks", "n", "eps", "figure")
KEPT = "Where to draw; PNG, PDF, CSV and JSON share the name."


def recorded(models: Sequence[str], options: dict[str, Any], **settings: Any) -> Record | None:
    """The record of the one model that a picture is of.

    Args:
        models: what ``--model`` named.
        options: the command's others.
        **settings: overrides what the options say to ``energylens.profile``.

    Returns:
        The record; None in a process of a launcher that prints nothing.

    Raises:
        InputError: for several models.
    """
    if len(models) > 1:
        raise InputError(f"a picture is of one model, {len(models)} were named: draw them one after another")
    return next(iter(recorded_all(models, options, **settings)), None)


def recorded_all(models: Sequence[str], options: dict[str, Any], **settings: Any) -> list[Record]:
    """The record of each model, without consistency checks.

    Args:
        models: what ``--model`` named; one that is named twice counts once.
        options: the command's others.
        **settings: overrides what the options say to ``energylens.profile``.

    Returns:
        The records in the order of the models; none in a process of a launcher that prints nothing.
    """
    from energylens.profiling import profile

    records, asked = [], record_options(options) | {"checks": False} | settings
    for model in dict.fromkeys(models):
        with progress(model) as listener:
            records.append(profile(model, listener=listener, **asked))
    return records if launched_ranks().speaks else []


def keep(
    record: Record, table: pd.DataFrame, draw: Callable[[pd.DataFrame], Figure], figure: Path, *, quiet: bool = False
) -> None:
    """Draw the table, keep picture, table and their origin under the figure's name, and print where.

    Args:
        record: whose seed the origin tells.
        table: what is drawn, with its caption in ``attrs``.
        draw: makes the picture of the table.
        figure: where the picture goes; the other files differ in their suffix.
        quiet: print where on standard error, since standard output holds JSON.
    """
    from energylens.plots.save import save_figure
    from energylens.tables.origin import origin, typed_command, write_origin

    written = save_figure(draw(table), figure, table)
    about = origin(typed_command(), [record.seed], caption=table.attrs["caption"])
    for path in [*written, write_origin(about, written[-1])]:
        click.echo(shown(path), err=quiet)


def beside(record: Record, out: Path, kind: str, attacks: Sequence[str]) -> Path:
    """Where a picture goes by default.

    Args:
        record: whose folder it goes to.
        out: the folder for a record that has none.
        kind: what the picture is, such as ``landscape``.
        attacks: what else its name tells, in this order.

    Returns:
        ``OUT/MODEL/KIND-ATTACKS.png``, with what no file name may hold replaced.
    """
    from energylens.records.run_folder import safe_name

    return (record.folder or out) / f"{kind}-{safe_name('-'.join(attacks))}.png"
