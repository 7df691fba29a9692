"""What does a step of adversarial training cost beside a plain loop's?

    python benchmarks/training_step.py --data-root DIR --arch preactresnet18 --width 16 --batch-size 64

Runs all in one process, a step of each in turn, to and fro, on the same batches of CIFAR-10, PGD-10: the reference as
such loops are usually written (``loss.backward()`` inside the attack, which computes every weight's gradient too; NCHW;
float32), and ``energylens.training.loop.learn`` with everything it measures, for each --way. Prints a Markdown table:
the median seconds of the process a step, and the ratios to the reference's step of the same turn, median (least to
most), by the process's own seconds and by the clock on the wall; where ours is bf16, to a bf16 reference too.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from energylens.training.loop import learn
from energylens.training.recipes import settings_of
from energylens.training.run import Run, open_run

WAYS: dict[str, dict[str, object]] = {  # ours: settings over the plain ones
    "nchw": {},
    "channels-last": {"channels_last": True},
    "compile": {"compile": True},
    "compile-channels-last": {"compile": True, "channels_last": True},
    "bf16": {"amp": "bf16"},
    "bf16-channels-last": {"amp": "bf16", "channels_last": True},
}
WARM_UP = 1  # turns


@dataclass(frozen=True)
class Seconds:
    """What one step took: the process's own, and on the wall."""

    cpu: float
    wall: float


def reference(
    network: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, eps: float, amp: bool
) -> None:
    """A step of PGD-10 training as it is usually written."""
    precision = torch.autocast(x.device.type, torch.bfloat16) if amp else contextlib.nullcontext()
    delta = torch.empty_like(x).uniform_(-eps, eps).requires_grad_(True)
    for _ in range(10):
        with precision:
            loss = F.cross_entropy(network((x + delta).clamp(0, 1)), y)
        loss.backward()
        delta.data = (delta + eps / 4 * delta.grad.sign()).clamp(-eps, eps)
        delta.grad.zero_()
    optimizer.zero_grad()
    with precision:
        loss = F.cross_entropy(network((x + delta.detach()).clamp(0, 1)), y)
    loss.backward()
    optimizer.step()


def prepared(args: argparse.Namespace, out: str, way: dict[str, object]) -> Run:
    shape = {"arch": args.arch, "width": args.width, "batch_size": args.batch_size, "per_class": args.per_class}
    settings = settings_of("ro", **{"val_fraction": 0.0, "channels_last": False, **shape, **way})
    root = args.data_root and Path(args.data_root)
    run = open_run(settings, Path(out), None, root=root, device=args.device, watch=None, overwrite=False)
    run.network.train()
    return run


def referred(plain: Run, amp: bool) -> Callable[[int, Tensor, Tensor], object]:
    """The reference's step on a network of its own."""
    optimizer = torch.optim.SGD(plain.network.parameters(), 0.1, momentum=0.9, weight_decay=5e-4)
    return lambda number, x, y: reference(plain.network, optimizer, x, y, plain.settings.radius, amp)


def ours(run: Run) -> Callable[[int, Tensor, Tensor], object]:
    """Our step; the batch comes in the run's layout, as ``Run.walk`` gives it."""
    layout = torch.channels_last if run.settings.channels_last else torch.contiguous_format
    return lambda number, x, y: learn(run, x.contiguous(memory_format=layout), y, 0, number)


def timed(work: Callable[[], object], device: torch.device) -> Seconds:
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return Seconds(time.process_time() - cpu, time.perf_counter() - wall)


def measure(args: argparse.Namespace) -> dict[str, list[Seconds]]:
    """A step of every way in each of --repeats turns, to and fro, on the turn's batch."""
    with tempfile.TemporaryDirectory() as out:
        plain = prepared(args, out, {})
        steps = {"reference": referred(plain, amp=False)}
        if any("amp" in WAYS[way] for way in args.way):
            steps["reference-bf16"] = referred(prepared(args, out, {}), amp=True)
        steps |= {way: ours(prepared(args, out, WAYS[way])) for way in args.way}
        times: dict[str, list[Seconds]] = {way: [] for way in steps}
        for number, x, y in plain.walk(0):
            for way in list(steps) if number % 2 else reversed(steps):
                times[way].append(timed(lambda way=way, n=number, x=x, y=y: steps[way](n, x, y), x.device))
            if number + 1 == WARM_UP + args.repeats:
                break
    return {way: seconds[WARM_UP:] for way, seconds in times.items()}


def spread(ours: Sequence[float], theirs: Sequence[float]) -> str:
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root")
    parser.add_argument("--arch", default="preactresnet18")
    parser.add_argument("--width", type=int)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--per-class", type=int, default=256)
    parser.add_argument("--way", action="append", choices=list(WAYS))
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    args.way = args.way or ["nchw", "channels-last"]
    times = measure(args)
    print(
        f"{args.arch}, width {args.width or 'its own'}, batch {args.batch_size}, PGD-10, {args.repeats} turns, "
        f"{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}\n\n"
        "| | to | CPU seconds | ratio by CPU seconds | ratio by the wall |\n|---|---|---|---|---|"
    )
    for way in times:
        cpu, wall = [one.cpu for one in times[way]], [one.wall for one in times[way]]
        for base in ["reference", "reference-bf16"] if "bf16" in way and way in WAYS else ["reference"]:
            ratios = (
                spread(mine, [getattr(one, of) for one in times[base]]) for mine, of in ((cpu, "cpu"), (wall, "wall"))
            )
            print(f"| {way} | {base} | {statistics.median(cpu):.3f} | {' | '.join(ratios)} |", flush=True)


if __name__ == "__main__":
    main()
