"""The folder of a run: what it is known by, and how a finished run becomes a longer one in it."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from energylens.errors import InputError, RunError
from energylens.files import is_there, whole_file
from energylens.records.run_folder import (
    MANIFEST,
    check_same,
    fingerprint,
    holding,
    open_folder,
    read_manifest,
    safe_name,
    writing,
)
from energylens.training.checkpoint import load_state
from energylens.training.history import History
from energylens.training.recipes import overridden
from energylens.training.schedules import SCHEDULES, Course
from energylens.training.settings import TrainSettings
from energylens.training.watch import EnergyWatch

FOLDER = "train"  # in the runs
PACKAGES = ("energylens", "torch", "torchvision", "accelerate")


@dataclass(frozen=True)
class Plan:
    """A run that is asked for.

    Attributes:
        settings: resolved.
        out: where runs are kept.
        folder: the run's own, None for one in ``out`` that is named by its settings.
        root: where data lie.
        device: "auto" or "cpu".
        watch: the early warning, if there is to be one.
        overwrite: whether a run that is there gives way.
    """

    settings: TrainSettings
    out: Path = Path("runs")
    folder: Path | None = None
    root: Path | None = None
    device: str = "auto"
    watch: EnergyWatch | None = None
    overwrite: bool = False


def settings_in(folder: Path, recipe: str | None = None, **own: Any) -> TrainSettings:
    """The settings of the run in this folder; with more ``epochs`` than it has, those that it is extended to.

    Args:
        folder: of a run.
        recipe: a preset that was asked for beside.
        own: settings that were asked for beside.

    Returns:
        The run's own settings, or the longer ones that it goes on with.

    Raises:
        InputError: that names the first difference where the run has other settings, and where a run is to be extended
            that is not finished or is longer already.
    """
    found = _settings_of(folder)
    epochs = own.get("epochs", found.epochs)
    if epochs < found.epochs:
        raise InputError(f"{folder} is a run of {found.epochs} epochs: --epochs {epochs} cannot make it shorter")
    asked = overridden(found, recipe, own | {"epochs": found.epochs} if "epochs" in own else own)
    check_same(found.manifest(), asked.manifest(), folder)
    if epochs == found.epochs:
        return found
    state = load_state(folder) or {"epoch": 0, "stopped": ""}
    done, ended = state["epoch"], state["stopped"]
    if done < found.epochs or ended:
        how = f", ended by the {ended.upper()} alarm" if ended else ""
        mend = "train anew with --on-alarm warn" if ended else f"finish it first, with --resume {folder} alone"
        raise InputError(f"{folder} has {done} of {found.epochs} epochs{how}: only a finished run is extended; {mend}")
    return found.extended_to(epochs)


def extension(folder: Path, settings: TrainSettings) -> str:
    """What becomes of the run in this folder when it is trained with settings of ``settings_in``, in a sentence.

    Args:
        folder: of the run.
        settings: those that ``settings_in`` gave for it.

    Returns:
        The sentence, "" where the run is not extended.

    Raises:
        InputError: for a folder without a run.
    """
    found = _settings_of(folder)
    if found.epochs == settings.epochs:
        return ""
    said = f"{folder} is extended from {found.epochs} to {settings.epochs} epochs"
    if not SCHEDULES[found.schedule].by_length:
        return f"{said}: the {found.schedule} schedule does not depend on them, this is what {settings.epochs} are"
    before = found.lr * found.part(Course).rate(found.epochs - 1, 999, 1000).factor
    after = found.lr * settings.part(Course).rate(found.epochs, 0, 1000).factor
    return (
        f"{said}: the {found.schedule} schedule depends on them, and goes on as that of {settings.epochs}, from a rate "
        f"of {before:.2g} to one of {after:.2g}; this is not a run of {settings.epochs} from the start, and its "
        "settings say so"
    )


def claim(plan: Plan, data: Iterable[dict[str, Any]], init: str | None, *, writes: bool) -> Path:
    """Make the folder of a run, or find it and check that it is of this run.

    Args:
        plan: the run.
        data: digests of its data, the ones that earlier versions gave before today's.
        init: digest of the weights that it starts from, None where it starts from chance.
        writes: whether this process, of several, is the one that writes.

    Returns:
        The run's folder, as an absolute path.

    Raises:
        InputError: where the run was made longer already.
        RunError: where another run, or something that cannot be read, is there.
    """
    settings = plan.settings
    if plan.folder is not None and writes and not plan.overwrite:
        _extend(plan.folder, settings)
    # a run of an earlier version, which gave the data another digest, is known by that one where it lies
    for digest in data:
        identity = {"settings": _unplaced(settings), "data": digest, **({} if init is None else {"init": init})}
        usual = plan.out / FOLDER / f"{safe_name(settings.name)}-{fingerprint(identity)}"
        own = (plan.folder or usual).absolute()
        with suppress(RunError):  # what cannot be read is another's business, or is to be overwritten
            if fingerprint(read_manifest(own / MANIFEST)["identity"]) == fingerprint(identity):
                break
    if writes:
        if not plan.overwrite:
            _refuse_extended(own, settings)
        named = {"omit_by": settings.omit_by, **({} if settings.init is None else {"init": settings.init})}
        versions = {name: version(name) for name in PACKAGES}
        manifest = {"identity": identity, "named": named, "versions": versions, "machine": platform.platform()}
        open_folder(own, manifest, overwrite=plan.overwrite)
    return own


def _unplaced(settings: TrainSettings) -> dict[str, Any]:
    """The settings without the names of models, which may stand for others one day."""
    told = settings.manifest() | {"omit_by": None}
    return {name: value for name, value in told.items() if name != "init"}


def _extend(folder: Path, settings: TrainSettings) -> None:
    """Let the manifest of a finished run tell what it is extended to, where these settings extend it."""
    if (manifest := _manifest(folder)) is None:
        return
    found = _told(manifest)
    if found.epochs < settings.epochs and found.extended_to(settings.epochs) == settings:
        load_state(folder)  # what the run goes on from is read before its manifest says otherwise
        History.read(folder, found.epochs)
        with holding(folder, "run"), writing(folder), whole_file(folder / MANIFEST) as temporary:
            told = {**manifest, "identity": {**manifest["identity"], "settings": _unplaced(settings)}}
            temporary.write_text(json.dumps(told, indent=2) + "\n")


def _refuse_extended(folder: Path, settings: TrainSettings) -> None:
    """InputError where the folder holds what became of this very run when it was extended."""
    if (manifest := _manifest(folder)) is None:
        return
    found = _told(manifest)
    before = replace(found, epochs=settings.epochs, extended=settings.extended)
    if found.epochs > settings.epochs and before == settings:
        raise InputError(
            f"{folder} was extended to {found.epochs} epochs: `energylens train --resume {folder}` goes on with it; "
            f"for a run of {settings.epochs} give another --out, or --overwrite to start it anew"
        )


def _settings_of(folder: Path) -> TrainSettings:
    """The settings of the run in this folder; InputError where there is none."""
    if (manifest := _manifest(folder)) is None:
        raise InputError(f"{folder} holds no training run: give the folder that `energylens train` made")
    return _told(manifest)


def _manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of the training run in this folder; None where there is none."""
    if not is_there(folder / MANIFEST):
        return None
    manifest = read_manifest(folder / MANIFEST)
    return manifest if "settings" in manifest["identity"] else None


def _told(manifest: Mapping[str, Any]) -> TrainSettings:
    return TrainSettings.from_manifest(manifest["identity"]["settings"] | manifest.get("named", {}))
