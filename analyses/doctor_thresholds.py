"""Does the doctor know overfitting? The limits of its two checks, chosen on some networks and judged on others.

    python -m analyses.doctor_thresholds RUNS/train/* --data-root DATA --checkpoints DIR

asks both checks about the best and the last weights of each training run, about the shipped and the public models, and
about variants of the shipped ones, and writes to ``analyses/results/``: ``doctor-nets.csv``, a row a network, and
``doctor-confusion.csv``, how often each check fails on networks of each kind.

Runs of seed 0, the shipped and the public models were looked at when the limits in
``energylens/checks/overfitting.py`` were chosen; nothing else was. What a network is follows from the history of its
training, not from what the checks measure.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import pandas as pd
import torch
from torch import Tensor, nn

from energylens.checks import examine
from energylens.checks.examination import model_under_test
from energylens.checks.model_under_test import ModelUnderTest
from energylens.checks.overfitted import ATTACKS, gap_between, one_step, right_under
from energylens.checks.overfitting import CATASTROPHIC, ROBUST
from energylens.inputs import Choice
from energylens.isolation import frozen
from energylens.models import load_model
from energylens.statistics import accuracy_interval
from energylens.tables.origin import origin, write_origin
from energylens.tables.overfitting import failure
from energylens.tables.training_runs import TrainingRun, read_run
from energylens.training.checkpoint import BEST, LAST
from energylens.training.methods import METHODS

RESULTS = Path(__file__).parent / "results"
N = 128  # images that the shares are measured on; the doctor's own verdict is on its usual 64
FIT_SEED = 0
ONCE_ROBUST = 0.1  # a share, of the test images that judge an epoch; ours [R]
Change = Callable[[nn.Module, Tensor], Tensor]
KINDS = {"co": "collapsed", "ro": "robustly overfitted"}


@dataclass(frozen=True)
class Net:
    """A network to ask about.

    Attributes:
        kind: what it is.
        fit: whether it helped to choose the limits.
        options: of ``load_model``.
        change: what makes logits of it and of images; itself, where there is none.
        told: columns of the table beside.
    """

    name: str
    kind: str
    model: str
    fit: bool = False
    data: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    change: Change | None = None
    told: Mapping[str, Any] = field(default_factory=dict)

    def load(self) -> nn.Module:
        """The network itself.

        Returns:
            The network, changed where the variant says so.
        """
        model = load_model(self.model, dataset=self.data if self.options else None, **self.options)
        return model if self.change is None else _Changed(model, self.change)


class _Changed(nn.Module):
    """A model that is asked, or told, otherwise."""

    def __init__(self, model: nn.Module, change: Change) -> None:
        super().__init__()
        self.model, self.change = model, change

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, K) of images x (n, C, H, W)."""
        return self.change(self.model, x)


VARIANTS: dict[str, Change] = {
    "noise of .1": lambda model, x: model(x + 0.1 * torch.randn_like(x)),
    "logits x 10": lambda model, x: 10 * model(x),
    "logits / 10": lambda model, x: model(x) / 10,
}
CIFAR_MOMENTS = {"mean": (0.4914, 0.4822, 0.4465), "std": (0.2471, 0.2435, 0.2616)}
IMAGENET_MOMENTS = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
PUBLIC = (
    ("trades_mnist_smallcnn.pt", "robust", "mnist", {"arch": "mnist-smallcnn"}),
    ("akamaster_resnet20-12fca82f.th", "natural", "cifar10", {"arch": "resnet20", **IMAGENET_MOMENTS}),
    ("resnet4b_adv2.pth", "robust", "cifar10", {"arch": "resnet4b", **CIFAR_MOMENTS}),
)


def networks(runs: Sequence[TrainingRun], checkpoints: Path | None) -> Iterator[Net]:
    """All networks that are asked about.

    Args:
        runs: of ``energylens train``.
        checkpoints: the folder of the public ones; None to leave them out.

    Yields:
        Each network; none is loaded yet.
    """
    for run in runs:
        yield from _of_run(run)
    yield Net("autoattack-resnet18", "natural", "autoattack-resnet18", fit=True)
    for name, kind in (("digits-standard", "natural"), ("digits-pgd", "robust")):
        yield Net(name, kind, name, fit=True)
        for what, change in VARIANTS.items():
            yield Net(f"{name}, {what}", kind, name, data="digits", change=change)
    if checkpoints is not None:
        for file, kind, data, options in PUBLIC:
            yield Net(file, kind, str(checkpoints / file), fit=True, data=data, options=options)


def _of_run(run: TrainingRun) -> Iterator[Net]:
    """The last weights of a run, and the best where they are others."""
    settings = run.settings
    paths = [run.path / weights for weights in (BEST, LAST)]
    by_epoch = {json.loads(path.with_suffix(".json").read_text())["epoch"]: path for path in paths}
    classes = f" classes {','.join(map(str, settings['classes']))}" if settings["classes"] else ""
    name = (
        run.path.name.rpartition("-")[0] + classes
    )  # the fingerprint goes: it hangs on the version, the name does not
    for epoch, path in sorted(by_epoch.items(), reverse=True):
        told = {name: settings[name] for name in ("dataset", "method", "eps", "seed")}
        told |= {"reg": "+".join(settings["reg"]), "epoch": epoch}
        yield Net(f"{name}, epoch {epoch}", kind_of(run, epoch), str(path), settings["seed"] == FIT_SEED, told=told)


def kind_of(run: TrainingRun, epoch: int) -> str:
    """What the weights of this epoch are, by the accuracies that training recorded.

    natural: trained without an attack. collapsed, robustly overfitted: as ``tables.overfitting.failure`` says of the
    history up to this epoch, where there was robustness to lose: a PGD accuracy of ONCE_ROBUST. one step only: trained
    with a single-step attack, under half as robust to PGD as to FGSM, and never better. robust: everything else.

    Args:
        run: with its history.
        epoch: from 1.

    Returns:
        The kind, a word.
    """
    method = METHODS[run.settings["method"]]
    if not method.adversarial:
        return "natural"
    history = run.history[run.history["epoch"] <= epoch]
    what, _ = failure(history)
    if what and history["test_pgd"].max() >= ONCE_ROBUST:
        return KINDS[what]
    now = history.iloc[-1]
    single = method.attack.steps == 1
    return "one step only" if single and now["test_pgd"] < now["test_fgsm"] / 2 else "robust"


def row_of(net: Net, root: Path | None, n: int) -> dict[str, Any]:
    """A row of ``doctor-nets.csv``: shares in [0, 1], dE(x) in nats, ``said`` the checks that failed.

    Args:
        net: to be examined.
        root: where data sets lie.
        n: images that the shares are of.

    Returns:
        The row, by column.
    """
    model, began = net.load(), time.perf_counter()
    diagnosis = examine(model, net.data, data_root=root)
    seconds = time.perf_counter() - began
    tested = model_under_test(model, net.data, Choice(n, root=root))
    with frozen(model):
        counts = _counts(tested)
    return {
        "net": net.name,
        "kind": net.kind,
        "chose_limits": net.fit,
        "data": diagnosis.dataset,
        "attack_eps": round(diagnosis.eps, 5),
        **{name: net.told.get(name) for name in ("method", "reg", "eps", "seed", "epoch")},
        **counts,
        "n": n,
        "said": "; ".join(diagnosis.failed),
        "doctor_seconds": round(seconds, 1),
    }


def _counts(test: ModelUnderTest) -> dict[str, Any]:
    """What both checks measure, on all images."""
    one = one_step(test)
    low, high = accuracy_interval(one.count, one.n)
    counts: dict[str, Any] = {
        "accuracy": float(test.plainly_correct.float().mean()),
        **{name.partition(",")[0]: float(right_under(name, test).float().mean()) for name in ATTACKS},
        "q": one.share,
        "q_low": low,
        "q_high": high,
        "q_attack": one.attack,
    }
    if not isinstance(test.training, str):
        gap = gap_between(test.training, test)
        low, high = gap.interval()
        counts |= {"g": gap.value, "g_low": low, "g_high": high}
        counts |= {"delta_train": gap.delta_train, "delta_test": gap.delta_test}
    return counts


def confusion(nets: pd.DataFrame) -> pd.DataFrame:
    """How many networks of each kind there are, and of how many each check says that it fails.

    A row is a check, whether the networks chose the limits, and a kind.

    Args:
        nets: rows of ``doctor-nets.csv``.

    Returns:
        The counts.
    """
    parts = []
    for check in (CATASTROPHIC.name, ROBUST.name):
        said = nets["said"].fillna("").str.split("; ").map(lambda names, check=check: check in names)
        table = nets.assign(fails=said).groupby(["chose_limits", "kind"])["fails"].agg(nets="size", fails="sum")
        parts.append(table.reset_index().assign(check=check))
    return pd.concat(parts)[["check", "chose_limits", "kind", "nets", "fails"]].reset_index(drop=True)


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option("--data-root", type=click.Path(path_type=Path), metavar="DIR", help="Where data sets lie.")
@click.option("--checkpoints", type=click.Path(path_type=Path), metavar="DIR", help="Where the public weights lie.")
@click.option("--n", type=int, default=N, show_default=True, help="Images that the shares are measured on.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS, show_default=True, metavar="DIR")
def main(runs: tuple[Path, ...], data_root: Path | None, checkpoints: Path | None, n: int, out: Path) -> None:
    """Ask, and write both tables."""
    machine = f"{platform.system()} {platform.machine()}, 1 thread, torch {torch.__version__}"
    torch.set_num_threads(1)
    rows = []
    for net in networks([read_run(run) for run in runs], checkpoints):
        rows.append(row_of(net, data_root, n) | {"machine": machine})
        click.echo(
            f"{net.name}: {net.kind}; q {rows[-1]['q']:.2f}, g {rows[-1].get('g', float('nan')):.2f}; "
            f"{rows[-1]['said'] or 'nothing fails'}"
        )
        table = pd.DataFrame(rows)
        table.to_csv(out / "doctor-nets.csv", index=False, float_format="%.4g")
    confusion(table).to_csv(out / "doctor-confusion.csv", index=False)
    command = "python -m analyses.doctor_thresholds RUNS/train/* --data-root DATA --checkpoints DIR"
    for name in ("doctor-nets", "doctor-confusion"):
        write_origin(origin(command, [0]) | {"machine": machine}, out / f"{name}.csv")


if __name__ == "__main__":
    main()
