"""A data set and the samples chosen from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from energylens.data.choice import choose_indices
from energylens.data.images import as_labels, as_pixels, brightest, check_labels, check_levels
from energylens.data.sources import Memory, Source
from energylens.errors import InputError, tell


@dataclass(frozen=True, eq=False)
class Samples:
    """Chosen samples of one split of a data set.

    Attributes:
        name: of the data set.
        split: of the data set.
        indices: (n,) int64, positions in the whole split, ascending. They, not positions in the selection, name a
            sample.
        source: the whole split.
        kept: which of the data set's labels 0, 1, ... stand for here, where ``of_classes`` left some out; None for all.
    """

    name: str
    split: str
    indices: Tensor = field(repr=False)
    source: Source = field(repr=False)
    kept: tuple[int, ...] | None = field(default=None, repr=False)

    @staticmethod
    def from_tensors(x: Any, y: Any, classes: Sequence[str] | None = None, name: str = "tensors") -> Samples:
        """Your own images as samples (split "all").

        A Note says what was converted.

        Args:
            x: (N, C, H, W), float in [0, 1] or uint8, a tensor or a numpy array, see `as_pixels`.
            y: (N,) integers in [0, K), a tensor, an array or a list.
            classes: K names; None for "0", "1", ... up to the largest label.
            name: of the data set.

        Returns:
            All N of them, in their order.

        Raises:
            InputError: for anything else.

        Example:
            >>> samples = Samples.from_tensors(torch.rand(4, 3, 8, 8), [0, 1, 2, 1])
            >>> len(samples), samples.classes
            (4, ('0', '1', '2'))
        """
        pixels, converted = as_pixels(x)
        samples = held(pixels, as_labels(y), classes, name)
        if converted:
            tell(f"images came as {', '.join(converted)}")
        return samples

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def classes(self) -> tuple[str, ...]:
        """The K class names, in the order of the labels."""
        names = self.source.classes
        return names if self.kept is None else tuple(names[label] for label in self.kept)

    @property
    def title(self) -> str:
        """The data set in words: ``cifar10``, or ``cifar10 (classes 0, 1, 6, 7)``."""
        return self.name if self.kept is None else f"{self.name} (classes {', '.join(map(str, self.kept))})"

    @property
    def labels(self) -> Tensor:
        """(n,) int64 in [0, K)."""
        return self._numbered(self.source.labels[self.indices])

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(C, H, W)."""
        return self.source.image_shape

    @property
    def digest(self) -> str:
        """sha256, in hex, of the whole split's content now, the same whichever samples are chosen."""
        return self.source.digest

    @property
    def former_digest(self) -> str | None:
        """What earlier versions named the data by, where that was another."""
        return self.source.former_digest

    @property
    def images(self) -> Tensor:
        """All chosen images at once: (n, C, H, W) float32 in [0, 1]. For what fits into memory; else `batch`."""
        return self.source.images(self.indices)

    def batch(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Images and labels at the selection's positions start:stop, as in a slice.

        Args:
            start: the first position.
            stop: the position behind the last one.

        Returns:
            Images (B, C, H, W) float32 in [0, 1], and labels (B,) int64 in [0, K).

        Raises:
            RunError: if a file does not decode.
        """
        indices = self.indices[start:stop]
        return self.source.images(indices), self._numbered(self.source.labels[indices])

    def _numbered(self, labels: Tensor) -> Tensor:
        """The data set's labels, which are among the kept, as they are numbered here."""
        if self.kept is None:
            return labels
        number = torch.zeros(len(self.source.classes), dtype=torch.int64)
        number[list(self.kept)] = torch.arange(len(self.kept))
        return number[labels]

    def of_classes(self, labels: Sequence[int]) -> Samples:
        """The samples of these classes, renumbered: labels[k] becomes k.

        Args:
            labels: two or more different ones in [0, K).

        Returns:
            The selection's samples of these classes, with labels in [0, len(labels)).

        Raises:
            InputError: otherwise, and where nothing is left.

        Example:
            >>> from energylens.data import load_data
            >>> some = load_data("digits").of_classes([7, 1]).choose(3, "first")
            >>> some.labels.tolist(), some.classes, some.title
            ([1, 1, 0], ('7', '1'), 'digits (classes 7, 1)')
        """
        known = range(len(self.classes)) if self.kept is None else self.kept
        if len(set(labels)) < max(len(labels), 2) or not all(0 <= label < len(known) for label in labels):
            raise InputError(
                f"classes {', '.join(map(str, labels))} came; expected two or more different labels of {self.title}, "
                f"0 to {len(known) - 1}."
            )
        members = torch.isin(self.labels, torch.tensor(labels)).nonzero().flatten()
        return replace(self.subset(members), kept=tuple(known[label] for label in labels))

    def choose(self, n: int | None, how: str, seed: int = 0) -> Samples:
        """Choose n of the selection's samples, or all for None, by the rules of `load_data`.

        Args:
            n: how many, 1 to as many as there are; None for all.
            how: "first", "random" or "balanced".
            seed: of a random choice.

        Returns:
            The chosen samples, in ascending order of their indices.

        Raises:
            InputError: for another rule, or an n that cannot be had.

        Example:
            >>> from energylens.data import load_data
            >>> load_data("digits").choose(20, "balanced").choose(2, "first").indices.tolist()
            [0, 1]
        """
        return self.subset(choose_indices(self.labels, len(self.classes), n, how, seed))

    def subset(self, positions: Sequence[int] | Tensor) -> Samples:
        """The samples at these positions of the selection, whatever their order.

        Args:
            positions: distinct integers in [0, len(self)), at least one, in a list or a tensor, (M,).

        Returns:
            The M samples, in ascending order of their indices.

        Raises:
            InputError: otherwise.
        """
        wanted = torch.as_tensor(positions).flatten()
        expected = f"expected distinct integers in [0, {len(self) - 1}]"
        if len(wanted) == 0:
            raise InputError(f"no positions came; {expected}, at least one.")
        if wanted.is_floating_point() or wanted.dtype == torch.bool:
            raise InputError(f"positions are {wanted.dtype}; {expected} (of a mask: mask.nonzero()).")
        wanted = wanted.to("cpu", torch.int64).sort().values
        if wanted[0] < 0 or wanted[-1] >= len(self):
            raise InputError(f"positions range over [{wanted[0]}, {wanted[-1]}]; {expected}.")
        if (repeated := wanted[1:][wanted[1:] == wanted[:-1]]).numel():
            raise InputError(f"position {repeated[0]} comes more than once; {expected}.")
        return replace(self, indices=self.indices[wanted])


def held(pixels: Tensor, labels: Tensor, classes: Sequence[str] | None, name: str) -> Samples:
    """Pixels and labels as samples, held in memory as they are.

    Args:
        pixels: (N, C, H, W), uint8, or float32 in [0, 1], as of `as_pixels`.
        labels: (N,) integers in [0, K).
        classes: K names; None for "0", "1", ... up to the largest label.
        name: of the data set.

    Returns:
        The samples, of a split "all".

    Raises:
        InputError: for labels outside their range, or uint8 pixels that are 0 and 1 alone.
    """
    check_levels(brightest(pixels))
    check_labels(labels, len(pixels), None if classes is None else len(classes))
    names = map(str, range(int(labels.max()) + 1)) if classes is None else classes
    levels = 255 if pixels.dtype == torch.uint8 else 1
    source = Memory(tuple(names), labels.cpu(), pixels.cpu(), levels=levels)
    return Samples(name, "all", torch.arange(len(pixels)), source)
