"""Put the rows of several run folders together: the shares of a job array that wrote to folders of their own."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from energylens.errors import InputError, RunError
from energylens.files import find, reading
from energylens.models import ModelCard
from energylens.records.attack_run import IMAGES
from energylens.records.identity import ANSWERS, CONTENTS, MODEL, Answers, own_identity
from energylens.records.record import CLEAN, SCHEMA_VERSION
from energylens.records.run_folder import MANIFEST, RunFolder, fingerprint, open_run, run_path

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

    Rows that are there already are not written twice; images come along.

    Args:
        sources: folders that ``--out`` named, or folders in them.
        out: another folder than those.

    Returns:
        What was added, one entry a run folder of the sources.

    Raises:
        InputError: for a source without runs.
        RunError: for rows that contradict each other, and for a manifest that does not belong to its folder or is
            another version's; what was merged before that stays.
    """
    for source in sources:
        if Path(out).resolve() in (Path(source).resolve(), *Path(source).resolve().parents):
            raise InputError(f"{source} lies in {out}, which is one of the sources then: merge into another folder")
    merged = []
    for source in sources:
        runs = list(_runs(Path(source)))
        if not runs:
            raise InputError(f"no records lie in {source}: name a folder that --out named")
        for group in _by_model(runs):
            merged += _add(group, out)
    return merged


def _by_model(runs: Sequence[RunFolder]) -> list[list[RunFolder]]:
    """The runs of each model on each data set, which go together to wherever its rows belong."""
    groups = defaultdict(list)
    for run in runs:
        identity = run.manifest["identity"]
        subject = [str(run.path.parent), *(identity[name] for name in ("model", "dataset", "seed"))]
        groups[json.dumps(subject)].append(run)
    return list(groups.values())


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


def _add(runs: Sequence[RunFolder], out: Path) -> list[Merged]:
    """Add the rows of one model's folders to their places under ``out``, beside those of another of its digest."""
    model, names = runs[0].path.parent.name, [run.path.name.rpartition("-")[0] for run in runs]
    identity, card = runs[0].manifest["identity"], ModelCard(**runs[0].manifest["model"])

    def own(common: Mapping[str, Any]) -> tuple[str, list[dict[str, Any]]]:
        """The model's folder and the manifests under this number."""
        folder = model if common[MODEL] == identity[MODEL] else card.folder_name(common[MODEL])
        return folder, [{**run.manifest, "identity": _unshared(run) | {MODEL: common[MODEL]}} for run in runs]

    def places(common: Mapping[str, Any]) -> list[Path]:
        folder, manifests = own(common)
        return [run_path(out, folder, name, one) for name, one in zip(names, manifests, strict=True)]

    folder, manifests = own(own_identity(identity, None, places, partial(_same_model, runs)))
    return [_add_one(run, out, folder, name, one) for run, name, one in zip(runs, names, manifests, strict=True)]


def _unshared(run: RunFolder) -> dict[str, Any]:
    """A run's identity without its share: rows that are never reused have a folder for each."""
    return {name: value for name, value in run.manifest["identity"].items() if name != "shard"}


def _same_model(runs: Sequence[RunFolder], there: RunFolder) -> bool:
    """Whether a folder may be of the model and the data that made these runs.

    By the answers that both keep or, where an earlier version kept none, by the clean energies of the samples that both
    hold.
    """
    contents = {one.manifest[CONTENTS] for one in (*runs, there) if CONTENTS in one.manifest}
    if len(contents) > 1:
        return False
    told = there.manifest.get(ANSWERS)
    known = [run for run in runs if ANSWERS in run.manifest]
    if told is not None and known:
        mine = Answers.read(known[0].manifest[ANSWERS], known[0].path / MANIFEST)
        return mine.agree(Answers.read(told, there.path / MANIFEST))
    held = there.clean_energies()
    return not any(_apart(run.clean_energies(), held, column) for run in runs for column in CLEAN)


def _add_one(run: RunFolder, out: Path, folder: str, name: str, manifest: dict[str, Any]) -> Merged:
    """Add one folder's rows to its place under ``out``."""
    target = open_run(out, folder, name, manifest)
    rows, there = run.rows(), target.rows()
    _check_agree(rows, there, run.path, target.path)
    new = rows[~rows["index"].isin(there["index"])].reset_index(drop=True)
    if len(new):
        images = run.images(new["index"].tolist()) if IMAGES in manifest["identity"].get("also", ()) else None
        target.write(new, run.seconds() * len(new) / len(rows), images)
    return Merged(target.path, len(there) + len(new), len(new), run.path)


def _check_agree(rows: pd.DataFrame, there: pd.DataFrame, source: Path, target: Path) -> None:
    """Refuse two rows of one sample that say different things."""
    for column in ("label", "marginal_adv", "joint_adv", *CLEAN):
        if apart := _apart(rows, there, column):
            index, ours, theirs = apart
            raise RunError(
                f"sample {index} has {column} {ours:.4f} in {source} and {theirs:.4f} in {target}: rows of one "
                "identity must agree; run one of the two again"
            )


def _apart(rows: pd.DataFrame, there: pd.DataFrame, column: str) -> tuple[int, float, float] | None:
    """The first sample of which two tables say different things, and what they say; None where they agree."""
    both = rows.merge(there, on="index", suffixes=("", "_there"))
    apart = np.flatnonzero(~np.isclose(both[column], both[f"{column}_there"], rtol=0, atol=CLOSE))
    if not len(apart):
        return None
    row = both.iloc[apart[0]]
    return int(row["index"]), float(row[column]), float(row[f"{column}_there"])
