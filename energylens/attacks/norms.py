"""The geometry of a threat model, as a table over norms.

Steepest direction, projection, a random point and the size of a perturbation. All tensors are perturbations of shape
(N, C, H, W); eps and sizes are in units of [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from energylens.noise import NoiseSource


def l2_size(delta: Tensor) -> Tensor:
    """Euclidean length of each perturbation.

    Args:
        delta: (N, ...).

    Returns:
        The lengths, (N,).
    """
    size: Tensor = torch.linalg.vector_norm(delta.flatten(1), dim=1)
    return size


def linf_size(delta: Tensor) -> Tensor:
    """Largest absolute entry of each perturbation.

    Args:
        delta: (N, ...).

    Returns:
        These entries, (N,).
    """
    size: Tensor = torch.linalg.vector_norm(delta.flatten(1), ord=torch.inf, dim=1)
    return size


def _column(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *[1] * (like.dim() - 1))


def _unit(vectors: Tensor) -> Tensor:
    """Each vector over its length; a zero gradient stays zero."""
    return vectors / _column(l2_size(vectors), vectors).clamp_min(torch.finfo(vectors.dtype).tiny)


def _project_l2(delta: Tensor, eps: float) -> Tensor:
    size = _column(l2_size(delta), delta)
    return torch.where(size > eps, delta * (eps / size.clamp_min(torch.finfo(delta.dtype).tiny)), delta)


def _uniform_l2(noise: NoiseSource, purpose: str, like: Tensor) -> Tensor:
    """Uniform in the unit ball: a uniform direction at radius u^(1/d), u ~ U(0, 1)."""
    radius = noise.uniform(f"{purpose}/radius", like[:, :1, :1, :1]).add(1).div(2)
    return _unit(noise.normal(purpose, like)) * radius.pow(1 / like[0].numel())


@dataclass(frozen=True)
class Norm:
    """One row, of functions of perturbations (N, C, H, W).

    Attributes:
        steepest: g -> the d of the unit ball that maximises <g, d>, both (N, C, H, W).
        project: (delta, eps) -> the nearest point of the ball.
        uniform: (noise, purpose, like) -> a uniform point of the unit ball, of the shape of ``like``.
    """

    steepest: Callable[[Tensor], Tensor]
    project: Callable[[Tensor, float], Tensor]
    uniform: Callable[[NoiseSource, str, Tensor], Tensor]


NORMS: dict[str, Norm] = {
    "linf": Norm(
        steepest=torch.sign,
        project=lambda delta, eps: delta.clamp(-eps, eps),
        uniform=lambda noise, purpose, like: noise.uniform(purpose, like),
    ),
    "l2": Norm(steepest=_unit, project=_project_l2, uniform=_uniform_l2),
}
