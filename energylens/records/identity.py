"""Whose rows are these? A model is recognised by its answers, not by its code alone.

``module_digest`` reads weights, attributes and a class's own source. It cannot read a closure, a global, a helper
module or a hook, and no hash of code can be complete. So a manifest also keeps answers: the logits on a few fixed
samples of the request and on one image of keyed noise, and for every image two numbers of the gradient that attacks
follow. The model is asked again before rows on disk are reused. Where two models share a digest and answer
differently, the second has a number in ``identity["model"]``, and so a folder of its own.

docs/concepts/identity.md lists what this cannot see.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from energylens.attacks.ascent import input_gradient
from energylens.data import Samples
from energylens.energy import joint_energy, marginal_energy
from energylens.errors import InputError, RunError
from energylens.isolation import random_state
from energylens.models import module_digest
from energylens.models.usable import device_of
from energylens.noise import Noise
from energylens.records.record import CLEAN
from energylens.records.run_folder import MANIFEST, RunFolder, read_manifest

PROBES = 4  # samples of the request that the model is asked about
CHECKED = 4  # stored rows whose clean energies are checked
CHECKED_ALONE = 64  # the same where a manifest of an earlier version keeps no answers
#: how far float32 logits of one model may lie apart, as a share of an image's largest: other machines, batch sizes
#: and thread counts move them by up to 3e-6 of it (docs/concepts/identity.md), and a fused copy is let pass up to 1e-5
ROUNDING = 1e-4
KINKS = 5e-2  # the same for gradients, as a share of their norm: rounding can turn a ReLU on or off
UNITS = 8  # a model with coarser weights may be off by so many of their units in the last place
SEED = 0  # of the noise image, and of what a randomised model draws while it is asked
MODEL = "model"  # in an identity
ANSWERS, CONTENTS = "answers", "contents"  # in a manifest
MARK = "~"  # between a model's number and its digest


@dataclass(frozen=True)
class Answers:
    """What a model answered to samples and, last, to one image of noise.

    indices: of the P samples in their split. logits: (P + 1, K) float32, NaN where they were not finite or, of a model
    that is not steady, where it does not repeat them from the same random state. gradients: (P + 1, 2) float32, of
    grad_x E(x) the L2 norm and the sum over sqrt(D), NaN likewise and where there was none. steady: whether
    it answered the same images alike in another batch. rounding: how far its logits may lie apart elsewhere, as a share
    of an image's largest.
    """

    indices: tuple[int, ...]
    logits: Tensor
    gradients: Tensor
    steady: bool
    rounding: float = ROUNDING

    def told(self) -> dict[str, Any]:
        """As a manifest keeps it: a text of numbers for every image, 7 digits each.

        Returns:
            Values that JSON holds, which ``read`` takes back.
        """
        return {
            "indices": list(self.indices),
            "logits": _texts(self.logits),
            "gradients": _texts(self.gradients),
            "steady": self.steady,
            "rounding": self.rounding,
        }

    @staticmethod
    def read(told: Mapping[str, Any], path: Path) -> Answers:
        """What ``told`` wrote.

        Args:
            told: as it stands in the manifest.
            path: of the manifest, for errors.

        Returns:
            The answers.

        Raises:
            RunError: for anything else.
        """
        try:
            logits, gradients = (
                torch.tensor([[float(number) for number in text.split()] for text in told[name]])
                for name in ("logits", "gradients")
            )
            indices, rounding = tuple(map(int, told["indices"])), float(told["rounding"])
            if not len(logits) == len(gradients) == len(indices) + 1:
                raise ValueError(f"{len(logits)} and {len(gradients)} answers to {len(indices)} samples and the noise")
            return Answers(indices, logits, gradients, bool(told["steady"]), rounding)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RunError(
                f"the answers in {path} are not readable ({error}): --overwrite starts this run anew"
            ) from error

    def agree(self, other: Answers) -> bool:
        """Whether both may be one model's, judged by the samples that both were asked about and by the noise.

        Args:
            other: of another time, about samples of the same data.

        Returns:
            False where a logit or a gradient differs by more than rounding, or one model is steady and the other is
            not.
        """
        rounding = max(self.rounding, other.rounding)
        shared = [index for index in self.indices if index in other.indices]
        mine, its = ([*map(one.indices.index, shared), -1] for one in (self, other))
        return (
            self.steady == other.steady
            and _alike(self.logits[mine], other.logits[its], rounding)
            and _alike(self.gradients[mine], other.gradients[its], max(KINKS, rounding))
        )


@dataclass(frozen=True)
class Witness:
    """Asks a model, each question once.

    Attributes:
        model: held as ``frozen`` holds it.
        samples: of the request.
    """

    model: nn.Module
    samples: Samples
    _answers: dict[tuple[int, ...], Answers] = field(default_factory=dict, init=False, repr=False)
    _logits: dict[int, Tensor] = field(default_factory=dict, init=False, repr=False)  # by a sample's index

    @cached_property
    def contents(self) -> str:
        """The digest of the samples' whole split, computed once."""
        return self.samples.digest

    @property
    def answers(self) -> Answers:
        """What the model answers to samples spread over the request."""
        return self._asked(tuple(spread(self.samples.indices.tolist(), PROBES)))

    @property
    def steady(self) -> bool:
        """Whether rows on disk can be told to be this model's.

        They cannot where it draws numbers as it runs, or where its logits depend on the rest of the batch.
        """
        return self.answers.steady

    @cached_property
    def known_as(self) -> tuple[str, ...] | None:
        """What a process may remember by what the model makes of its images; None where it is not steady.

        It is digests, classes and the answers to 7 digits.
        """
        if not self.steady:
            return None
        return module_digest(self.model), json.dumps(self.answers.told()), self.contents, str(self.samples.kept)

    def told(self) -> dict[str, Any]:
        """What a manifest keeps of model and data, beside their digests.

        Returns:
            Values that JSON holds.
        """
        return {ANSWERS: self.answers.told(), CONTENTS: self.contents}

    def note(self) -> str | None:
        """What a reader should know of a model whose rows are not reused; None where they are.

        Returns:
            A sentence, or None.
        """
        if self.steady:
            return None
        return (
            "the model answers the same image differently, by random numbers or by the rest of its batch: its rows are "
            "never reused, all are computed anew and replace those of the last run"
        )

    def recognises(self, folder: RunFolder) -> bool:
        """Whether a folder may be this model's on these data, by what its manifest keeps.

        A folder of an earlier version, which keeps less, may be.

        Args:
            folder: whose manifest is read; the model is asked about the samples that it names.

        Returns:
            False where contents or answers differ.
        """
        if folder.manifest.get(CONTENTS, self.contents) != self.contents:
            return False
        if (told := folder.manifest.get(ANSWERS)) is None:
            return self.steady
        there = Answers.read(told, folder.path / MANIFEST)
        return there.agree(self._asked(there.indices))

    def knows(
        self,
        folder: RunFolder,
        energies: Sequence[str] = CLEAN,
        logits_of: Callable[[Sequence[int]], Tensor] | None = None,
    ) -> bool:
        """The same, and by the energies of some of its rows, more where a manifest keeps no answers.

        Args:
            folder: whose rows these may be.
            energies: the columns of E(x) and E(x, y).
            logits_of: indices of n rows -> logits (n, K) float32 of what they are of, on the CPU; by default of the
                samples themselves.

        Returns:
            False where the folder is not recognised or a stored energy differs by more than rounding.
        """
        if not self.recognises(folder):
            return False
        if not self.steady:  # nothing of it is reused, and its energies are of other draws
            return True
        rows = folder.rows(["index", "label", *energies])
        some = rows.iloc[spread(range(len(rows)), CHECKED if ANSWERS in folder.manifest else CHECKED_ALONE)]
        if not len(some):
            return True
        logits, y = (logits_of or self._logits_of)(some["index"].tolist()), torch.tensor(some["label"].to_numpy())
        stored = torch.tensor(some[[*energies]].to_numpy("float32"))
        here = torch.stack([marginal_energy(logits), joint_energy(logits, y)], dim=1)
        # an error of every logit is one of the energies: it is judged beside the largest of them
        largest = torch.cat([logits, here], dim=1).abs().amax(dim=1, keepdim=True)
        return bool(((here - stored).abs() <= self.answers.rounding * largest).all())

    def _asked(self, indices: tuple[int, ...]) -> Answers:
        """What the model answers to these samples, or to the first where the device has no memory for more."""
        if indices in self._answers:
            return self._answers[indices]
        x = self.samples.source.images(torch.tensor(indices))
        for few in (len(indices), 1):
            with suppress(torch.OutOfMemoryError):
                found = self._answers[indices] = ask(self.model, x[:few], indices[:few])
                self._logits.update(zip(found.indices, found.logits, strict=False))  # the last is of noise
                return found
        raise RunError(
            "out of memory with a batch of 2, which tells whether rows on disk are this model's: take another "
            "--device, or keep the record in memory, without --out"
        )

    @torch.no_grad()
    def _logits_of(self, indices: Sequence[int]) -> Tensor:
        """Logits (n, K) of these samples, on the CPU; those known are not asked for."""
        missing = [index for index in indices if index not in self._logits]
        if missing:
            x = self.samples.source.images(torch.tensor(missing)).to(device_of(self.model))
            with random_state(SEED):
                self._logits.update(zip(missing, self._forward(x).float().cpu(), strict=True))
        return torch.stack([self._logits[index] for index in indices])

    def _forward(self, x: Tensor) -> Tensor:
        """Logits of images, one by one where they do not fit at once."""
        try:
            logits: Tensor = self.model(x)
        except torch.OutOfMemoryError:
            logits = torch.cat([self.model(x[row : row + 1]) for row in range(len(x))])
        return logits


def ask(model: nn.Module, x: Tensor, indices: tuple[int, ...]) -> Answers:
    """The model's answers to some images and to one of noise: two forwards and a backward.

    The first forward is of the images alone, the second with the noise among them. A model that draws random numbers or
    looks at the whole batch then contradicts itself; it is asked once more, and what it does not repeat is NaN. All
    forwards draw from random states that start at SEED, so that a randomised model is recognised too.

    Args:
        model: held as ``frozen`` holds it.
        x: the images, (P, C, H, W) in [0, 1].
        indices: of the samples that they are, P of them.

    Returns:
        Its answers, on the CPU; NaN where it does not repeat itself.
    """
    x, rounding = x.to(device_of(model)), _rounding(model)
    alone, logits, gradients = _asked_once(model, x)
    steady = _alike(logits[:-1], alone, rounding)
    if not steady:
        _, logits_again, gradients_again = _asked_once(model, x)
        logits, gradients = (
            values if _alike(values, again, room) else torch.full_like(values, torch.nan)
            for values, again, room in ((logits, logits_again, rounding), (gradients, gradients_again, KINKS))
        )
    return Answers(indices, logits, gradients, steady, rounding)


def _asked_once(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The model's answers, computed anew, on the CPU.

    They are the logits of the images alone, (P, K), and with the noise, (P + 1, K), and the gradients' numbers, (P + 1,
    2).
    """
    noise = (Noise(SEED, (0,)).uniform("identity", x[:1]) + 1) / 2
    images, seen = torch.cat([x, noise]), list[Tensor]()

    def energy(logits: Tensor) -> Tensor:
        seen.append(logits.detach().float())
        return marginal_energy(logits.float())

    with random_state(SEED), torch.no_grad():
        alone = model(x.clone()).float()  # a copy: some change their input in place
        try:
            gradient = input_gradient(model, images.clone(), energy).float()
        except (InputError, NotImplementedError):
            gradient = torch.full_like(images, torch.nan)
        logits = seen[0] if seen else model(images.clone()).float()
    flat = gradient.flatten(1)
    gradients = torch.stack([flat.norm(dim=1), flat.sum(dim=1) / flat.shape[1] ** 0.5], dim=1)
    return _finite(alone), _finite(logits), _finite(gradients)


def _rounding(model: nn.Module) -> float:
    kinds = {value.dtype for value in model.parameters() if value.is_floating_point()}
    return max([ROUNDING, *(UNITS * torch.finfo(kind).eps for kind in kinds)])


def _alike(one: Tensor, other: Tensor, room: float) -> bool:
    """Whether two tables (N, K) agree row by row, to a share of the row's largest number, NaN where the other is."""
    if one.shape != other.shape or not torch.equal(one.isnan(), other.isnan()):
        return False
    largest = torch.maximum(one.abs(), other.abs()).nan_to_num().amax(dim=1, keepdim=True)
    return bool(((one - other).nan_to_num().abs() <= room * largest).all())


def _finite(values: Tensor) -> Tensor:
    return values.cpu().where(values.cpu().isfinite(), torch.nan)


def _texts(values: Tensor) -> list[str]:
    return [" ".join(f"{value:.7g}" for value in row) for row in values.tolist()]


def spread(values: Sequence[int], most: int) -> list[int]:
    """At most so many of the values, the first and the last among them, evenly spread.

    Args:
        values: ascending, one at least.
        most: how many are wanted, 1 or more.

    Returns:
        The values, ascending.
    """
    at = np.unique(np.linspace(0, len(values) - 1, min(most, len(values))).round().astype(int))
    return [values[position] for position in at.tolist()]


def own_folder(folder: RunFolder, witness: Witness) -> RunFolder:
    """The folder that was just opened, its manifest with the answers where an earlier version kept none.

    Args:
        folder: just opened.
        witness: of the model.

    Returns:
        The folder.

    Raises:
        RunError: where another process has begun it for another model meanwhile.
    """
    if not witness.recognises(folder):
        raise RunError(
            f"another process has just begun {folder.path} for a model of the same digest that answers otherwise: run "
            "the same command again, it takes a folder of its own"
        )
    return folder.tell(witness.told())


def numbered(common: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The identity of the first model of this digest, of the second, ...; whatever number it came with.

    Args:
        common: what all rows of a request share, the digest of the model among it.

    Yields:
        Copies of it without an end, with the bare digest first and ``2``, ``3``, ... before it then.
    """
    digest = common[MODEL].rpartition(MARK)[2]
    for number in count(1):
        yield {**common, MODEL: digest if number == 1 else f"{number}{MARK}{digest}"}


def own_identity(
    common: Mapping[str, Any],
    former_digest: str | None,
    places: Callable[[Mapping[str, Any]], Sequence[Path]],
    knows: Callable[[RunFolder], bool],
    *,
    overwrite: bool = False,
) -> dict[str, Any]:
    """What all rows of a request share, with the number under which no folder holds another model's rows.

    Args:
        common: the identity without a number.
        former_digest: of the data, by which earlier versions named a record; such a record is continued.
        places: every folder of the request, made from what they share.
        knows: whether a folder's rows are this model's.
        overwrite: whether a folder that cannot be read is made anew anyway.

    Returns:
        ``common`` with that number, or with the former digest where such a record is continued.

    Raises:
        RunError: for a folder that cannot be read.
    """

    def there(candidate: Mapping[str, Any]) -> list[Path]:
        return [path for path in places(candidate) if (path / MANIFEST).exists()]

    def fits(path: Path) -> bool:
        try:
            return knows(RunFolder(path, read_manifest(path / MANIFEST)))
        except RunError:
            if overwrite:
                return True
            raise

    if former_digest is not None:
        former = {**common, "dataset": {**common["dataset"], "digest": former_digest}}
        if (found := there(former)) and all(map(fits, found)):
            return former
    return next(candidate for candidate in numbered(common) if all(map(fits, there(candidate))))
