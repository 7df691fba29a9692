"""The main job, in its visible order: data -> model -> attacks -> energies -> record."""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
import torch
from torch import Tensor, nn

from energylens.attacks.frozen import frozen
from energylens.attacks.noise import Noise
from energylens.attacks.radius import write_radius
from energylens.attacks.registry import NATURAL, Attack, AttackSpec, configure_battery
from energylens.attacks.targets import choose_targets
from energylens.data import Samples, data_set, load_data
from energylens.errors import InputError, RunError
from energylens.models import ModelCard, card_of, load_model, weights_digest
from energylens.record import COLUMNS, SCHEMA_VERSION, AttackRecord, Record, measure
from energylens.run_folder import open_run

DEFAULT_MODEL = "digits-standard"
DEFAULT_BATTERY = ("fgsm", "pgd", "trades", "cw")
DEFAULT_SAMPLES = 256
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
    data: str | Samples | tuple[Tensor, Tensor] | None = None,
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
    module = _module(model, data, device, model_options)
    card = card_of(module)
    samples = _samples(data, card, n=n, choose=choose, split=split, seed=seed, root=data_root)
    norm = norm or ("l2" if card.threat_model == "L2" else "linf")
    eps = _own_eps(card, samples, norm) if eps is None else eps
    battery = (NATURAL, *configure_battery(attacks, eps=eps, norm=norm, steps=steps, target=target))
    size = _batch_size(batch_size, module)
    with frozen(module, seed):
        _check_fit(module, samples)
        identity = _identity(module, samples, seed)
        runs = [_Run(attack, _open(attack, card, samples, identity, out, overwrite)) for attack in battery]
        _fill(runs, module, samples, Noise(seed, ()), size, listener)
    wanted = samples.indices.tolist()
    return Record(card.name, samples.name, write_radius(eps), norm, seed, tuple(run.record(wanted) for run in runs))


class _Store(Protocol):
    """Where rows go: a run folder, or memory."""

    @property
    def manifest(self) -> Any: ...
    def rows(self) -> pd.DataFrame: ...
    def seconds(self) -> float: ...
    def write(self, rows: pd.DataFrame, seconds: float) -> None: ...


@dataclass
class _Memory:
    """A store that is gone with the process."""

    manifest: dict[str, Any]
    _blocks: list[pd.DataFrame] = field(default_factory=list)
    _seconds: float = 0.0

    def rows(self) -> pd.DataFrame:
        empty = pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in COLUMNS.items()})
        return pd.concat(self._blocks, ignore_index=True) if self._blocks else empty

    def seconds(self) -> float:
        return self._seconds

    def write(self, rows: pd.DataFrame, seconds: float) -> None:
        self._blocks.append(rows)
        self._seconds += seconds


@dataclass
class _Run:
    """One attack of the battery and the rows it has so far."""

    attack: Attack
    store: _Store
    done: set[int] = field(init=False)

    def __post_init__(self) -> None:
        self.done = set(self.store.rows()["index"].tolist())

    def missing(self, indices: Sequence[int]) -> list[int]:
        """Positions in ``indices`` whose rows are not there yet."""
        return [position for position, index in enumerate(indices) if index not in self.done]

    def record(self, wanted: Sequence[int]) -> AttackRecord:
        rows = self.store.rows()
        rows = rows[rows["index"].isin(wanted)].sort_values("index", ignore_index=True)
        return AttackRecord(self.attack.name, self.attack.label, rows, self.store.manifest, self.store.seconds())


def _fill(
    runs: Sequence[_Run], model: nn.Module, samples: Samples, noise: Noise, size: int, listener: Listener | None
) -> None:
    """Compute what is missing, a batch at a time: its clean logits once, then every attack that lacks rows of it."""
    indices = samples.indices.tolist()
    total = sum(len(run.missing(indices)) * run.attack.settings.passes for run in runs)
    done = 0
    for start in range(0, len(samples), size):
        here = indices[start : start + size]
        waiting = [(run, rows) for run in runs if (rows := run.missing(here))]
        if not waiting:
            continue
        began = time.perf_counter()
        batch = _Batch.load(model, samples, start, here, noise.seed)
        for run, rows in waiting:
            table = batch.take(rows).attacked_by(run.attack, model)
            run.store.write(table, time.perf_counter() - began)
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
    def load(cls, model: nn.Module, samples: Samples, start: int, indices: Sequence[int], seed: int) -> _Batch:
        where = _device_of(model)
        x, y = (tensor.to(where) for tensor in samples.batch(start, start + len(indices)))
        return cls(x, y, _logits(model, x, indices), Noise(seed, tuple(indices)))

    def take(self, rows: Sequence[int]) -> _Batch:
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
        logits = _logits(model, result.x_adv, self.noise.indices) if result.logits is None else result.logits
        return measure(
            torch.tensor(self.noise.indices), self.x, self.y, self.clean_logits, result, logits, target
        )


@torch.no_grad()
def _logits(model: nn.Module, x: Tensor, indices: Sequence[int]) -> Tensor:
    """Float32 logits, refused where they are not finite: an energy would be meaningless."""
    logits: Tensor = model(x).float()
    bad = ~logits.isfinite().all(dim=1)
    if bad.any():
        sample = indices[int(bad.nonzero()[0])]
        raise RunError(f"the model gives NaN or infinite logits for sample {sample}: its weights or its input are broken")
    return logits


def _module(model: str | nn.Module, data: object, device: str, options: dict[str, Any]) -> nn.Module:
    """The module itself, or the one of this name, loaded onto the device."""
    if isinstance(model, str):
        known = {"dataset": data} if isinstance(data, str) else {}
        return load_model(model, device=_device(device), **known | options)
    if not isinstance(model, nn.Module):
        raise InputError(f"a model is a name or a torch.nn.Module, not a {type(model).__name__}")
    if device != "auto" and torch.device(device).type != _device_of(model).type:
        raise InputError(f"the model lies on {_device_of(model)}, not on {device}: move it there first")
    return model


def _device(name: str) -> torch.device:
    """The device of this name; ``auto`` is the GPU where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {name!r} cannot be used here ({str(error).splitlines()[0]}): try cpu") from error
    return device


def _device_of(model: nn.Module) -> torch.device:
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def _batch_size(given: int | None, model: nn.Module) -> int:
    size = BATCH_SIZES.get(_device_of(model).type, 64) if given is None else given
    if size < 1:
        raise InputError(f"batch size {size} is not positive")
    return size


def _samples(data: str | Samples | tuple[Tensor, Tensor] | None, card: ModelCard, *, n: int | None, **choice: Any) -> Samples:
    """The samples themselves, or those chosen from the data set of this name, by default the model's own."""
    if isinstance(data, Samples):
        return data
    if isinstance(data, tuple):
        return Samples.from_tensors(*data)
    name = data or card.dataset
    if name is None:
        raise InputError(f"model {card.name} does not say which data set it was trained on: name one with --dataset")
    everything = load_data(name, split=choice["split"], root=choice["root"], preprocessing=card.preprocessing)
    size = min(DEFAULT_SAMPLES, len(everything)) if n is None else n
    return load_data(name, n=size, preprocessing=card.preprocessing, **choice)


def _own_eps(card: ModelCard, samples: Samples, norm: str) -> str | float:
    """The radius the model was made for, else its data set's usual one."""
    own = {"Linf": "linf", "L2": "l2"}.get(card.threat_model or "")
    if card.eps is not None and own == norm:
        return card.eps
    try:
        return data_set(samples.name).default_eps[norm]
    except (InputError, KeyError):
        raise InputError(f"no usual eps is known for {samples.name} in {norm}: give one with --eps") from None


def _check_fit(model: nn.Module, samples: Samples) -> None:
    """One image through the model before anything is written: does it take this shape, give these classes?"""
    x, _ = samples.batch(0, 1)
    try:
        logits = _logits(model, x.to(_device_of(model)), samples.indices[:1].tolist())
    except (RuntimeError, ValueError) as error:
        if isinstance(error, RunError):
            raise
        raise InputError(
            f"the model does not take {samples.name}'s images of shape {samples.image_shape} "
            f"({str(error).splitlines()[0]}): choose the data set it was trained on"
        ) from error
    classes = len(samples.classes)
    if logits.dim() != 2 or logits.shape[1] != classes:
        raise InputError(
            f"the model gives {tuple(logits.shape[1:])} logits, {samples.name} has {classes} classes: "
            "choose the data set it was trained on"
        )


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
) -> _Store:
    """The store of one attack's rows, with the manifest that says what they are."""
    own = {"name": attack.row.name, "settings": asdict(attack.settings), "target": attack.target}
    eps = None if attack.eps_text is None else {"text": attack.eps_text, "value": own["settings"]["eps"]}
    manifest = {
        "identity": {**common, "attack": own},
        "model": asdict(card),
        "eps": eps,
        "versions": {name: version(name) for name in ("energylens", "torch", "torchvision", "robustbench")},
        "machine": platform.platform(),
    }
    if out is None:
        return _Memory(manifest)
    return open_run(Path(out), card.name, attack.name, manifest, overwrite=overwrite or not attack.reusable)
