"""A user's own images as samples: tensors, numpy arrays, a torch Dataset or a DataLoader."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    default_collate,
)

from energylens.data.images import as_floats, as_labels, as_pixels, brightest, check_labels, check_levels
from energylens.data.samples import Samples, held
from energylens.data.sources import Source, sha256_of
from energylens.errors import InputError, tell

Items = Dataset[Any] | DataLoader[Any]
PAIR = "a pair (image, label), or a dict with image and label"
_IMAGE = ("image", "images", "pixel_values", "img", "x")
_LABEL = ("label", "labels", "target", "y")
_SEAL = 8  # bytes of an image's hash


def own_samples(data: Any, limit: int | None = None) -> Samples:
    """A user's own images and labels as samples, in their order.

    A Dataset, and a DataLoader of one, is read item by item when a batch asks for it, so that memory stays flat; one
    pass before tells labels and content. A stream (an IterableDataset, or a DataLoader with a collate_fn of its own)
    is held in memory. A Note says what was converted.

    Args:
        data: a pair (x, y) of tensors or arrays, (N, C, H, W) and (N,), a torch Dataset or a DataLoader of them; see
            `as_pixels` for the values.
        limit: the first so many items alone, of a Dataset or DataLoader.

    Returns:
        The samples, with the classes by number where the data have no names for them.

    Raises:
        InputError: for anything else.

    Example:
        >>> own_samples((torch.rand(3, 1, 8, 8), [0, 2, 1])).labels.tolist()
        [0, 2, 1]
    """
    if isinstance(data, Dataset | DataLoader):
        return _of_items(data, limit)
    if isinstance(data, tuple | list) and len(data) == 2:
        return Samples.from_tensors(*data)
    raise InputError(
        f"data are {_came(data)}; expected a name, Samples, a pair (x, y) of images and labels, a torch Dataset or a "
        "DataLoader"
    )


def with_classes(samples: Samples, classes: int) -> Samples:
    """A user's own samples with this many classes, by the names that they have or else by number.

    Args:
        samples: of ``own_samples``.
        classes: how many logits the model gives.

    Returns:
        The samples, or a copy with more classes.

    Raises:
        InputError: for a label beyond them.
    """
    check_labels(samples.labels, len(samples), classes)
    if len(samples.classes) == classes:
        return samples
    return replace(samples, source=replace(samples.source, classes=tuple(map(str, range(classes)))))


def _of_items(data: Items, limit: int | None) -> Samples:
    dataset = data.dataset if isinstance(data, DataLoader) else data
    name = type(dataset).__name__
    if isinstance(dataset, IterableDataset) or (
        isinstance(data, DataLoader) and data.collate_fn is not default_collate
    ):
        return _streamed(data, limit, name)
    if not hasattr(dataset, "__len__"):
        raise InputError(f"the {name} has no length (__len__): give it one, or make it an IterableDataset")
    return _drawn(dataset, _positions(data, name)[:limit], name)


def _positions(data: Items, name: str) -> Sequence[int]:
    """Which items of the data set a Dataset or DataLoader means, ascending."""
    if not isinstance(data, DataLoader):
        return range(len(data))  # type: ignore[arg-type]  # torch's Dataset declares no length
    whole, sampler = range(len(data.dataset)), data.sampler  # type: ignore[arg-type]
    plain = data.batch_sampler is None or type(data.batch_sampler) is BatchSampler
    if plain and isinstance(sampler, SequentialSampler):
        return whole[: len(data) * (data.batch_size or 1)] if data.drop_last else whole
    shuffled = isinstance(sampler, RandomSampler) and not sampler.replacement and sampler.num_samples == len(whole)
    if plain and shuffled and not data.drop_last:
        tell(f"the DataLoader's shuffling was left out: samples are read in the order of its {name}")
        return whole
    batches: Iterable[Any] = [data.sampler] if plain or data.batch_sampler is None else data.batch_sampler
    positions = sorted({int(index) for batch in batches for index in batch})
    tell(f"the DataLoader's sampler drew {len(positions)} of {len(whole)} items of its {name}: these, in their order")
    return positions


@dataclass(frozen=True, eq=False)
class Drawn(Source):
    """Items of a torch Dataset, read when a batch asks for them, and checked to be those that were read first.

    Attributes:
        shape: (C, H, W) of every image.
        dataset: the user's.
        positions: which items of the data set.
        seals: a hash of each image as it was first read.
    """

    shape: tuple[int, ...]
    dataset: Dataset[Any]
    positions: Sequence[int]
    seals: tuple[bytes, ...]

    @cached_property
    def image_shape(self) -> tuple[int, ...]:
        """(C, H, W)."""
        return self.shape

    @property
    def digest(self) -> str:
        """sha256 of the images' hashes, shapes and labels."""
        seals = torch.frombuffer(bytearray(b"".join(self.seals)), dtype=torch.uint8)
        return sha256_of(f"{self.shape}\n", seals, self.labels)

    def images(self, indices: Tensor) -> Tensor:
        """The images at some indices, read again from the Dataset.

        Args:
            indices: positions among these samples, (B,) int64.

        Returns:
            Images, (B, C, H, W) float32 in [0, 1].

        Raises:
            InputError: where one is not what it was.
        """
        batch = torch.empty(len(indices), *self.shape)
        for slot, index in zip(batch, indices.tolist(), strict=True):
            image, _, _ = _item(self.dataset, self.positions[index])
            if _seal(image) != self.seals[index]:
                raise InputError(
                    f"item {self.positions[index]} of the {type(self.dataset).__name__} is another image at each "
                    "reading; expected the same: take random augmentation out of its transform"
                )
            slot.copy_(as_floats(image))
        return batch


def _drawn(dataset: Dataset[Any], positions: Sequence[int], name: str) -> Samples:
    """One pass over the items: labels, shape and hashes; the images themselves are read again when they are needed."""
    seals, labels, done, largest = [], [], dict[str, None](), 0
    shape: tuple[int, ...] = ()
    for position in positions:
        image, label, converted = _item(dataset, position)
        largest = max(largest, brightest(image))
        shape = shape or tuple(image.shape)
        if image.shape != shape:
            raise InputError(
                f"item {position} of the {name} is {tuple(image.shape)}, the first {shape}; a batch needs one size: "
                "give the data set a transform that crops or resizes to one"
            )
        seals.append(_seal(image))
        labels.append(label)
        done |= dict.fromkeys(converted)
    if not labels:
        raise InputError(f"the {name} is empty; expected at least one item")
    check_levels(largest)
    if done:
        tell(f"images of the {name} came as {', '.join(done)}")
    y = torch.stack(labels)
    check_labels(y, len(y))
    source = Drawn(_names(dataset, y), y, shape, dataset, positions, tuple(seals))
    return Samples(name, "all", torch.arange(len(y)), source)


def _names(dataset: Any, y: Tensor) -> tuple[str, ...]:
    """The classes as the data set calls them, where its list has one for every label; else numbers."""
    names, number = getattr(dataset, "classes", None), int(y.max()) + 1
    if not isinstance(names, list | tuple) or len(names) < number:
        names = range(number)
    return tuple(map(str, names))


def _seal(image: Tensor) -> bytes:
    return hashlib.blake2b(image.numpy().data, digest_size=_SEAL).digest()


def _item(dataset: Any, position: int) -> tuple[Tensor, Tensor, list[str]]:
    return _single(dataset[position], f"item {position} of the {type(dataset).__name__}")


def _single(item: Any, where: str) -> tuple[Tensor, Tensor, list[str]]:
    """One image (C, H, W) as `as_pixels` has it, its label (), and in words what was converted."""
    image, label = _two(item, where)
    done = []
    if isinstance(image, Image.Image):
        image = _tensor_of(image, where)
        done.append("PIL pictures")
    if not isinstance(image, Tensor | np.ndarray):
        raise InputError(f"{where} has a {type(image).__name__} for an image; expected a tensor, an array or a picture")
    try:
        pixels, converted = as_pixels(image[None])
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    label = as_labels(label)
    if not isinstance(label, Tensor) or label.numel() != 1 or label.dtype != torch.int64:
        raise InputError(f"{where} has the label {label!r}; expected an integer")
    return pixels[0].cpu(), label.reshape(()).cpu(), [*done, *converted]


def _tensor_of(picture: Image.Image, where: str) -> Tensor:
    """Grey levels (C, H, W) uint8 of a picture of 8 bits, grey or in colour."""
    if picture.mode[0] in "IF":  # more than 8 bits, which a conversion would cut off
        raise InputError(f"{where} is a picture of mode {picture.mode}; expected 8 bits: give a float tensor in [0, 1]")
    levels = np.array(picture if picture.mode in ("L", "RGB") else picture.convert("RGB"))
    return torch.from_numpy(levels if levels.ndim == 3 else levels[..., None]).permute(2, 0, 1)


def _two(item: Any, where: str) -> tuple[Any, Any]:
    """Image and label, or images and labels, of what a data set or loader gives."""
    if isinstance(item, dict):
        image, label = (next((item[key] for key in keys if key in item), None) for keys in (_IMAGE, _LABEL))
        if image is not None and label is not None:
            return image, label
    elif isinstance(item, tuple | list) and len(item) == 2:
        return item[0], item[1]
    raise InputError(f"{where} is {_came(item)}; expected {PAIR}")


def _came(given: Any) -> str:
    """What was given in the place of images and labels, for an error."""
    if isinstance(given, dict):
        return f"the keys {', '.join(map(str, given))}"
    return f"{len(given)} things" if isinstance(given, tuple | list) else f"a {type(given).__name__}"


def _streamed(data: Items, limit: int | None, name: str) -> Samples:
    """What can be read but once, and in its own order, held in memory as it came."""
    pixels, labels, done, seen = [], [], dict[str, None](), 0
    for x, y, converted in _batches(data, name):
        pixels.append(x)
        labels.append(y)
        done |= dict.fromkeys(converted)
        seen += len(x)
        if limit is not None and seen >= limit:
            break
    if not pixels:
        raise InputError(f"the {name} is empty; expected at least one item")
    if len({(x.shape[1:], x.dtype) for x in pixels}) > 1:
        raise InputError(f"images of the {name} differ in shape or dtype from batch to batch; expected one of each")
    x, y = torch.cat(pixels)[:limit], torch.cat(labels)[:limit]
    samples = held(x, y, None, name)
    size = x.numel() * x.element_size() / 1e6
    tell(
        f"images of the {name} came as {', '.join([*done, 'a stream'])}: {len(x)} of them, {size:.0f} MB, are held in "
        "memory, since a stream is read once"
    )
    return samples


def _batches(data: Items, name: str) -> Iterator[tuple[Tensor, Tensor, list[str]]]:
    """Pixels, labels and what was converted, of a loader's batches or of the items of a stream, 1 at a time."""
    for number, batch in enumerate(data):  # type: ignore[arg-type]  # an IterableDataset or a loader
        x, y = _two(batch, f"batch {number} of the {name}")
        if isinstance(x, Tensor | np.ndarray) and x.ndim == 4:
            pixels, converted = as_pixels(x)
            labels = as_labels(y)
            check_labels(labels, len(pixels))
            yield pixels.cpu(), labels.cpu(), converted
        else:
            image, label, done = _single((x, y), f"item {number} of the {name}")
            yield image[None], label[None], done
