"""From a cold start: seconds until a command has answered, and until the peers are imported."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

from benchmarks.setting import Setting

ENERGYLENS = ("-m", "energylens")
COMMANDS: dict[str, tuple[str, ...]] = {
    "energylens --help": (*ENERGYLENS, "--help"),
    "energylens models": (*ENERGYLENS, "models"),
    "energylens attacks": (*ENERGYLENS, "attacks"),
    "energylens profile (digits)": (*ENERGYLENS, "profile"),
    "import torch": ("-c", "import torch"),
    "import energylens": ("-c", "import energylens"),
    "import torchattacks": ("-c", "import torchattacks"),
    "import foolbox": ("-c", "import foolbox"),
    "import adv_lib.attacks": ("-c", "import adv_lib.attacks"),
    "import art.attacks.evasion": ("-c", "import art.attacks.evasion"),
    "import robustbench": (
        "-c",
        "import sys, pyautoattack; sys.modules['autoattack'] = pyautoattack; import robustbench",
    ),
}


def _environment() -> dict[str, str]:
    """This process's, its search path told from the root."""
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return os.environ | {"PYTHONPATH": os.pathsep.join(str(Path(path).resolve()) for path in paths if path)}


def measure(setting: Setting) -> pd.DataFrame:
    """A row a command: median (least to most) seconds of fresh processes, each in a folder of its own."""
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for turn in range(setting.turns + 1):
        for name, command in COMMANDS.items():
            with tempfile.TemporaryDirectory() as folder:
                began = time.perf_counter()
                subprocess.run(
                    [sys.executable, *command], cwd=folder, check=True, capture_output=True, env=_environment()
                )
                if turn:  # the first fills the page cache
                    seconds[name].append(time.perf_counter() - began)
    return pd.DataFrame(
        {"what": name, "seconds": f"{statistics.median(own):.2f} ({min(own):.2f} to {max(own):.2f})"}
        for name, own in seconds.items()
    )
