"""Energies as metrics of torchmetrics, for a training loop of your own, Lightning or a tracker.

    from energylens.metrics import DeltaEnergy

    delta = DeltaEnergy()
    delta.update(model(x), model(x_adv))        # batch by batch
    delta.compute()                             # the mean over all samples, of all processes together

They are means over samples, so that batches of different sizes and processes of different shares count as they should.
They need torchmetrics: ``pip install 'energylens[metrics]'``.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from energylens.energy import abnormal, delta_energy, joint_energy, marginal_energy
from energylens.errors import InputError
from energylens.isolation import widest_float

try:
    from torchmetrics import Metric
except ImportError as error:
    raise InputError(
        "energylens.metrics needs torchmetrics, which is not installed: pip install 'energylens[metrics]'"
    ) from error

__all__ = ["AbnormalShare", "DeltaEnergy", "JointEnergy", "MarginalEnergy"]


class _MeanOverSamples(Metric):
    """The mean of a value a sample; NaN before the first. A subclass's ``update`` takes them in with ``_take``."""

    is_differentiable = False
    full_state_update = False
    total: Tensor
    samples: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        wide = widest_float(self.device)
        self.add_state("total", torch.zeros((), dtype=wide), dist_reduce_fx="sum")
        self.add_state("samples", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def compute(self) -> Tensor:
        """The mean over all samples seen, of all processes together.

        Returns:
            A scalar, float32; NaN where no sample was seen.
        """
        return (self.total / self.samples).float()

    def _take(self, values: Tensor) -> None:
        """Take in a value a sample, (N,)."""
        self.total += values.detach().to(self.total.dtype).sum()
        self.samples += len(values)


class MarginalEnergy(_MeanOverSamples):
    """Mean marginal energy ``E(x) = -logsumexp f(x)``, nats.

    Example:
        >>> metric = MarginalEnergy()
        >>> metric.update(torch.zeros(4, 10))
        >>> metric.compute()
        tensor(-2.3026)
    """

    def update(self, logits: Tensor) -> None:
        """Take in a batch.

        Args:
            logits: (N, K).
        """
        self._take(marginal_energy(logits))


class JointEnergy(_MeanOverSamples):
    """Mean joint energy ``E(x, y) = -f(x)[y]``, nats."""

    def update(self, logits: Tensor, y: Tensor) -> None:
        """Take in a batch.

        Args:
            logits: (N, K).
            y: labels, (N,).
        """
        self._take(joint_energy(logits, y))


class DeltaEnergy(_MeanOverSamples):
    """Mean difference of energies, natural minus adversarial, nats: dE(x) or dE(x, y).

    Args:
        of: "marginal" for dE(x), "joint" for dE(x, y).
        kwargs: of ``torchmetrics.Metric``.

    Raises:
        InputError: for another word.
    """

    def __init__(self, of: Literal["marginal", "joint"] = "marginal", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if of not in ("marginal", "joint"):
            raise InputError(f"of={of!r} came: give 'marginal' for dE(x) or 'joint' for dE(x, y)")
        self.of = of

    def update(self, logits: Tensor, logits_adv: Tensor, y: Tensor | None = None) -> None:
        """Take in a batch.

        Args:
            logits: of the natural images, (N, K).
            logits_adv: of the adversarial images, (N, K).
            y: labels, (N,), for dE(x, y).

        Raises:
            InputError: where labels are needed and missing.
        """
        if self.of == "marginal":
            self._take(delta_energy(marginal_energy(logits), marginal_energy(logits_adv)))
        elif y is None:
            raise InputError("dE(x, y) needs labels: update(logits, logits_adv, y)")
        else:
            self._take(delta_energy(joint_energy(logits, y), joint_energy(logits_adv, y)))


class AbnormalShare(_MeanOverSamples):
    """Share of abnormal adversarial examples, those whose perturbation lowered the loss (arXiv 2404.08154), in [0, 1].

    Before catastrophic overfitting it rises.
    """

    def update(self, logits: Tensor, logits_adv: Tensor, y: Tensor) -> None:
        """Take in a batch.

        Args:
            logits: of the natural images, or of the attack's start, (N, K).
            logits_adv: of the adversarial images, (N, K).
            y: labels, (N,).
        """
        self._take(abnormal(logits, logits_adv, y))
