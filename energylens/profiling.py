"""The main job, in its visible order: data -> model -> attacks -> energies -> record."""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from energylens.attacks.frozen import frozen
from energylens.attacks.noise import Noise
from energylens.attacks.radius import write_radius
from energylens.attacks.registry import NATURAL, Attack, AttackSpec, configure_battery
from energylens.attacks.targets import check_target, choose_targets
from energylens.data import Samples
from energylens.models import ModelCard, card_of, weights_digest
from energylens.record import SCHEMA_VERSION, AttackRecord, Record, measure
from energylens.run_folder import open_run
from energylens.store import Memory, Store
from energylens.subject import Data, check_fit, device_of, float_logits, the_module, the_samples, usual_radius

DEFAULT_MODEL = "digits-standard"
DEFAULT_BATTERY = ("fgsm", "pgd", "trades", "cw")
BATCH_SIZES = {"cpu": 64, "cuda": 512}


@dataclass(frozen=True)
class Progress:
    """One attack has finished one batch. samples: images in it; done and total: forward-backward passes times images,
    at most, so that their ratio tells the time left."""

    attack: str
    samples: int
    done: int
    total: int


Listener = Callable[[Progress], None]


def profile(
    model: str | nn.Module = DEFAULT_MODEL,
    data: Data = None,
    attacks: Sequence[AttackSpec] = DEFAULT_BATTERY,
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
    card = card_of(module)
    samples = the_samples(data, card, n=n, choose=choose, split=split, seed=seed, root=data_root)
    norm = norm or ("l2" if card.threat_model == "L2" else "linf")
    eps = usual_radius(card, samples, norm) if eps is None else eps
    battery = (NATURAL, *configure_battery(attacks, eps=eps, norm=norm, steps=steps, target=target))
    size = batch_size or BATCH_SIZES.get(device_of(module).type, BATCH_SIZES["cpu"])
    with frozen(module, seed):
        check_fit(module, samples)
        for target in {attack.target for attack in battery if attack.target is not None}:
            check_target(target, len(samples.classes))
        identity = _identity(module, samples, seed)
        runs = [_Run(attack, _open(attack, card, samples, identity, out, overwrite)) for attack in battery]
        _fill(runs, module, samples, seed, size, listener)
    wanted = samples.indices.tolist()
    return Record(card.name, samples.name, write_radius(eps), norm, seed, tuple(run.record(wanted) for run in runs))


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
    pending = sorted(set().union(*(run.missing(indices) for run in runs)))
    done = 0
    for start in range(0, len(pending), size):
        began = time.perf_counter()
        batch = _Batch.load(model, samples.subset(pending[start : start + size]), seed)
        for run in runs:
            rows = run.missing(batch.noise.indices)
            if not rows:
                continue
            run.store.write(batch.take(rows).attacked_by(run.attack, model), time.perf_counter() - began)
            done += len(rows) * run.attack.settings.passes
            if listener:
                listener(Progress(run.attack.name, len(rows), done, total))
            began = time.perf_counter()


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
        logits = float_logits(model, result.x_adv, self.noise.indices) if result.logits is None else result.logits
        return measure(torch.tensor(self.noise.indices), self.x, self.y, self.clean_logits, result, logits, target)


def _identity(model: nn.Module, samples: Samples, seed: int) -> dict[str, Any]:
    """What every row depends on, whatever the attack."""
    structure = hashlib.sha256(repr(model).encode()).hexdigest()
    return {
        "schema": SCHEMA_VERSION,
        "model": {"weights": weights_digest(model), "structure": structure},
        "dataset": {"name": samples.name, "split": samples.split, "digest": samples.digest},
        "seed": seed,
    }


def _open(
    attack: Attack, card: ModelCard, samples: Samples, common: dict[str, Any], out: str | Path | None, overwrite: bool
) -> Store:
    """The store of one attack's rows, with the manifest that says what they are."""
    settings = asdict(attack.settings)
    eps = None if attack.eps_text is None else {"text": attack.eps_text, "value": settings["eps"]}
    manifest = {
        "identity": {**common, "attack": {"name": attack.row.name, "settings": settings, "target": attack.target}},
        "model": asdict(card),
        "eps": eps,
        "versions": {name: version(name) for name in ("energylens", "torch", "torchvision", "robustbench")},
        "machine": platform.platform(),
    }
    if out is None:
        return Memory(manifest)
    folder = Path(card.name).name if card.source == "file" else card.name
    return open_run(Path(out), folder, attack.name, manifest, overwrite=overwrite or not attack.reusable)
