"""The same PGD by four other libraries and by us, through the same record.

    python benchmarks/foreign.py --model digits-pgd --eps 0.2
    python benchmarks/foreign.py --model autoattack-resnet18 --eps 8/255 --data-root DIR

Runs in the environment of benchmarks/peers/README.md: Linf, 20 steps of eps/4, no random start, the same images in
blocks of 50. Prints a line a library: accuracy, mean E(x) and E(x,y), passes and seconds (the median of the repeats,
recording included), and their ratio to ours.
"""

from __future__ import annotations

import argparse
import functools
import statistics
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

import energylens as el
from energylens.attacks.battery import Attack, configure
from energylens.attacks.radius import parse_radius
from examples.foreign_attacks import STEPS, adv_lib_pgd, art_pgd, foolbox_pgd, torchattacks_pgd

BLOCK = 50  # what a callable is given at once


def ours(eps: str) -> Attack:
    """``pgd`` from x itself."""
    attack = configure(f"pgd,steps={STEPS}", eps=eps)
    return replace(attack, settings=replace(attack.settings, start="zero"))


def theirs(attack: Callable[..., Tensor], eps: str) -> Callable[..., Tensor]:
    """The example at this radius, under its own name."""
    bound = functools.partial(attack, eps=parse_radius(eps))
    functools.update_wrapper(bound, attack)
    return bound


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="digits-pgd")
    parser.add_argument("--eps", default="0.2")
    parser.add_argument("--n", type=int, default=64)
    parser.add_argument("--data-root")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    model = el.load_model(args.model)
    samples = el.load_data(model.card.dataset, n=args.n, root=args.data_root)
    battery = [
        ours(args.eps),
        *(theirs(pgd, args.eps) for pgd in (torchattacks_pgd, adv_lib_pgd, foolbox_pgd, art_pgd)),
    ]
    el.profile(model, samples.subset(range(2)), battery, eps=args.eps)  # imports the libraries
    runs = []
    for repeat in range(args.repeats):
        order = battery[::-1] if repeat % 2 else battery
        summary = el.profile(model, samples, order, eps=args.eps, batch_size=BLOCK).summary()
        runs.append({row["attack"]: row for row in summary})
    names = list(runs[0])[1:]
    seconds = {name: statistics.median(run[name]["seconds"] for run in runs) for name in names}
    print(f"{args.model}, n = {args.n}, eps {args.eps}, {torch.get_num_threads()} threads, median of {args.repeats}")
    print(f"{'':18}accuracy     E(x)   E(x,y)  passes  seconds  ratio")
    for name in names:
        row = runs[0][name]
        print(
            f"{name:18}{row['accuracy']:8.3f} {row['marginal_mean']:8.3f} {row['joint_mean']:8.3f} "
            f"{row['forwards']:4.0f}+{row['backwards']:<2.0f} {seconds[name]:8.2f} "
            f"{seconds[name] / seconds[names[0]]:6.2f}"
        )


if __name__ == "__main__":
    main()
