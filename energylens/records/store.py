"""Where the rows of one attack are kept while a profile runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

import pandas as pd
import torch
from torch import Tensor

from energylens.attacks.autoattack import Shelf
from energylens.records.record import empty_rows

Images = Mapping[str, Tensor]  # (N, C, H, W) each, in the order of a block's rows: "x_adv"


class Store(Protocol):
    """Rows of one attack on one model and data set, and their images where they are kept: a run folder, or memory."""

    @property
    def manifest(self) -> Mapping[str, Any]:
        """What the rows are of."""

    def rows(self) -> pd.DataFrame:
        """Every finished row, in the schema of the record.

        Returns:
            One row a sample.
        """

    def seconds(self) -> float:
        """What the finished rows took to compute.

        Returns:
            Seconds, of all processes together.
        """

    def images(self, indices: Sequence[int]) -> Images:
        """The images kept of these samples, in this order.

        Args:
            indices: of n samples in their split.

        Returns:
            The images by name, (n, C, H, W) each.
        """

    def write(self, rows: pd.DataFrame, seconds: float, images: Images | None = None) -> None:
        """Add a block of n rows, the seconds they took and, where they are kept, their images, (n, C, H, W) each.

        Args:
            rows: the block, n rows in the schema of the record.
            seconds: what they took.
            images: by name, (n, C, H, W) each, or None.
        """

    def shelf(self, indices: Sequence[int]) -> Shelf | None:
        """Where the block of these samples is put down before it is whole; None where nothing outlives the process.

        Args:
            indices: of the block's samples in their split.

        Returns:
            The shelf, or None.
        """

    def claimed(self, share: str, *, alone: bool = True) -> AbstractContextManager[None]:
        """Hold this share of the rows against other processes that would compute the same.

        Args:
            share: its name.
            alone: whether nobody else may hold it; else it is held only against those that would start it anew.

        Returns:
            A context inside which it is held.
        """


@dataclass
class Memory:
    """A store that is gone with the process."""

    manifest: Mapping[str, Any]
    _blocks: list[pd.DataFrame] = field(default_factory=list)
    _images: list[Images] = field(default_factory=list)
    _seconds: float = 0.0

    @classmethod
    def joined(cls, shares: Sequence[Memory]) -> Memory:
        """The rows of several processes in one store.

        Args:
            shares: one a process, one at least, all of one manifest.

        Returns:
            A store of all their rows, images and seconds.
        """
        blocks = [block for share in shares for block in share._blocks]
        images = [block for share in shares for block in share._images]
        return cls(shares[0].manifest, blocks, images, sum(share.seconds() for share in shares))

    def rows(self) -> pd.DataFrame:
        """Every row that was written, in the schema of the record.

        Returns:
            One row a sample, in the order they were written.
        """
        return pd.concat(self._blocks, ignore_index=True) if self._blocks else empty_rows()

    def seconds(self) -> float:
        """What the rows took to compute.

        Returns:
            Seconds, of all blocks together.
        """
        return self._seconds

    def images(self, indices: Sequence[int]) -> Images:
        """The images kept of these samples, in this order.

        Args:
            indices: of n samples in their split.

        Returns:
            The images by name, (n, C, H, W) each, on the CPU.
        """
        return in_order(indices, self.rows()["index"].tolist(), self._images)

    def write(self, rows: pd.DataFrame, seconds: float, images: Images | None = None) -> None:
        """Add a block of n rows, their seconds and their images (n, C, H, W), where kept, which go to the CPU.

        Args:
            rows: the block, n rows in the schema of the record.
            seconds: what they took.
            images: by name, (n, C, H, W) each, or None.
        """
        self._blocks.append(rows)
        self._seconds += seconds
        if images is not None:
            self._images.append({name: values.cpu() for name, values in images.items()})

    def shelf(self, indices: Sequence[int]) -> Shelf | None:
        """None: nothing outlives the process.

        Args:
            indices: not used.

        Returns:
            None.
        """
        return None

    def claimed(self, share: str, *, alone: bool = True) -> AbstractContextManager[None]:
        """Nothing to hold: no other process sees these rows.

        Args:
            share: not used.
            alone: not used.

        Returns:
            A context that does nothing.
        """
        return nullcontext()


def in_order(wanted: Sequence[int], there: Sequence[int], blocks: Sequence[Images]) -> Images:
    """The images of some samples, in their order.

    Args:
        wanted: the indices of n samples.
        there: those of all samples in the blocks, one after another.
        blocks: images, (m, C, H, W) each.

    Returns:
        The images by name, (n, C, H, W) each.
    """
    position = {index: row for row, index in enumerate(there)}
    rows = torch.tensor([position[index] for index in wanted])
    return {name: torch.cat([block[name] for block in blocks])[rows] for name in blocks[0]}
