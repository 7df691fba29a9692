"""Noise that belongs to a sample: keyed by (seed, purpose, sample index).

A row of the record therefore does not depend on batch size, order, shard or interruption, and the caller's random state
is never touched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


def key(seed: int, purpose: str, index: int) -> int:
    """A generator seed for one sample's noise.

    Args:
        seed: the run's.
        purpose: what the noise is for; every purpose has noise of its own.
        index: the sample's index in its data set.

    Returns:
        63 bits, as an integer.
    """
    digest = hashlib.blake2b(f"{seed}|{purpose}|{index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


class NoiseSource(Protocol):
    """What an attack draws from: ``Noise``, a sample's own, or ``BatchNoise``, as fast as training wants it."""

    def uniform(self, purpose: str, like: Tensor) -> Tensor:
        """Draw from the uniform distribution U(-1, 1).

        Args:
            purpose: what the noise is for, such as the start of a restart.
            like: whose shape, type and device the noise has, (N, ...), a row a sample of the batch.

        Returns:
            The noise, (N, ...).
        """

    def normal(self, purpose: str, like: Tensor) -> Tensor:
        """Draw from the normal distribution N(0, 1).

        Args:
            purpose: what the noise is for.
            like: whose shape, type and device the noise has, (N, ...), a row a sample of the batch.

        Returns:
            The noise, (N, ...).
        """

    def take(self, rows: Tensor) -> NoiseSource:
        """The noise of some samples of the batch.

        Args:
            rows: their positions in the batch, (M,) integers.

        Returns:
            A source for batches of these M samples.
        """


@dataclass(frozen=True)
class Noise:
    """A source of noise for the samples of one batch.

    seed: the run's seed. indices: each sample's index in its data set, N of them. Noise is drawn on the CPU, so
    that every device sees the same values.
    """

    seed: int
    indices: tuple[int, ...]

    def uniform(self, purpose: str, like: Tensor) -> Tensor:
        """Draw from the uniform distribution U(-1, 1).

        Args:
            purpose: what the noise is for; the same purpose gives the same noise again.
            like: whose shape, type and device the noise has, (N, ...), a row an index.

        Returns:
            The noise, (N, ...).
        """
        return self._draw(purpose, like, lambda shape, g: torch.rand(shape, generator=g) * 2 - 1)

    def normal(self, purpose: str, like: Tensor) -> Tensor:
        """Draw from the normal distribution N(0, 1).

        Args:
            purpose: what the noise is for; the same purpose gives the same noise again.
            like: whose shape, type and device the noise has, (N, ...), a row an index.

        Returns:
            The noise, (N, ...).
        """
        return self._draw(purpose, like, lambda shape, g: torch.randn(shape, generator=g))

    def integers(self, purpose: str, high: int, like: Tensor) -> Tensor:
        """Draw whole numbers, all of them as likely.

        Args:
            purpose: what the noise is for; the same purpose gives the same noise again.
            high: one more than the largest number; the smallest is 0.
            like: whose shape, type and device the noise has, (N,).

        Returns:
            The numbers, (N,), in [0, high).
        """
        return self._draw(purpose, like, lambda shape, g: torch.randint(high, shape, generator=g))

    def take(self, rows: Tensor) -> Noise:
        """The noise of some samples of the batch.

        Args:
            rows: their positions in the batch, (M,) integers.

        Returns:
            A source of the same seed with the indices of these M samples.
        """
        return Noise(self.seed, tuple(self.indices[i] for i in rows.tolist()))

    def _draw(self, purpose: str, like: Tensor, draw: Callable[[Sequence[int], torch.Generator], Tensor]) -> Tensor:
        generator = torch.Generator()
        values = [draw(like.shape[1:], generator.manual_seed(key(self.seed, purpose, index))) for index in self.indices]
        return torch.stack(values).to(like)


@dataclass(frozen=True)
class BatchNoise:
    """Noise for whole batches, drawn in turn from one generator on the device, torch's own if None.

    It is for training, where no row of a record depends on it.
    """

    generator: torch.Generator | None = None

    def uniform(self, purpose: str, like: Tensor) -> Tensor:
        """Draw from the uniform distribution U(-1, 1).

        Args:
            purpose: ignored, as every draw is fresh.
            like: whose shape, type and device the noise has, (N, ...).

        Returns:
            The noise, (N, ...).
        """
        return torch.empty_like(like).uniform_(-1, 1, generator=self.generator)

    def normal(self, purpose: str, like: Tensor) -> Tensor:
        """Draw from the normal distribution N(0, 1).

        Args:
            purpose: ignored, as every draw is fresh.
            like: whose shape, type and device the noise has, (N, ...).

        Returns:
            The noise, (N, ...).
        """
        return torch.empty_like(like).normal_(generator=self.generator)

    def take(self, rows: Tensor) -> BatchNoise:
        """The noise of some samples of the batch: the next draw is fresh whichever they are.

        Args:
            rows: their positions in the batch, (M,) integers; ignored.

        Returns:
            Itself.
        """
        return self
