"""Scores against closed forms, a double loop, and torch-fidelity's on the same features."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from energylens.generation import scores
from energylens.generation.scores import Gaussian, class_score, frechet_distance, frechet_interval, kernel_distance


def normal(n, d, seed):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def with_moments(n, mean, covariance, seed):
    """Features whose sample mean and covariance are exactly these."""
    z = normal(n, len(mean), seed)
    z -= z.mean(dim=0)
    z = z @ torch.linalg.inv(torch.linalg.cholesky(z.T @ z / (n - 1)).T)
    return mean + z @ torch.linalg.cholesky(covariance).T


def test_the_frechet_distance_of_two_gaussians_is_the_closed_form():
    means, factors = normal(2, 6, 0), normal(12, 6, 1).view(2, 6, 6)
    covariances = [factor @ factor.T + 0.1 * torch.eye(6) for factor in factors]
    root = sqrtm((covariances[0] @ covariances[1]).numpy()).real
    gap = (means[0] - means[1]).square().sum() + (covariances[0] + covariances[1]).trace() - 2 * np.trace(root)
    features = [with_moments(40 + i, m, c, i) for i, (m, c) in enumerate(zip(means, covariances, strict=True))]
    assert frechet_distance(*map(Gaussian.of, features)) == pytest.approx(float(gap))
    given = [Gaussian.from_covariance(m, c) for m, c in zip(means, covariances, strict=True)]
    assert frechet_distance(*given) == pytest.approx(float(gap))


def test_commuting_covariances_have_a_simpler_one():
    a, b = torch.tensor([1.0, 4.0, 9.0]), torch.tensor([4.0, 4.0, 0.0])
    one, other = (Gaussian.from_covariance(torch.zeros(3), torch.diag(values)) for values in (a, b))
    assert frechet_distance(one, other) == pytest.approx(float((a.sqrt() - b.sqrt()).square().sum()))


def test_fewer_images_than_features_still_have_a_distance():
    few, many = normal(5, 8, 0), normal(50, 8, 1)
    covariances = [np.cov(features.numpy(), rowvar=False) for features in (few, many)]
    eigenvalues = np.linalg.eigvals(covariances[0] @ covariances[1]).astype(complex)
    gap = (few.mean(0) - many.mean(0)).square().sum()
    expected = float(gap) + sum(map(np.trace, covariances)) - 2 * np.sqrt(eigenvalues).real.sum()
    assert frechet_distance(Gaussian.of(few), Gaussian.of(many)) == pytest.approx(expected, rel=1e-6)


def test_the_class_score_runs_from_one_to_the_number_of_classes():
    assert class_score(1e5 * torch.eye(7).repeat(3, 1)) == pytest.approx(7)
    assert class_score(torch.zeros(4, 7)) == pytest.approx(1)
    assert class_score(1e5 * torch.eye(7)[[2, 2, 2]]) == pytest.approx(1)


def test_scores_are_torch_fidelitys():
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_isc import isc_features_to_metric
    from torch_fidelity.metric_kid import kid_features_to_metric
    from torch_fidelity.metric_prc import prc_features_to_metric

    made, real = 1.3 * normal(120, 16, 0) + 0.4, normal(120, 16, 1)
    quiet = {"verbose": False}
    fid = fid_statistics_to_metric(*map(fid_features_to_statistics, (made, real)), **quiet)
    assert frechet_distance(Gaussian.of(made), Gaussian.of(real)) == pytest.approx(fid["frechet_inception_distance"])
    isc = isc_features_to_metric(made, splits=1)
    assert class_score(made) == pytest.approx(isc["inception_score_mean"])
    kid = kid_features_to_metric(made, real, kid_subsets=1, kid_subset_size=120, **quiet)
    assert kernel_distance(made, real) == pytest.approx(kid["kernel_inception_distance_mean"])
    prc = prc_features_to_metric(made, real, prc_neighborhood=scores.NEAREST, **quiet)
    found = scores.manifold_scores(made, real, scores.radii(real))
    assert (found["precision"], found["recall"]) == pytest.approx((prc["precision"], prc["recall"]))
    assert 0 < found["precision"] < 1 and 0 < found["recall"] < 1


def test_density_and_coverage_by_a_double_loop(monkeypatch):
    monkeypatch.setattr(scores, "ROWS", 7)  # so that blocks end in the middle
    made, real = normal(30, 3, 0) + 0.5, normal(40, 3, 1)
    balls = [sorted(float((a - b).norm()) for b in real)[scores.NEAREST] for a in real]
    inside = np.array([[float((x - r).norm()) <= ball for r, ball in zip(real, balls, strict=True)] for x in made])
    found = scores.manifold_scores(made, real, scores.radii(real))
    assert found["density"] == pytest.approx(inside.sum() / (scores.NEAREST * 30))
    assert found["coverage"] == pytest.approx(inside.any(axis=0).mean())
    assert found["precision"] == pytest.approx(inside.any(axis=1).mean())


def test_real_images_against_themselves():
    real = normal(50, 4, 0)
    found = scores.manifold_scores(real, real, scores.radii(real))
    assert (found["precision"], found["recall"], found["coverage"]) == (1, 1, 1)
    assert frechet_distance(Gaussian.of(real), Gaussian.of(real)) == pytest.approx(0, abs=1e-9)


def test_the_interval_holds_the_scatter_over_samples():
    """Its width is that of the distances of fresh samples, within a factor; and it lies about the estimate."""
    real = Gaussian.from_covariance(torch.zeros(2), torch.eye(2))
    samples = [normal(200, 2, seed) + 1 for seed in range(60)]
    distances = torch.tensor([frechet_distance(Gaussian.of(sample), real) for sample in samples])
    low, high = torch.tensor([frechet_interval(sample, real) for sample in samples]).T
    torch.testing.assert_close((low + high) / 2, distances, atol=1e-4, rtol=0)
    width = 2 * scores.NORMAL * distances.std()
    assert 0.7 < (high - low).mean() / width < 1.4
