"""Where recorded numbers are from: a JSON beside their CSV, with the command that made them, its seeds and machine.

``analyses.gallery``, the studies and the commands that draw write it; ``tests/test_origins.py`` follows every
line ``Recorded: [...](...)`` of the docs to such a pair.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from energylens.files import whole_file

FIGURES = "%.6g"  # digits of a recorded number: more than any page shows


def typed_command(program: str = "energylens") -> str:
    """This process's command as it was typed, its words quoted where they must be.

    Args:
        program: what stands before the arguments.

    Returns:
        One line for a shell.
    """
    import shlex

    return shlex.join([program, *sys.argv[1:]])


def seeds_of(table: pd.DataFrame, used: Collection[int]) -> list[int]:
    """The seeds that a table is of: its own column's, else those of the runs it was made of.

    Args:
        table: perhaps with a column "seed" of whole numbers.
        used: the seeds of the runs that it was made of.

    Returns:
        The seeds, ascending.
    """
    if "seed" in table and pd.api.types.is_integer_dtype(table["seed"]):
        return sorted(map(int, table["seed"].unique()))
    return sorted(used)


def origin(command: str, seeds: Sequence[int], **about: Any) -> dict[str, Any]:
    """What the JSON beside a CSV tells: ``about`` first, then command, seed and machine.

    Args:
        command: what makes the CSV again.
        seeds: that it is of.
        about: what else a reader should know, by name.

    Returns:
        Values that JSON holds.
    """
    return {**about, "command": command, "seed": list(seeds), "machine": machine()}


def write_origin(about: dict[str, Any], csv: Path) -> Path:
    """Put the origin beside the CSV.

    Args:
        about: as ``origin`` made it.
        csv: the table's path; the origin differs in its suffix.

    Returns:
        The path of the JSON.
    """
    path = csv.with_suffix(".json")
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n")
    return path


def record_table(table: pd.DataFrame, csv: Path, about: dict[str, Any]) -> None:
    """Write a table that the docs show, and its origin.

    Args:
        table: whose numbers are written to as many digits as FIGURES says.
        csv: where; its folder is made where missing.
        about: as ``origin`` made it.
    """
    csv.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(csv) as temporary:
        table.to_csv(temporary, index=False, float_format=FIGURES)
    write_origin(about, csv)


def machine() -> str:
    """Where the numbers come from: ``Linux x86_64, 2 cores, torch 2.13.0``.

    Returns:
        The operating system, the processor's kind, cores and torch's version.
    """
    import os

    import torch

    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}"
