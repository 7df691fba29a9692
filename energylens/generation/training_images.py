"""What generated images are held against: the energies of the training images, and the nearest of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from energylens.data import Samples
from energylens.generation.sampler import LOSSES
from energylens.inputs import device_of, float_logits

BATCH = 500  # training images at once
_KNOWN: dict[tuple[str, ...], float] = {}  # of this process: (model, data, loss, class) -> mean


def reference_energies(
    model: nn.Module, train: Samples, loss: str, labels: Tensor, known_as: tuple[str, ...] | None = None
) -> Tensor:
    """The mean loss of each class's training images.

    Args:
        model: from images in [0, 1] to logits (N, K).
        train: the training images of all classes.
        loss: a row of ``sampler.LOSSES``.
        labels: the classes asked for, (M,), integers in [0, K).
        known_as: what they are remembered by in this process (``Witness.known_as``), None for not at all.

    Returns:
        Means, (K,) nats; NaN for the classes that nobody asked for.
    """
    means = torch.full((len(train.classes),), torch.nan)
    for label in sorted(set(labels.tolist())):
        key = (*(known_as or ()), loss, str(label))
        if known_as is None or key not in _KNOWN:
            _KNOWN[key] = _mean_loss(model, train.subset((train.labels == label).nonzero()), loss)
        means[label] = _KNOWN[key]
    return means.to(device_of(model))


def _mean_loss(model: nn.Module, samples: Samples, loss: str) -> float:
    total = 0.0
    for at in range(0, len(samples), BATCH):
        x, y = (tensor.to(device_of(model)) for tensor in samples.batch(at, at + BATCH))
        logits = float_logits(model, x, samples.indices[at : at + BATCH].tolist())
        total += LOSSES[loss](logits, y).cpu().double().sum().item()
    return total / len(samples)


def nearest(images: Tensor, train: Samples, resident: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The training image nearest to each image: a guard against memorisation, zero is a copy.

    Args:
        images: (N, C, H, W) in [0, 1].
        train: the training images.
        resident: these, (n, D), where they are on the device already.

    Returns:
        Its index in its split, (N,), and its L2 distance, (N,).
    """
    flat = images.flatten(1)
    best = flat.new_full((len(flat),), torch.inf)
    found = torch.zeros(len(flat), dtype=torch.int64, device=flat.device)
    for at in range(0, len(train), BATCH):
        others = train.batch(at, at + BATCH)[0].flatten(1).to(flat) if resident is None else resident[at : at + BATCH]
        position = torch.cdist(flat, others).argmin(dim=1)  # quick, but it rounds away what tells a copy
        distance = (flat - others[position]).norm(dim=1)
        nearer = distance < best
        best[nearer], found[nearer] = distance[nearer], position[nearer] + at
    return train.indices.to(found.device)[found], best
