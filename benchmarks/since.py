"""A step of training beside the same step of an earlier revision of this repository.

Each revision works in a process of its own, in a work tree of its own (``git worktree``), with a network of the same
seed and the same batches of CIFAR-10; a step of each in turn, one thread each, so that both have the same machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pandas as pd

from benchmarks.setting import Setting
from benchmarks.turns import Seconds, compared

HERE = Path(__file__).resolve().parents[1]
BATCH = 64
WAYS: dict[str, dict[str, object]] = {
    "fgsm": {"method": "fgsm", "steps": None},
    "fgsm + der": {"method": "fgsm", "steps": None, "reg": ("der",)},
    "n-fgsm, averaged weights": {"method": "n-fgsm", "steps": None, "ema": 0.999},
    "fgsm + gradalign": {"method": "fgsm", "steps": None, "reg": ("gradalign",)},
    "pgd": {"method": "pgd", "steps": 10},
    "trades": {"method": "trades", "steps": 10},
}
WORKER = """
import json, sys
from pathlib import Path
import torch
from benchmarks.setting import Setting
from benchmarks.training import _Batches, _prepared, ours
from benchmarks.turns import timed
torch.set_num_threads(1)
asked = json.loads(sys.argv[1])
setting = Setting(root=Path(asked["root"]) if asked["root"] else None, device=asked["device"])
run = _prepared(setting, Path(asked["out"]), **asked["settings"])
step, batches = ours(run), _Batches(run, asked["steps"])
for _ in sys.stdin:
    seconds, _ = timed(lambda: batches.shown(step))
    print(json.dumps([seconds.wall, seconds.cpu]), flush=True)
"""


def measure(setting: Setting, revision: str, width: int = 16) -> pd.DataFrame:
    """A row a step and revision, PreActResNet-18 of this width; the first turn is not counted."""
    tables = []
    with _tree(revision) as before:
        for name, own in WAYS.items():
            settings = {"arch": "preactresnet18", "width": width, "batch_size": BATCH} | own
            times = _in_turn({"before": before, "now": HERE}, setting, settings)
            table = compared(times, ["before"], BATCH)
            table.insert(0, "step", name)
            tables.append(table)
    return pd.concat(tables, ignore_index=True)


@contextmanager
def _tree(revision: str) -> Iterator[Path]:
    """A work tree of the revision, gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        git = ["git", "-C", str(HERE), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", f"{folder}/tree", revision], check=True)
        try:
            yield Path(folder, "tree")
        finally:
            subprocess.run([*git, "remove", "--force", f"{folder}/tree"], check=True)


def _in_turn(trees: Mapping[str, Path], setting: Setting, settings: dict[str, object]) -> dict[str, list[Seconds]]:
    """A step of each tree's in turn, every second turn from the last to the first."""
    with ExitStack() as opened:
        workers = {way: opened.enter_context(_worker(tree, setting, settings)) for way, tree in trees.items()}
        times: dict[str, list[Seconds]] = {way: [] for way in trees}
        for turn in range(setting.turns + 1):
            for way in list(trees) if turn % 2 else reversed(trees):
                times[way].append(_step(workers[way]))
    return {way: taken[1:] for way, taken in times.items()}


@contextmanager
def _worker(tree: Path, setting: Setting, settings: dict[str, object]) -> Iterator[subprocess.Popen[str]]:
    """A process of the tree's code that does one step for each line it is sent."""
    with tempfile.TemporaryDirectory() as out:
        root = str(setting.root.resolve()) if setting.root else None
        asked = {"root": root, "device": setting.device, "out": out, "settings": settings, "steps": setting.turns + 1}
        command = [sys.executable, "-c", WORKER, json.dumps(asked)]
        environment = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
        with subprocess.Popen(
            command, cwd=tree, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            try:
                yield process
            finally:
                process.kill()


def _step(process: subprocess.Popen[str]) -> Seconds:
    """Have the process do its next step; how long it took."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return Seconds(*json.loads(process.stdout.readline()))
