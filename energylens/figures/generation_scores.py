"""The table of generated images' scores, a line a start and guidance; published ones beside them where there are.

How good are generated images? Scores of every start, plain and guided, over seeds, beside real images and noise
(arXiv 2407.06315; local PCA and guidance are our reconstructions [R] of 2505.22486).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import asdict
from itertools import product
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from energylens.data import load_data
from energylens.figures.contact_sheet import SCALES, caption, generated, scorer_of
from energylens.figures.run_cache import RunCache
from energylens.generation.generated import to_bytes
from energylens.generation.score import ANCHOR_SEED, Value, over_seeds, uniform_noise
from energylens.generation.starts import STARTS

SEEDS = (0, 1, 2)
BATCH = 500  # images at once
GUIDANCES: dict[str, dict[str, Any]] = {
    "none": {},
    "reference energy": {"guidance": "reference-energy", "stop": "reference-energy"},
}
#: on CIFAR-10, secondary notes [N] all: arXiv 2407.06315's beside our start of its kind, then other hybrid models
PUBLISHED: dict[str, dict[str, float]] = {
    "pca": {"fid": 30.74, "inception_score": 8.97},
    "JEM": {"fid": 38.40, "inception_score": 8.76},
    "JEAT": {"fid": 38.24, "inception_score": 8.80},
    "JEM++": {"fid": 37.12, "inception_score": 8.29},
    "SADA-JEM": {"fid": 17.38, "inception_score": 8.07},
}


def table(cache: RunCache, **space: Any) -> pd.DataFrame:
    """Scores of the images from every start, plain and guided.

    Args:
        cache: where generations come from.
        space: of features, as ``open_scorer`` takes it.

    Returns:
        One row of images and score: images (the start, "real (test)", "uniform noise" or, at the papers' scale, a
        published model), guidance, n (images a seed), score, value, low, high (of several seeds the mean and its 95 %
        interval), published (NaN where no number is). ``attrs["caption"]`` says what was done.
    """
    scorer = scorer_of(cache, **space)
    published = PUBLISHED if cache.scale == "paper" and scorer.frechet == "fid" else {}  # else nothing compares

    def scores(images: Tensor) -> dict[str, Value]:
        return scorer(torch.split(to_bytes(images), BATCH))

    wanted = [
        (start, guidance, {"start": start, **own}) for start, (guidance, own) in product(STARTS, GUIDANCES.items())
    ]
    wanted += [(f"{own['start']}, {name}", "none", own) for name, own in SCALES[cache.scale]["also"].items()]
    rows, made = list[dict[str, Any]](), []
    for told, guidance, own in wanted:
        seeds = [generated(cache, seed=seed, **own) for seed in SEEDS]
        beside = published.get(told, {}) if guidance == "none" else {}
        rows += _rows(told, guidance, len(seeds[0]), over_seeds([scores(one.images) for one in seeds]), beside)
        made += seeds
    real = load_data(SCALES[cache.scale]["data"], split="test", data_root=cache.root)
    real = real.choose(min(len(made[0]), len(real)), "random", ANCHOR_SEED)
    noise = scorer(uniform_noise(len(made[0]), BATCH, real.image_shape))
    rows += _rows("real (test)", "", len(real), scores(real.images), {})
    rows += _rows("uniform noise", "", len(made[0]), noise, {})
    for model, numbers in published.items():
        rows += [] if model in STARTS else _rows(model, "", 0, {}, numbers)
    table = pd.DataFrame(rows)
    note = "; published numbers are secondary notes [N]" if published else ""
    table.attrs["caption"] = f"{caption(made, scorer)}; means with 95 % intervals over the seeds{note}"
    return table


def _rows(
    images: str, guidance: str, n: int, values: Mapping[str, Value], published: Mapping[str, float]
) -> list[dict[str, Any]]:
    """A row a score that was measured or is published."""
    rows = []
    for score in dict.fromkeys((*values, *published)):
        value = values.get(score, Value(math.nan))
        about = {"images": images, "guidance": guidance, "n": n, "score": score}
        rows.append(about | asdict(value) | {"published": published.get(score)})
    return rows


def draw(table: pd.DataFrame) -> pd.DataFrame:
    """Arrange what ``table`` returns, as text.

    Args:
        table: as ``table`` returns it.

    Returns:
        The cells, all of them text.
    """
    lines = []
    for (images, guidance), rows in table.groupby(["images", "guidance"], sort=False):
        line = {"images": str(images), "guidance": str(guidance), "n": str(rows["n"].iloc[0] or "")}
        for row in rows.to_dict("records"):
            name = row["score"].replace("_", " ")
            line[name] = _told(row)
            if table["published"].notna().any():
                line[f"{name}, published [N]"] = "" if pd.isna(row["published"]) else f"{row['published']:.2f}"
        lines.append(line)
    return pd.DataFrame(lines).fillna("")


def _told(row: Mapping[Hashable, Any]) -> str:
    """``12.3 ± 0.4``, the number, or nothing."""
    if pd.isna(row["value"]):
        return ""
    half = "" if pd.isna(row["low"]) else f" ± {_rounded((row['high'] - row['low']) / 2, 2)}"
    return f"{_rounded(row['value'], 3)}{half}"


def _rounded(number: float, digits: int) -> str:
    """To so many significant digits, without an exponent."""
    return f"{float(f'{number:.{digits}g}'):g}"
