"""Compute the rows that are missing, a batch at a time: clean logits once, then every attack that lacks rows of it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd
import torch
from torch import Tensor, nn

from energylens.attacks.backends import Networks
from energylens.attacks.result import Told
from energylens.attacks.targets import choose_targets
from energylens.errors import RunError
from energylens.models.usable import checked_logits, float_logits
from energylens.noise import Noise
from energylens.progress import Listener, Tally
from energylens.records.attack_run import IMAGES, TRAJECTORY, AttackRun
from energylens.records.manifest import Subject
from energylens.records.record import measure
from energylens.records.store import Images


def fill(runs: Sequence[AttackRun], subject: Subject, networks: Networks, most: int, listener: Listener | None) -> None:
    """Compute and write every missing row of these samples.

    Args:
        runs: the attacks.
        subject: the model, held as ``frozen`` holds it, and the samples.
        networks: the model on the backends that the attacks run on.
        most: images at once; halved wherever the device has no memory for as many.
        listener: hears how far the work is.

    Raises:
        RunError: where not even one image, or one block, fits into memory.
    """
    indices, tally = subject.samples.indices.tolist(), None
    if listener:
        missing = {run.attack.name: len(run.missing(indices)) for run in runs}
        tally = Tally(listener, missing, {run.attack.name: run.attack.settings.passes for run in runs})
    filling = _Filling(subject, networks, most, tally)
    for positions, waiting in _schedule(runs, indices, most):
        filling.attack(positions, waiting)


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


@dataclass
class _Filling:
    """The work under way. most: images at once, as far as memory has allowed so far."""

    subject: Subject
    networks: Networks
    most: int
    tally: Tally | None

    def attack(self, positions: Sequence[int], waiting: Sequence[AttackRun]) -> None:
        """Attack these samples, in smaller batches where they do not fit at once."""
        whole, most = waiting[0].attack.settings.block is not None, self.most
        if len(positions) > most and not whole:
            for start in range(0, len(positions), most):
                self.attack(positions[start : start + most], waiting)
        elif not self._fits(positions, waiting):
            if whole or len(positions) == 1:
                raise RunError(
                    f"out of memory with a batch of {len(positions)}: take a smaller block=N for an attack that runs "
                    "in blocks, or another --device; what is finished is kept"
                )
            self.most = len(positions) // 2
            self.attack(positions, waiting)

    def _fits(self, positions: Sequence[int], waiting: Sequence[AttackRun]) -> bool:
        """Attack these samples at once and write their rows; False where the device has no memory for it."""
        try:
            began = time.perf_counter()
            batch = _Batch.load(self.subject, positions)
            for run in waiting:
                if rows := run.missing(batch.noise.indices):
                    name = run.attack.name
                    told = partial(self.tally.under_way, name, len(rows), began) if self.tally else None
                    table, images = batch.take(rows).attacked_by(run, self.subject.model, self.networks, told)
                    run.write(table, seconds := time.perf_counter() - began, images)
                    if self.tally:
                        self.tally.over(name, len(rows), seconds)
                    began = time.perf_counter()
        except torch.OutOfMemoryError:  # the retry comes when this frame, and what it holds, is gone
            return False
        return True


@dataclass(frozen=True)
class _Batch:
    """Samples on the model's device with their clean logits (N, K)."""

    x: Tensor
    y: Tensor
    clean_logits: Tensor
    noise: Noise

    @classmethod
    def load(cls, subject: Subject, positions: Sequence[int]) -> _Batch:
        """The samples at these positions."""
        samples = subject.samples.subset(positions)
        x, y = (tensor.to(subject.device) for tensor in samples.batch(0, len(samples)))
        indices = samples.indices.tolist()
        return cls(x, y, float_logits(subject.model, x, indices), Noise(subject.seed, tuple(indices)))

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
        attack, indices, target = run.attack, self.noise.indices, None
        if attack.target is not None:
            target = choose_targets(attack.target, self.clean_logits, self.y, self.noise)
        result = attack(
            model, self.x, self.y, noise=self.noise, target=target, clean_logits=self.clean_logits,
            trace=TRAJECTORY in run.also, networks=networks, shelf=run.store.shelf(indices), told=told,
        )  # fmt: skip
        if result.logits is None:
            logits = float_logits(model, result.x_adv, indices)
        else:
            logits = checked_logits(result.logits, indices)
        rounded, purified, images = None, None, {"x_adv": result.x_adv}
        if IMAGES in run.also:
            rounded = float_logits(model, (result.x_adv * 255).round() / 255, indices)
        if result.purified is not None:
            images["purified"] = result.purified
            purified = float_logits(model, result.purified, indices)
        at = torch.tensor(indices)
        return measure(at, self.x, self.y, self.clean_logits, result, logits, target, rounded, purified), images
