"""The images of a run: uint8 on the device, split once into training, validation, probe and test."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from energylens.data import Samples, load_data
from energylens.data.sources import Memory
from energylens.errors import InputError
from energylens.noise import key
from energylens.training.augmentation import AUGMENTATIONS
from energylens.training.omission import omission
from energylens.training.settings import TrainSettings

CHUNK = 1000  # images made uint8 at once
BATCH = 250  # images judged at once


@dataclass(frozen=True)
class Images:
    """pixels: (N, C, H, W) uint8 in [0, levels]; labels: (N,) int64 in [0, K); both on the device."""

    pixels: Tensor
    labels: Tensor
    levels: int

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: Tensor | slice) -> Images:
        return Images(self.pixels[rows], self.labels[rows], self.levels)

    @property
    def x(self) -> Tensor:
        """(N, C, H, W) float32 in [0, 1]."""
        return self.pixels.float() / self.levels


@dataclass(frozen=True)
class Share:
    """This process's part of images that several look at together: its ``rank`` from 0, of ``ranks``."""

    rank: int = 0
    ranks: int = 1

    def batches(self, images: Images) -> Iterator[tuple[Tensor, Tensor, tuple[int, ...]]]:
        """This process's part, BATCH samples at a time.

        Args:
            images: all of them, in the order that every process has.

        Yields:
            x: (B, C, H, W) float32 in [0, 1], y: (B,), and each sample's position among the images.
        """
        positions = range(self.rank, len(images), self.ranks)
        for start in range(0, len(positions), BATCH):
            rows = positions[start : start + BATCH]
            part = images[torch.tensor(rows, device=images.labels.device)]
            yield part.x, part.labels, tuple(rows)


@dataclass(frozen=True)
class TrainingData:
    """The images of a run.

    Attributes:
        train: what is learnt.
        probe: the first of it, without augmentation and before any were left out, so that it is the same whatever rule
            leaves them out.
        val: held back, maybe empty.
        test: the test set.
        digest: of all that the images follow from, and of who was left out.
        former_digest: what earlier versions told in its place.
    """

    train: Images
    probe: Images
    val: Images
    test: Images
    classes: tuple[str, ...]
    digest: dict[str, Any]
    former_digest: dict[str, Any]

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(C, H, W)."""
        return tuple(self.train.pixels.shape[1:])

    def statistics(self) -> tuple[list[float], list[float]]:
        """How bright the training images are, channel by channel.

        Returns:
            Mean and standard deviation of each channel, in units of [0, 1].
        """
        # from histograms: whole numbers, so that every device and thread count gives the same bits
        counts = torch.stack([torch.bincount(c.flatten().long(), minlength=256) for c in self.train.pixels.unbind(1)])
        share = counts.cpu().double() / counts.sum(1, keepdim=True).cpu()
        level = torch.arange(256, dtype=torch.float64) / self.train.levels
        mean = share @ level
        std = (share @ level.square() - mean.square()).sqrt()
        return [round(value, 6) for value in mean.tolist()], [round(value, 6) for value in std.tolist()]


def load_training_data(settings: TrainSettings, root: str | Path | None, device: torch.device) -> TrainingData:
    """The data set's two splits, cut to the classes and numbers asked for.

    Args:
        settings: of the run.
        root: where data sets lie; None for the usual place.
        device: that holds the images.

    Returns:
        What is learnt from, probed, held out and tested.

    Raises:
        InputError: for data that is not there, or that does not fill one batch.
        RunError: for a file that cannot be read.
    """
    train, test = (
        load_data(settings.dataset, classes=settings.classes, split=split, data_root=root)
        for split in ("train", "test")
    )
    chosen = train if settings.per_class is None else _first_of_each(train, settings.per_class)
    held, rest = _split(len(chosen), settings)
    digest: dict[str, Any] = {"train": train.digest, "test": test.digest}
    learnt = rest
    if settings.omit:
        left_out = omission(
            chosen, rest, settings.omit, share=settings.omit_share or 0.0, by=settings.omit_by, seed=settings.seed,
            device=device,
        )  # fmt: skip
        learnt = rest[~torch.isin(rest, left_out.positions)]
        digest["left_out"] = left_out.told()
    if len(learnt) < settings.batch_size:
        raise InputError(f"{len(learnt)} training images do not fill one batch: --batch-size is {settings.batch_size}")
    everything, tested = _on_device(chosen, device), _on_device(test, device)
    probed, limit = settings.eval_samples or len(rest), settings.eval_samples or len(tested)
    return TrainingData(
        everything[learnt],
        everything[rest[:probed]],
        everything[held[:limit]],
        tested[:limit],
        train.classes,
        digest,
        digest
        | {name: samples.former_digest or samples.digest for name, samples in (("train", train), ("test", test))},
    )


def _first_of_each(samples: Samples, per_class: int) -> Samples:
    """The first per_class samples of each class."""
    members = [(samples.labels == label).nonzero().flatten()[:per_class] for label in range(len(samples.classes))]
    if (fewest := min(map(len, members))) < per_class:
        raise InputError(f"--per-class {per_class}: a class has {fewest} training images; give fewer")
    return samples.subset(torch.cat(members))


def _split(n: int, settings: TrainSettings) -> tuple[Tensor, Tensor]:
    """Positions held back for validation, and those to learn from, each in an order shuffled under the seed."""
    order = torch.randperm(n, generator=Generator().manual_seed(key(settings.seed, "validation", 0)))
    held = round(settings.val_fraction * n)
    return order[:held], order[held:]


def _on_device(samples: Samples, device: torch.device) -> Images:
    """The samples as uint8."""
    levels = samples.source.levels if isinstance(samples.source, Memory) else 255
    starts = range(0, len(samples), CHUNK)
    pixels = [(samples.batch(start, start + CHUNK)[0] * levels).round().to(torch.uint8) for start in starts]
    return Images(torch.cat(pixels).to(device), samples.labels.to(device), levels)


@dataclass(frozen=True)
class Batches:
    """The batches of the epochs, each a function of (seed, epoch) alone, shared out over the ranks.

    The last images that do not fill a batch are left to the next shuffle.

    Attributes:
        images: those to learn from.
        batch_size: images in a batch, of all ranks together.
        augment: a name in AUGMENTATIONS.
        seed: of the order.
        channels_last: whether x is laid out so.
        replays: how many steps a batch is used for, one where it is None.
    """

    images: Images
    batch_size: int
    augment: str
    seed: int
    channels_last: bool = False
    replays: int | None = None

    def __len__(self) -> int:
        """Steps in an epoch."""
        return len(self.images) // self.batch_size * (self.replays or 1)

    @property
    def layout(self) -> torch.memory_format:
        """The memory layout of x."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def of(self, epoch: int, generator: Generator, share: Share | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """The batch of each step of an epoch, from 0, or a process's share of it.

        Args:
            epoch: from 0; it and the seed give the order.
            generator: what augmentation draws from, on the device of the images.
            share: the process's part of every batch; None for all of it.

        Yields:
            x: (B, C, H, W) float32 in [0, 1], augmented by draws from the generator, and y: (B,).
        """
        share = share or Share()
        augment = AUGMENTATIONS[self.augment]
        shuffle = Generator().manual_seed(key(self.seed, "order", epoch))
        order = torch.randperm(len(self.images), generator=shuffle).to(self.images.labels.device)
        full = len(order) // self.batch_size * self.batch_size
        for rows in order[:full].view(-1, self.batch_size):
            batch = self.images[rows[share.rank :: share.ranks]]
            x = augment(batch.pixels, generator).float() / batch.levels
            yield from repeat((x.contiguous(memory_format=self.layout), batch.labels), self.replays or 1)
