"""Make ``cifar10-robust-small``, the robust CIFAR-10 network that energylens ships, of a training run.

    energylens train --recipe co --method n-fgsm --eps 8/255 --width 32 --peak 0.3 --ema 0.999 --amp bf16 --compile ...
    python -m analyses.robust_small RUN --data-root DATA --n 1000 --autoattack 200

halves the run's weights that its validation split chose, writes them beside a JSON, and judges what it wrote. The JSON
holds the whole command of the run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from analyses.campaign import strong_accuracies
from energylens.cli.program import run_program
from energylens.energy import joint_energy
from energylens.files import whole_file
from energylens.models import load_model
from energylens.models.zoo import WEIGHTS
from energylens.tables.origin import machine
from energylens.tables.training_runs import read_run
from energylens.training.settings import TrainSettings

NAME, BEST = "cifar10-robust-small", "best.safetensors"
KEPT = ("running_mean", "running_var")  # a variance may leave half precision's range
AGREE = 0.01  # nats, between energies before and after


def halved(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same weights in half precision; statistics of batch norm and counts stay as they are.

    Args:
        state: tensors by name, of a weights file.

    Returns:
        The tensors under the same names.
    """
    return {
        name: value.half() if value.is_floating_point() and not name.endswith(KEPT) else value
        for name, value in state.items()
    }


def energies_apart(one: Path, other: Path, x: Tensor) -> float:
    """The largest difference of any E(x, y) of two weights files.

    Args:
        one: a weights file.
        other: the file to compare it with.
        x: images, (N, C, H, W) in [0, 1].

    Returns:
        The difference, in nats, 0 or more.
    """
    with torch.inference_mode():
        logits = [load_model(path)(x) for path in (one, other)]
    classes = torch.arange(logits[0].shape[1])
    energies = [torch.stack([joint_energy(each, label.expand(len(x))) for label in classes]) for each in logits]
    return float((energies[0] - energies[1]).abs().max())


def judged(weights: Path, root: Path | None, *, eps: float, n: int, autoattack: int) -> dict[str, Any]:
    """Accuracies in % and on how many test images: clean, PGD-50-10 (step eps/4), AutoAttack.

    Args:
        weights: of the network, a safetensors file.
        root: where CIFAR-10 lies.
        eps: the radius, in units of [0, 1].
        n: test images for PGD.
        autoattack: test images for AutoAttack.

    Returns:
        Accuracies and numbers of images, by name.
    """
    images = {"pgd_50_10": n, "autoattack": autoattack}
    accuracies = strong_accuracies(weights, images, eps=eps, data_root=root, out=None)
    found: dict[str, Any] = {}
    for name, accuracy in accuracies.items():
        told = name.replace("_", "-")
        found |= {told: accuracy, f"{told}_images": images.get(name, n)}  # clean, on the images of PGD
    return found


@click.command()
@click.argument("folder", metavar="RUN", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--data-root", type=click.Path(path_type=Path), help="Where data sets lie.")
@click.option("--dest", type=click.Path(path_type=Path), default=WEIGHTS, help="Where the two files go.")
@click.option("--n", type=click.IntRange(1), default=10_000, show_default=True, help="Images for PGD-50-10.")
@click.option("--autoattack", type=click.IntRange(0), default=1000, show_default=True, help="Images for AutoAttack.")
def main(folder: Path, data_root: Path | None, dest: Path, n: int, autoattack: int) -> None:
    """Halve, write and judge."""
    from energylens.data import load_data

    settings = TrainSettings.from_manifest(dict(read_run(folder).settings))
    about = json.loads((folder / BEST).with_suffix(".json").read_text())
    told = ("arch", "num_classes", "in_channels", "width", "mean", "std", "dataset", "threat_model", "eps", "seed")
    about = {name: about[name] for name in (*told, "trained_on", "epoch", "torch") if about[name] is not None} | {
        "command": f"energylens train {settings.as_options()}",
        "made_by": "python -m analyses.robust_small",
        "machine": machine(),
    }
    weights = dest / f"{NAME}.safetensors"
    for path, content in (
        (weights, save(halved(load_file(folder / BEST)))),
        (weights.with_suffix(".json"), (json.dumps(about, indent=2) + "\n").encode()),
    ):
        with whole_file(path) as temporary:
            temporary.write_bytes(content)
    x = load_data(settings.dataset, n=256, data_root=data_root).images
    if (apart := energies_apart(folder / BEST, weights, x)) > AGREE:
        raise click.ClickException(f"energies differ by {apart:.3g} nats from those before: over {AGREE}")
    about["energies_apart"] = round(apart, 5)
    about["measured"] = judged(weights, data_root, eps=settings.radius, n=n, autoattack=autoattack)
    with whole_file(weights.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(about, indent=2) + "\n")
    click.echo(json.dumps(about["measured"]))


if __name__ == "__main__":
    run_program(main)
