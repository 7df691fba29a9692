"""What README and docs show and no other study records: tables, printed blocks and numbers in sentences.

    python -m analyses.shown                                               # what there is
    python -m analyses.shown diff-pgd cw-rounding                          # measured anew, on the digits
    python -m analyses.shown eight-attacks --data-root DATA --models DIR   # CIFAR-10; DIR holds the checkpoints

writes ``analyses/results/shown/NAME.csv`` and beside it NAME.json with command, seed and machine. Percentages are in %.
The docs name the file below what they show; ``tests/test_origins.py`` compares the two.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
import pandas as pd
import torch

import energylens as el
from energylens.cli.program import run_program
from energylens.figures.attack_landscape import QUERIES
from energylens.figures.contact_sheet import SCALES as GENERATION
from energylens.figures.contact_sheet import generated, scorer_of
from energylens.figures.run_cache import RunCache
from energylens.generation.generated import to_bytes
from energylens.noise import Noise
from energylens.statistics import accuracy_interval
from energylens.tables.origin import origin, record_table

RESULTS = Path(__file__).parent / "results" / "shown"
RESNET20 = "akamaster_resnet20-12fca82f.th"
RESNET4B = "resnet4b_adv2.pth"
SIZES = {"accuracy": 100, "abnormal_share": 100, "tpr": 100, "fpr": 100}  # shares told in %
CIFAR: dict[str, Any] = {"data": "cifar10", "eps": "8/255"}
NATURAL: dict[str, Any] = {
    "model": RESNET20, "arch": "resnet20", "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225),
}  # fmt: skip
APGD_AND_RIVALS = (
    "apgd", "apgd-ce", "apgd,loss=dlr", "apgd-dlr", "apgd,loss=dlr-targeted", "apgd-t", "apgd,loss=margin", "pma",
    "pma,until=broken", "pgd,steps=100", "pgd,steps=100,loss=pma",
)  # fmt: skip
EIGHT = (
    "pgd", "trades", "apgd-ce,steps=50", "apgd-t,steps=50", "apgd-dlr,steps=50", "fab,steps=10",
    f"square,queries={QUERIES}", "cw",
)  # fmt: skip
ROBUST: dict[str, Any] = {"arch": "resnet4b", "mean": (0.4914, 0.4822, 0.4465), "std": (0.2471, 0.2435, 0.2616)}
#: arXiv 2407.06315, read off the figure of its WRN-28-10, +-1: modes of E(x) and of E(x, y), nats
MODES = {
    "natural": ("-14.5", ""), "pgd": ("-28", "7"), "trades": ("-28", "-28 and 8"), "apgd-ce": ("-30", "8"),
    "apgd-t": ("-7", "5"), "apgd-dlr": ("-9", "5"), "fab": ("-9", "-8"), "square": ("-9", "-8"), "cw": ("-9", "-6"),
}  # fmt: skip


@dataclass(frozen=True)
class Desk:
    """cache: where runs come from; models: the folder of the public checkpoints, None where there is none."""

    cache: RunCache
    models: Path | None

    def checkpoint(self, name: str) -> str:
        """The path of a public checkpoint.

        Args:
            name: of its file.

        Returns:
            The path.

        Raises:
            InputError: without the folder.
        """
        if self.models is None:
            raise el.InputError(f"{name} is asked for: give the folder it lies in, --models DIR")
        return str(self.models / name)


def summary(record: el.Record) -> pd.DataFrame:
    """The means of a record, a row an attack, shares in %.

    Args:
        record: of ``energylens.profile``.

    Returns:
        One row an attack, shares in %.
    """
    table = record.summary()
    for name, factor in SIZES.items():
        if name in table:
            table[name] *= factor
    return table


def printed(attacks: tuple[str, ...], n: int, desk: Desk) -> pd.DataFrame:
    """digits-standard under some attacks.

    Args:
        attacks: their names, with settings.
        n: how many test images, the first ones.
        desk: the run cache, and the public checkpoints where asked for.

    Returns:
        One row an attack, shares in %.
    """
    return summary(desk.cache.profile("digits-standard", attacks=attacks, n=n))


def cw_rounding(desk: Desk) -> pd.DataFrame:
    """How many of 100 adversarial images of C&W are classified rightly again once they are rounded to 8 bits.

    Args:
        desk: the run cache, and the public checkpoints where asked for.

    Returns:
        One row: ``lost``, how many are, of ``n``.
    """
    rows = desk.cache.profile("digits-standard", attacks="cw", n=100, save_images=True)["cw"].rows
    fooled = rows["pred_adv"] != rows["label"]
    return pd.DataFrame([{"lost": int((fooled & (rows["pred_uint8"] == rows["label"])).sum()), "n": len(rows)}])


def diff_pgd(desk: Desk) -> pd.DataFrame:
    """Accuracy of x_adv and of R(x_adv), %, under PGD and Diff-PGD's two forms; eps and step are our choice [R].

    Args:
        desk: the run cache, and the public checkpoints where asked for.

    Returns:
        One row a model.
    """
    from energylens.diffusion.loading import load_diffuser
    from energylens.diffusion.purifier import purify

    diffuser, rows = load_diffuser("digits-ddpm"), []
    for model in ("digits-standard", "digits-pgd"):
        settings: dict[str, Any] = {"attacks": ("pgd", "diff-pgd", "diff-pgd,form=full"), "n": 200}
        record = desk.cache.profile(model, save_images=True, **settings)
        module, data = el.load_model(model), el.load_data("digits", n=200)
        noise = Noise(0, tuple(data.indices.tolist())).normal("purify", data.images)

        def right(x: torch.Tensor, module: Any = module, data: el.Samples = data) -> float:
            with torch.no_grad():
                return 100 * float((module(x).argmax(dim=1) == data.labels).double().mean())

        def purified(x: torch.Tensor, noise: torch.Tensor = noise) -> torch.Tensor:
            with torch.no_grad():
                return purify(diffuser, x, noise, t=3, ddim_steps=50)

        row: dict[str, Any] = {"model": model, "natural": right(data.images), "R(x)": right(purified(data.images))}
        x_adv = record["pgd"].images()["x_adv"]
        row |= {"PGD: x_adv": right(x_adv), "PGD: R(x_adv)": right(purified(x_adv))}
        for told, name in (("Diff-PGD", "diff-pgd"), ("full form", "diff-pgd,form=full")):
            of = record[name].rows
            row |= {f"{told}: x_adv": 100 * float((of["pred_adv"] == of["label"]).mean())}
            row |= {f"{told}: R(x_adv)": 100 * float((of["pred_purified"] == of["label"]).mean())}
        rows.append(row)
    return pd.DataFrame(rows)


def digits_ddpm(desk: Desk) -> pd.DataFrame:
    """How good digits-ddpm's samples and denoising are, as its training measured them.

    The table says how many samples of digits-ddpm and how many test images digits-standard is sure of, %, and what
    denoising gains, dB. It is read out of the JSON beside the weights.

    Args:
        desk: unused; every measure takes one.

    Returns:
        One row a set of images or level of noise.
    """
    from energylens.diffusion.loading import WEIGHTS

    found = json.loads((WEIGHTS / "digits-ddpm" / "training.json").read_text())["measured"]
    sure = [{"of": of, "sure": found[of]["sure"], "n": sum(found[of]["classes"])} for of in ("samples", "test images")]
    return pd.DataFrame([*sure, *({"of": f"noise at {at}", **decibels} for at, decibels in found["psnr"].items())])


def eight_attacks(n: int, desk: Desk) -> pd.DataFrame:
    """A natural ResNet-20 on CIFAR-10 under the paper's attacks: mean energies, accuracy, AUROC, the paper's modes.

    Args:
        n: how many test images, the first ones.
        desk: the run cache, and the public checkpoints where asked for.

    Returns:
        One row an attack, energies in nats, accuracy in %.
    """
    record = cifar(EIGHT, n, desk)
    table = summary(record)[["attack", "marginal_mean", "joint_mean", "accuracy", "auroc"]]
    for column, name in enumerate(("paper: E(x)", "paper: E(x, y)")):
        table[name] = [MODES[attack.partition(",")[0]][column] for attack in table["attack"]]
    return table


def cifar(attacks: tuple[str, ...], n: int, desk: Desk) -> el.Record:
    """The natural ResNet-20 on CIFAR-10's first test images.

    Args:
        attacks: their names, with settings.
        n: how many test images, the first ones.
        desk: the run cache, and the public checkpoints where asked for.

    Returns:
        The record, at eps 8/255.
    """
    settings = {**CIFAR, **NATURAL, "model": desk.checkpoint(RESNET20)}
    return desk.cache.profile(attacks=attacks, n=n, **settings)


def auto_pgd(desk: Desk) -> pd.DataFrame:
    """Our APGD beside the package's, and PMA and PGD of as many steps: accuracy and its 95 % interval, %, and passes.

    Args:
        desk: the run cache, and the public checkpoints where asked for.

    Returns:
        One row an attack, the columns of each model beside each other.
    """
    subjects: dict[str, dict[str, Any]] = {
        "digits-pgd": {"model": "digits-pgd", "eps": "0.2", "n": 500},
        "digits-standard": {"model": "digits-standard", "eps": "0.05", "n": 500},
        "resnet4b": {**ROBUST, "model": desk.checkpoint(RESNET4B), "data": "cifar10", "eps": "2/255", "n": 200},
    }
    tables = []
    for name, settings in subjects.items():
        summary_of = desk.cache.profile(attacks=APGD_AND_RIVALS, **settings).summary().set_index("attack").iloc[1:]
        right = (summary_of["accuracy"] * summary_of["n"]).round().astype(int)
        intervals = [accuracy_interval(int(hits), int(n)) for hits, n in zip(right, summary_of["n"], strict=True)]
        tables.append(pd.DataFrame({
            f"{name}: accuracy": 100 * summary_of["accuracy"],
            f"{name}: from": [100 * low for low, _ in intervals],
            f"{name}: to": [100 * high for _, high in intervals],
            f"{name}: passes": summary_of["backwards"],
        }))  # fmt: skip
    return pd.concat(tables, axis=1).rename_axis("attack").reset_index()


def traces(n: int, desk: Desk) -> pd.DataFrame:
    """AUROC and detector of PGD and of HE-PGD at several gammas, on CIFAR-10.

    Args:
        n: how many test images, the first ones.
        desk: the run cache, and the public checkpoints where asked for.

    Returns:
        One row an attack, shares in %.
    """
    return summary(cifar(("pgd", "he-pgd", "he-pgd,gamma=1", "he-pgd,gamma=0.85"), n, desk))


def doctor(desk: Desk) -> pd.DataFrame:
    """The doctor's findings about a CIFAR-10 checkpoint whose normalisation was forgotten.

    Args:
        desk: the run cache, and the public checkpoints where asked for.

    Returns:
        One row a check: its verdict and what it measured.
    """
    settings: dict[str, Any] = {"arch": "resnet4b", "dataset": "cifar10"}
    found = el.examine(desk.checkpoint(RESNET4B), data_root=desk.cache.root, **settings).findings
    return pd.DataFrame([{"check": one.check, "verdict": one.verdict, "measured": one.measured} for one in found])


def bfloat16(desk: Desk) -> pd.DataFrame:
    """PGD accuracy in float32 and bfloat16, %.

    Args:
        desk: the run cache, and the public checkpoints where asked for.

    Returns:
        One row a seed, a column a backend.
    """
    rows = []
    for seed in (0, 1, 2):
        row: dict[str, Any] = {"model": "digits-pgd", "n": 500, "eps": "0.2", "seed": seed}
        for backend in ("plain", "bf16"):
            record = desk.cache.profile("digits-pgd", attacks="pgd", n=500, seed=seed, backend=backend)
            row[backend] = 100 * float(record.as_numbers()[1]["accuracy"])
        rows.append(row)
    return pd.DataFrame(rows)


def generated_digits(desk: Desk) -> pd.DataFrame:
    """How near 100 images from each start, seed 0, are to the data.

    The table holds their median L2 distance to the nearest training image, and the Frechet distance of the starts
    themselves.

    Args:
        desk: the run cache, and the public checkpoints where asked for.

    Returns:
        One row a kind of start.
    """
    scorer, rows = scorer_of(desk.cache, classifier="digits-standard"), []
    for start in ("local-pca", "pca", "gaussian"):
        bare = scorer([to_bytes(generated(desk.cache, start=start, steps=0).images)])[scorer.frechet].value
        row: dict[str, Any] = {"start": start, "frechet of starts": bare}
        row["nearest_l2"] = generated(desk.cache, start=start).rows["nearest_l2"].median()
        far = GENERATION["demo"]["visible"]
        for model in ("digits-pgd", "digits-standard"):
            row[f"nearest_l2, {model}, step .01"] = (
                generated(desk.cache, model=model, start=start, **far).rows["nearest_l2"].median()
            )
        rows.append(row)
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class Shown:
    """One recorded table. measure: makes it; about: what it is of; seeds; cifar: whether it needs --data-root."""

    measure: Callable[[Desk], pd.DataFrame]
    about: str
    seeds: tuple[int, ...] = (0,)
    cifar: bool = False
    models: bool = False

    def command(self, name: str) -> str:
        """What measures it again.

        Args:
            name: of its row in SHOWN.

        Returns:
            A shell command; DATA and CHECKPOINTS stand for folders of the reader's.
        """
        return (
            f"python -m analyses.shown {name}{' --data-root DATA' * self.cifar}{' --models CHECKPOINTS' * self.models}"
        )


SHOWN: dict[str, Shown] = {
    "profile": Shown(
        partial(printed, ("fgsm", "pgd", "trades", "cw"), 256), "digits-standard, 256 test images, eps 0.2"
    ),
    "separability": Shown(
        partial(printed, ("pgd", "he-pgd", "he-pgd,gamma=0.25"), 256), "digits-standard, 256 test images, eps 0.2"
    ),
    "cw-rounding": Shown(cw_rounding, "digits-standard, the first 100 test images"),
    "diff-pgd": Shown(diff_pgd, "200 digits, t = 3 of 50, accuracy in %"),
    "digits-ddpm": Shown(digits_ddpm, "digits-ddpm: 500 samples and 500 test images, as its training.json tells"),
    "eight-attacks": Shown(
        partial(eight_attacks, 100), f"{RESNET20}, CIFAR-10's first 100 test images, eps 8/255", (0,), True, True
    ),
    "auto-pgd": Shown(
        auto_pgd, f"500 digits, eps .2 and .05; {RESNET4B}, 200 CIFAR-10 images, eps 2/255; in %", (0,), True, True
    ),
    "traces": Shown(partial(traces, 256), f"{RESNET20}, CIFAR-10's first 256 test images, eps 8/255", (0,), True, True),
    "doctor": Shown(doctor, f"{RESNET4B} without its normalisation, 64 test images", (0,), True, True),
    "bfloat16": Shown(bfloat16, "PGD accuracy in %", (0, 1, 2)),
    "generated-digits": Shown(generated_digits, "digits-pgd, n = 100 a start"),
}  # fmt: skip


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(SHOWN)))
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs"), help="Where runs are kept.")
@click.option("--data-root", type=click.Path(path_type=Path), help="Where CIFAR-10 lies.")
@click.option("--models", type=click.Path(path_type=Path), help="The folder of the public checkpoints.")
def main(names: tuple[str, ...], runs: Path, data_root: Path | None, models: Path | None) -> None:
    """Measure what the docs show, and record it."""
    for name in names:
        click.echo(name, err=True)
        cache = RunCache(runs=runs, root=data_root, tell=partial(click.echo, err=True))
        row = SHOWN[name]
        table = row.measure(Desk(cache, models))
        about = origin(row.command(name), row.seeds, shows=row.about)
        record_table(table, RESULTS / f"{name}.csv", about)
        click.echo(table.to_string(index=False))
    if not names:
        click.echo("\n".join(f"{name}: {row.about}" for name, row in SHOWN.items()))


if __name__ == "__main__":
    run_program(main)
