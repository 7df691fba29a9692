"""Principal components of a few images: a Gaussian to draw others from.

A singular vector's sign is nobody's: LAPACK, cuBLAS, another thread count or another order of the images may each give
the other one, and a start drawn along it would lie on the other side of the mean. So the signs are fixed here, and all
is computed in float64: what rounding may turn is far below what an image shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

EXACT = 1024  # up to so many images or pixels all components are computed, beyond it the leading ones
LEADING = 128  # so many at first, then twice as many, until they hold the variance
EXTRA, ROUNDS = 16, 5  # of the subspace iteration: directions beyond those asked for, passes over the images
TIED = 1e-6  # entries of a direction whose sizes differ by less, of the largest, are equally large
AT_ONCE = 2**24  # numbers that a batched decomposition holds, 128 MiB


@dataclass(frozen=True)
class Components:
    """A Gaussian ``mean + sum_i lambda_i alpha_i U_i`` with alpha ~ N(0, 1) (arXiv 2407.06315, section 4).

    Attributes:
        mean: (D,), flattened images; of a batch of Gaussians (N, D).
        scaled: (r, D), each direction U_i times its standard deviation lambda_i; of a batch (N, r, D).
    """

    mean: Tensor
    scaled: Tensor

    def draw(self, alpha: Tensor) -> Tensor:
        """Images of the Gaussian. One makes them all; of several, the i-th makes the i-th.

        Args:
            alpha: coefficients in standard deviations, (N, r).

        Returns:
            Images, flattened, (N, D), not clamped.
        """
        if self.mean.ndim == 1:
            return self.mean + alpha @ self.scaled
        return self.mean + torch.einsum("nr,nrd->nd", alpha, self.scaled)


def whole_gaussian(images: Tensor) -> Components:
    """The Gaussian of some images, with all of its covariance.

    The centred images over sqrt(n - 1) are directions enough: their weighted sums have exactly that covariance.

    Args:
        images: (..., n, D).

    Returns:
        Its mean, (..., D), and n directions, (..., n, D).
    """
    mean = images.mean(dim=-2)
    return Components(mean, (images - mean[..., None, :]) / max(images.shape[-2] - 1, 1) ** 0.5)


def principal_components(images: Tensor, retained: float | int) -> Components:
    """The leading principal components of some images.

    In each direction the entry of the largest magnitude is positive, the first one of a tie; so the components depend
    neither on the order of the images nor, beyond rounding, on the device. Computed in float64, returned in the type of
    the images. Two directions of exactly one variance have no order of their own: that is left to the rounding.

    Args:
        images: (n, D).
        retained: a share of the variance in (0, 1], or, as an int, so many components.

    Returns:
        The mean, (D,), and the directions kept, (r, D), the largest variance first.
    """
    gaussian = whole_gaussian(_double(images))
    total = gaussian.scaled.square().sum()
    rank = min(gaussian.scaled.shape)
    count = rank if rank <= EXACT else min(LEADING, rank)
    while True:
        variances, directions = _leading(gaussian.scaled, count)
        share = _shares(variances, total)
        enough = count >= retained if isinstance(retained, int) else bool(share[-1] >= retained)
        if enough or count == rank:
            break
        count = min(2 * count, rank)
    kept = int(_kept(share, retained).sum())
    scaled = variances[:kept].sqrt()[:, None] * directions[:kept]
    return Components(gaussian.mean.to(images), scaled.to(images))


def components_of_each(groups: Tensor, retained: float | int) -> Iterator[Components]:
    """``principal_components`` of every group of images, by batched decompositions.

    A batch is as many groups as fit into AT_ONCE numbers. For groups of few images: all components are computed.

    Args:
        groups: (N, n, D).
        retained: a share of the variance in (0, 1], or, as an int, so many components.

    Yields:
        Batches of Components, of all min(n, D) directions; of those that are not retained ``scaled`` is zero, so that
        groups of different ranks stand side by side.
    """
    for part in torch.split(groups, max(1, AT_ONCE // groups[0].numel())):
        gaussian = whole_gaussian(_double(part))
        _, deviations, directions = torch.linalg.svd(gaussian.scaled, full_matrices=False)
        variances = deviations.square()
        kept = _kept(_shares(variances, gaussian.scaled.square().sum(dim=(-2, -1))), retained)
        scaled = (deviations * kept)[..., None] * _signed(directions)
        yield Components(gaussian.mean.to(part), scaled.to(part))


def _double(images: Tensor) -> Tensor:
    """In float64, on the CPU where the device has none."""
    return (images.cpu() if images.device.type == "mps" else images).double()


def _shares(variances: Tensor, total: Tensor) -> Tensor:
    """The share of the total variance, (...), that the first i of variances (..., r) hold, (..., r)."""
    return variances.cumsum(dim=-1) / total.clamp(min=torch.finfo(total.dtype).tiny)[..., None]


def _kept(share: Tensor, retained: float | int) -> Tensor:
    """Which components are retained, (..., r) bool, by what they and those before hold of the variance."""
    rank = torch.arange(share.shape[-1], device=share.device)
    if isinstance(retained, int):
        return (rank < retained).expand(share.shape)
    # the last bits of a sum that should be 1 must not decide over a component of no variance
    return rank <= (share < retained - 1e-6).sum(dim=-1, keepdim=True)


def _leading(scaled: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Variances (count,), falling, and signed directions (count, D) of the covariance ``scaled^T scaled``."""
    if count == min(scaled.shape):
        _, deviations, directions = torch.linalg.svd(scaled, full_matrices=False)
        return deviations.square(), _signed(directions)
    # subspace iteration from directions that are the same on every device and belong to pixels, not to images
    wanted = min(count + EXTRA, *scaled.shape)
    first = torch.randn(scaled.shape[1], wanted, generator=torch.Generator().manual_seed(0), dtype=scaled.dtype)
    basis = first.to(scaled.device)
    for _ in range(ROUNDS):
        basis = torch.linalg.qr(scaled.T @ (scaled @ basis)).Q
    _, deviations, within = torch.linalg.svd(scaled @ basis, full_matrices=False)
    return deviations[:count].square(), _signed(within[:count] @ basis.T)


def _signed(directions: Tensor) -> Tensor:
    """Directions (..., r, D) with their largest entry positive.

    Of entries that are equally large the first decides, so that rounding cannot choose between them.
    """
    sizes = directions.abs()
    largest = sizes >= (1 - TIED) * sizes.amax(dim=-1, keepdim=True)
    deciding = largest.to(torch.uint8).argmax(dim=-1, keepdim=True)  # the first of the largest
    negative = directions.gather(-1, deciding) < 0
    return torch.where(negative, -directions, directions)
