"""The chain against its closed form on a linear model; who has stopped stands still."""

import pytest
import torch
from torch import nn

import energylens as el
from energylens.generation.sampler import LOSSES, sample
from energylens.generation.settings import GenerationSettings
from energylens.noise import Noise

NONE = torch.full((6,), torch.nan)


class Linear(nn.Module):
    """Logits W x, so that grad E(x, y) = -W_y everywhere."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 9, generator=torch.Generator().manual_seed(0)))
        self.batches = []

    def forward(self, x):
        self.batches.append(len(x))
        return x.flatten(1) @ self.weight.T


@pytest.fixture
def setting():
    """A model, six starts in the middle of [0, 1], and their labels."""
    start = 0.5 + 0.01 * torch.rand(6, 1, 3, 3, generator=torch.Generator().manual_seed(1))
    return Linear(), start, torch.arange(6) % 4


def run(model, x, y, reference=NONE, indices=range(6), **settings):
    noise = Noise(0, tuple(indices))
    return sample(model, x, y, noise, reference, **GenerationSettings(**({"noise": 0.0} | settings)).of_chains)


def test_momentum_on_a_linear_model_is_a_geometric_series(setting):
    model, x, y = setting
    zeta, eta, steps = 0.8, 1e-3, 7
    chain = run(model, x, y, steps=steps, step_size=eta, momentum=zeta)
    moved = sum((1 - zeta**k) / (1 - zeta) for k in range(1, steps + 1)) * eta / 2
    expected = x + moved * model.weight.detach()[y].view_as(x)
    torch.testing.assert_close(chain.images, expected, atol=1e-6, rtol=0)
    assert chain.steps.tolist() == [steps] * 6


def test_the_energies_are_those_of_the_iterates(setting):
    model, x, y = setting
    chain = run(model, x, y, steps=3)
    assert chain.energies.shape == (6, 4, 2)
    for step in range(4):
        logits = run(model, x, y, steps=step).logits
        expected = torch.stack([el.marginal_energy(logits), el.joint_energy(logits, y)], dim=1).detach()
        torch.testing.assert_close(chain.energies[:, step], expected)
    torch.testing.assert_close(chain.logits, model(chain.images).detach())


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_falls(loss, setting):
    model, x, y = setting
    before, after = (LOSSES[loss](model(images), y) for images in (x, run(model, x, y, loss=loss).images))
    assert (after < before).all()


def test_images_stay_in_the_box(setting):
    model, x, y = setting
    images = run(model, 3 * x - 1, y, step_size=10.0, noise=0.5, steps=5).images
    assert images.min() == 0 and images.max() == 1


def test_noise_has_its_standard_deviation(setting):
    model, x, y = setting
    moved = run(model, x, y, steps=1, step_size=1e-9, noise=0.01).images - x
    assert moved.std() == pytest.approx(0.01, rel=0.3)


def test_guidance_leads_to_the_reference_from_both_sides(setting):
    model, x, y = setting
    energy = el.joint_energy(model(x), y).detach()
    reference = energy + torch.tensor([0.5, -0.5] * 3)
    chain = run(model, x, y, reference, guidance="reference-energy", step_size=0.01, steps=200, momentum=0.0)
    torch.testing.assert_close(chain.energies[:, -1, 1], reference, atol=0.01, rtol=0)


def test_a_stopped_sample_leaves_the_batch_and_never_moves_again(setting):
    model, x, y = setting
    energy = el.joint_energy(model(x), y).detach()
    reference = energy - torch.tensor([0.0, 0.1, 0.2, 0.3, 0.4, 100.0])
    model.batches.clear()
    own = {"noise": 0.001, "step_size": 2e-3, "steps": 200}
    chain = run(model, x, y, reference, stop="reference-energy", tolerance=2.5e-3, **own)
    steps = chain.steps.tolist()
    assert steps[0] == 0 and len(set(steps)) == 6 and steps[-1] == 200
    assert model.batches == [sum(step >= at for step in steps) for at in range(201)]
    for row, last in enumerate(steps):
        alone = run(model, x[row : row + 1], y[row : row + 1], NONE[:1], [row], **own | {"steps": last})
        torch.testing.assert_close(chain.images[row], alone.images[0], atol=1e-6, rtol=0)
        path = chain.energies[row, :, 1]
        assert path[: last + 1].isfinite().all() and path[last + 1 :].isnan().all()
        if last < 200:
            assert abs(path[last] - reference[row]) < 0.05 and (abs(path[:last] - reference[row]) >= 0.05).all()


def test_only_the_images_gradient_is_computed(setting):
    model, x, y = setting
    run(model, x, y, steps=2)
    assert model.weight.grad is None and not x.requires_grad


def test_nan_in_a_chain_is_an_error_that_names_the_sample(setting):
    model, x, y = setting

    class Bursting(nn.Module):
        def forward(self, images):
            logits = model(images)
            return torch.where(
                (logits[:, :1] > logits[:, :1].min() + 1e-9) | (len(model.batches) < 4), logits, torch.nan
            )

    with pytest.raises(el.RunError, match=r"the chain of sample 1\d runs into NaN or infinity at step \d"):
        run(Bursting(), x, y, indices=range(10, 16))


def test_a_model_without_gradient_is_refused(setting):
    model, x, y = setting

    class Detached(nn.Module):
        def forward(self, images):
            return model(images).detach()

    with pytest.raises(el.InputError, match="carry no gradient"):
        run(Detached(), x, y)
