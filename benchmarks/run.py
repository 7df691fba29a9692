"""Every benchmark, or those named, with its table: `python -m benchmarks.run --data-root DIR [NAME ...]`.

Runs in the environment of benchmarks/peers/README.md. Writes results/NAME.csv, with the machine and the command beside
it, and puts the tables of all that are there into benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pandas as pd
import torch

from benchmarks.long_pgd import Work
from benchmarks.setting import Setting
from energylens.plots.tables import markdown

HERE = Path(__file__).parent
RESULTS, README = HERE / "results", HERE / "README.md"
PACKAGES = ("torch", "torchattacks", "adv-lib", "foolbox", "adversarial-robustness-toolbox", "pyautoattack", "mair")


@dataclass(frozen=True)
class Benchmark:
    """One row: the module whose ``measure(setting, ...)`` makes the table, what it is told, and that in words."""

    module: str
    setting: Setting
    told: str
    more: dict[str, object] = field(default_factory=dict)

    def measure(self, root: Path | None, device: str) -> pd.DataFrame:
        """Its table."""
        found: Callable[..., pd.DataFrame] = import_module(f"benchmarks.{self.module}").measure
        return partial(found, **self.more)(replace(self.setting, root=root, device=device))


BEFORE = "4737d34"  # the last revision whose trainer had a table of attacks of its own
NATURAL, ROBUST = "autoattack-resnet18", "digits-pgd"
BENCHMARKS: dict[str, Benchmark] = {
    "pgd": Benchmark("pgd", Setting(NATURAL, 64, 2), f"{NATURAL}, 64 CIFAR-10 images, eps 8/255"),
    "pgd-robust": Benchmark("pgd", Setting(ROBUST, 500, 5), f"{ROBUST}, 500 digits, eps 0.2", {"eps": "0.2"}),
    "long-pgd": Benchmark(
        "long_pgd",
        Setting(ROBUST, 200, 3),
        f"{ROBUST}, 200 digits, eps 0.2, float32",
        {"eps": "0.2", "works": (Work(200), Work(1000), Work(50, 10))},
    ),
    "task": Benchmark("profile_task", Setting(NATURAL, 16, 2), f"{NATURAL}, 16 CIFAR-10 images, eps 8/255"),
    "autoattack": Benchmark("autoattack", Setting(ROBUST, 100, 3), f"{ROBUST}, 100 digits in one block, eps 0.2"),
    "training": Benchmark("training", Setting(turns=5), "PreActResNet-18 of width 32, batch 64, CIFAR-10, eps 8/255"),
    "generation": Benchmark("generation", Setting(NATURAL, 64, 3), f"{NATURAL}, 64 images from noise, 20 steps"),
    "start-up": Benchmark("start_up", Setting(turns=5), "fresh processes; profile is of 256 digits under four attacks"),
    "growth": Benchmark("growth", Setting(NATURAL, turns=1), f"{NATURAL}, CIFAR-10, FGSM, --backend fused, no checks"),
    "since": Benchmark(
        "since",
        Setting(turns=11),
        f"PreActResNet-18 of width 16, batch 64, CIFAR-10, eps 8/255, float32; before: {BEFORE}",
        {"revision": BEFORE},
    ),
}


def main() -> None:
    """Measure what is named, all by default, and write README's tables anew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    if unknown := set(args.names) - BENCHMARKS.keys():
        parser.error(f"no benchmark {min(unknown)!r}: there are {', '.join(BENCHMARKS)}")
    for name in args.names or BENCHMARKS:
        print(name, file=sys.stderr, flush=True)
        load, began = os.getloadavg()[0], time.perf_counter()
        table = BENCHMARKS[name].measure(args.data_root, args.device).astype(str)
        RESULTS.mkdir(exist_ok=True)
        table.to_csv(RESULTS / f"{name}.csv", index=False)
        about = _about(name, args.device, load, time.perf_counter() - began)
        (RESULTS / f"{name}.json").write_text(json.dumps(about, indent=2) + "\n")
        print(markdown(table), flush=True)
    README.write_text(with_tables(README.read_text()))


def with_tables(text: str) -> str:
    """The README with each table between its two marks written anew from results/."""

    def table(found: re.Match[str]) -> str:
        name = found[1]
        if not (RESULTS / f"{name}.csv").exists():
            return found[0]
        about = json.loads((RESULTS / f"{name}.json").read_text())
        rows = pd.read_csv(RESULTS / f"{name}.csv", dtype=str, keep_default_na=False)
        told = f"*{about['setting']}; {about['machine']}; {about['versions']}.*"
        record = f"Recorded: [{name}.csv](results/{name}.csv), seed 0: `{about['command']}`."
        return f"<!-- {name} -->\n{markdown(rows)}\n{record}\n\n{told}\n<!-- end -->"

    return re.sub(r"<!-- ([a-z-]+) -->\n.*?<!-- end -->", table, text, flags=re.DOTALL)


def _about(name: str, device: str, load: float, seconds: float) -> dict[str, object]:
    row = BENCHMARKS[name]
    return {
        "command": f"python -m benchmarks.run {name} --data-root DIR --device {device}",
        "seed": [0],
        "setting": f"{row.told}; turns: {row.setting.turns}",
        "machine": f"{_machine(device)}, load before {load:.1f}, {seconds:.0f} s in all",
        "versions": ", ".join(filter(None, map(_version, PACKAGES))),
    }


def _machine(device: str) -> str:
    """What the work was done on."""
    if device != "cpu":
        return torch.cuda.get_device_name(device)
    lines = Path("/proc/cpuinfo").read_text().splitlines() if platform.system() == "Linux" else []
    name = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())
    return f"{name}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"


def _version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return ""


if __name__ == "__main__":
    main()
