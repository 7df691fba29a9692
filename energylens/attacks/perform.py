"""One attack on one batch of images, for those who want the images and no record."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from energylens.attacks.battery import AttackSpec, configure_battery, equip
from energylens.attacks.frozen import frozen
from energylens.attacks.kernels import PLAIN, PROBED, check_kernels, sight_of
from energylens.attacks.noise import Noise
from energylens.attacks.radius import usual_norm, usual_radius
from energylens.attacks.targets import choose_targets
from energylens.data import Samples, check_labels
from energylens.data.images import as_floats, as_labels, as_pixels, brightest, check_levels
from energylens.data.own import own_samples
from energylens.errors import InputError, tell
from energylens.models import ModelCard
from energylens.models.usable import check_logits, check_usable, device_of


def attack(
    spec: AttackSpec,
    model: nn.Module,
    x: Any,
    y: Any = None,
    *,
    eps: str | float | None = None,
    norm: str | None = None,
    steps: int | None = None,
    target: str | Tensor | None = None,
    seed: int = 0,
    kernels: str = PLAIN,
) -> Tensor:
    """Adversarial images for a batch.

    spec: a name with settings (``"pgd,steps=50"``) or a callable. model: from float images in [0, 1] to logits (N, K).
    x: (N, C, H, W), float in [0, 1] or uint8, a tensor or a numpy array, and y: (N,) labels; or x alone, Samples, a
    torch Dataset or a DataLoader, of which all images are attacked at once. A Note says what was converted.
    eps, norm, steps: the threat model; eps and norm by default as in ``profile``: the model's own, else the usual eps
    of the data set where x is Samples of one.
    target: a rule (``random``, ``least-likely``, ``second-best``), a class number, or (N,) classes of your choice.
    seed: of the noise; sample i of the batch draws that of index i. kernels: as in ``profile``. Returns x_adv, of x's
    shape, in [0, 1]. Raises InputError.
    """
    check_usable(model, f"the model ({type(model).__name__})")
    card = getattr(model, "card", None)
    card = (
        card if isinstance(card, ModelCard) else ModelCard(type(model).__name__, "module")
    )  # its digest is not needed
    device = device_of(model)
    x, y, dataset = _batch(x, y, device)
    norm = norm.lower() if norm else usual_norm(card)
    eps = usual_radius(card, dataset, norm) if eps is None else eps
    rule = "random" if isinstance(target, Tensor) else target  # stands for the classes given, so that they are checked
    (chosen,) = configure_battery([spec], eps=eps, norm=norm, steps=steps, target=rule)
    chosen = equip(chosen, dataset, x.shape[1:], None, device)
    noise = Noise(seed, tuple(range(len(x))))
    with frozen(model, seed):
        with torch.no_grad():
            classes = _classes(model, x)
            check_labels(y, len(x), classes)
            if isinstance(target, Tensor):
                target = as_labels(target).to(device)
                check_labels(target, len(x), classes)
            elif chosen.target is not None:
                target = choose_targets(chosen.target, model(x).float(), y, noise)
        aims = target if isinstance(target, Tensor) else None
        sight = sight_of(model, chosen.kernels or check_kernels(kernels), x[:PROBED])
        if sight.note:
            tell(sight.note)
        return chosen.looking(sight, kernels)(model, x, y, noise=noise, target=aims, sight=sight).x_adv


def _batch(x: Any, y: Any, device: torch.device) -> tuple[Tensor, Any, str | None]:
    """Images and labels on the model's device, and the name of their data set where they are Samples of one."""
    if y is None and isinstance(x, Tensor | np.ndarray):
        raise InputError("labels are missing: give y beside x, or Samples, a Dataset or a DataLoader that hold both")
    if y is None:
        samples = x if isinstance(x, Samples) else own_samples(x)
        return samples.images.to(device), samples.labels.to(device), samples.name
    if isinstance(x, Tensor) and x.device != device:
        raise InputError(f"the images lie on {x.device}, the model on {device}: x.to({str(device)!r}) moves them")
    pixels, converted = as_pixels(x)
    check_levels(brightest(pixels))
    if converted:
        tell(f"images came as {converted}")
    labels = as_labels(y)
    return as_floats(pixels).to(device), labels.to(device) if isinstance(labels, Tensor) else labels, None


def _classes(model: nn.Module, x: Tensor) -> int:
    """How many logits the model gives; InputError where it gives none."""
    try:
        logits = model(x[:1])
    except Exception as error:  # whatever a user's network raises at a shape or a dtype it was not made for
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"the model does not take images of shape {tuple(x.shape[1:])}, {x.dtype} ({reason})"
        ) from error
    return check_logits(logits, 1).shape[1]
