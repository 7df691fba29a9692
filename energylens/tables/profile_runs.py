"""Profile runs as they lie on disk, read back as records: no model is asked again."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pandas as pd

from energylens.attacks.battery import ConfiguredAttack
from energylens.attacks.radius import write_radius
from energylens.attacks.registry import ATTACKS, find_row
from energylens.attacks.settings import LENGTH
from energylens.attacks.spec import kind_of
from energylens.errors import InputError, RunError
from energylens.files import find, reading
from energylens.models.card import DIGITS
from energylens.records.attack_run import IMAGES
from energylens.records.record import COLUMNS, SCHEMA_VERSION, AttackRecord, Record
from energylens.records.run_folder import MANIFEST, RunFolder
from energylens.training.final import JUDGED

NATURAL = "natural"
ORDER = {row.name: position for position, row in enumerate(ATTACKS)}


def find_runs(paths: Iterable[Path]) -> tuple[list[RunFolder], list[Path]]:
    """The attacks' runs and the training runs in folders, at any depth; each once.

    The records that a training run was judged by at its end are part of it, and count only where their own folder is
    named.

    Args:
        paths: folders in which runs are looked for.

    Returns:
        The attacks' runs, and the folders of training runs.

    Raises:
        InputError: a folder holds neither.
        RunError: a manifest is no JSON.
    """
    profiles: dict[Path, RunFolder] = {}
    trainings: dict[Path, None] = {}
    for path in paths:
        known = len(profiles) + len(trainings)
        for file in sorted(find(path.resolve(), MANIFEST)):
            with reading(file, "run the command that made it again"):
                manifest = json.loads(file.read_text())
            identity = manifest.get("identity") if isinstance(manifest, dict) else None
            if not isinstance(identity, dict):
                continue  # another program's
            if "attack" in identity:
                profiles[file.parent] = RunFolder(file.parent, manifest)
            elif "settings" in identity:
                trainings[file.parent] = None
        if len(profiles) + len(trainings) == known:
            raise InputError(f"{path} holds no run: give a folder that `energylens profile` or `energylens train` made")
    own = [folder / JUDGED for folder in trainings]
    return [run for path, run in profiles.items() if not any(map(path.is_relative_to, own))], list(trainings)


def read_records(runs: Sequence[RunFolder]) -> list[Record]:
    """Records out of runs on the disk.

    A record is of the samples that all its attacks hold; of two runs of one attack (with and without images, say) it
    has the larger. ``notes`` say what was left out. The natural rows are what the attacks' own rows tell of them, and
    cost no seconds.

    Args:
        runs: of ``find_runs``.

    Returns:
        A record for every model, data split and seed, natural rows first, the attacks in the order of ATTACKS.

    Raises:
        InputError: there is nothing to show.
        RunError: something is damaged, or of another schema.
    """
    together: dict[str, list[_Attacked]] = defaultdict(list)
    for run in runs:
        attacked = _Attacked(run)
        together[attacked.subject].append(attacked)
    return [_record(group) for group in together.values()]


def told_apart(records: Sequence[Record]) -> list[str]:
    """What tells each record from the others of the same model's name and data set.

    Args:
        records: of ``read_records``.

    Returns:
        Words for each, as in ``seed 1``; "" for one alone.
    """
    names = [(record.model_title, record.dataset) for record in records]
    facts = [_facts(record) for record in records]
    told = []
    for name, own in zip(names, facts, strict=True):
        kin = [other for other, others_name in zip(facts, names, strict=True) if others_name == name]
        differ = [key for key, value in own.items() if any(other[key] != value for other in kin)]
        told.append(", ".join(f"{key} {own[key]}" for key in differ))
    return told


def _facts(record: Record) -> dict[str, Any]:
    """Together they differ between any two records of ``read_records``."""
    identity = record.attacks[0].manifest["identity"]
    data, model = identity["dataset"], identity["model"][:DIGITS]
    return {"split": data["split"], "seed": identity["seed"], "model": model, "data": data["digest"][:DIGITS]}


@dataclass(frozen=True)
class _Attacked:
    """One run of one attack."""

    run: RunFolder

    @property
    def subject(self) -> str:
        """What all attacks of a record share."""
        return json.dumps([self.run.manifest["identity"].get(name) for name in ("schema", "model", "dataset", "seed")])

    @property
    def attack(self) -> Mapping[str, Any]:
        """Name, revision, settings and target."""
        own: Mapping[str, Any] = self.run.manifest["identity"]["attack"]
        return own

    @property
    def eps(self) -> str | None:
        radius = self.run.manifest["eps"]
        return radius and str(radius["text"])

    @property
    def norm(self) -> str | None:
        """The norm of its ball, None where it has none."""
        return self.attack["settings"]["norm"] if self.eps else None

    @property
    def keeps_images(self) -> bool:
        """Whether its images lie beside its rows."""
        return IMAGES in self.run.manifest["identity"].get("also", ())

    @cached_property
    def rows(self) -> pd.DataFrame:
        """What is finished of it."""
        return self.run.rows()

    def named(self, told: Sequence[str]) -> tuple[str, str]:
        """What the command line and a figure call it. told: which of eps and norm tell it from others."""
        name = self.attack["name"]
        if "kind" in self.attack["settings"]:  # a callable
            return name, name
        row = find_row(name)
        settings = {**self.attack["settings"], "diffusion": None}  # there it is the digest of its weights
        own = [key for key in row.free_settings() if key in settings and settings[key] != getattr(row.defaults, key)]
        overrides = {key: write_radius(settings[key]) if kind_of(key, row) is LENGTH else settings[key] for key in own}
        beside = {key: getattr(self, key) for key in told}
        beside |= {"target": self.attack.get("target"), "backend": self.attack.get("kernels")}  # its name on disk
        overrides |= {key: value for key, value in beside.items() if value is not None}
        one = ConfiguredAttack(row, row.defaults, None, None, overrides)
        return one.name, one.label

    def record(self, indices: set[int], name: str, label: str) -> AttackRecord:
        """The rows of these samples, with their share of the seconds."""
        rows = self.rows[self.rows["index"].isin(indices)].reset_index(drop=True)
        load = partial(self.run.images, rows["index"].tolist()) if self.keeps_images else None
        seconds = self.run.seconds() * len(rows) / len(self.rows)
        return AttackRecord(name, label, rows, self.run.manifest, seconds, load)


def _record(group: Sequence[_Attacked]) -> Record:
    """What these runs of one model, data split and seed tell together."""
    first = group[0].run
    identity, card = first.manifest["identity"], first.manifest["model"]
    if identity["schema"] != SCHEMA_VERSION:
        raise RunError(f"{first.path} is of schema {identity['schema']}, this energylens reads {SCHEMA_VERSION}")
    attacks = [one for one in group if one.attack["name"] != NATURAL]
    filled = [one for one in attacks if len(one.rows)]
    if not attacks:
        raise InputError(f"{first.path} holds natural rows only: add attacks")
    if not filled:
        raise InputError(f"{first.path} holds no finished rows yet: run the command that made it again")
    told = [key for key in ("eps", "norm") if len({getattr(one, key) for one in filled} - {None}) > 1]
    chosen, notes = _one_each(filled, told)
    notes += [f"{one.run.path.name} has no finished rows yet and is left out." for one in attacks if not len(one.rows)]
    shared = set.intersection(*(set(one.rows["index"]) for one in chosen.values()))
    if not shared:
        where = f"the attacks on {card['name']} in {first.path.parent}"
        raise InputError(f"{where} share no sample: name the run folders that belong together")
    if held := ", ".join(f"{name} {len(one.rows)}" for name, one in chosen.items() if len(one.rows) > len(shared)):
        notes.append(f"Shown are the {len(shared)} samples that all attacks hold; on disk there are more ({held}).")
    records = [one.record(shared, *one.named(told)) for one in chosen.values()]
    radii = list(dict.fromkeys(one.eps for one in chosen.values() if one.eps))
    norms = dict.fromkeys(one.norm for one in chosen.values() if one.norm)
    return Record(
        card["name"], data_title(identity["dataset"]), radii[0] if len(radii) == 1 else None, " and ".join(norms),
        identity["seed"], (_natural(records[0]), *records), folder=first.path.parent, notes=tuple(notes),
    )  # fmt: skip


def _one_each(runs: Sequence[_Attacked], told: Sequence[str]) -> tuple[dict[str, _Attacked], list[str]]:
    """A run for every name, in the order of ATTACKS, and a note for every run that another stands for."""
    ranked = sorted(runs, key=lambda one: (one.attack["revision"], len(one.rows), one.keeps_images), reverse=True)
    ranked.sort(key=lambda one: (ORDER.get(one.attack["name"], len(ORDER)), one.named(told)[0]))
    chosen: dict[str, _Attacked] = {}
    notes = []
    for one in ranked:
        name, _ = one.named(told)
        if name in chosen:
            notes.append(f"{one.run.path.name} is left out: {chosen[name].run.path.name} is of the same attack.")
        chosen.setdefault(name, one)
    return chosen, notes


def _natural(attacked: AttackRecord) -> AttackRecord:
    """The natural rows that every attack's rows hold."""
    rows = attacked.rows
    pairs = ("pred", "marginal", "joint", "cross_entropy")
    natural = rows[list(COLUMNS)].assign(
        **{f"{name}_adv": rows[f"{name}_clean"] for name in pairs},
        success=rows["pred_clean"] != rows["label"],
        abnormal=False,
        linf=0.0, l2=0.0, steps=0, forwards=1, backwards=0,
    )  # fmt: skip
    own = {"name": NATURAL, "revision": 1, "settings": {}, "target": None}
    manifest = {**attacked.manifest, "eps": None, "identity": {**attacked.manifest["identity"], "attack": own}}
    return AttackRecord(NATURAL, NATURAL, natural.astype(COLUMNS), manifest, seconds=0.0)


def data_title(dataset: Mapping[str, Any]) -> str:
    """``cifar10``, or ``cifar10 (classes 0, 1, 6, 7)``, of a manifest's data set.

    Args:
        dataset: ``manifest["identity"]["dataset"]``.

    Returns:
        Its name, with the classes that were kept where not all were.
    """
    classes = dataset.get("classes")
    return dataset["name"] if classes is None else f"{dataset['name']} (classes {', '.join(map(str, classes))})"
