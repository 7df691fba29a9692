"""Checks of what the model answers, before any gradient is taken."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from energylens.checks.finding import Finding, fault
from energylens.checks.model_under_test import ROUNDING, ModelUnderTest, apart
from energylens.energy import marginal_energy
from energylens.errors import InputError
from energylens.inputs import check_fit
from energylens.models.usable import wanted_dtype

ALONE = 8  # images that are asked one by one
FULL_PRECISION = (torch.float32, torch.float64)
COARSE = "logits of this precision are steps of up to 0.1 nats: energies and small gradients drown in rounding"


def precision(tested: ModelUnderTest) -> Finding:
    """Are weights, buffers and logits float32 or better?

    Args:
        tested: the model beside the images that it is asked about.

    Returns:
        Its verdict with what was measured; of a fault also what it means and what mends it.
    """
    tensors = (*tested.model.parameters(), *tested.model.buffers())
    kinds = {tensor.dtype for tensor in tensors if tensor.is_floating_point()}
    if coarse := kinds.difference(FULL_PRECISION):
        return fault(f"{_names(coarse)} weights", COARSE, "convert the model with model.float()")
    if kind := None if tested.logit_type else wanted_dtype(tested.model, tested.x[:1]):
        measured = f"{kind} weights, which do not take float32 images"
        useless = "every image here is float32: nothing can be asked of this model"
        return fault(measured, useless, "convert the model with model.float()")
    if tested.logit_type not in (None, *FULL_PRECISION):
        measured = f"{_names({tested.logit_type})} logits from float32 weights"
        return fault(measured, COARSE, "take .half(), .bfloat16(), autocast and rounding out of the forward")
    return Finding("ok", "float32 weights")


def _names(kinds: Iterable[torch.dtype | None]) -> str:
    return ", ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))


def fit(tested: ModelUnderTest) -> Finding:
    """Does it take these images and give a logit a class?

    Args:
        tested: the model beside the images that it is asked about.

    Returns:
        Its verdict with what was measured; of a fault also what it means and what mends it.
    """
    try:
        check_fit(tested.model, tested.card, tested.samples)
    except InputError as error:
        mend = "do what the error says, or name the data set the model was trained on with --dataset"
        return fault(str(error), "model and data do not belong together", mend)
    return Finding("ok", f"images {tested.samples.image_shape}, {len(tested.samples.classes)} classes")


def eval_mode(tested: ModelUnderTest) -> Finding:
    """Do dropout and batch norm behave as they do after training?

    Args:
        tested: the model beside the images that it is asked about.

    Returns:
        Its verdict with what was measured; of a fault also what it means and what mends it.
    """
    modules = dict(tested.model.named_modules())
    stuck = [name for name, one in modules.items() if one.training and isinstance(one, _BatchNorm | _DropoutNd)]
    if stuck:
        return fault(
            f"{len(stuck)} layers in train mode after model.eval(): {_some(stuck)}",
            "dropout draws and batch norm looks at the other images: an energy is not that of the image alone",
            "mend the module whose train() does not pass the mode on",
        )
    lost = [name for name, one in modules.items() if isinstance(one, _BatchNorm) and one.running_mean is None]
    if lost:
        return fault(
            f"{len(lost)} batch norms without running statistics: {_some(lost)}",
            "they take the batch's own, so that an energy depends on who else is in the batch",
            "build them with track_running_stats=True and load the statistics",
        )
    if tested.in_train:
        return Finding(
            "warn",
            f"{len(tested.in_train)} modules came in train mode: {_some(tested.in_train)}",
            "energylens turns that off while it works, other code will not",
            "call model.eval()",
        )
    return Finding("ok", "model.eval() reaches every layer")


def _some(names: list[str] | tuple[str, ...]) -> str:
    shown = [name or "the model itself" for name in names[:3]]
    return ", ".join(shown) + (", ..." if len(names) > len(shown) else "")


def finite(tested: ModelUnderTest) -> Finding:
    """Are all logits numbers?

    Args:
        tested: the model beside the images that it is asked about.

    Returns:
        Its verdict with what was measured; of a fault also what it means and what mends it.
    """
    bad = ~tested.logits.isfinite().all(dim=1)
    if not bad.any():
        return Finding("ok", f"all logits finite, the largest {float(tested.logits.abs().max()):.3g}")
    first = int(tested.samples.indices[int(bad.nonzero()[0])])
    return fault(
        f"NaN or infinite logits for {int(bad.sum())} of {len(bad)} images, the first sample {first}",
        "these images have no energy, and the averages have none either",
        "look at this sample layer by layer; divisions by a standard deviation and logarithms are the usual places",
    )


def deterministic(tested: ModelUnderTest) -> Finding:
    """Does it answer the same images twice with the same logits?

    Args:
        tested: the model beside the images that it is asked about.

    Returns:
        Its verdict with what was measured; of a fault also what it means and what mends it.
    """
    off = apart(tested.answer(tested.x), tested.logits)
    if off <= ROUNDING:
        return Finding("ok", f"two forwards differ by {off:.1g} of the largest logit")
    return fault(
        f"two forwards differ by {off:.2g} of the largest logit",
        "the model draws random numbers as it runs (noise, resizing, F.dropout without training=self.training): one "
        "gradient is that of one draw, and attacks look weaker than they are",
        "if it is a defence, attack it with --attack autoattack-rand; else switch the randomness off",
    )


def batch_invariant(tested: ModelUnderTest) -> Finding:
    """Is an image's answer its own, alone, in the batch and in another order?

    Args:
        tested: the model beside the images that it is asked about.

    Returns:
        Its verdict with what was measured; of a fault also what it means and what mends it.
    """
    few = tested.x[:ALONE]
    alone = torch.cat([tested.answer(image) for image in torch.split(few, 1)])
    backwards = tested.answer(tested.x.flip(0)).flip(0)
    off = max(apart(alone, tested.logits[:ALONE]), apart(backwards, tested.logits))
    if off <= ROUNDING:
        return Finding("ok", f"alone and in another order: {off:.1g} of the largest logit away")
    return fault(
        f"alone or in another order the logits are {off:.2g} of the largest away",
        "an image's energy depends on who else is in the batch (batch statistics, a mean over dimension 0)",
        "use stored statistics in eval mode",
    )


# Healthy models of 10 classes, -log K = -2.3, were measured from -3.2 down: none is nearer than 0.9 nats at any image.
# An untrained linear layer is up to 0.15 nats off; digits-standard 0.03 at a hundredth of its scale, which passes, and
# 0.003 at a thousandth, which does not.
FLAT = 1e-2
SUM = 1e-3  # float32 sums 1,000 classes to 1 within 1e-6; the energies of real logits are nats apart
#: what may stand after the logits, and how its outputs (n, K) give it away
_OUTLETS: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda out: (out >= 0) & ((out.sum(dim=1, keepdim=True) - 1).abs() < SUM),
    "log-softmax": lambda out: marginal_energy(out)[:, None].abs() < SUM,
    "sigmoid": lambda out: (out >= 0) & (out <= 1),
}


def real_logits(tested: ModelUnderTest) -> Finding:
    """Are the outputs logits of some scale, not probabilities or their logarithms?

    Args:
        tested: the model beside the images that it is asked about.

    Returns:
        Its verdict with what was measured; of a fault also what it means and what mends it.
    """
    energies = marginal_energy(tested.logits)
    spread = f"E(x) from {float(energies.min()):.3g} to {float(energies.max()):.3g}"
    outlet = next((name for name, gives_away in _OUTLETS.items() if gives_away(tested.logits).all()), None)
    if outlet is not None:
        return fault(
            f"the outputs are those of a {outlet}; {spread}",
            "the normalisation has thrown E(x) away: energies of these outputs mean nothing",
            f"return what goes into the {outlet}",
        )
    classes = tested.logits.shape[1]
    if ((energies + math.log(classes)).abs() <= FLAT).all():
        return fault(
            f"E(x) is -log {classes} = {-math.log(classes):.3g} for every image, within {FLAT:g} nats",
            "the logits are so small that they say nothing but the number of classes: their energies mean nothing",
            "remove the temperature, or the division, after the last layer",
        )
    return Finding("ok", spread)
