"""One attack on one batch of images, for those who want no record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, overload

import numpy as np
import torch
from torch import Tensor, nn

from energylens.attacks.backends import PLAIN, PROBED, check_backend, networks_of
from energylens.attacks.battery import AttackSpec, ConfiguredAttack, configure, equip
from energylens.attacks.losses import Aim
from energylens.attacks.radius import show_radius, usual_norm, usual_radius
from energylens.attacks.registry import ATTACKS
from energylens.attacks.result import AttackedBatch, AttackResult
from energylens.attacks.spec import Attack
from energylens.attacks.targets import choose_targets
from energylens.data import Samples, check_labels
from energylens.data.images import as_floats, as_labels, as_pixels, brightest, check_levels
from energylens.data.own import own_samples
from energylens.energy import joint_energy, marginal_energy
from energylens.errors import InputError, first_line, tell
from energylens.isolation import frozen
from energylens.models import ModelCard
from energylens.models.usable import check_logits, check_usable, device_of
from energylens.noise import Noise


# the other arguments stand in the third
@overload
def attack(
    spec: AttackSpec, model: nn.Module, x: Any, y: Any = ..., *, full: Literal[False] = ..., **settings: Any
) -> Tensor: ...


@overload
def attack(
    spec: AttackSpec, model: nn.Module, x: Any, y: Any = ..., *, full: Literal[True], **settings: Any
) -> AttackedBatch: ...


def attack(
    spec: AttackSpec,
    model: nn.Module,
    x: Any,
    y: Any = None,
    *,
    eps: str | float | None = None,
    norm: str | None = None,
    target: str | int | Tensor | None = None,
    seed: int = 0,
    backend: str = PLAIN,
    full: bool = False,
    **settings: Any,
) -> Tensor | AttackedBatch:
    """Adversarial images for a batch: ``el.attack("pgd", model, x, y, eps=8 / 255, steps=50, restarts=10)``.

    ``print(el.Attack("pgd"))`` says what each setting of PGD is; all attacks and settings are listed below.

    Args:
        spec: the attack's name, an ``el.Attack``, the command line's text (``"pgd,steps=50"``), or a callable
            ``f(model, x, y) -> x_adv``.
        model: from float images in [0, 1] to logits (N, K).
        x: (N, C, H, W), float in [0, 1] or uint8, a tensor or a numpy array; or Samples, a torch Dataset or a
            DataLoader, of which all images are attacked at once. A Note says what was converted.
        y: (N,) labels, where x does not hold them.
        eps: the radius, 8 / 255 or "8/255"; by default as in ``profile``, the model's own, else the usual one of the
            data set where x is Samples of one. What ``spec`` itself sets overrides eps, norm and target. An attack
            without a ball (C&W, a callable) leaves it out, and a Note says so.
        norm: linf, l2 or, for the attacks that have it, l1; by default the model's own, else linf.
        target: a rule (``random``, ``least-likely``, ``second-best``), a class number, or (N,) classes of your choice.
        seed: of the noise; sample i of the batch draws that of index i.
        backend: how the network is computed during the attack, as in ``profile``.
        full: return an ``el.AttackedBatch``: x_adv with success, steps, logits and energies.
        settings: the attack's own, as Python values.

    Returns:
        x_adv, (N, C, H, W) as x, in [0, 1]; with ``full`` an AttackedBatch.

    Raises:
        InputError: for a setting that this attack does not have, a type or range that it cannot run with, or a model,
            images or labels that do not fit.
    """
    check_usable(model, f"the model ({type(model).__name__})")
    backend = settings.pop("kernels", backend)  # its earlier name
    spec = _with_settings(spec, settings)
    device = device_of(model)
    x, y, dataset = _batch(x, y, device)
    chosen = _chosen(spec, model, dataset, eps, norm, target)
    chosen = equip(chosen, dataset, x.shape[1:], None, device)
    noise = Noise(seed, tuple(range(len(x))))
    with frozen(model, seed), torch.no_grad():
        # the attack takes the clean logits where they are computed anyway
        needed = full or (chosen.target is not None and not isinstance(target, Tensor))
        clean = _logits(model, x if needed else x[:1])
        check_labels(y, len(x), clean.shape[1])
        chosen.check_classes(clean.shape[1])
        aims = None
        if isinstance(target, Tensor):
            aims = as_labels(target).to(device)
            check_labels(aims, len(x), clean.shape[1])
        elif chosen.target is not None:
            aims = choose_targets(chosen.target, clean, y, noise)
        networks = networks_of(model, chosen.backend or check_backend(backend), x[:PROBED])
        if networks.note:
            tell(networks.note)
        chosen = chosen.running_on(networks, backend)
        known = clean if needed else None
        result = chosen(model, x, y, noise=noise, target=aims, networks=networks, clean_logits=known)
        return _full(model, y, aims, clean, result) if full else result.x_adv


_LISTED = [f"        {row.name}: {', '.join(f'{k}={v}' for k, v in row.free_settings().items())}" for row in ATTACKS]
# so that help() lists what each attack takes
attack.__doc__ = "\n".join([str(attack.__doc__).rstrip(), "", "    Settings and their defaults:", *_LISTED])


def _with_settings(spec: AttackSpec, settings: Mapping[str, Any]) -> AttackSpec:
    """The attack with these settings of its own."""
    if isinstance(spec, Attack) or (isinstance(spec, str) and ":" not in spec):
        return Attack(spec, **settings)
    if settings:
        raise InputError(
            f"{', '.join(settings)}: a callable takes no settings here: bind them there, with functools.partial or a "
            "function of (model, x, y)"
        )
    return spec


def _chosen(
    spec: AttackSpec,
    model: nn.Module,
    dataset: str | None,
    eps: str | float | None,
    norm: str | None,
    target: str | int | Tensor | None,
) -> ConfiguredAttack:
    """The attack, configured for this model and threat model."""
    card = getattr(model, "card", None)
    if not isinstance(card, ModelCard):
        card = ModelCard(type(model).__name__, "module")  # its digest is not needed
    usual = norm.lower() if norm else usual_norm(card)
    radius = usual_radius(card, dataset, usual) if eps is None else eps
    rule = "random" if isinstance(target, Tensor) else target  # stands for the classes given, so that they are checked
    chosen = configure(spec, eps=radius, norm=usual, target=None if rule is None else str(rule))
    if norm and chosen.reusable and usual not in chosen.row.norms:  # a battery may hold attacks in other norms
        raise InputError(f"{chosen.row.name} works in {', '.join(chosen.row.norms)}, not in {usual}")
    if eps is not None and not chosen.settings.bounded:
        tell(f"{chosen.row.name} takes no eps: {show_radius(eps)} is left out")
    return chosen


def _full(model: nn.Module, y: Tensor, target: Tensor | None, clean: Tensor, result: AttackResult) -> AttackedBatch:
    """The result with what the model makes of the images; their logits are the attack's where it has them."""
    logits = _logits(model, result.x_adv) if result.logits is None else result.logits.float()
    return AttackedBatch(
        result.x_adv, Aim.of(y, target).reached(logits), result.steps, result.forwards, result.backwards,
        logits_clean=clean, logits_adv=logits,
        marginal_clean=marginal_energy(clean), marginal_adv=marginal_energy(logits),
        joint_clean=joint_energy(clean, y), joint_adv=joint_energy(logits, y), target=target,
    )  # fmt: skip


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
        tell(f"images came as {', '.join(converted)}")
    labels = as_labels(y)
    return as_floats(pixels).to(device), labels.to(device) if isinstance(labels, Tensor) else labels, None


def _logits(model: nn.Module, x: Tensor) -> Tensor:
    """Float32 logits (N, K) of images; InputError where the model gives none."""
    try:
        logits = model(x)
    except Exception as error:  # whatever a user's network raises at a shape or a dtype it was not made for
        came = f"images of shape {tuple(x.shape[1:])}, {x.dtype}"
        raise InputError(f"the model does not take {came} ({first_line(error)})") from error
    return check_logits(logits, len(x)).float()
