"""Checks of the input gradient: is there one, is it that of the function, and do attacks get anywhere with it?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from energylens.attacks.losses import margin
from energylens.attacks.norms import NORMS, l2_size
from energylens.checks.finding import Finding, fault, judged
from energylens.checks.model_under_test import ModelUnderTest
from energylens.energy import cross_entropy
from energylens.errors import InputError, first_line
from energylens.statistics import LEVEL, paired_sign_test

TOLERATED = 0.05  # share of images that may misbehave: under the standard error, 6 %, of an accuracy near half of 64
# L2 lengths of the steps that are tried, until one is small enough. The first is a fiftieth of CIFAR's usual radius and
# far above float32's rounding; a network of ReLUs may have kinks that near (a robust MNIST LeNet), not at every scale.
STEPS = (1e-2, 1e-3, 1e-4, 1e-5)
OFF = 0.5  # from 1, of what the gradient promises; six real models keep 0.97 to 1.00 (median), 1.6 % are off at most
RESOLVED = 1e-5  # of the largest logit: smaller promises drown in float32's rounding, which is below 4e-7
# how long both look is ours [R], not tuned
PGD = "pgd,steps=10"
RIVALS = ("fgsm", "square,queries=50")
SQUARE_ADVICE = "believe --attack autoattack rather than gradient attacks alone, and Square in it most"


def attached(tested: ModelUnderTest) -> Finding:
    """Does a gradient reach the image?

    Args:
        tested: the model beside the images that it is asked about.

    Returns:
        Its verdict with what was measured; of a fault also what it means and what mends it.
    """
    try:
        _ = tested.margin_gradient
    except (InputError, RuntimeError) as error:
        return fault(
            first_line(error),
            "no gradient attack can run: a high accuracy under them would mean nothing",
            "take torch.no_grad(), .detach(), .numpy() and argmax out of the forward, or attack with square",
        )  # fmt: skip
    return Finding("ok", "a gradient reaches the image")


def nonzero(tested: ModelUnderTest) -> Finding:
    """Is the gradient of the margin a number, and not nothing?

    Args:
        tested: the model beside the images that it is asked about.

    Returns:
        Its verdict with what was measured; of a fault also what it means and what mends it.
    """
    gradient = tested.margin_gradient.flatten(1)
    broken, zero = ~gradient.isfinite().all(dim=1), (gradient == 0).all(dim=1)
    return _tolerating(
        broken | zero,
        f"zero for {_share(zero)}, NaN or infinite for {_share(broken)} of the images",
        "gradient attacks leave these images where they are (rounding, thresholds or quantisation before the network): "
        "they are robust for the wrong reason",
        SQUARE_ADVICE,
    )


def unsaturated(tested: ModelUnderTest) -> Finding:
    """Does the cross-entropy have a gradient where the margin has one?

    Args:
        tested: the model beside the images that it is asked about.

    Returns:
        Its verdict with what was measured; of a fault also what it means and what mends it.
    """
    lost = _is_zero(tested.gradient(cross_entropy)) & ~_is_zero(tested.margin_gradient)
    median = float(margin(tested.logits, tested.predicted).median())
    return _tolerating(
        lost,
        f"cross-entropy without gradient for {_share(lost)} of the images; median margin {median:.3g} nats",
        "the logits are so large that the softmax is exactly 0 or 1: attacks on the cross-entropy do nothing",
        "attack with pgd,loss=margin, apgd-dlr or autoattack; E(x) is in units of that scale",
    )


def _tolerating(misbehaving: Tensor, measured: str, meaning: str, remedy: str) -> Finding:
    """A fault where more than TOLERATED of the images misbehave, a warning where a few do; of a mask (n,)."""
    if not misbehaving.any():
        return Finding("ok", measured)
    return Finding("fail" if _mean(misbehaving) > TOLERATED else "warn", measured, meaning, remedy)


def true_gradient(tested: ModelUnderTest) -> Finding:
    """Does a small step change the margin as its gradient promises?

        m(clamp(x - STEP g / |g|)) - m(x)  against  <g, clamp(x - STEP g / |g|) - x>

    Where the first step is too long, shorter ones follow, in float64 where the model supports it. A gradient that is
    right at one of them is that of the function, which has kinks nearer than the steps before; one that is wrong at all
    of them is not. An image whose promise drowns in rounding keeps the verdict of the step before.

    Args:
        tested: the model beside the images that it is asked about.

    Returns:
        Its verdict with what was measured; of a fault also what it means and what mends it.
    """
    first = _Slope.at(STEPS[0], tested)
    if first.share <= TOLERATED:
        return Finding("ok", f"a small step does {first.median:.2f} of what its gradient promises (median); {first}")
    slope = first
    for step in STEPS[1:]:
        slope = _Slope.at(step, tested, slope)
        if slope.share <= TOLERATED:
            return Finding("ok", f"kinked, not wrong: {first} at a step of {first.step:g}, {slope} at {step:g}")
    return fault(
        f"steps of {first.step:g} to {slope.step:g} do {first.median:.2f} to {slope.median:.2f} of what their gradient "
        f"promises (median); {slope}",
        "the gradient is not that of the function at any scale, so it is wrong and not only kinked: a straight-through "
        "or smoothed backward, a shattered or steep input layer",
        f"where that is meant (BPDA), look at the check of the attacks; else {SQUARE_ADVICE}",
    )


@dataclass(frozen=True)
class _Slope:
    """How much of what the gradient promises a step of this length achieves.

    Its median, and the mask (n,) of the images where it is off by more than OFF.
    """

    step: float
    median: float
    off: Tensor

    @classmethod
    def at(cls, step: float, tested: ModelUnderTest, longer: _Slope | None = None) -> _Slope:
        """Measured in float32, or after a longer step in float64 where the model supports that."""
        finer = None if longer is None else tested.in_double
        answer, kind = (tested.answer, torch.float32) if finer is None else (finer, torch.float64)
        x, gradient = tested.x.to(kind), tested.margin_gradient.to(kind)
        stepped = (x - step * NORMS["l2"].steepest(gradient)).clamp(0, 1)
        promised = (gradient * (stepped - x)).flatten(1).sum(dim=1)
        before = tested.logits if finer is None else answer(x)
        kept = margin(answer(stepped), tested.predicted) - margin(before, tested.predicted)
        off = ((kept / promised - 1).abs() > OFF) & (promised < 0)
        if longer is not None and finer is None:
            off = torch.where(-promised > RESOLVED * before.abs().max(), off, longer.off)
        median = float((kept / promised)[promised < 0].median()) if (promised < 0).any() else 1.0
        return cls(step, median, off)

    @property
    def share(self) -> float:
        """How many images are off, in [0, 1]."""
        return _mean(self.off)

    def __str__(self) -> str:
        return f"off for {_share(self.off)}"


def attacks_in_order(tested: ModelUnderTest) -> Finding:
    """Does PGD change more predictions than FGSM, random noise and a black-box attack?

    Args:
        tested: the model beside the images that it is asked about.

    Returns:
        Its verdict with what was measured; of a fault also what it means and what mends it.
    """
    pgd = tested.moved_by(PGD)
    rivals = {"noise": _moved_by_noise(tested), **{spec: tested.moved_by(spec) for spec in RIVALS}}
    told = ", ".join(f"{name} {_share(moved)}" for name, moved in rivals.items())
    measured = f"predictions changed within eps {tested.eps:.3g}: {PGD} {_share(pgd)}, {told}"
    return judged(
        all(paired_sign_test(pgd, moved) >= LEVEL for moved in rivals.values()),
        measured,
        "what looks for the gradient loses to what does not: the gradient is masked (arXiv 1802.00420)",
        SQUARE_ADVICE,
    )


def _moved_by_noise(tested: ModelUnderTest) -> Tensor:
    noisy = tested.x + tested.eps * NORMS["linf"].uniform(tested.noise, "doctor", tested.x)
    return tested.answer(noisy.clamp(0, 1)).argmax(dim=1) != tested.predicted


def _is_zero(gradient: Tensor) -> Tensor:
    return l2_size(gradient) == 0


def _mean(mask: Tensor) -> float:
    return float(mask.float().mean())


def _share(mask: Tensor) -> str:
    return f"{100 * _mean(mask):.1f} %"
