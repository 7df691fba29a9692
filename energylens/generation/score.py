"""Folders of pictures against real images, in a visible order: pictures -> features -> scores -> ranks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from energylens.data import Samples, load_data
from energylens.errors import InputError
from energylens.generation.features import CLASS_SCORE, FRECHET, KERNEL, Extractor, extractor
from energylens.generation.generated import byte_batches
from energylens.generation.pictures import Pictures, read_pictures
from energylens.generation.reference import Reference, reference
from energylens.generation.scores import (
    NEAREST,
    Gaussian,
    class_score,
    frechet_distance,
    frechet_interval,
    kernel_distance,
    manifold_scores,
)
from energylens.inputs import the_device
from energylens.models import model_title
from energylens.profiling import BATCH_SIZES
from energylens.progress import Listener, Progress
from energylens.settings import check_number
from energylens.statistics import mean_interval

ANCHOR_SEED = 0  # which real images, and which noise, mark the ends of the scale
OTHER = {"train": "test", "test": "train"}


@dataclass(frozen=True)
class Value:
    """A score and, where it is known, its 95 % interval.

    Attributes:
        value: the score.
        low: end of the interval.
        high: end of the interval.
    """

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Scored:
    """Images and their scores.

    Attributes:
        name: what they are.
        n: how many, of one seed.
        seeds: of the runs that the values are means over, none for other folders and the anchors.
    """

    name: str
    n: int
    seeds: tuple[int, ...]
    values: Mapping[str, Value]


@dataclass(frozen=True)
class Scores:
    """Folders against real images, the nearest by Frechet distance first.

    Two anchors of the scale are among them: real images of the other split, and noise.

    Attributes:
        dataset: of the reference.
        split: of the reference.
        n: of the reference.
        features: the feature space.
        resize: what is done to a picture's size.
        notes: what a reader must know.
        dtype: the types of pixels, features and scores.
    """

    dataset: str
    split: str
    n: int
    features: str
    resize: str
    rows: tuple[Scored, ...]
    notes: tuple[str, ...]
    dtype: str = "uint8 pixels, float32 features, float64 scores"

    @property
    def title(self) -> str:
        """``Against 1297 images of digits (train), in the features of digits-standard penultimate``."""
        return f"Against {self.n} images of {self.dataset} ({self.split}), in the features of {self.features}"

    def summary(self) -> pd.DataFrame:
        """The scores as a table.

        Returns:
            A row each of the rows: images (what they are), n, seeds (how many), then every score.
        """
        told = [{"images": row.name, "n": row.n, "seeds": len(row.seeds)} for row in self.rows]
        values = [{name: value.value for name, value in row.values.items()} for row in self.rows]
        return pd.concat([pd.DataFrame(told), pd.DataFrame(values)], axis=1)

    def __str__(self) -> str:
        """What was compared, the summary and the notes."""
        return "\n".join([self.title, self.summary().to_string(index=False, float_format="%.3g"), *self.notes])

    def as_numbers(self) -> dict[str, Any]:
        """All of it as JSON holds it.

        Returns:
            The attributes by name, the rows as nested dicts.
        """
        return asdict(self)


@dataclass(frozen=True)
class Scorer:
    """Scores images against one reference. Make it with ``open_scorer``.

    Attributes:
        samples: the real images.
        extractor: the feature space.
        reference: their statistics in it.
    """

    samples: Samples
    extractor: Extractor
    reference: Reference

    def __call__(self, batches: Iterable[Tensor], *, interval: bool = False) -> dict[str, Value]:
        """The scores of images, by name.

        Args:
            batches: (B, C, H, W) uint8 each, more than NEAREST images all together.
            interval: with the jackknife's of the Frechet distance where the features outnumber the images.
        """
        features, logits = (torch.cat(parts) for parts in zip(*map(self.extractor, batches), strict=True))
        real, gaussian = self.reference, self.reference.gaussian
        deficient = len(features) <= features.shape[1]
        values = {
            CLASS_SCORE: class_score(logits),
            FRECHET: frechet_distance(Gaussian.of(features), gaussian),
            KERNEL: kernel_distance(features, real.features),
            **manifold_scores(features, real.features, real.radii),
        }
        scores = {self.extractor.names.get(name, name): Value(value) for name, value in values.items()}
        if interval and deficient:
            low, high = frechet_interval(features, gaussian)
            scores[self.frechet] = replace(scores[self.frechet], low=low, high=high)
        return scores

    @property
    def frechet(self) -> str:
        """What the Frechet distance is called here."""
        return self.extractor.names.get(FRECHET, FRECHET)


def open_scorer(
    dataset: str = "digits",
    split: str = "train",
    *,
    classes: Sequence[int] | None = None,
    batch_size: int | None = None,
    device: str = "auto",
    data_root: str | Path | None = None,
    out: str | Path | None = None,
    listener: Listener | None = None,
    **space: Any,
) -> Scorer:
    """A scorer against a split of a data set, or those classes of it.

    Args:
        dataset: its name.
        split: of it.
        classes: labels, None for all.
        batch_size: images at once.
        device: ``auto`` or a torch device.
        data_root: where data sets lie.
        out: where the statistics of the split are kept.
        listener: called after every batch of the split, where its statistics are not there yet.
        space: as ``features.extractor`` takes it.

    Returns:
        The scorer, its feature space loaded and the split's statistics computed or read.

    Raises:
        InputError: for data or a feature space that cannot be had.
        RunError: for a file that cannot be read or written.
    """
    samples = load_data(dataset, split=split, data_root=data_root, classes=classes)
    place = the_device(device)
    found = extractor(dataset, **space, device=place)
    size = batch_size or BATCH_SIZES.get(place.type, BATCH_SIZES["cpu"])
    told = _Told(listener, len(samples), "real images")
    return Scorer(samples, found, reference(samples, found, size, None if out is None else Path(out), told))


def score(
    folders: str | Path | Sequence[str | Path],
    *,
    dataset: str | None = None,
    reference: str = "train",
    classifier: str | None = None,
    layer: str = "penultimate",
    inception_weights: str | Path | None = None,
    batch_size: int | None = None,
    device: str = "auto",
    data_root: str | Path | None = None,
    out: str | Path | None = None,
    listener: Listener | None = None,
    **reading: Any,
) -> Scores:
    """Score folders of pictures against real images.

    Args:
        folders: what ``generate`` made, of which the images count that were asked for last, or any with pictures of one
            size; generations that differ in their seed only are one row, with the interval of their mean.
        dataset: of the reference, by default the generation's own.
        reference: its split.
        classifier: the features of this classifier; by default Inception's where torch's cache has its weights, else a
            classifier's that stands in; then nothing is called FID.
        layer: of the classifier, ``penultimate`` or ``logits``.
        inception_weights: a file of Inception's weights.
        batch_size: images at once.
        device: ``auto`` or a torch device.
        data_root: where data sets lie.
        out: where the reference's statistics are kept.
        listener: called after every batch.
        reading: what ``load_model`` takes beside the classifier's name.

    Returns:
        A row of scores for every set of images, the nearest by Frechet distance first.

    Raises:
        InputError: for a request that cannot be met.
        RunError: for a file that cannot be read or written.
    """
    named = [folders] if isinstance(folders, str | Path) else folders
    found = [read_pictures(path) for path in dict.fromkeys(Path(folder).resolve() for folder in named)]
    if not found:
        raise InputError("no folder came: give one with pictures, or one that `energylens generate` made")
    check_number("batch size", 1 if batch_size is None else batch_size, above=0)
    name, classes = _the_data(found, dataset)
    scorer = open_scorer(
        name, reference, classes=classes, classifier=classifier, layer=layer, inception_weights=inception_weights,
        batch_size=batch_size, device=device, data_root=data_root, out=out, listener=listener, **reading,
    )  # fmt: skip
    for pictures in found:
        _check(pictures, scorer.samples)
    size = batch_size or BATCH_SIZES["cpu"]
    most = max(map(len, found))
    real = load_data(name, split=OTHER[reference], data_root=data_root, classes=classes)
    real = real.choose(min(most, len(real)), "random", ANCHOR_SEED)
    told = _Told(listener, sum(map(len, found)) + len(real) + most)
    channels = real.image_shape[0]
    groups = _groups(found)
    rows = []
    for label, group in groups:
        alone = len(group) == 1
        each = [scorer(told(_read(pictures, size, channels)), interval=alone) for pictures in group]
        seeds = tuple(map(_seed, group)) if group[0].manifest else ()
        rows.append(Scored(label, len(group[0]), seeds, over_seeds(each)))
    rows += [
        Scored(f"real ({name} {real.split})", len(real), (), scorer(told(byte_batches(real, size)), interval=True)),
        Scored("uniform noise", most, (), scorer(told(uniform_noise(most, size, real.image_shape)), interval=True)),
    ]
    rows.sort(key=lambda row: row.values[scorer.frechet].value)
    notes = _notes(rows, groups, scorer)
    samples = scorer.samples
    return Scores(
        samples.title, samples.split, len(samples), scorer.extractor.name, scorer.extractor.resize, tuple(rows), notes
    )


def _the_data(found: Sequence[Pictures], asked: str | None) -> tuple[str, Sequence[int] | None]:
    """The data set to compare with, and its classes where not all; InputError where the folders do not agree."""
    own = [pictures.manifest["identity"]["dataset"] for pictures in found if pictures.manifest]
    names = {asked} if asked else {one["name"] for one in own}
    classes = {tuple(one["classes"]) if "classes" in one else None for one in own}
    if len(names) != 1 or len(classes) > 1:
        came = f"{len(names)} data sets" if names else "folders that do not say which"
        raise InputError(f"scores are against one data set, {came} came: name it with --dataset, one at a time")
    return names.pop(), classes.pop() if classes else None


def _check(pictures: Pictures, samples: Samples) -> None:
    """Refuse pictures of another size than the reference's, or too few."""
    expected = tuple(samples.image_shape[1:])
    if pictures.size != expected:
        raise InputError(
            f"{pictures.folder} holds pictures of {pictures.size} (height, width), {samples.title} are {expected}: "
            "score against the data set they imitate"
        )
    if len(pictures) <= NEAREST:
        raise InputError(f"{pictures.folder} holds {len(pictures)} pictures: scores take {NEAREST + 1} or more")


@dataclass
class _Told:
    """Tells the listener of batches as they pass. what: they are of."""

    listener: Listener | None
    total: int
    what: str = "pictures"
    done: int = 0

    def __call__(self, batches: Iterable[Tensor]) -> Iterator[Tensor]:
        for batch in batches:
            yield batch
            self.done += len(batch)
            if self.listener:
                self.listener(Progress(self.what, self.done, self.total, unit="images"))


def _read(pictures: Pictures, size: int, channels: int) -> Iterator[Tensor]:
    return (pictures.batch(at, at + size, channels) for at in range(0, len(pictures), size))


def uniform_noise(n: int, size: int, shape: tuple[int, ...]) -> Iterator[Tensor]:
    """Images of independent uniform bytes, the same ones at every call.

    Args:
        n: images in all.
        size: images in a batch, 1 or more.
        shape: of one image, (C, H, W).

    Yields:
        Batches, (B, C, H, W) uint8 on the CPU; the last may be smaller.
    """
    generator = torch.Generator().manual_seed(ANCHOR_SEED)
    for at in range(0, n, size):
        yield torch.randint(256, (min(size, n - at), *shape), generator=generator, dtype=torch.uint8)


def _seed(pictures: Pictures) -> int:
    """Of a generation; 0 for other pictures."""
    return int(pictures.manifest["identity"]["seed"]) if pictures.manifest else 0


def _groups(found: Sequence[Pictures]) -> list[tuple[str, list[Pictures]]]:
    """Generations that differ only in their seed and hold as many pictures, under a label that tells them apart."""
    alike: dict[str, list[Pictures]] = {}
    for pictures in found:
        alike.setdefault(repr(_described(pictures)), []).append(pictures)
    every = [_described(pictures) for pictures in found]
    return [(_label(_described(group[0]), every), sorted(group, key=_seed)) for _, group in sorted(alike.items())]


def _described(pictures: Pictures) -> dict[str, Any]:
    """What tells pictures apart: the generation without its seed, or the folder."""
    if not pictures.manifest:
        return {"start": pictures.folder.name, "folder": str(pictures.folder)}
    identity, name = pictures.manifest["identity"], model_title(pictures.manifest["model"])
    weights = identity["model"][:8]
    own = identity["generation"]
    about = {"classes": own["classes"], "model": name, "weights": weights, "n": len(pictures)}
    return {**own["settings"], "revision": own.get("revision", 1), **about}


def _label(own: Mapping[str, Any], every: Sequence[Mapping[str, Any]]) -> str:
    """The start, and what differs among those of its kind; weights only where the names are the same."""
    kin = [one for one in every if one["start"] == own["start"]]
    differ = [name for name in own if len({repr(one.get(name)) for one in kin}) > 1]
    if len({one.get("model") for one in every}) > 1 and "model" in own:
        differ = [*(name for name in differ if name not in ("model", "weights")), "model"]
    told = [str(own[name]) if name == "model" else f"{name.replace('_', ' ')} {own[name]}" for name in differ]
    return ", ".join([str(own["start"]), *told])


def over_seeds(each: Sequence[Mapping[str, Value]]) -> dict[str, Value]:
    """Means over seeds with the 95 % interval of the mean (Student's t).

    Args:
        each: of every seed, one at least, the same scores by name.

    Returns:
        The means by name; with a single seed its scores as they are.
    """
    if len(each) == 1:
        return dict(each[0])
    over = {name: mean_interval([one[name].value for one in each]) for name in each[0]}
    return {name: Value(mean, mean - half, mean + half) for name, (mean, half) in over.items()}


def _notes(rows: Sequence[Scored], groups: Sequence[tuple[str, Sequence[Pictures]]], scorer: Scorer) -> tuple[str, ...]:
    """What a reader must know to compare."""
    notes, width = [], scorer.reference.features.shape[1]
    if few := [row for row in rows if row.n <= width]:
        notes.append(
            f"{min(row.n for row in few)} images have fewer dimensions than the {width} features: their covariance is "
            f"rank-deficient and the Frechet distance too large; compare it at equal numbers only"
        )
    if len({row.n for row in rows}) > 1:
        notes.append("numbers of images differ: Frechet distances fall with it")
    folders = [one for _, group in groups for one in group]
    notes += [
        f"{one.folder.name} holds {one.more} more images than its last request: `energylens generate --n "
        f"{len(one) + one.more}` asks for all"
        for one in folders
        if one.more
    ]
    chosen = [one.manifest["identity"]["generation"]["classes"] for one in folders if one.manifest]
    if any(len(classes) < len(scorer.samples.classes) for classes in chosen):
        notes.append("images of some classes are held against real ones of all")
    return tuple(notes)
