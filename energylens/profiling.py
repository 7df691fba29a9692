"""The main job, in its visible order: data -> model -> attacks -> energies -> record."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from energylens.attacks.backends import PLAIN, PROBED, Networks, check_backend, networks_of, quickest_of
from energylens.attacks.battery import (
    NATURAL,
    AttackSpec,
    ConfiguredAttack,
    check_distinct,
    configure_battery,
    equip,
)
from energylens.attacks.passes import Told
from energylens.attacks.radius import parse_radius, usual_norm, usual_radius, write_radius
from energylens.attacks.settings import check_numbers
from energylens.attacks.targets import choose_targets
from energylens.checks import remarks
from energylens.checks.consistency import climb
from energylens.data import Samples
from energylens.errors import InputError, RunError
from energylens.inputs import (
    Data,
    check_fit,
    checked_logits,
    device_of,
    float_logits,
    the_module,
    the_samples,
)
from energylens.isolation import frozen
from energylens.models import current_card
from energylens.noise import Noise
from energylens.progress import Listener, Progress
from energylens.records.attack_run import IMAGES, TRAJECTORY, AttackRun, also_kept, open_attack_run, own_common
from energylens.records.identity import Witness
from energylens.records.manifest import manifest_of, shared_identity
from energylens.records.record import Record, measure
from energylens.records.run_folder import model_folder
from energylens.records.shards import RANKS, Ranks, Shard, joined_ranks, parse_shard
from energylens.records.store import Images

DEFAULT_MODEL = "digits-standard"
DEFAULT_BATTERY = ("fgsm", "pgd", "trades", "cw")
BATCH_SIZES = {"cpu": 64, "cuda": 512}


WITHIN = 5.0  # seconds without a word, after which a batch that is under way says how far it is


def profile(
    model: str | Path | nn.Module = DEFAULT_MODEL,
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
    trajectory: bool = False,
    save_images: bool = False,
    shard: str | None = None,
    diffusion: str | None = None,
    ladder: bool = True,
    backend: str = PLAIN,
    listener: Listener | None = None,
    **model_options: Any,
) -> Record:
    """Attack a model and record the energies of every sample, natural and adversarial.

    model: a name or path ``load_model`` knows (model_options go to it) or a module from float images in [0, 1] to
        logits, used where it lies; its mode, gradients and the global random state are afterwards as they were.
    data: a name ``load_data`` knows, Samples, a pair (x, y) of tensors or arrays, a torch Dataset or DataLoader (see
        ``own_samples``), or None for the model's own data set.
    attacks: names with settings, ``el.Attack("pgd", steps=50)`` or as text ``"pgd,steps=50"``, or callables
        ``f(model, x, y) -> x_adv``.
    n, choose, split: which samples (256 by default), as in ``load_data``; only for data given by name, a Dataset or
        a DataLoader; of the last two all are taken by default.
    eps, norm: the threat model, ``"8/255"`` or a float; by default the model's own, else the data set's usual one.
    steps: iterations of the attacks that iterate. target: aim at ``random``, ``least-likely``, ``second-best`` or a
        class number. seed: of the noise and of the choice of samples.
    out: where to keep the record; rows found there are not computed again, where the model still answers as it did
        when they were made (``identity.py``). None keeps it in memory only.
    trajectory: keep E(x') and E(x', y) of every iterate of the attacks that iterate, start and end included.
    save_images: keep the adversarial images, lossless, and what rounding them to 8 bits does (``pred_uint8``).
        AutoAttack's are always kept.
    shard: ``"2/8"`` does the second eighth of the samples; in one ``out`` the shares come together, out of several
        ``energylens merge`` puts them together. ``"ranks"``: every process of torchrun or accelerate launch does a
        share and returns the whole record.
    diffusion: what Diff-PGD purifies with, a name, folder or hub id ``load_diffuser`` knows; by default the data set's.
    ladder: with two attacks or more, check what must hold among them (``ladder.py``): about 21 forwards and 20
        backwards of 64 samples. And note what the doctor would say of how the model reads these images and labels
        (outputs that are probabilities, a missing normalisation, an accuracy at chance): at most 5 forwards of 64
        samples, and none where the rows show that all is well.
    backend: what computes the network during the attacks (``attacks/backends.py``): ``plain``, the model; ``fused``, a
        copy of it with folded batch norms, channels-last; ``bf16``, that under bfloat16 for the attacks that support
        it, whose names then say so. An attack's own (``"pgd,backend=bf16"``) overrides it. Energies are always float32.
    listener: called after every batch of every attack, and now and then within one that takes long.

    Raises InputError for a request that cannot be met, RunError where disk, network or model fail.
    """
    backend = model_options.pop("kernels", backend)  # its earlier name
    module = the_module(model, data, device, model_options)
    card = current_card(module)
    samples = the_samples(data, card, module, n=n, choose=choose, split=split, seed=seed, root=data_root)
    norm = norm.lower() if norm else usual_norm(card)
    eps = usual_radius(card, samples.name, norm) if eps is None else eps
    text = None if eps is None else write_radius(eps)
    if text is not None:
        parse_radius(text)
    if not 0 <= seed < 2**63:
        raise InputError(f"seed {seed} is not one: a whole number from 0 to 2^63 - 1 was expected")
    battery = (NATURAL, *configure_battery(attacks, eps=eps, norm=norm, steps=steps, target=target))
    battery = tuple(
        equip(attack, samples.name, samples.image_shape, diffusion, device_of(module)) for attack in battery
    )
    size = BATCH_SIZES.get(device_of(module).type, BATCH_SIZES["cpu"]) if batch_size is None else batch_size
    check_numbers({"batch size": size}, positive=("batch size",))
    _check_usable(battery, trajectory, diffusion)
    ranks = joined_ranks() if shard == RANKS else Ranks()
    _check_shared_out(shard, ranks, out, overwrite)
    alone = parse_shard(shard) if shard and shard != RANKS else None
    part = alone or (ranks.shard if ranks.size > 1 else None)
    share = _positions(part, battery, len(samples))
    if alone and not share:
        raise InputError(f"share {alone} is empty: {len(samples)} samples have too few blocks; take fewer shares")
    indices = samples.indices[share.start : share.stop].tolist()
    with frozen(module, seed), ExitStack() as claims:
        check_fit(module, card, samples)
        for attack in battery:
            attack.check_classes(len(samples.classes))
        asked = quickest_of(attack.backend or check_backend(backend) for attack in battery)
        networks = networks_of(module, asked, samples.batch(0, PROBED)[0].to(device_of(module)))
        battery = tuple(attack.running_on(networks, backend, trace=trajectory) for attack in battery)
        check_distinct(battery[1:])
        common = shared_identity(module, samples, seed)
        kept = [also_kept(attack, trajectory=trajectory, images=save_images) for attack in battery]
        witness = None if out is None else Witness(module, samples, common["dataset"]["digest"])
        reused = [attack.reusable and (witness is None or witness.steady) for attack in battery]

        def manifests(common: Mapping[str, Any]) -> list[dict[str, Any]]:
            return [
                manifest_of(attack, card, samples, common, also, None if rows_are else alone)
                for attack, also, rows_are in zip(battery, kept, reused, strict=True)
            ]

        with ranks.first_goes_first():  # it makes, or empties, the folders
            anew = overwrite and ranks.rank == 0
            if out is not None and witness is not None:
                common = own_common(battery, manifests, common, card, witness, Path(out), anew)
            runs = [
                open_attack_run(attack, card, manifest, also, out, anew, witness)
                for attack, manifest, also in zip(battery, manifests(common), kept, strict=True)
            ]
        for run in runs:
            claims.enter_context(run.claimed(str(part or "whole"), indices))
        if share:
            work = _Work(module, networks, samples.subset(share), seed, size, listener)
            work.fill(runs)
    ranks.wait()  # until everybody's rows are there
    for run in runs:
        run.settle(ranks, card, out)
    told = None if witness is None else witness.note()
    wanted = samples.indices.tolist() if alone is None else indices
    record = Record(
        card.name,
        samples.title,
        text,
        norm,
        seed,
        attacks=tuple(run.record(wanted) for run in runs),
        folder=None if out is None else model_folder(Path(out).absolute(), card.folder_name(common["model"])),
        samples=samples,
        notes=tuple(filter(None, (networks.note, _half_note(battery), told, *(run.note() for run in runs)))),
    )
    if not ladder:
        return record
    with frozen(module, seed):
        record = replace(record, ladder=climb(record, module, size))
        return replace(record, notes=record.notes + remarks(module, card, record))


def _check_usable(battery: Sequence[ConfiguredAttack], trajectory: bool, diffusion: str | None) -> None:
    """Refuse what no attack of the battery can use."""
    if trajectory and not any(attack.settings.traceable for attack in battery):
        raise InputError(
            "no attack here tells the energies of its steps: take one that climbs (pgd, he-pgd, trades, fgsm ...), or "
            "ask for no trajectory"
        )
    if diffusion is not None and not any(attack.diffuser for attack in battery):
        raise InputError("no attack here looks through a diffusion model: take diff-pgd, or leave --diffusion out")


def _half_note(battery: Sequence[ConfiguredAttack]) -> str | None:
    """Which attacks followed bfloat16 gradients, in words."""
    names = [attack.name for attack in battery if attack.rounded]
    return f"Gradients in bfloat16, energies in float32: {', '.join(names)}." if names else None


def _check_shared_out(shard: str | None, ranks: Ranks, out: str | Path | None, overwrite: bool) -> None:
    """Refuse what shares cannot do."""
    if overwrite and shard and shard != RANKS:
        raise InputError("--overwrite with --shard would delete the other shares' rows: give a fresh --out instead")
    if ranks.size > 1 and out is None:
        raise InputError("the processes of a launcher share their rows through a folder: give out (--out)")


def _positions(part: Shard | None, battery: Sequence[ConfiguredAttack], n: int) -> range:
    """The positions of this share out of n, cut where the blocks of every attack end."""
    if part is None:
        return range(n)
    return part.positions(n, math.lcm(*(attack.settings.block or 1 for attack in battery)))


@dataclass
class _Work:
    """What is missing, computed a batch at a time: its clean logits once, then every attack that lacks rows of it.

    most: images at once, halved wherever the device has no memory for as many. total, done: of ``Progress``.
    """

    model: nn.Module
    networks: Networks
    samples: Samples
    seed: int
    most: int
    listener: Listener | None
    total: int = 0
    done: int = 0
    costs: dict[str, _Cost] = field(default_factory=dict)
    spoke: float = field(default_factory=time.monotonic)

    def fill(self, runs: Sequence[AttackRun]) -> None:
        """Compute and write every missing row. Raises RunError where not even one image, or a block, fits."""
        indices = self.samples.indices.tolist()
        self.costs = {run.attack.name: _Cost(len(run.missing(indices))) for run in runs}
        self.total = sum(len(run.missing(indices)) * run.attack.settings.passes for run in runs)
        for positions, waiting in _schedule(runs, indices, self.most):
            self._attack(positions, waiting)

    def _attack(self, positions: Sequence[int], waiting: Sequence[AttackRun]) -> None:
        """Attack these samples, in smaller batches where they do not fit at once."""
        whole, most = waiting[0].attack.settings.block is not None, self.most
        if len(positions) > most and not whole:
            for start in range(0, len(positions), most):
                self._attack(positions[start : start + most], waiting)
        elif not self._fits(positions, waiting):
            if whole or len(positions) == 1:
                raise RunError(
                    f"out of memory with a batch of {len(positions)}: take a smaller block=N for an attack that runs "
                    "in blocks, or another --device; what is finished is kept"
                )
            self.most = len(positions) // 2
            self._attack(positions, waiting)

    def _fits(self, positions: Sequence[int], waiting: Sequence[AttackRun]) -> bool:
        """Attack these samples at once and write their rows; False where the device has no memory for it."""
        try:
            began = time.perf_counter()
            batch = _Batch.load(self.model, self.samples.subset(positions), self.seed)
            for run in waiting:
                rows = run.missing(batch.noise.indices)
                if not rows:
                    continue
                told = None if self.listener is None else partial(self._within, run.attack, len(rows), began)
                table, images = batch.take(rows).attacked_by(run, self.model, self.networks, told)
                run.write(table, seconds := time.perf_counter() - began, images)
                self.done += len(rows) * run.attack.settings.passes
                self.costs[run.attack.name].over(len(rows), seconds)
                self._say(run.attack, 0)
                began = time.perf_counter()
        except torch.OutOfMemoryError:  # the retry comes when this frame, and what it holds, is gone
            return False
        return True

    def _within(self, attack: ConfiguredAttack, rows: int, began: float, share: float, sure: bool) -> None:
        """Now and then say that this share of a batch of so many rows is done."""
        if time.monotonic() - self.spoke >= WITHIN:
            self.costs[attack.name].under_way(rows, share if sure else 0.0, time.perf_counter() - began)
            self._say(attack, int(share * rows * attack.settings.passes))

    def _say(self, attack: ConfiguredAttack, more: int) -> None:
        """Tell the listener, with so many passes more than of the batches that are over."""
        self.spoke = time.monotonic()
        if self.listener is None:
            return
        known = [cost for cost in self.costs.values() if cost.known]
        afterwards = tuple(name for name, cost in self.costs.items() if cost.rows and not cost.known)
        left = sum(cost.left for cost in known) if known else None
        self.listener(Progress(attack.name, self.done + more, self.total, left, afterwards))


@dataclass
class _Cost:
    """What the rows of one attack cost. rows: those that are missing; done, seconds: of those that are finished;
    batch, share, elapsed: of the batch that is under way, its rows, how much of it is surely done, and its seconds."""

    rows: int
    done: int = 0
    seconds: float = 0.0
    batch: int = 0
    share: float = 0.0
    elapsed: float = 0.0

    @property
    def known(self) -> bool:
        """Whether there is anything to reckon with."""
        return self.done + self.share > 0

    @property
    def left(self) -> float:
        """Seconds until the missing rows are there."""
        if not self.share:
            row = self.seconds / self.done
            return max(self.rows * row - self.elapsed, (self.rows - self.batch) * row)
        begun = self.share * self.batch
        return (self.rows - begun) * (self.seconds + self.elapsed) / (self.done + begun)

    def over(self, rows: int, seconds: float) -> None:
        """A batch is over."""
        self.rows, self.done, self.seconds = self.rows - rows, self.done + rows, self.seconds + seconds
        self.under_way(0, 0.0, 0.0)

    def under_way(self, batch: int, share: float, elapsed: float) -> None:
        """So much of a batch is surely done, after so many seconds."""
        self.batch, self.share, self.elapsed = batch, share, elapsed


def _schedule(
    runs: Sequence[AttackRun], indices: Sequence[int], size: int
) -> Iterator[tuple[Sequence[int], Sequence[AttackRun]]]:
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

    def attacked_by(
        self, run: AttackRun, model: nn.Module, networks: Networks, told: Told | None
    ) -> tuple[pd.DataFrame, Images]:
        """The batch's rows of the record and its adversarial images. told: hears which share of it is done."""
        attack, target = run.attack, None
        if attack.target is not None:
            target = choose_targets(attack.target, self.clean_logits, self.y, self.noise)
        result = attack(
            model, self.x, self.y, noise=self.noise, target=target, clean_logits=self.clean_logits,
            trace=TRAJECTORY in run.also, networks=networks, shelf=run.store.shelf(self.noise.indices), told=told,
        )  # fmt: skip
        if result.logits is None:
            logits = float_logits(model, result.x_adv, self.noise.indices)
        else:
            logits = checked_logits(result.logits, self.noise.indices)
        rounded = None
        if IMAGES in run.also:
            rounded = float_logits(model, (result.x_adv * 255).round() / 255, self.noise.indices)
        purified, images = None, {"x_adv": result.x_adv}
        if result.purified is not None:
            images["purified"] = result.purified
            purified = float_logits(model, result.purified, self.noise.indices)
        indices = torch.tensor(self.noise.indices)
        rows = measure(indices, self.x, self.y, self.clean_logits, result, logits, target, rounded, purified)
        return rows, images
