"""The main job, in its visible order: data -> model -> attacks -> energies -> record."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from energylens.attacks.battery import NATURAL, Attack, AttackSpec, configure_battery
from energylens.attacks.frozen import frozen
from energylens.attacks.noise import Noise
from energylens.attacks.radius import parse_radius, write_radius
from energylens.attacks.settings import check_numbers
from energylens.attacks.targets import check_target, choose_targets
from energylens.data import Samples
from energylens.errors import InputError, RunError
from energylens.manifest import manifest_of, shared_identity
from energylens.models import ModelCard, card_of, weights_digest
from energylens.record import AttackRecord, Record, measure
from energylens.run_folder import model_folder, open_run
from energylens.store import Memory, Store
from energylens.subject import (
    Data,
    check_fit,
    checked_logits,
    device_of,
    float_logits,
    the_module,
    the_samples,
    usual_radius,
)

DEFAULT_MODEL = "digits-standard"
DEFAULT_BATTERY = ("fgsm", "pgd", "trades", "cw")
BATCH_SIZES = {"cpu": 64, "cuda": 512}


@dataclass(frozen=True)
class Progress:
    """One attack has finished one batch. done and total: forward-backward passes times images, at most, so that their
    ratio tells the time left."""

    attack: str
    done: int
    total: int


Listener = Callable[[Progress], None]


def profile(
    model: str | nn.Module = DEFAULT_MODEL,
    data: Data = None,
    attacks: AttackSpec | Sequence[AttackSpec] = DEFAULT_BATTERY,
    *,
    n: int | None = None,
    choose: str = "first",
    split: str = "test",
    eps: str | float | None = None,
    norm: str | None = None,
    steps: int | None = None,
    target: str | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    device: str = "auto",
    data_root: str | Path | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    listener: Listener | None = None,
    **model_options: Any,
) -> Record:
    """Attack a model and record the energies of every sample, natural and adversarial.

    model: a name ``load_model`` knows (model_options go to it) or a module from float images in [0, 1] to logits,
        used where it lies; its mode, gradients and the global random state are afterwards as they were.
    data: a name ``load_data`` knows, Samples, a pair (x, y) of tensors, or None for the model's own data set.
    attacks: names with settings (``"pgd,steps=50"``) or callables ``f(model, x, y) -> x_adv``.
    n, choose, split: which samples (256 by default), as in ``load_data``; only for data given by name.
    eps, norm: the threat model, ``"8/255"`` or a float; by default the model's own, else the data set's usual one.
    steps: iterations of the attacks that iterate. target: aim at ``random``, ``least-likely``, ``second-best`` or a
        class number. seed: of the noise and of the choice of samples.
    out: where to keep the record; rows found there are not computed again. None keeps it in memory only.
    listener: called after every batch of every attack.

    Raises InputError for a request that cannot be met, RunError where disk, network or model fail.
    """
    module = the_module(model, data, device, model_options)
    card = replace(card_of(module), weights=weights_digest(module))
    samples = the_samples(data, card, module, n=n, choose=choose, split=split, seed=seed, root=data_root)
    norm = norm.lower() if norm else ("l2" if card.threat_model == "L2" else "linf")
    eps = usual_radius(card, samples, norm) if eps is None else eps
    text = None if eps is None else write_radius(eps)
    if text is not None:
        parse_radius(text)
    if not 0 <= seed < 2**63:
        raise InputError(f"seed {seed} is not one: a whole number from 0 to 2^63 - 1 was expected")
    battery = (NATURAL, *configure_battery(attacks, eps=eps, norm=norm, steps=steps, target=target))
    size = BATCH_SIZES.get(device_of(module).type, BATCH_SIZES["cpu"]) if batch_size is None else batch_size
    check_numbers({"batch size": size}, positive=("batch size",))
    with frozen(module, seed):
        check_fit(module, card, samples)
        for attack in battery:
            _check_classes(attack, len(samples.classes))
        common = shared_identity(module, samples, seed)
        manifests = [manifest_of(attack, card, samples, common) for attack in battery]
        runs = [
            _Run(attack, _store(attack, card, manifest, out, overwrite))
            for attack, manifest in zip(battery, manifests, strict=True)
        ]
        _fill(runs, module, samples, seed, size, listener)
    for run in runs:
        if out is not None and not run.attack.reusable:
            _keep(run, card, out)
    wanted = samples.indices.tolist()
    records = tuple(run.record(wanted) for run in runs)
    folder = None if out is None else model_folder(Path(out), card.short_name)
    return Record(card.name, samples.name, text, norm, seed, records, folder)


def _check_classes(attack: Attack, classes: int) -> None:
    """Refuse an attack that needs more classes than there are, or aims at one that is not there."""
    if attack.target is not None:
        check_target(attack.target, classes)
    if attack.settings.min_classes > classes:
        raise InputError(
            f"{attack.name} needs {attack.settings.min_classes} classes, its DLR loss is undefined for {classes}: "
            "take apgd-ce, fab-t or square instead"
        )


@dataclass
class _Run:
    """One attack of the battery and the rows it has so far."""

    attack: Attack
    store: Store
    done: set[int] = field(init=False)

    def __post_init__(self) -> None:
        self.done = set(self.store.rows()["index"].tolist())

    def missing(self, indices: Sequence[int]) -> list[int]:
        """Positions in ``indices`` whose rows are not there yet."""
        return [position for position, index in enumerate(indices) if index not in self.done]

    def record(self, wanted: Sequence[int]) -> AttackRecord:
        """The rows of these samples, in order, with their share of the seconds."""
        stored = self.store.rows()
        rows = stored[stored["index"].isin(wanted)].sort_values("index", ignore_index=True)
        seconds = self.store.seconds() * len(rows) / len(stored)
        return AttackRecord(self.attack.name, self.attack.label, rows, self.store.manifest, seconds)


def _fill(
    runs: Sequence[_Run], model: nn.Module, samples: Samples, seed: int, size: int, listener: Listener | None
) -> None:
    """Compute what is missing, a batch at a time: its clean logits once, then every attack that lacks rows of it."""
    indices = samples.indices.tolist()
    total = sum(len(run.missing(indices)) * run.attack.settings.passes for run in runs)
    done = 0
    for positions, waiting in _schedule(runs, indices, size):
        began = time.perf_counter()
        with _in_memory(len(positions)):
            batch = _Batch.load(model, samples.subset(positions), seed)
        for run in waiting:
            rows = run.missing(batch.noise.indices)
            if not rows:
                continue
            with _in_memory(len(positions)):
                table = batch.take(rows).attacked_by(run.attack, model)
            run.store.write(table, time.perf_counter() - began)
            done += len(rows) * run.attack.settings.passes
            if listener:
                listener(Progress(run.attack.name, done, total))
            began = time.perf_counter()


@contextmanager
def _in_memory(images: int) -> Iterator[None]:
    """Say in one line that a batch was too large for the device."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise RunError(
            f"out of memory with {images} images at once: take a smaller --batch-size, or block=N for an attack that "
            "runs in blocks; what is finished is kept"
        ) from error


def _schedule(
    runs: Sequence[_Run], indices: Sequence[int], size: int
) -> Iterator[tuple[Sequence[int], Sequence[_Run]]]:
    """Positions to attack together, and the runs that lack rows of them.

    Runs whose rows depend on nobody else share batches of what any of them lacks. A run whose rows depend on who is
    attacked with them has its own fixed blocks of all positions, each wholly there or wholly missing.
    """
    keyed = [run for run in runs if run.attack.settings.block is None]
    pending = sorted(set().union(*(run.missing(indices) for run in keyed)))
    for start in range(0, len(pending), size):
        yield pending[start : start + size], keyed
    for run in runs:
        if block := run.attack.settings.block:
            for start in range(0, len(indices), block):
                if run.missing(indices[start : start + block]):
                    yield range(start, min(start + block, len(indices))), [run]


@dataclass(frozen=True)
class _Batch:
    """Samples on the model's device with their clean logits (N, K)."""

    x: Tensor
    y: Tensor
    clean_logits: Tensor
    noise: Noise

    @classmethod
    def load(cls, model: nn.Module, samples: Samples, seed: int) -> _Batch:
        """All of the samples, which are a batch's."""
        x, y = (tensor.to(device_of(model)) for tensor in samples.batch(0, len(samples)))
        indices = samples.indices.tolist()
        return cls(x, y, float_logits(model, x, indices), Noise(seed, tuple(indices)))

    def take(self, rows: Sequence[int]) -> _Batch:
        """The samples at these positions of the batch."""
        if len(rows) == len(self.x):
            return self
        at = torch.tensor(rows, device=self.x.device)
        return _Batch(self.x[at], self.y[at], self.clean_logits[at], self.noise.take(at))

    def attacked_by(self, attack: Attack, model: nn.Module) -> pd.DataFrame:
        """The batch's rows of the record."""
        target = None
        if attack.target is not None:
            target = choose_targets(attack.target, self.clean_logits, self.y, self.noise)
        result = attack(model, self.x, self.y, noise=self.noise, target=target, clean_logits=self.clean_logits)
        if result.logits is None:
            logits = float_logits(model, result.x_adv, self.noise.indices)
        else:
            logits = checked_logits(result.logits, self.noise.indices)
        return measure(torch.tensor(self.noise.indices), self.x, self.y, self.clean_logits, result, logits, target)


def _store(attack: Attack, card: ModelCard, manifest: dict[str, Any], out: str | Path | None, overwrite: bool) -> Store:
    """Where the rows of one attack go. A callable's stay in memory until they are whole: see ``_keep``."""
    if out is None or not attack.reusable:
        return Memory(manifest)
    return open_run(Path(out), card.short_name, attack.row.name, manifest, overwrite=overwrite)


def _keep(run: _Run, card: ModelCard, out: str | Path) -> None:
    """Write a callable's finished rows in place of those of its last run: nobody can tell whether it has changed."""
    folder = open_run(Path(out), card.short_name, run.attack.row.name, run.store.manifest, overwrite=True)
    folder.write(run.store.rows(), run.store.seconds())
