"""R(x) against diffusers' own schedulers, and against what a perfect denoiser must give."""

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler

from energylens.diffusion.loading import load_diffuser
from energylens.diffusion.purifier import denoise, purify, sample


@pytest.fixture
def x():
    return torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def noise():
    return torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(2))


@torch.no_grad()
def by_diffusers(diffuser, x_t, t, ddim_steps):
    """The images on the way from index t to 0, by diffusers' DDIM."""
    scheduler = DDIMScheduler()
    scheduler.set_timesteps(ddim_steps)
    images = []
    for timestep in scheduler.timesteps[-1 - t :]:
        noise = diffuser.network(x_t, timestep).sample
        x_t = scheduler.step(noise, timestep, x_t, eta=0.0, use_clipped_model_output=True).prev_sample
        images.append((x_t + 1) / 2)
    return images


@pytest.mark.parametrize(("t", "ddim_steps"), [(0, 50), (3, 50), (5, 10), (9, 10), (6, 7)])
def test_it_is_diffusers_ddim_on_images_noised_by_diffusers(folder, x, noise, t, ddim_steps):
    diffuser = load_diffuser(str(folder))
    timestep = diffuser.timesteps(ddim_steps)[t]
    x_t = DDPMScheduler().add_noise(2 * x - 1, noise, torch.tensor([timestep]))
    expected = by_diffusers(diffuser, x_t, t, ddim_steps)
    assert len(expected) == t + 1
    torch.testing.assert_close(purify(diffuser, x, noise, t=t, ddim_steps=ddim_steps), expected[-1], atol=1e-5, rtol=0)


def test_every_image_on_the_way_is_diffusers(folder, noise):
    diffuser, ddim_steps = load_diffuser(str(folder)), 10
    calls = []
    hook = diffuser.network.register_forward_hook(lambda module, args, out: calls.append(args))
    denoise(diffuser, noise, t=9, ddim_steps=ddim_steps)
    hook.remove()
    theirs = by_diffusers(diffuser, noise, 9, ddim_steps)
    assert [timestep for _, timestep in calls] == list(range(900, -1, -100))
    for (image, _), expected in zip(calls[1:], theirs[:-1], strict=True):
        torch.testing.assert_close((image + 1) / 2, expected, atol=1e-5, rtol=0)


def test_a_world_of_one_image_is_all_that_comes_back(perfect, x, noise):
    point = torch.linspace(-1, 1, 64).view(1, 8, 8)
    expected = ((point + 1) / 2).expand(4, 1, 8, 8)
    torch.testing.assert_close(purify(perfect(point, 0), x, noise, t=3, ddim_steps=50), expected, atol=1e-4, rtol=0)


def test_a_gaussian_world_is_shrunk_by_the_cosines_of_its_steps(perfect, x, noise):
    """With unit variance, and a = cos^2 of an angle, DDIM multiplies by cos(angle_i - angle_{i-1}) a step."""
    diffuser, t, ddim_steps = perfect(0.0, 1.0), 3, 50
    x = 0.4 + 0.2 * x  # so that nothing is clamped
    a = [diffuser.alphas_bar[20 * i] for i in range(t + 1)]
    angles = torch.stack([torch.tensor(1.0), *a]).sqrt().acos()
    x_t = a[t].sqrt() * (2 * x - 1) + (1 - a[t]).sqrt() * noise
    expected = x_t * angles.diff().cos().prod()
    torch.testing.assert_close(
        2 * purify(diffuser, x, noise, t=t, ddim_steps=ddim_steps) - 1, expected, atol=1e-5, rtol=0
    )


def test_samples_of_a_gaussian_world_have_its_spread(perfect):
    noise = torch.randn(50, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    images = 2 * sample(perfect(0.2, 0.1), noise, ddim_steps=1000) - 1
    assert images.mean().item() == pytest.approx(0.2, abs=0.01)
    assert images.std().item() == pytest.approx(0.1, abs=0.01)


def test_it_depends_on_images_and_noise_alone(folder, x, noise):
    diffuser = load_diffuser(str(folder))
    whole = purify(diffuser, x, noise, t=2, ddim_steps=50)
    torch.manual_seed(7)
    parts = torch.cat([purify(diffuser, x[i : i + 1], noise[i : i + 1], t=2, ddim_steps=50) for i in range(4)])
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=0)
    assert not torch.allclose(purify(diffuser, x, noise.flip(0), t=2, ddim_steps=50), whole, atol=1e-2)


def test_its_gradient_is_that_of_finite_differences(perfect, x, noise):
    """In the Gaussian world R is affine in x where nothing is clamped; its slope is the product of the cosines."""
    diffuser = perfect(0.0, 1.0)
    x = (0.4 + 0.2 * x).requires_grad_(True)
    (gradient,) = torch.autograd.grad(purify(diffuser, x, noise, t=3, ddim_steps=50).sum(), x)
    shifted = purify(diffuser, x + 0.05, noise, t=3, ddim_steps=50)
    slope = (shifted - purify(diffuser, x, noise, t=3, ddim_steps=50)) / 0.05
    torch.testing.assert_close(gradient, slope.detach(), atol=1e-4, rtol=0)
