"""The real images that others are scored against: their statistics in a feature space, kept on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from energylens.data import Samples
from energylens.files import reading, whole_file
from energylens.generation.features import Extractor
from energylens.generation.generated import byte_batches, to_bytes
from energylens.generation.scores import NEAREST, Gaussian, radii
from energylens.records.run_folder import fingerprint, safe_name, writing

Told = Callable[[Iterable[Tensor]], Iterator[Tensor]]
FOLDER = "reference"  # in the runs
CHECKED = 4  # images whose features are computed again before kept statistics are used
ROUNDING = 1e-3  # how far they may lie apart, as a share of an image's largest: other devices and batch sizes
MANIFOLD = 10_000  # at most so many real features are kept for what looks at all pairs


@dataclass(frozen=True)
class Reference:
    """Real images in a feature space.

    Attributes:
        mean: (D,), of all n of them.
        root: (R, D), of all n of them.
        features: (M, D) float32, every n/M-th of them, for the kernel distance and the k-nearest-neighbour scores.
        radii: (M,) of these, for the same.
    """

    mean: Tensor
    root: Tensor
    features: Tensor
    radii: Tensor

    @property
    def gaussian(self) -> Gaussian:
        """The Gaussian of all n images."""
        return Gaussian(self.mean, self.root)


def reference(
    samples: Samples, extractor: Extractor, batch_size: int, out: Path | None, told: Told = iter
) -> Reference:
    """The statistics of a whole split, computed once for this data and this feature space.

    Those of a feature space that has the same digest and gives other features have a file of their own; a randomised
    one's are not kept.

    Args:
        samples: the split.
        extractor: the feature space.
        batch_size: images at once.
        out: where they are kept, ``out/reference/<data>-<split>-<features>-<hash>.safetensors``; None for nowhere.
        told: passes the batches on, and says that they pass.

    Returns:
        The statistics, read from the file where it has those of these features.

    Raises:
        RunError: where the file is damaged or cannot be written.
    """
    if out is None or not _steady(samples, extractor):
        return _computed(samples, extractor, batch_size, told)
    identity = {
        "data": samples.digest, "classes": samples.kept, "split": samples.split, "features": extractor.digest,
        "nearest": NEAREST, "manifold": MANIFOLD,
    }  # fmt: skip
    name = safe_name(f"{samples.name}-{samples.split}-{extractor.name}")
    for number in count(1):
        numbered = identity if number == 1 else identity | {"number": number}
        path = out / FOLDER / f"{name}-{fingerprint(numbered)}.safetensors"
        if not path.exists():
            break
        if _has_features(found := _read(path), samples, extractor):
            return found
    computed = _computed(samples, extractor, batch_size, told)
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as temporary:
            save_file({name: tensor.contiguous() for name, tensor in vars(computed).items()}, temporary)
    return computed


def _steady(samples: Samples, extractor: Extractor) -> bool:
    """Whether an image has the same features alone and among others."""
    images = to_bytes(samples.batch(0, CHECKED)[0])
    return _close(extractor(images)[0][-1:], extractor(images[-1:])[0])


def _has_features(there: Reference, samples: Samples, extractor: Extractor) -> bool:
    """Whether the first features of a reference are what the extractor makes of the same images now."""
    kept = there.features[:CHECKED]
    positions = torch.arange(len(kept)) * _stride(samples)
    return _close(extractor(to_bytes(samples.subset(positions).images))[0], kept)


def _close(features: Tensor, others: Tensor) -> bool:
    """Whether features (N, D) agree, to a share of an image's largest."""
    if features.shape != others.shape:
        return False
    largest = others.abs().amax(dim=1, keepdim=True)
    return bool(((features - others).abs() <= ROUNDING * largest).all())


def _stride(samples: Samples) -> int:
    """Of how many images the features of one are kept."""
    return -(-len(samples) // MANIFOLD)


def _read(path: Path) -> Reference:
    with reading(path, "delete it and run the same command again", (SafetensorError, TypeError)):
        return Reference(**load_file(path))


def _computed(samples: Samples, extractor: Extractor, batch_size: int, told: Told) -> Reference:
    """Sums over batches, so that memory does not grow with the data set."""
    every = _stride(samples)
    total, products, kept = torch.zeros(1), torch.zeros(1), []
    starts = range(0, len(samples), batch_size)
    for at, batch in zip(starts, told(byte_batches(samples, batch_size)), strict=True):
        features = extractor(batch)[0].double()
        total, products = total + features.sum(dim=0), products + features.T @ features
        kept.append(features[-at % every :: every].float())
    mean = total / len(samples)
    covariance = (products - len(samples) * mean.outer(mean)) / (len(samples) - 1)
    gaussian, features = Gaussian.from_covariance(mean, covariance), torch.cat(kept)
    return Reference(gaussian.mean, gaussian.root, features, radii(features))
