"""What does a step of adversarial training cost beside a plain loop's?

    python benchmarks/training_step.py --data-root DIR --arch preactresnet18 --width 16 --batch-size 64

Runs both in turn in one process, on the same batches of CIFAR-10, PGD-10: the reference as such loops are usually
written (``loss.backward()`` inside the attack, which computes every weight's gradient too; NCHW; float32), and
``energylens.training.loop.learn``, with everything it measures. Prints the median seconds a step and their ratio for
each --layout against the float32 NCHW reference; where ours is bf16, against a bf16 reference too. --clock cpu counts
the process's own seconds, for a machine that others use as well.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from energylens.training.loop import learn
from energylens.training.recipes import settings_of
from energylens.training.run import Run, open_run

LAYOUTS: dict[str, dict[str, object]] = {
    "nchw": {},
    "channels-last": {"channels_last": True},
    "bf16": {"amp": "bf16"},
    "bf16-channels-last": {"amp": "bf16", "channels_last": True},
}
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


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


def prepared(args: argparse.Namespace, out: str, layout: dict[str, object]) -> Run:
    shape = {"arch": args.arch, "width": args.width, "batch_size": args.batch_size, "per_class": args.per_class}
    settings = settings_of("ro", **{"val_fraction": 0.0, "channels_last": False, **shape, **layout})
    root = args.data_root and Path(args.data_root)
    run = open_run(settings, Path(out), None, root=root, device=args.device, watch=None, overwrite=False)
    run.network.train()
    return run


def seconds(work: Callable[[], object], device: torch.device, clock: Callable[[], float]) -> float:
    began = clock()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - began


def compare(args: argparse.Namespace, layout: str, amp: bool) -> None:
    """One line: the reference in this precision against our step in this layout."""
    with tempfile.TemporaryDirectory() as out:
        run = prepared(args, out, LAYOUTS[layout])
        plain = prepared(args, out, {})
        optimizer = torch.optim.SGD(plain.network.parameters(), 0.1, momentum=0.9, weight_decay=5e-4)
        ways: dict[str, Callable[[int, Tensor, Tensor], object]] = {
            "reference": lambda number, x, y: reference(plain.network, optimizer, x, y, run.settings.radius, amp),
            "ours": lambda number, x, y: learn(run, x, y, 0, number),
        }
        times: dict[str, list[float]] = {way: [] for way in ways}
        for number, x, y in run.walk(0):
            for way in list(ways) if number % 2 else reversed(ways):
                images = x.contiguous() if way == "reference" else x
                times[way].append(
                    seconds(lambda way=way, n=number, x=images, y=y: ways[way](n, x, y), x.device, CLOCKS[args.clock])
                )
            if number == args.repeats:
                break
    middle = {way: statistics.median(values[1:]) for way, values in times.items()}  # the first warms up
    print(
        f"{layout:20} reference {'bf16' if amp else 'fp32'} {middle['reference']:.4f} s, ours {middle['ours']:.4f} s, "
        f"ratio {middle['ours'] / middle['reference']:.3f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root")
    parser.add_argument("--arch", default="preactresnet18")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--per-class", type=int, default=256)
    parser.add_argument("--layout", action="append", choices=list(LAYOUTS))
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    args = parser.parse_args()
    print(
        f"{args.arch} width {args.width}, batch {args.batch_size}, PGD-10, {args.clock} seconds, "
        f"{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}"
    )
    for layout in args.layout or ["nchw", "channels-last"]:
        for amp in {False, "amp" in LAYOUTS[layout]}:
            compare(args, layout, amp)


if __name__ == "__main__":
    main()
