"""Small diffusion models: an untrained one on disk, and perfect ones in closed form."""

from types import SimpleNamespace

import pytest
import torch
from diffusers import DDPMScheduler, UNet2DModel
from torch import nn

from energylens.diffusion.diffuser import Diffuser


def _unet(**settings):
    """An untrained U-Net for 8x8 grey images, always the same."""
    torch.manual_seed(0)
    return UNet2DModel(
        **{
            "sample_size": 8,
            "in_channels": 1,
            "out_channels": 1,
            "block_out_channels": (8, 16),
            "layers_per_block": 1,
            "down_block_types": ("DownBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "UpBlock2D"),
            "norm_num_groups": 4,
        }
        | settings
    )


@pytest.fixture
def unet():
    """An untrained U-Net, by what differs from the usual one."""
    return _unet


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A diffusers folder as the hub's google/ddpm-cifar10-32 is one: everything side by side."""
    folder = tmp_path_factory.mktemp("ddpm")
    _unet().save_pretrained(folder)
    DDPMScheduler().save_pretrained(folder)
    return folder


class Gaussian(nn.Module):
    """The perfect noise predictor for pixels that are N(mean, std^2) in [-1, 1], each by itself:

    eps(x_t, t) = sqrt(1 - a) (x_t - sqrt(a) mean) / (a std^2 + 1 - a),  a = alphas_bar[t]; std 0 is a point mass.
    """

    def __init__(self, alphas_bar, mean, std):
        super().__init__()
        self.alphas_bar, self.mean, self.std = alphas_bar, mean, std
        self.config = SimpleNamespace(in_channels=1, sample_size=8)

    def forward(self, x_t, t):
        a = self.alphas_bar[t]
        noise = (1 - a).sqrt() * (x_t - a.sqrt() * self.mean) / (a * self.std**2 + 1 - a)
        return SimpleNamespace(sample=noise)


@pytest.fixture
def perfect():
    """A diffusion model for Gaussian pixels, by mean and std in [-1, 1]."""
    alphas_bar = DDPMScheduler().alphas_cumprod
    return lambda mean, std: Diffuser("perfect", Gaussian(alphas_bar, mean, std), alphas_bar, "")
