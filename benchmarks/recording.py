"""What does recording cost over the bare attack?

    python benchmarks/recording.py --model autoattack-resnet18 --data-root DIR --n 128

Runs both in turn in one process: the bare attack (the same function on the same batches, images thrown away) and
``energylens.profile`` writing its record to disk (clean logits, the adversarial forward, every column, Parquet). Prints
one line an attack with the seconds of each repeat and the ratio of the medians. `+accuracy` adds to the bare attack the
two forwards that anybody needs who wants to know clean and robust accuracy.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

import energylens as el
from energylens.attacks.battery import configure
from energylens.isolation import frozen
from energylens.noise import Noise
from energylens.profiling import BATCH_SIZES


def bare(model: nn.Module, samples: el.Samples, specs: list[str], eps: str, accuracy: bool) -> None:
    """The attacks alone, batch by batch; with their accuracies where asked."""
    attacks, size = [configure(spec, eps=eps) for spec in specs], BATCH_SIZES["cpu"]
    with frozen(model):
        for start in range(0, len(samples), size):
            x, y = samples.batch(start, start + size)
            indices = tuple(samples.indices[start : start + size].tolist())
            images = [x, *(attack(model, x, y, noise=Noise(0, indices)).x_adv for attack in attacks)]
            if accuracy:
                with torch.no_grad():
                    for some in images:
                        (model(some).argmax(dim=1) == y).sum().item()


def recorded(model: nn.Module, samples: el.Samples, specs: list[str], eps: str) -> None:
    """The same attacks through ``profile``, record on disk."""
    with tempfile.TemporaryDirectory() as out:
        el.profile(model, samples, specs, eps=eps, out=Path(out))


def seconds(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="digits-pgd")
    parser.add_argument("--data-root")
    parser.add_argument("--attack", action="append", help="one attack, or several in one battery: 'pgd cw'")
    parser.add_argument("--n", type=int, default=128)
    parser.add_argument("--eps", default="8/255")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    model = el.load_model(args.model)
    samples = el.load_data(model.card.dataset, n=args.n, data_root=args.data_root)
    print(f"{args.model}, n = {args.n}, {torch.get_num_threads()} threads; seconds, median of {args.repeats}")
    for battery in args.attack or ["pgd", "pgd cw"]:
        specs = battery.split()
        ways: dict[str, Callable[[], None]] = {
            "bare": lambda specs=specs: bare(model, samples, specs, args.eps, accuracy=False),
            "bare+accuracy": lambda specs=specs: bare(model, samples, specs, args.eps, accuracy=True),
            "recorded": lambda specs=specs: recorded(model, samples, specs, args.eps),
        }
        times: dict[str, list[float]] = {way: [] for way in ways}
        for repeat in range(args.repeats):
            for way in list(ways) if repeat % 2 else reversed(ways):
                times[way].append(seconds(ways[way]))
        middle = {way: statistics.median(values) for way, values in times.items()}
        print(
            f"{battery:12}", *(f"{way} {value:7.2f}" for way, value in middle.items()),
            f"recorded/bare {middle['recorded'] / middle['bare']:.3f}",
            f"recorded/bare+accuracy {middle['recorded'] / middle['bare+accuracy']:.3f}",
        )  # fmt: skip


if __name__ == "__main__":
    main()
