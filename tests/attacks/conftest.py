"""Models on which the right answer is known."""

import pytest
import torch
from torch import nn

from energylens.noise import Noise


@pytest.fixture
def linear():
    """Two classes cut by a hyperplane: f(x) = [w.x + b, 0]. Class 0 where w.x + b > 0; no w is zero."""
    generator = torch.Generator().manual_seed(0)
    flat = nn.Linear(12, 2)
    with torch.no_grad():
        w = torch.randn(12, generator=generator)
        w += w.sign() * 0.1
        flat.weight.copy_(torch.stack([w, torch.zeros(12)]))
        flat.bias.copy_(torch.stack([-0.5 * w.sum(), torch.tensor(0.0)]))  # grey lies on the hyperplane
    return nn.Sequential(nn.Flatten(), flat).eval()


@pytest.fixture
def images():
    """32 images of shape (3, 2, 2), far enough from 0 and 1 that an eps of 0.1 meets no border."""
    return 0.35 + 0.3 * torch.rand(32, 3, 2, 2, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def labels(linear, images):
    with torch.no_grad():
        return linear(images).argmax(dim=1)


@pytest.fixture
def noise():
    return Noise(0, tuple(range(32)))
