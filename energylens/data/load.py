"""The door: a name and a few words -> samples."""

import os
from collections.abc import Sequence
from pathlib import Path
from pkgutil import resolve_name

import torch

from energylens.data.catalog import Request, data_set
from energylens.data.preprocessing import preprocessing_named
from energylens.data.samples import Samples
from energylens.data.sources import Source, prepared
from energylens.errors import InputError, RunError


def load_data(
    name: str,
    *,
    classes: Sequence[int] | None = None,
    n: int | None = None,
    choose: str = "first",
    seed: int = 0,
    split: str = "test",
    data_root: str | Path | None = None,
    preprocessing: str | None = None,
    root: str | Path | None = None,
) -> Samples:
    """The samples of a data set from the catalog, or n of them.

    Args:
        name: of the data set.
        classes: only the samples with these labels, renumbered in this order (``Samples.of_classes``); None for all.
        n: how many, 1 to as many as there are; None for all.
        choose: "first", "random" (keyed by seed: a larger n contains a smaller one) or "balanced" (the first of each
            class, counts differing by at most 1).
        seed: of a random choice.
        split: "train" or "test".
        data_root: where the files lie, else ENERGYLENS_DATA, else ~/.cache/energylens/data.
        preprocessing: how pictures are resized and cropped, as `preprocessing_named` reads it; None for the data set's
            default.
        root: an earlier name of ``data_root``.

    Returns:
        Samples, whose images are (n, C, H, W) float32 in [0, 1] and whose labels are (n,) int64.

    Raises:
        InputError: for a wrong request.
        RunError: when the files are missing or corrupt and cannot be fetched.

    Example:
        >>> samples = load_data("digits", n=3)
        >>> x, y = samples.batch(0, 2)
        >>> tuple(x.shape), len(samples), samples.classes[:2]
        ((2, 1, 8, 8), 3, ('0', '1'))
    """
    row = data_set(name)
    if split not in row.splits:
        raise InputError(f"{name} has no split {split!r}; expected one of {', '.join(row.splits)}.")
    how = preprocessing_named(row.preprocessing if preprocessing is None else preprocessing)
    source = prepared(_read(Request(row, split, _data_root(data_root or root), how.name)), how)
    samples = Samples(name, split, torch.arange(len(source.labels)), source)
    return (samples if classes is None else samples.of_classes(classes)).choose(n, choose, seed)


def lies_here(name: str, split: str, root: str | Path | None = None) -> bool:
    """Whether the files of a split of a data set from the catalog lie on the disk, so that nothing is downloaded.

    Of files given as a pattern, whether their folder does.

    Args:
        name: of the data set.
        split: "train" or "test".
        root: ``load_data``'s ``data_root``.

    Returns:
        False where a file is missing or there is no such split.

    Raises:
        InputError: for a name that is not in the catalog.

    Example:
        >>> lies_here("digits", "train"), lies_here("imagenet", "train")
        (True, False)
    """
    row = data_set(name)
    folder = _data_root(root) / row.folder
    return split in row.splits and all((folder / _fixed(file.path)).exists() for file in row.files_of(split))


def _fixed(pattern: str) -> str:
    """The part of a path before its first placeholder: itself, or the folder that the files lie in."""
    fixed, placeholder, _ = pattern.replace("*", "<").partition("<")
    return fixed.rpartition("/")[0] if placeholder else fixed


def _data_root(root: str | Path | None) -> Path:
    return Path(root or os.environ.get("ENERGYLENS_DATA") or "~/.cache/energylens/data").expanduser().absolute()


def _read(request: Request) -> Source:
    """What the row's loader answers; RunError where the operating system refuses to look."""
    load = resolve_name(request.data_set.loader)
    try:
        source: Source = load(request)
    except OSError as error:
        raise RunError(
            f"{request.data_set.name} ({request.split}) could not be looked for in {request.root} "
            f"({' '.join(str(error).split())}): mend that, or point --data-root (ENERGYLENS_DATA) to a folder that you "
            "can read."
        ) from error
    return source
