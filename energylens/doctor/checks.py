"""The checks, as a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from energylens.doctor import answers, gradients, images
from energylens.doctor.finding import Finding
from energylens.doctor.patient import Patient


@dataclass(frozen=True)
class Check:
    """One row. after: the checks whose failure this one could only echo; it is skipped then."""

    name: str
    look: Callable[[Patient], Finding]
    after: tuple[str, ...] = ()


CHECKS = (
    Check("precision", answers.precision),
    Check("fit", answers.fit, after=("precision",)),
    Check("eval mode", answers.eval_mode),
    Check("finite", answers.finite, after=("fit",)),
    Check("deterministic", answers.deterministic, after=("finite", "eval mode")),
    Check("batch", answers.batch_invariant, after=("deterministic",)),
    Check("logits", answers.real_logits, after=("finite",)),
    Check("range", images.right_range, after=("batch",)),
    Check("normalisation", images.right_normalisation, after=("batch",)),
    Check("labels", images.right_labels, after=("range", "normalisation")),
    Check("attached", gradients.attached, after=("finite",)),
    Check("gradient", gradients.nonzero, after=("attached", "batch", "logits")),
    Check("saturation", gradients.unsaturated, after=("gradient",)),
    Check("slope", gradients.true_gradient, after=("gradient",)),
    Check("attacks", gradients.attacks_in_order, after=("gradient", "saturation")),
)
