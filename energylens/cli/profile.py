"""``energylens profile``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from energylens.cli.help import SPEED, Command, option
from energylens.cli.options import JSON, models, record_options, recording
from energylens.cli.progress import progress
from energylens.cli.tables import Column, percent, print_json, show
from energylens.files import shown
from energylens.records.shards import launched_ranks

if TYPE_CHECKING:
    from energylens.records.record import Record


COLUMNS = (
    Column("attack", lambda row: row["attack"]),
    Column("accuracy", lambda row: percent(row["accuracy"]), right=True),
    Column("target hit", lambda row: percent(row.get("success_share")), right=True),
    Column("E(x)", lambda row: f"{row['marginal_mean']:.2f}", right=True),
    Column("E(x,y)", lambda row: f"{row['joint_mean']:.2f}", right=True),
    Column("dE(x)", lambda row: f"{row['delta_marginal_mean']:+.2f}", right=True),
    Column("dE(x,y)", lambda row: f"{row['delta_joint_mean']:+.2f}", right=True),
    Column("AAE", lambda row: percent(row["abnormal_share"]), right=True, optional=1),
    Column("AUROC", lambda row: "" if row["auroc"] is None else f"{row['auroc']:.2f}", right=True, optional=2),
    Column("detector", lambda row: _detector(row["tpr"], row["fpr"]), right=True, optional=5),
    Column("Linf", lambda row: f"{row['linf_mean']:.3f}", right=True, optional=3),
    Column("L2", lambda row: f"{row['l2_mean']:.3f}", right=True, optional=4),
    Column("passes", lambda row: f"{row['forwards']:.0f}+{row['backwards']:.0f}", right=True, optional=6),
    Column("time", lambda row: f"{row['seconds']:.1f} s", right=True, optional=7),
)


def _detector(tpr: float | None, fpr: float | None) -> str:
    return "" if tpr is None or fpr is None else f"{100 * tpr:.0f}/{100 * fpr:.0f} %"


@click.command("profile", cls=Command, first=("models", "attacks", "n", "eps", "dataset"))
@models
@recording
@option(
    "--no-checks", "checks", formerly="--no-ladder", is_flag=True, flag_value=False, default=True, group=SPEED,
    help="Skip the consistency checks and the doctor's remarks.",
)  # fmt: skip
@JSON
def command(models: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Attack a model and record every sample's energies.

    \b
    energylens profile
    energylens profile --model Carmon2019 --attack pgd --attack cw --n 1000
    energylens profile --model my.pt --arch resnet18 --dataset cifar10
    energylens profile --model my.pt --arch my_models:MyCNN --arch-arg width=32 --dataset cifar10
    """
    from energylens.profiling import profile

    records = []
    for model in models:
        with progress(model) as listener:
            record = profile(model, listener=listener, **record_options(options))
        records.append(as_numbers(record, options))
        if not as_json:
            _print(record, options)
        if options["save_images"] and launched_ranks().speaks:
            _draw_images(record, to_stderr=as_json)
    if as_json:
        print_json(records[0] if len(records) == 1 else records)


def as_numbers(record: Record, options: dict[str, Any]) -> dict[str, Any]:
    """The record's summary as ``--json`` prints it.

    Args:
        record: what ``energylens.profile`` returned.
        options: the command's.

    Returns:
        What JSON can hold, with a row an attack under ``rows``, the natural samples first.
    """
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


def _print(record: Record, options: dict[str, Any]) -> None:
    """The summary as a table, natural first."""
    from energylens.tables.published import beside_published

    summary = record.as_numbers()
    unusual = [options[name] for name, usual in (("choose", "first"), ("split", "test")) if options[name] != usual]
    samples = " ".join([str(len(record)), *unusual, "samples"])
    title = f"{record.model} on {record.dataset}, {samples}, {record.threat}, seed {record.seed}"
    caption = [
        "Means over the samples; dE is natural minus adversarial.",
        *record.notes,
        *_checks(record),
        *_kept_images(summary),
        *beside_published(record),
        *([] if record.folder is None else [f"Kept in {shown(record.folder)}"]),
    ]
    show(COLUMNS, summary, title=title, caption="\n".join(caption), all_of_it="--json")


def _checks(record: Record) -> list[str]:
    """The consistency checks that are violated, a line each, or how many hold."""
    from energylens.checks.consistency import sentence

    violated = [sentence(check) for check in record.checks if not check.holds]
    return violated or [f"Consistency checks: all {len(record.checks)} hold."] * bool(record.checks)


def _kept_images(summary: list[dict[str, Any]]) -> list[str]:
    """Whether attacks survive 8 bits, where their images are kept; what the diffusion model leaves of an attack."""
    rounded = [f"{row['attack']} {percent(row['accuracy_uint8'])}" for row in summary if "accuracy_uint8" in row]
    purified = [
        f"{row['attack']}: {percent(row['accuracy_purified'])} accuracy on R(x_adv), its images purified by the "
        "diffusion model."
        for row in summary
        if "accuracy_purified" in row
    ]
    return [f"Accuracy on the images rounded to 8 bits: {', '.join(rounded)}."] * bool(rounded) + purified


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
