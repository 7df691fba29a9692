"""Principal components of a few images: a Gaussian to draw others from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from energylens.attacks.frozen import random_state

EXACT = 1024  # up to so many images or pixels all components are computed, beyond it the leading ones
LEADING = 128  # so many at first, then twice as many, until they hold the variance


@dataclass(frozen=True)
class Components:
    """A Gaussian ``mean + sum_i lambda_i alpha_i U_i`` with alpha ~ N(0, 1) (arXiv 2407.06315, section 4).

    mean: (D,), flattened images. scaled: (r, D), each direction U_i times its standard deviation lambda_i.
    """

    mean: Tensor
    scaled: Tensor

    def draw(self, alpha: Tensor) -> Tensor:
        """Images (N, D) for coefficients alpha (N, r) in standard deviations, not clamped."""
        return self.mean + alpha @ self.scaled


def whole_gaussian(images: Tensor) -> Components:
    """The Gaussian of these images, (n, D), with all of its covariance.

    The centred images over sqrt(n - 1) are directions enough: their weighted sums have exactly that covariance.
    """
    mean = images.mean(dim=0)
    return Components(mean, (images - mean) / max(len(images) - 1, 1) ** 0.5)


def principal_components(images: Tensor, retained: float | int) -> Components:
    """The leading components of images (n, D): a share of the variance in (0, 1], or, as an int, so many."""
    gaussian = whole_gaussian(images)
    total = gaussian.scaled.square().sum()
    rank = min(gaussian.scaled.shape)
    count = rank if rank <= EXACT else min(LEADING, rank)
    while True:
        variances, directions = _leading(gaussian.scaled, count)
        share = variances.cumsum(dim=0) / total.clamp(min=torch.finfo(total.dtype).tiny)
        enough = count >= retained if isinstance(retained, int) else bool(share[-1] >= retained)
        if enough or count == rank:
            break
        count = min(2 * count, rank)
    # the last bits of a sum that should be 1 must not decide over a component of no variance
    kept = retained if isinstance(retained, int) else int((share < retained - 1e-6).sum()) + 1
    return Components(gaussian.mean, variances[:kept].sqrt()[:, None] * directions[:kept])


def _leading(scaled: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Variances (count,), falling, and directions (count, D) of the covariance ``scaled^T scaled``."""
    if count == min(scaled.shape):
        _, deviations, directions = torch.linalg.svd(scaled, full_matrices=False)
        return deviations.square(), directions
    with random_state(0):  # the method is a random one
        _, deviations, directions = torch.svd_lowrank(scaled, q=min(count + 16, *scaled.shape), niter=4)
    return deviations[:count].square(), directions.T[:count]
