"""Momentum SGLD on a classifier's energy (arXiv 2407.06315, eq. 7 and code).

    nu_{n+1} = zeta nu_n - (eta / 2) grad_x L(x_n, y),    nu_0 = 0
    x_{n+1}  = clamp(x_n + nu_{n+1} + noise, 0, 1)

L is what the chain descends, a row of LOSSES.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from energylens.energy import cross_entropy, joint_energy, marginal_energy
from energylens.errors import InputError, RunError
from energylens.noise import Noise

#: name -> what a chain descends, of logits (N, K) and labels (N,), (N,) nats
LOSSES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "joint": joint_energy,
    "marginal": lambda logits, y: marginal_energy(logits),
    "ce": cross_entropy,
}


def squared_distance(values: Tensor, reference: Tensor) -> Tensor:
    """``(L(x, y) - mean training L(., y))^2`` (a prototype in the code of arXiv 2407.06315).

    Args:
        values: L(x, y), (N,) nats.
        reference: the mean loss of the class's training images, (N,) nats.

    Returns:
        The squared distances, (N,) nats^2.
    """
    return (values - reference).square()


#: name -> the objective out of the loss and the class's mean training loss, (N,) each
GUIDANCES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "none": lambda values, reference: values,
    "reference-energy": squared_distance,
}
#: name -> which samples are finished, out of the same and the tolerance, (N,) bool
STOPS: Mapping[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "none": lambda values, reference, tolerance: torch.zeros_like(values, dtype=torch.bool),
    "reference-energy": lambda values, reference, tolerance: squared_distance(values, reference) < tolerance,
}


@dataclass(frozen=True)
class Chain:
    """Where N chains came to.

    Attributes:
        images: (N, C, H, W) in [0, 1].
        logits: (N, K) of them.
        steps: (N,) taken.
        energies: (N, steps + 1, 2), E(x) and E(x, y) in nats of every iterate, the start first, NaN behind the last.
    """

    images: Tensor
    logits: Tensor
    steps: Tensor
    energies: Tensor


def sample(
    model: nn.Module,
    start: Tensor,
    y: Tensor,
    noise: Noise,
    reference: Tensor,
    *,
    loss: str,
    steps: int,
    step_size: float,
    momentum: float,
    noise_std: float,
    guidance: str,
    stop: str,
    tolerance: float,
) -> Chain:
    """Run every chain to its end; one that has stopped leaves the batch and never moves again.

    Args:
        model: images (N, C, H, W) in [0, 1] -> logits (N, K).
        start: (N, C, H, W), clamped to [0, 1] here.
        y: labels, (N,).
        noise: of these N samples.
        reference: the mean loss of the class's training images, (N,); NaN where neither guidance nor stop needs it.
        loss: a row of LOSSES.
        steps: of a chain.
        step_size: eta, at least 0.
        momentum: zeta, in [0, 1).
        noise_std: standard deviation of the noise of a step.
        guidance: a row of GUIDANCES.
        stop: a row of STOPS.
        tolerance: of the stop, in nats squared.

    Returns:
        Where the chains came to, in the order of ``start``.

    Raises:
        RunError: names the sample whose chain runs into NaN.
    """
    x = start.clamp(0, 1)
    velocity = torch.zeros_like(x)
    rows = torch.arange(len(x), device=x.device)
    images, taken = x.clone(), torch.zeros_like(y)
    logits: Tensor = x.new_empty(0)
    energies = x.new_full((len(x), steps + 1, 2), torch.nan)
    for step in range(steps + 1):
        x.requires_grad_(True)
        with torch.enable_grad():
            here = model(x).float()
            values = LOSSES[loss](here, y)
            objective = GUIDANCES[guidance](values, reference)
        _check(here, noise, step)
        if step == 0:
            logits = here.detach().clone()
        energies[rows, step] = torch.stack([marginal_energy(here), joint_energy(here, y)], dim=1).detach()
        done = STOPS[stop](values.detach(), reference, tolerance) | (step == steps)
        images[rows[done]], logits[rows[done]], taken[rows[done]] = x.detach()[done], here.detach()[done], step
        if done.all():
            break
        gradient = _gradient(objective, x)
        going = (~done).nonzero().flatten()
        rows, y, reference, noise = rows[going], y[going], reference[going], noise.take(going)
        velocity = momentum * velocity[going] - step_size / 2 * gradient[going]
        shaken = noise_std * noise.normal(f"langevin/{step}", velocity)
        x = (x.detach()[going] + velocity + shaken).clamp(0, 1)
    return Chain(images, logits, taken, energies)


def _gradient(objective: Tensor, x: Tensor) -> Tensor:
    """The input's gradient, and no other."""
    if not objective.requires_grad:
        raise InputError("the model's logits carry no gradient (torch.no_grad or detach inside?): nothing to descend")
    (gradient,) = torch.autograd.grad(objective.sum(), x)
    return gradient


def _check(logits: Tensor, noise: Noise, step: int) -> None:
    bad = ~logits.isfinite().all(dim=1)
    if bad.any():
        index = noise.indices[int(bad.nonzero()[0])]
        raise RunError(
            f"the chain of sample {index} runs into NaN or infinity at step {step}: take a smaller step size, and ask "
            "energylens doctor about the model; finished blocks are kept"
        )
