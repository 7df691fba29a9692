"""Put the rows of several run folders together: the shares of a job array that wrote to folders of their own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from energylens.attack_run import IMAGES
from energylens.errors import InputError, RunError
from energylens.reading import find, reading
from energylens.record import SCHEMA_VERSION
from energylens.run_folder import MANIFEST, RunFolder, fingerprint, open_run

CLOSE = 1e-3  # how far the same energy may differ between two machines' float32 kernels, nats


@dataclass(frozen=True)
class Merged:
    """One record folder after the merge. added: rows that came from one source, in the order of the sources."""

    path: Path
    rows: int
    added: int
    source: Path


def merge(sources: Sequence[Path], out: Path) -> list[Merged]:
    """Add the rows of every run folder under the sources to the folder of the same identity under ``out``.

    sources: folders that ``--out`` named, or folders in them. Rows that are there already are not written twice;
    images come along. Raises InputError for a source without runs, RunError for rows that contradict each other and
    for a manifest that does not belong to its folder or is another version's; what was merged before that stays.
    """
    for source in sources:
        if Path(out).resolve() in (Path(source).resolve(), *Path(source).resolve().parents):
            raise InputError(f"{source} lies in {out}, which is one of the sources then: merge into another folder")
    merged = []
    for source in sources:
        runs = list(_runs(Path(source)))
        if not runs:
            raise InputError(f"no records lie in {source}: name a folder that --out named")
        merged += [_add(run, out) for run in runs]
    return merged


def _runs(source: Path) -> Iterator[RunFolder]:
    """The run folders of profiles under a folder, those that it links to as well."""
    for path in sorted(find(source, MANIFEST)):
        with reading(path, "leave its folder out, or run that share again"):
            manifest = json.loads(path.read_text())
        if "attack" in manifest.get("identity", {}):
            _check_manifest(manifest, path)
            yield RunFolder(path.parent, manifest)


def _check_manifest(manifest: dict[str, Any], path: Path) -> None:
    schema = manifest["identity"].get("schema")
    if schema != SCHEMA_VERSION:
        raise RunError(
            f"{path} is of schema {schema}, this energylens writes schema {SCHEMA_VERSION}: merge it with the version "
            f"that made it ({manifest.get('versions', {}).get('energylens', 'unknown')})"
        )
    if not path.parent.name.endswith(fingerprint(manifest["identity"])):
        raise RunError(f"{path} does not belong to its folder: one of the two was changed; run that share again")


def _add(run: RunFolder, out: Path) -> Merged:
    """Add one folder's rows to its place under ``out``."""
    manifest = json.loads(json.dumps(run.manifest))
    manifest["identity"].pop("shard", None)  # of callables, whose shares have folders of their own
    name = run.path.name.rpartition("-")[0]
    target = open_run(out, run.path.parent.name, name, manifest)
    rows, there = run.rows(), target.rows()
    _check_agree(rows, there, run.path, target.path)
    new = rows[~rows["index"].isin(there["index"])].reset_index(drop=True)
    if len(new):
        images = run.images(new["index"].tolist()) if IMAGES in manifest["identity"].get("also", ()) else None
        target.write(new, run.seconds() * len(new) / len(rows), images)
    return Merged(target.path, len(there) + len(new), len(new), run.path)


def _check_agree(rows: pd.DataFrame, there: pd.DataFrame, source: Path, target: Path) -> None:
    """Refuse two rows of one sample that say different things."""
    both = rows.merge(there, on="index", suffixes=("", "_there"))
    for column in ("label", "marginal_adv", "joint_adv"):
        apart = np.flatnonzero(~np.isclose(both[column], both[f"{column}_there"], rtol=0, atol=CLOSE))
        if len(apart):
            row = both.iloc[apart[0]]
            raise RunError(
                f"sample {row['index']:.0f} has {column} {row[column]:.4f} in {source} and "
                f"{row[column + '_there']:.4f} in {target}: rows of one identity must agree; run one of the two again"
            )
