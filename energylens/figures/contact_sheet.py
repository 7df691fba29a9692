"""Generated images, a column a class: a contact sheet of one generation, or several side by side.

What do the images look like that classifiers hold probable? Generations side by side, a panel each (arXiv
2407.06315, section 6). ``starts``, ``robust_and_natural`` and ``losses`` are three such comparisons.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from energylens.figures.digits_runs import trained
from energylens.figures.run_cache import RunCache
from energylens.generation.generate import generate
from energylens.generation.generated import Generated, to_bytes
from energylens.generation.score import Scorer, open_scorer
from energylens.generation.settings import GenerationSettings
from energylens.generation.starts import STARTS
from energylens.plots.images import BETWEEN, mosaic, show_image
from energylens.plots.style import ADVERSARIAL, caption_below, in_style
from energylens.training.checkpoint import BEST

#: The papers' sampler on CIFAR-10. arXiv 2407.06315 names eta .5 and .8 with 20 to 50 steps; its authors' code draws
#: starts with sigma .005 in singular values, .35 standard deviations of a class's 5,000 images, and noise of .001.
PAPER: dict[str, Any] = {"step_size": 0.5, "steps": 50, "spread": 0.35, "noise": 0.001}
#: And what it names for the L2 ResNet-50 of Engstrom et al.
L2_RESNET50: dict[str, Any] = {
    "model": "Engstrom2019Robustness", "threat_model": "L2", "step_size": 0.025, "steps": 500, "momentum": 0.8,
    "retained_variance": 0.99,
}  # fmt: skip
#: What is looked at, by scale: a robust and a natural model, their data, how many images. sampler: what
#: holds for all, over the defaults, which were chosen on the digits. visible: shows what a model wants to see, at five
#: times the default on the digits and the larger of the papers' step sizes. also: models with their own settings.
SCALES: dict[str, dict[str, Any]] = {
    "demo": {
        "robust": "digits-pgd", "natural": "digits-standard", "data": "digits", "n": 100, "sampler": {},
        "visible": {"step_size": 0.01}, "also": {},
    },
    "paper": {
        "robust": "Engstrom2019Robustness", "natural": "Standard", "data": "cifar10", "n": 10_000, "sampler": PAPER,
        "visible": {"step_size": 0.8}, "also": {"L2 ResNet-50": {"start": "pca", **L2_RESNET50}},
    },
}  # fmt: skip


#: what a caption on the digits adds, by step size: the default one, and ``visible``'s
CHOSEN = {
    GenerationSettings().step_size: "; the sampler's defaults were chosen on these digits: seed 0 is not free of that",
    SCALES["demo"]["visible"]["step_size"]: (
        "; at five times the default step, taken because the difference shows there; seed 0"
    ),
}


def starts(cache: RunCache) -> pd.DataFrame:
    """A robust model's images from each of the four starts, and at the papers' scale the L2 ResNet-50's.

    Args:
        cache: where runs come from and are kept; its scale says how large they are.

    Returns:
        What ``draw`` takes, its caption in ``attrs``.
    """
    also = {f"{name}, from {own['start']}": own for name, own in SCALES[cache.scale]["also"].items()}
    wanted = {f"from {start}": {"start": start} for start in STARTS} | also
    return panels({name: generated(cache, **own) for name, own in wanted.items()}, scorer_of(cache))


def robust_and_natural(cache: RunCache) -> pd.DataFrame:
    """A robust and a natural model's images, from noise and from the class's principal components.

    Args:
        cache: where runs come from and are kept; its scale says how large they are.

    Returns:
        What ``draw`` takes, its caption in ``attrs``.
    """
    models = {kind: SCALES[cache.scale][kind] for kind in ("robust", "natural")}
    return panels(_from_both(cache, models), scorer_of(cache))


def losses(cache: RunCache) -> pd.DataFrame:
    """Images of a model trained on adversarial cross-entropy (PGD) beside those of one trained on KL (TRADES).

    Args:
        cache: where runs come from and are kept; its scale says how large they are.

    Returns:
        What ``draw`` takes, its caption in ``attrs``.
    """
    runs = trained(cache, ("PGD", "TRADES"))
    return panels(_from_both(cache, {name: str(run.path / BEST) for name, run in runs.items()}), scorer_of(cache))


def _from_both(cache: RunCache, models: Mapping[str, str]) -> dict[str, Generated]:
    return {
        f"{name}, from {start}": generated(cache, model=model, start=start, **SCALES[cache.scale]["visible"])
        for start in ("noise", "pca")
        for name, model in models.items()
    }


def generated(cache: RunCache, **settings: Any) -> Generated:
    """``energylens.generate`` at the run cache's scale, of its robust model where none is named.

    Images that are there are used again.

    Args:
        cache: where the images come from and are kept.
        settings: of ``energylens.generate``, over the scale's.

    Returns:
        The generation, with its images.
    """
    scale = SCALES[cache.scale]
    cache.tell(f"generating {', '.join(map(str, settings.values()))}")
    asked = {"model": scale["robust"], "data": scale["data"], "n": scale["n"], **scale["sampler"], **settings}
    one = generate(out=cache.runs, data_root=cache.root, listener=cache.listener("generating"), **asked)
    cache.used.extend([] if one.folder is None else [one.folder])
    cache.seeds.add(one.seed)
    return one


def scorer_of(cache: RunCache, **space: Any) -> Scorer:
    """Scores against the training images of the run cache's data.

    Args:
        cache: whose data set this is.
        space: of features, as ``open_scorer`` takes it.

    Returns:
        The scorer.
    """
    return open_scorer(
        SCALES[cache.scale]["data"], data_root=cache.root, out=cache.runs, listener=cache.listener("scoring"), **space
    )


def panels(made: Mapping[str, Generated], scorer: Scorer | None = None) -> pd.DataFrame:
    """The images of generations side by side.

    Args:
        made: by the panel's name.
        scorer: by which their Frechet distance is told, too.

    Returns:
        One row an image, in the order of the panels: index, steps, marginal, joint (nats), nearest_l2, panel (the
        name), told (the panel in words), frechet (NaN without a scorer), class, pred (a class), right.
        ``attrs["images"]`` are the images (rows, C, H, W) in [0, 1], ``attrs["caption"]`` says what all of them are.
    """
    tables = []
    for name, one in made.items():
        rows = one.rows[["index", "steps", "marginal", "joint", "nearest_l2"]].assign(panel=name)
        right = one.rows["pred"] == one.rows["label"]
        told, distance = f"{100 * right.mean():.0f} % as its class", math.nan
        if scorer:
            distance = scorer([to_bytes(one.images)])[scorer.frechet].value
            told = f"{scorer.frechet.replace('_', ' ')} {distance:.0f}, {told}"
        rows[["told", "frechet"]] = told, distance
        rows["class"], rows["pred"] = (one.rows[column].map(one.classes.__getitem__) for column in ("label", "pred"))
        tables.append(rows.assign(right=right))
    table = pd.concat(tables, ignore_index=True)
    table.attrs["images"] = torch.cat([one.images for one in made.values()]).numpy()
    table.attrs["caption"] = caption(list(made.values()), scorer)
    return table


def caption(made: Sequence[Generated], scorer: Scorer | None = None) -> str:
    """What the generations have in common, in words, and what their scores are in.

    Args:
        made: the generations, one at least.
        scorer: whose features the scores are in; None for no scores.

    Returns:
        One line.
    """
    models = " and ".join(dict.fromkeys(one.model for one in made))
    shared = {
        name: value for name, value in made[0].settings.items() if all(one.settings.get(name) == value for one in made)
    }
    told = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in shared.items())
    scores = f"; scores in the features of {scorer.extractor.name}" if scorer else ""
    ours = any(
        one.settings.get("start") == "local-pca" or one.settings.get("guidance", "none") != "none" for one in made
    )
    mark = "; local PCA and guidance are our reconstructions [R]" if ours else ""
    seeds = ", ".join(dict.fromkeys(str(one.seed) for one in made))
    chosen = CHOSEN.get(shared.get("step_size", math.nan), "") if made[0].dataset == "digits" else ""
    return f"{models} on {made[0].dataset}, n = {len(made[0])}, {told}, seed {seeds}{scores}{mark}{chosen}"


ROWS = 10  # of images in a panel, at most


@in_style
def draw(table: pd.DataFrame) -> Figure:
    """Draw what ``panels`` returns; images that the model takes for another class are framed.

    Args:
        table: as that function returns it, its caption in ``attrs``.

    Returns:
        The picture.
    """
    panels = list(table.groupby("panel", sort=False))
    columns = min(len(panels), 2)
    rows = math.ceil(len(panels) / columns)
    classes = list(dict.fromkeys(table["class"]))
    shown = min(ROWS, int(table.groupby(["panel", "class"]).size().max()))
    width = max(3.4, 0.36 * len(classes)) * columns
    figure = Figure(figsize=(width, rows * (0.6 + 0.36 * shown) + 0.4))
    grid = figure.subplots(rows, columns, squeeze=False).flat
    for axes, (name, panel) in zip(grid, panels, strict=False):
        _draw(axes, panel, table.attrs["images"], classes, shown)
        axes.set_title(f"{name}\n{panel['told'].iloc[0]}", fontsize=8)
    caption_below(figure, table.attrs["caption"], 6)
    return figure


def _draw(axes: Axes, panel: pd.DataFrame, images: NDArray[np.float32], classes: list[str], shown: int) -> None:
    """One panel on one pair of axes: a mosaic, and a frame about each image of another class."""
    _, channels, height, width = images.shape
    sheet = np.full((shown, len(classes), channels, height, width), BETWEEN, dtype="float32")
    frames = []
    for column, name in enumerate(classes):
        some = panel[panel["class"] == name].head(shown)
        sheet[: len(some), column] = images[some.index]
        corner = 0.5 + (width + 1) * column
        wrong = np.flatnonzero(~some["right"])
        frames += [Rectangle((corner, 0.5 + (height + 1) * row), width, height) for row in wrong]
    show_image(axes, mosaic(sheet.reshape(-1, channels, height, width), len(classes)))
    axes.add_collection(PatchCollection(frames, edgecolor=ADVERSARIAL, facecolor="none", linewidth=1))
    middles = 1 + width / 2 + (width + 1) * np.arange(len(classes))
    axes.set_xticks(middles, classes, fontsize=5)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
