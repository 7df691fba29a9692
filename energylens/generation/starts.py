"""Where chains begin: a table. Every start is drawn for a sample's own index, from the training images of its class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from energylens.data import Samples
from energylens.errors import InputError
from energylens.generation.components import Components, components_of_each, principal_components, whole_gaussian
from energylens.generation.penultimate import penultimate
from energylens.inputs import device_of
from energylens.isolation import widest_float
from energylens.noise import Noise

FEATURES = ("pixels", "penultimate")  # what neighbours are near in
BATCH = 500  # training images at once
HELD = 2**28  # numbers of training images that stay on the device, 1 GiB: all of CIFAR-10

_KEPT: dict[tuple[str, ...], Components] = {}  # of this process: what was decomposed once
_SEEN: dict[tuple[str, ...], Tensor] = {}  # and what a model made of the images of a class


@dataclass(frozen=True)
class Material:
    """What starts are made of.

    Attributes:
        model: the classifier.
        train: the training images of all classes, whose labels are the model's.
        spread: of the starts about their mean, in standard deviations.
        retained: of the principal components: a share of the variance, or, as an int, how many.
        neighbours: of a local PCA, the anchor among them.
        features: what neighbours are near in, one of FEATURES.
        known_as: what this process remembers the features of the images by (``Witness.known_as``), None for nothing.
    """

    model: nn.Module
    train: Samples
    spread: float
    retained: float | int
    neighbours: int
    features: str
    known_as: tuple[str, ...] | None = None

    @cached_property
    def contents(self) -> str:
        """The training images' digest, as it was when it was first asked for."""
        return self.train.digest

    @cached_property
    def resident(self) -> Tensor | None:
        """All training images, flattened, (n, D), uploaded once to the model's device.

        None where they are more than HELD and are read and uploaded by the class and the block.
        """
        if len(self.train) * torch.Size(self.train.image_shape).numel() > HELD:
            return None
        return self.train.images.flatten(1).to(device_of(self.model))

    def images(self, label: int) -> Tensor:
        """The class's training images, flattened.

        Args:
            label: the class.

        Returns:
            Images, (n, D) in [0, 1], on the model's device.
        """
        members = (self.train.labels == label).nonzero().flatten()
        if self.resident is not None:
            return self.resident[members.to(self.resident.device)]
        return self.train.subset(members).images.flatten(1).to(device_of(self.model))

    def near_in(self, label: int, images: Tensor) -> Tensor:
        """What a class's images are compared by: pixels or penultimate features.

        Args:
            label: the class.
            images: all of it, flattened, (n, D) in [0, 1].

        Returns:
            One row an image, (n, F); the images themselves for pixels.
        """
        if self.features == "pixels":
            return images
        key = (*(self.known_as or ()), str(label))
        if self.known_as and key in _SEEN:
            return _SEEN[key]
        blocks = torch.split(images.view(-1, *self.train.image_shape), BATCH)
        features = torch.cat([penultimate(self.model, block)[0].flatten(1) for block in blocks])
        if self.known_as:
            _SEEN[key] = features
        return features

    def class_components(self, label: int) -> Components:
        """The principal components of a class, computed once a process.

        Args:
            label: the class.

        Returns:
            As many components as ``retained`` asks for.
        """
        key = (self.contents, str(self.train.kept), str(label), str(self.retained), str(device_of(self.model)))
        if key not in _KEPT:
            _KEPT[key] = principal_components(self.images(label), self.retained)
        return _KEPT[key]


Draw = Callable[[Material, int, Noise, int], Tensor]  # (material, label, noise of N samples, D) -> (N, D)


@dataclass(frozen=True)
class Start:
    """One row: the draw, and which settings it heeds.

    Attributes:
        revision: goes up when the draw changes, so that images made before are not taken for its own.
    """

    draw: Draw
    spreads: bool = True
    retains: bool = False
    local: bool = False
    revision: int = 1


def uniform(material: Material, label: int, noise: Noise, size: int) -> Tensor:
    """Pixels from U(0, 1).

    Args:
        material: tells the device.
        label: the class, which does not matter here.
        noise: of the N samples.
        size: pixels times channels of an image, D.

    Returns:
        Starts, flattened, (N, D) in [0, 1].
    """
    like = torch.empty(len(noise.indices), size, device=device_of(material.model))
    return (noise.uniform("start", like) + 1) / 2


def gaussian(material: Material, label: int, noise: Noise, size: int) -> Tensor:
    """From the Gaussian of the class, with its whole covariance (arXiv 1906.09453).

    Args:
        material: has the class's images and the spread.
        label: the class.
        noise: of the N samples.
        size: D, which the class's images tell here.

    Returns:
        Starts, flattened, (N, D), not clamped.
    """
    return _drawn(whole_gaussian(material.images(label)), noise, material.spread)


def pca(material: Material, label: int, noise: Noise, size: int) -> Tensor:
    """From the class's leading principal components (arXiv 2407.06315, section 4).

    Args:
        material: has the class's components and the spread.
        label: the class.
        noise: of the N samples.
        size: D, which the class's images tell here.

    Returns:
        Starts, flattened, (N, D), not clamped.
    """
    return _drawn(material.class_components(label), noise, material.spread)


def local_pca(material: Material, label: int, noise: Noise, size: int) -> Tensor:
    """From the principal components of a random training image of the class and its nearest ones of that class.

    Our reconstruction of the local class-wise PCA of arXiv 2505.22486.

    Args:
        material: has the class's images, how many neighbours count, what they are near in, and the spread.
        label: the class.
        noise: of the N samples; it draws the training image too.
        size: pixels times channels of an image, D.

    Returns:
        Starts, flattened, (N, D), not clamped.
    """
    images = material.images(label)
    compared = material.near_in(label, images)
    anchors = noise.integers("anchor", len(images), torch.empty(len(noise.indices), dtype=torch.int64))
    near = torch.stack([nearest_of(compared, anchor, material.neighbours) for anchor in anchors.tolist()])
    # as many coefficients as there are directions, retained or not, so that a sample's are the same either way
    alpha = material.spread * noise.normal("start", images.new_empty(len(near), min(material.neighbours, size)))
    starts, done = [], 0
    for components in components_of_each(images[near], material.retained):
        starts.append(components.draw(alpha[done : done + len(components.mean)]))
        done += len(components.mean)
    return torch.cat(starts)


def nearest_of(compared: Tensor, anchor: int, count: int) -> Tensor:
    """The positions of the images nearest to one of them, which is among them.

    Distances are summed in float64 and the earlier of two equal ones counts as nearer, so that every device finds the
    same.

    Args:
        compared: (n, F), what they are compared by.
        anchor: the position of the one.
        count: how many.

    Returns:
        Positions in ``compared``, (K,) int64 with K = count, ascending; fewer where it has fewer rows.
    """
    away = compared - compared[anchor]
    distances: Tensor = torch.linalg.vector_norm(away, dim=1, dtype=widest_float(away.device))
    return distances.argsort(stable=True)[:count].sort().values


def _drawn(components: Components, noise: Noise, spread: float) -> Tensor:
    like = components.mean.new_empty(len(noise.indices), len(components.scaled))
    return components.draw(spread * noise.normal("start", like))


STARTS: dict[str, Start] = {
    "noise": Start(uniform, spreads=False),
    "gaussian": Start(gaussian),
    "pca": Start(pca, retains=True, revision=2),
    "local-pca": Start(local_pca, retains=True, local=True, revision=2),
}


def draw_starts(start: str, material: Material, y: Tensor, noise: Noise) -> Tensor:
    """Where chains begin, each in its own class.

    Args:
        start: a row of STARTS.
        material: what they are made of.
        y: (N,) labels.
        noise: of these N samples.

    Returns:
        Starts, (N, C, H, W), on the model's device, not clamped to [0, 1].
    """
    shape, labels = material.train.image_shape, y.cpu()
    starts = torch.empty(len(y), *shape, device=device_of(material.model))
    for label in sorted(set(labels.tolist())):
        rows = (labels == label).nonzero().flatten()
        drawn = STARTS[start].draw(material, label, noise.take(rows), torch.Size(shape).numel())
        starts[rows] = drawn.view(-1, *shape)
    return starts


def check_starts(start: str, material: Material, labels: Tensor) -> None:
    """Refuse, before anything is drawn, what the classes are too small for.

    Args:
        start: a row of STARTS.
        material: what starts are made of.
        labels: those asked for, (K,).

    Raises:
        InputError: names the first class that is too small.
    """
    row, train, neighbours, retained = STARTS[start], material.train, material.neighbours, material.retained
    size = torch.Size(train.image_shape).numel()
    for label in sorted(set(labels.tolist())):
        count, told = int((train.labels == label).sum()), f"class {train.classes[label]}"
        if row.local and neighbours > count:
            raise InputError(f"{neighbours} neighbours were asked for, {told} has {count} training images")
        if row.local and neighbours < 2:
            raise InputError("a local PCA takes 2 neighbours or more, the anchor among them: 1 came")
        images = neighbours if row.local else count
        if row.retains and isinstance(retained, int) and retained > (most := min(images - 1, size)):
            raise InputError(
                f"{retained} components were asked for, {images} images of {told} have {most} at most: retain "
                "fewer, or a share of the variance"
            )
