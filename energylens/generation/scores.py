"""Scores of generated images in a feature space: pure functions of features (N, D), in float64.

Inception Score (arXiv 1606.03498), Frechet distance (1706.08500), kernel distance (1801.01401), precision and recall
(1904.06991), density and coverage (2002.09797). They are called IS, FID and KID in Inception's features only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

NEAREST = 5  # the k of every k-nearest-neighbour ball, as in arXiv 2002.09797
ROWS = 1000  # at once, where all pairs are looked at
GROUPS = 10  # of the jackknife
NORMAL = 1.96  # standard errors to either side of a 95 % interval


def class_score(logits: Tensor) -> float:
    """``exp mean_x KL(p(y|x) || p(y))``, the formula of the Inception Score; all images in one split.

    Args:
        logits: (N, K).

    Returns:
        The score, in [1, K].

    Example:
        >>> round(class_score(1e4 * torch.eye(7)), 6)
        7.0
    """
    p = logits.double().softmax(dim=1)
    entropies = torch.special.entr(torch.cat([p, p.mean(dim=0, keepdim=True)])).sum(dim=1)
    return float((entropies[-1] - entropies[:-1].mean()).exp())


@dataclass(frozen=True)
class Gaussian:
    """A Gaussian of features, in float64.

    Attributes:
        mean: (D,).
        root: (R, D) with ``root^T root`` the covariance.
    """

    mean: Tensor
    root: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Gaussian:
        """The Gaussian of some features, with the unbiased covariance.

        Args:
            features: (N, D), N > 1.

        Returns:
            The Gaussian; its root has at most D rows.
        """
        features = features.double()
        mean = features.mean(dim=0)
        root = (features - mean) / (len(features) - 1) ** 0.5
        return cls(mean, root if len(root) <= root.shape[1] else torch.linalg.qr(root, mode="r").R)

    @classmethod
    def from_covariance(cls, mean: Tensor, covariance: Tensor) -> Gaussian:
        """The Gaussian of a mean and a covariance.

        Args:
            mean: (D,).
            covariance: (D, D), symmetric; eigenvalues below 0 count as 0.

        Returns:
            The Gaussian, with a root of (D, D).
        """
        variances, directions = torch.linalg.eigh(covariance.double())
        return cls(mean.double(), variances.clamp(min=0).sqrt()[:, None] * directions.T)


def frechet_distance(one: Gaussian, other: Gaussian) -> float:
    """``|m_1 - m_2|^2 + tr(C_1 + C_2 - 2 (C_1 C_2)^(1/2))``; FID where the features are Inception's.

    The trace of the root is the nuclear norm of ``R_1 R_2^T``, ``R^T R = C``: no root of a product is taken.

    Args:
        one: of D features.
        other: of the same D features.

    Returns:
        The distance; rounding can leave it a little below 0.

    Example:
        >>> frechet_distance(Gaussian.of(torch.tensor([[-1.0], [1.0]])), Gaussian.of(torch.tensor([[2.0], [4.0]])))
        9.0
    """
    mean = (one.mean - other.mean).square().sum()
    overlap = torch.linalg.svdvals(one.root @ other.root.T).sum()
    return float(mean + one.root.square().sum() + other.root.square().sum() - 2 * overlap)


def frechet_interval(features: Tensor, reference: Gaussian) -> tuple[float, float]:
    """A 95 % interval of the Frechet distance, by a delete-a-group jackknife.

    A tenth of the features is left out in turn. The interval holds the scatter of finitely many images, not the bias of
    too few, which lies upwards.

    Args:
        features: (N, D), N > 1.
        reference: of the real images.

    Returns:
        Its ends.
    """
    groups = min(GROUPS, len(features))
    group = torch.arange(len(features)) % groups
    left = torch.tensor([frechet_distance(Gaussian.of(features[group != out]), reference) for out in range(groups)])
    error = float(((groups - 1) / groups * (left - left.mean()).square().sum()).sqrt())
    whole = frechet_distance(Gaussian.of(features), reference)
    return whole - NORMAL * error, whole + NORMAL * error


def kernel_distance(features: Tensor, reference: Tensor) -> float:
    """The unbiased squared MMD under ``k(a, b) = (a.b / D + 1)^3``, of all pairs; KID where they are Inception's.

    Args:
        features: (N, D), N > 1.
        reference: (M, D), of real images, M > 1.

    Returns:
        The estimate; chance can put it below 0.
    """
    within = [_kernel_sum(one, one) - _cubed((one * one).sum(dim=1), one) for one in (features, reference)]
    sizes = (len(features), len(reference))
    pairs = [total / (n * (n - 1)) for total, n in zip(within, sizes, strict=True)]
    return float(sum(pairs) - 2 * _kernel_sum(features, reference) / (sizes[0] * sizes[1]))


def _kernel_sum(one: Tensor, other: Tensor) -> float:
    return math.fsum(_cubed(rows.double() @ other.double().T, one) for rows in torch.split(one, ROWS))


def _cubed(products: Tensor, features: Tensor) -> float:
    return float((products.double() / features.shape[1] + 1).pow(3).sum())


def radii(features: Tensor) -> Tensor:
    """The distance of each feature to its NEAREST-th nearest other one.

    Args:
        features: (N, D), N > NEAREST.

    Returns:
        The distances, (N,).
    """
    return torch.cat([_distances(rows, features).kthvalue(NEAREST + 1).values for rows in torch.split(features, ROWS)])


def manifold_scores(features: Tensor, reference: Tensor, reference_radii: Tensor) -> dict[str, float]:
    """Who lies in whose k-nearest-neighbour balls, k = NEAREST.

    Args:
        features: (N, D), N > NEAREST.
        reference: (M, D), of real images.
        reference_radii: (M,) of these.

    Returns:
        precision: share of the images inside a ball of a real one; density: in how many, over k; recall: share of the
        real inside an image's ball; coverage: share of the real balls that hold an image.
    """
    precise, dense, covered, recalled = 0.0, 0.0, torch.zeros(len(reference)), torch.zeros(len(reference))
    for rows, ball in zip(torch.split(features, ROWS), torch.split(radii(features), ROWS), strict=True):
        distances = _distances(rows, reference)
        inside = distances <= reference_radii
        precise += float(inside.any(dim=1).sum())
        dense += float(inside.sum())
        covered += inside.any(dim=0)
        recalled += (distances <= ball[:, None]).any(dim=0)
    return {
        "precision": precise / len(features),
        "recall": float((recalled > 0).double().mean()),
        "density": dense / (NEAREST * len(features)),
        "coverage": float((covered > 0).double().mean()),
    }


def _distances(one: Tensor, other: Tensor) -> Tensor:
    return torch.cdist(one.double(), other.double())
