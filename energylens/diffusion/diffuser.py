"""What a diffusion model is here: a frozen noise predictor and its schedule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from energylens.errors import InputError

NAME_ONE = "name one that fits with --diffusion or diff-pgd,diffusion=..., a diffusers folder or hub id"


@dataclass(frozen=True, eq=False)
class Diffuser:
    """An unconditional DDPM on images in [-1, 1], in eval mode, its parameters frozen. Make one with `load_diffuser`.

    Attributes:
        name: what it was asked for by.
        network: a diffusers `UNet2DModel`, (x_t, t) -> the noise in x_t.
        alphas_bar: (T,) float32 on the network's device, the cumulative product of 1 - beta.
        digest: sha256, in hex, of all that its answers depend on.
    """

    name: str
    network: nn.Module
    alphas_bar: Tensor
    digest: str

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of its images."""
        config: Any = self.network.config
        size = config.sample_size
        height, width = (size, size) if isinstance(size, int) else size
        return (config.in_channels, height, width)

    def timesteps(self, ddim_steps: int) -> range:
        """The T timesteps respaced (arXiv 2010.02502).

        "ddim50" of 1000 is every twentieth.

        Args:
            ddim_steps: how many to keep, 1 to T.

        Returns:
            0, T // ddim_steps, 2 (T // ddim_steps), ..., ddim_steps of them.
        """
        stride = len(self.alphas_bar) // ddim_steps
        return range(0, stride * ddim_steps, stride)

    def predict_noise(self, x_t: Tensor, timestep: int) -> Tensor:
        """The noise in noisy images, eps(x_t, timestep).

        Args:
            x_t: (N, C, H, W), as they are at this timestep.
            timestep: 0 to T - 1.

        Returns:
            The noise, (N, C, H, W).
        """
        noise: Tensor = self.network(x_t, timestep).sample
        return noise

    def check_fit(self, image_shape: tuple[int, ...]) -> None:
        """Refuse images that it was not made for.

        Args:
            image_shape: (C, H, W).

        Raises:
            InputError: for another shape than its own.
        """
        if image_shape != self.image_shape:
            raise InputError(
                f"the diffusion model {self.name} was made for images of shape {self.image_shape}, these have "
                f"{image_shape}: {NAME_ONE}"
            )

    def check_schedule(self, ddim_steps: int) -> None:
        """Refuse a respacing that the schedule does not have.

        Args:
            ddim_steps: how many timesteps are asked for.

        Raises:
            InputError: for fewer than 1 or more than T timesteps.
        """
        if not 1 <= ddim_steps <= len(self.alphas_bar):
            raise InputError(
                f"ddim_steps={ddim_steps}, but the schedule of {self.name} has {len(self.alphas_bar)} timesteps: "
                f"give 1 to {len(self.alphas_bar)}"
            )
