"""The door: a name and a few words -> samples."""

import os
from pathlib import Path
from pkgutil import resolve_name

from energylens.data.catalog import DataSet, Request, data_set
from energylens.data.choice import choose_indices
from energylens.data.samples import Samples
from energylens.data.sources import Source
from energylens.errors import InputError


def load_data(
    name: str,
    *,
    n: int | None = None,
    choose: str = "first",
    seed: int = 0,
    split: str = "test",
    root: str | Path | None = None,
    preprocessing: str | None = None,
) -> Samples:
    """The samples of a data set from the catalog, or n of them.

    n: how many, 1 to the split's size; None for all. choose: "first", "random" (keyed by seed: a larger n contains
    a smaller one) or "balanced" (the first of each class, counts differing by at most 1). split: "train" or "test".
    root: where the files lie, else ENERGYLENS_DATA, else ~/.cache/energylens/data. preprocessing: one of the data
    set's names, None for its default.

    Raises InputError for a wrong request, RunError when the files are missing, corrupt and cannot be fetched.

    >>> samples = load_data("digits", n=3)
    >>> x, y = samples.batch(0, 2)
    >>> tuple(x.shape), len(samples), samples.classes[:2]
    ((2, 1, 8, 8), 3, ('0', '1'))
    """
    row = data_set(name)
    if split not in row.splits:
        raise InputError(f"{name} has no split {split!r}; expected one of {', '.join(row.splits)}.")
    source = _read(Request(row, split, _data_root(root), _preprocessing(row, preprocessing)))
    return Samples(name, split, choose_indices(source.labels, row.num_classes, n, choose, seed), source)


def _data_root(root: str | Path | None) -> Path:
    return Path(root or os.environ.get("ENERGYLENS_DATA") or "~/.cache/energylens/data").expanduser()


def _preprocessing(row: DataSet, preprocessing: str | None) -> str:
    chosen = next(iter(row.preprocessings)) if preprocessing is None else preprocessing
    if chosen not in row.preprocessings:
        raise InputError(
            f"{row.name} has no preprocessing {chosen!r}; expected one of {', '.join(row.preprocessings)}."
        )
    return chosen


def _read(request: Request) -> Source:
    source: Source = resolve_name(request.data_set.loader)(request)
    return source
