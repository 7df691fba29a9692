"""``energylens profile``."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from energylens.cli.options import Renamed, record_options, recording
from energylens.cli.progress import progress
from energylens.cli.tables import Column, show
from energylens.files import shown
from energylens.records.shards import launched_ranks

if TYPE_CHECKING:
    from energylens.records.record import Record


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
    "--no-checks", "checks", cls=Renamed, formerly="--no-ladder", is_flag=True, flag_value=False, default=True,
    help="Skip the consistency checks and the doctor's remarks.",
)  # fmt: skip
@click.option(
    "--json", "as_json", is_flag=True, help="Print the numbers as JSON, and nothing else, to standard output."
)
def command(models: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Attack a model and record every sample's energies.

    \b
    energylens profile
    energylens profile --model Carmon2019 --attack pgd --attack cw --n 1000
    energylens profile --model my.pt --arch resnet18 --dataset cifar10
    energylens profile --model my.pt --arch my_models:MyCNN --arch-arg width=32 --dataset cifar10
    """
    from energylens.profiling import DEFAULT_MODEL, profile

    records = []
    for model in models or (DEFAULT_MODEL,):
        with progress(model) as listener:
            record = profile(model, listener=listener, **record_options(options))
        records.append(as_numbers(record, options))
        if not as_json:
            _print(record, options)
        if options["save_images"] and launched_ranks().speaks:
            _draw_images(record, to_stderr=as_json)
    if as_json:
        click.echo(json.dumps(records[0] if len(records) == 1 else records, indent=2))


def as_numbers(record: Record, options: dict[str, Any]) -> dict[str, Any]:
    """The record's summary as ``--json`` prints it; options are the command's."""
    from energylens.attacks.radius import parse_radius
    from energylens.tables.published import beside_published

    return {
        "model": record.model,
        "dataset": record.dataset,
        "split": options["split"],
        "choose": options["choose"],
        "n": len(record),
        "eps": None if record.eps is None else parse_radius(record.eps),
        "norm": record.norm,
        "seed": record.seed,
        "rows": record.as_numbers(),
        "ladder": [asdict(check) for check in record.checks],  # the key that readers of earlier versions know
        "notes": list(record.notes),
        "published": beside_published(record),
    }


# heading, how a row of the summary shows it, and what may go on a narrow terminal
_COLUMNS: tuple[tuple[Column, Callable[[dict[str, Any]], str]], ...] = (
    (Column("attack"), lambda row: row["attack"]),
    (Column("accuracy", right=True), lambda row: f"{100 * row['accuracy']:.1f} %"),
    (Column("target hit", right=True), lambda row: _percent(row.get("success_share"))),
    (Column("E(x)", right=True), lambda row: f"{row['marginal_mean']:.2f}"),
    (Column("E(x,y)", right=True), lambda row: f"{row['joint_mean']:.2f}"),
    (Column("dE(x)", right=True), lambda row: f"{row['delta_marginal_mean']:+.2f}"),
    (Column("dE(x,y)", right=True), lambda row: f"{row['delta_joint_mean']:+.2f}"),
    (Column("AAE", right=True, optional=1), lambda row: f"{100 * row['abnormal_share']:.1f} %"),
    (Column("AUROC", right=True, optional=2), lambda row: "" if row["auroc"] is None else f"{row['auroc']:.2f}"),
    (Column("detector", right=True, optional=5), lambda row: _detector(row["tpr"], row["fpr"])),
    (Column("Linf", right=True, optional=3), lambda row: f"{row['linf_mean']:.3f}"),
    (Column("L2", right=True, optional=4), lambda row: f"{row['l2_mean']:.3f}"),
    (Column("passes", right=True, optional=6), lambda row: f"{row['forwards']:.0f}+{row['backwards']:.0f}"),
    (Column("time", right=True, optional=7), lambda row: f"{row['seconds']:.1f} s"),
)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"


def _detector(tpr: float | None, fpr: float | None) -> str:
    return "" if tpr is None or fpr is None else f"{100 * tpr:.0f}/{100 * fpr:.0f} %"


def _print(record: Record, options: dict[str, Any]) -> None:
    """The summary as a table, natural first."""
    from energylens.tables.published import beside_published

    columns = [column for column, _ in _COLUMNS]
    summary = record.as_numbers()
    rows = [[form(row) for _, form in _COLUMNS] for row in summary]
    unusual = [options[name] for name, usual in (("choose", "first"), ("split", "test")) if options[name] != usual]
    samples = " ".join([str(len(record)), *unusual, "samples"])
    title = f"{record.model} on {record.dataset}, {samples}, {record.threat}, seed {record.seed}"
    caption = [
        "Means over the samples; dE is natural minus adversarial.",
        *record.notes,
        *_checks(record),
        *_rounded(summary),
        *_purified(summary),
        *beside_published(record),
        *([] if record.folder is None else [f"Kept in {shown(record.folder)}"]),
    ]
    show(columns, rows, title=title, caption="\n".join(caption), all_of_it="--json")


def _checks(record: Record) -> list[str]:
    """The consistency checks that are violated, a line each, or how many hold."""
    from energylens.checks.consistency import sentence

    violated = [sentence(check) for check in record.checks if not check.holds]
    return violated or [f"Consistency checks: all {len(record.checks)} hold."] * bool(record.checks)


def _rounded(summary: list[dict[str, Any]]) -> list[str]:
    """Whether the attacks whose images are kept survive 8 bits."""
    accuracies = [f"{row['attack']} {100 * row['accuracy_uint8']:.1f} %" for row in summary if "accuracy_uint8" in row]
    return [f"Accuracy on the images rounded to 8 bits: {', '.join(accuracies)}."] if accuracies else []


def _draw_images(record: Record, to_stderr: bool) -> None:
    """A grid of images for each attack whose images are kept, beside its rows."""
    from energylens.figures.adversarial_images import draw
    from energylens.plots.save import save_figure
    from energylens.records.run_folder import safe_name
    from energylens.tables.adversarial_images import PIXELS, adversarial_images

    for attack in record.attacks[1:]:
        table = adversarial_images(record, attack)
        assert record.folder is not None
        path = record.folder / f"images-{safe_name(attack.name)}.png"
        for file in save_figure(draw(table), path, table.drop(columns=list(PIXELS))):
            click.echo(shown(file), err=to_stderr)


def _purified(summary: list[dict[str, Any]]) -> list[str]:
    """What the diffusion model leaves of an attack, a line each."""
    return [
        f"{row['attack']}: {100 * row['accuracy_purified']:.1f} % accuracy on R(x_adv), its images purified by the "
        "diffusion model."
        for row in summary
        if "accuracy_purified" in row
    ]
