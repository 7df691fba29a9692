"""``energylens report``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from energylens.cli.help import Command, option
from energylens.cli.options import COUNT, DATA_ROOT, FILE
from energylens.cli.progress import progress
from energylens.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from energylens.records.record import Record
    from energylens.report.page import ProfileStory, TrainingStory
    from energylens.tables.training_runs import TrainingRun


@click.command("report", cls=Command)
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@option("--out", **FILE, default=Path("report.html"), help="Where the page goes.")
@option("--samples", **COUNT, default=8, metavar="N", help="How many of the most abnormal samples to show.")
@DATA_ROOT
def command(runs: tuple[Path, ...], out: Path, samples: int, data_root: Path | None) -> None:
    """Make one HTML page of runs, to read or to send: it needs no network and no other file.

    RUN is a folder that `energylens profile` or `energylens train` made, or one that holds such. No model is asked
    again; training runs that differ only in their seed are one section.

    \b
    energylens report runs/digits-standard
    energylens report runs/train/* --out training.html
    """
    from energylens.report.page import render, save_page
    from energylens.report.profile import training_twin
    from energylens.tables.profile_runs import find_runs, read_records, told_apart
    from energylens.tables.training_runs import group_runs, read_runs

    profiles, trainings = find_runs(runs)
    stories: list[ProfileStory | TrainingStory] = []
    records = read_records(profiles)
    groups = group_runs(read_runs(trainings)) if trainings else {}
    total = len(records) + len(groups)
    with progress("report") as listener:
        for record, apart in zip(records, told_apart(records), strict=True):
            stories.append(_profile(record, apart, training_twin(record, records), samples, data_root))
            listener(Progress(Path(record.model).name, len(stories), total, unit="sections"))
        for label, group in groups.items():
            stories.append(_training(label, group))
            listener(Progress(label, len(stories), total, unit="sections"))
    save_page(render(stories), out)
    click.echo(out)


def _profile(record: Record, apart: str, training: Record | None, count: int, root: Path | None) -> ProfileStory:
    """One record's section; without pictures where its images cannot be had.

    training: the same model's record on its training images, where there is one.
    """
    from energylens.errors import InputError, RunError
    from energylens.report import profile as tables
    from energylens.report.page import ProfileStory, Repeat
    from energylens.tables.attack_landscape import landscape
    from energylens.tables.published import beside_published

    missing = ""
    try:
        samples = tables.natural_samples(record, root)
    except (InputError, RunError) as error:
        samples, missing = None, f"No pictures: {error}"
    command, caveats = tables.repeat(record, samples)
    return ProfileStory(
        record=record,
        apart=apart,
        attacks=tables.attack_table(record),
        checks=tables.check_table(record, training),
        landscape=landscape(record),
        samples=tables.abnormal_samples(record, count, samples),
        missing=missing,
        published=beside_published(record),
        repeat=Repeat([command] if command else [], caveats, tables.attack_settings(record), tables.provenance(record)),
    )


def _training(label: str, runs: Sequence[TrainingRun]) -> TrainingStory:
    """One section of runs that differ only in their seed."""
    from energylens.report import training as tables
    from energylens.report.page import Repeat, TrainingStory
    from energylens.tables.compare_runs import comparison
    from energylens.tables.training_curves import curves

    spread = comparison(runs)
    commands = [command for command in map(tables.repeat, runs) if command]
    caveats = [] if len(commands) == len(runs) else ["A run's settings are another version's: no command repeats it."]
    return TrainingStory(
        title=f"{label} on {runs[0].settings['dataset']}",
        settings=runs[0].settings,
        runs=tables.outcomes(runs),
        spread=spread.iloc[0].to_dict(),
        epochs=curves(runs),
        notes=[*tables.reconstructions(runs[0].settings), *spread.attrs["notes"]],
        repeat=Repeat(commands, caveats, tables.all_settings(runs[0]), tables.provenance(runs)),
    )
