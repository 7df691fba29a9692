"""Where a whole split's pixels come from: memory, or files decoded when a batch asks for them."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from energylens.data.contents import file_hashes
from energylens.data.pictures import decoded
from energylens.data.preprocessing import Preprocessing
from energylens.errors import InputError, RunError


@dataclass(frozen=True, eq=False)
class Source(ABC):
    """A whole split: K class names, N labels and, on request, images.

    Attributes:
        classes: the K class names, in the order of the labels.
        labels: (N,) int64 in [0, K).
    """

    classes: tuple[str, ...]
    labels: Tensor

    @cached_property
    def image_shape(self) -> tuple[int, ...]:
        """(C, H, W) of every image."""
        return tuple(self.images(torch.tensor([0])).shape[1:])

    @property
    @abstractmethod
    def digest(self) -> str:
        """sha256, in hex, of what the split holds now: pixels may change in place."""

    @property
    def former_digest(self) -> str | None:
        """What earlier versions told as the digest, where that was another."""
        return None

    @abstractmethod
    def images(self, indices: Tensor) -> Tensor:
        """The images at these indices.

        Args:
            indices: (B,) int64 in [0, N).

        Returns:
            (B, C, H, W) float32 in [0, 1].
        """


@dataclass(frozen=True, eq=False)
class Memory(Source):
    """Pixels held as they came and converted a batch at a time.

    Attributes:
        pixels: (N, C, H, W), uint8 in [0, levels] or float32 in [0, 1] (levels 1).
        levels: the pixels' value of white.
    """

    pixels: Tensor
    levels: int = 255

    @property
    def digest(self) -> str:
        """sha256 of dtype, shape, pixels and labels, computed anew each time: a user's tensor may change in place."""
        return sha256_of(f"{self.pixels.dtype} {tuple(self.pixels.shape)} {self.levels}\n", self.pixels, self.labels)

    def images(self, indices: Tensor) -> Tensor:
        """The images at some indices.

        Args:
            indices: (B,) int64.

        Returns:
            Images, (B, C, H, W) float32 in [0, 1].
        """
        return self.pixels[indices].to(torch.float32).div_(self.levels)


def sha256_of(header: str, *tensors: Tensor) -> str:
    """sha256, in hex, of a text and the bytes of tensors on the CPU.

    Args:
        header: what else the digest depends on.
        *tensors: of any shape and type, on the CPU.

    Returns:
        64 hexadecimal digits.
    """
    sha = hashlib.sha256(header.encode())
    for tensor in tensors:
        sha.update(tensor.contiguous().numpy().data)
    return sha.hexdigest()


@dataclass(frozen=True, eq=False)
class Prepared(Source):
    """The pictures of `Memory`, resized and cropped as 8-bit pictures like those of `Files`.

    Attributes:
        source: the pictures.
        preprocessing: how they are resized and cropped.
    """

    source: Memory
    preprocessing: Preprocessing

    @property
    def digest(self) -> str:
        """sha256 of the preprocessing's name and the digest of what it prepares."""
        return sha256_of(f"{self.preprocessing.name}\n{self.source.digest}\n")

    def images(self, indices: Tensor) -> Tensor:
        """The images at some indices, resized and cropped.

        Args:
            indices: (B,) int64.

        Returns:
            Images, (B, C, H, W) float32 in [0, 1].
        """
        pixels = self.source.pixels[indices]
        if pixels.dtype != torch.uint8 or self.source.levels != 255:
            pixels = self.source.images(indices).mul_(255).round_().to(torch.uint8)
        return self.preprocessing.images(pixels)


def prepared(source: Source, preprocessing: Preprocessing) -> Source:
    """The source itself, where it comes prepared or nothing is to be done, else its pictures resized and cropped.

    Args:
        source: of pictures held in memory, or one that prepares its own.
        preprocessing: what is asked for.

    Returns:
        A source of prepared images.
    """
    if isinstance(source, Memory) and preprocessing != Preprocessing():
        return Prepared(source.classes, source.labels, source, preprocessing)
    return source


@dataclass(frozen=True, eq=False)
class Files(Source):
    """Image files decoded per batch, never all at once.

    Attributes:
        folder: where they lie.
        paths: N files relative to the folder.
        transform: PIL image (RGB) -> (C, H, W) float32 in [0, 1].
        preprocessing: the transform's name, part of the digest because it changes the images.
    """

    folder: Path
    paths: tuple[str, ...]
    transform: Callable[[Any], Tensor]
    preprocessing: str

    @cached_property
    def image_shape(self) -> tuple[int, ...]:
        """(C, H, W) of the first image; all have one shape."""
        return tuple(self._decode(0).shape)

    @property
    def digest(self) -> str:
        """sha256 of the preprocessing's name and, in the order of the indices, every file's path, content and label.

        Asks for every file's state each time, and reads those that have changed since (see ``contents.py``).
        """
        return self._digest_of(lambda: file_hashes(self.folder, self.paths))

    @property
    def former_digest(self) -> str:
        """The same with sizes in the contents' place, as earlier versions named the data."""
        return self._digest_of(lambda: [(self.folder / path).stat().st_size for path in self.paths])

    def _digest_of(self, contents: Callable[[], Sequence[object]]) -> str:
        """contents: what stands for the content of each file; called once, it may meet files that are gone."""
        try:
            files = zip(self.paths, contents(), self.labels.tolist(), strict=True)
        except OSError as error:
            raise self._unreadable(str(error.filename or self.folder), error) from error
        lines = (f"{path}\t{content}\t{label}\n" for path, content, label in files)
        return sha256_of(f"{self.preprocessing}\n{''.join(lines)}")

    def images(self, indices: Tensor) -> Tensor:
        """The images at some indices, decoded.

        Args:
            indices: (B,) int64.

        Returns:
            Images, (B, C, H, W) float32 in [0, 1].

        Raises:
            RunError: for a file that does not decode.
            InputError: where the sizes differ.
        """
        batch = torch.empty(len(indices), *self.image_shape)
        for slot, index in zip(batch, indices.tolist(), strict=True):
            image = self._decode(index)
            if image.shape != slot.shape:
                raise InputError(
                    f"{self.folder / self.paths[index]} is {tuple(image.shape)} after preprocessing "
                    f"{self.preprocessing!r}, the first image {self.image_shape}; a batch needs one size: "
                    "choose a preprocessing that crops or resizes to one."
                )
            slot.copy_(image)
        return batch

    def _decode(self, index: int) -> Tensor:
        path = self.paths[index]
        try:
            return self.transform(decoded(self.folder / path, "RGB"))
        except (OSError, ValueError) as error:
            raise self._unreadable(path, error) from error

    def _unreadable(self, path: str, error: Exception) -> RunError:
        file = self.folder / path
        return RunError(f"{file} could not be read ({error}); expected an image. Unpack it anew from its archive.")
