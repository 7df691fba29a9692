"""What all benchmarks are told: which model and images, how many turns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

import energylens as el


@dataclass(frozen=True)
class Setting:
    """name: a model of the zoo; n: how many test images; turns: repeats; root: where data sets lie; device."""

    name: str = "autoattack-resnet18"
    n: int = 64
    turns: int = 5
    root: Path | None = None
    device: str = "cpu"

    def model(self) -> nn.Module:
        """The model, in eval mode on the device."""
        return el.load_model(self.name, device=self.device)

    def images(self, model: nn.Module) -> tuple[Tensor, Tensor]:
        """The first n test images (N, C, H, W) of its data set and their labels (N,), on the device."""
        samples = el.load_data(model.card.dataset, n=self.n, data_root=self.root)
        return samples.images.to(self.device), samples.labels.to(self.device)
