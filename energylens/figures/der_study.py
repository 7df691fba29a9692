"""DER's settings as heat maps: PGD accuracy at the end of training, for every gamma and beta.

The accuracy is that on the validation split, by which the settings are chosen: the mean over the seeds, with how many
of them failed. Above each map stands training without DER.
"""

from __future__ import annotations

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from energylens.figures.run_cache import RunCache
from energylens.figures.studies import recorded
from energylens.plots.style import caption_below, in_style


def table(cache: RunCache) -> pd.DataFrame:
    """What became of DER at every setting of the two grids, and of training without it.

    A table as of ``outcomes``, with the column ``study``: "der-co" or "der-ro". Recorded at every scale: nobody has run
    them at the papers'.

    Args:
        cache: where runs come from and are kept; its scale says how large they are.

    Returns:
        What ``draw`` takes, its caption in ``attrs``.
    """
    tables = [recorded(name, "runs").assign(study=name) for name in ("der-co", "der-ro")]
    table = pd.concat(tables, ignore_index=True)
    told = [one.attrs["caption"].partition(" Recorded")[0] for one in tables]  # the commands name every arm
    shared = "Recorded, not computed now: python -m analyses.overfitting der-co, der-ro"
    table.attrs["caption"] = " ".join([*told, f"Fail: collapse, decline or diverge. {shared}."])
    return table


FAILED = ("co", "ro", "diverged")
WITHOUT = {"der-co": "FGSM", "der-ro": "PGD"}
#: what the rest of an arm's name says -> the panel's title
PANELS = {
    ("der-co", "on abnormal"): "FGSM, abnormal examples",
    ("der-co", "on abnormal, mean selected"): "FGSM, abnormal examples,\nmean over these",
    ("der-co", "on both, unit spread"): "FGSM, both,\nin units of the spread",
    ("der-ro", "on all"): "PGD, all examples",
    ("der-ro", "on all, unit spread"): "PGD, all examples,\nin units of the spread",
}


def cells(table: pd.DataFrame) -> pd.DataFrame:
    """The arms that are points of a grid, a row each.

    The columns are study, rest (of the name), gamma, beta, and over the seeds end (mean PGD accuracy on the validation
    split in the last epochs, %), sd, failed (how many) and n.

    Args:
        table: as ``table`` returns it.

    Returns:
        The points; arms of another name are left out.
    """
    named = table["arm"].str.extract(r"^gamma (?P<gamma>[\d.]+), beta (?P<beta>[\d.]+), (?P<rest>.+)$")
    points = table.assign(gamma=named["gamma"].astype(float), beta=named["beta"].astype(float), rest=named["rest"])
    groups = points.dropna(subset="rest").groupby(["study", "rest", "gamma", "beta"])
    return groups.agg(
        end=("val_end", "mean"),
        sd=("val_end", "std"),
        failed=("failed", lambda failed: int(failed.isin(FAILED).sum())),
        n=("seed", "size"),
    ).reset_index()


@in_style
def draw(table: pd.DataFrame) -> Figure:
    """Draw what ``table`` returns.

    Args:
        table: as that function returns it, its caption in ``attrs``.

    Returns:
        The picture.
    """
    points, plain = cells(table), table.groupby(["study", "arm"])["val_end"].mean()
    there = set(zip(points["study"], points["rest"], strict=True))
    panels = {key: title for key, title in PANELS.items() if key in there}
    figure = Figure(figsize=(3.1 * len(panels) + 0.8, 3.6))
    grid = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, ((study, rest), title) in zip(grid, panels.items(), strict=True):
        own = points[(points["study"] == study) & (points["rest"] == rest)]
        _panel(axes, own, table["val_end"].max())
        axes.set_title(f"{title}\n{WITHOUT[study]} alone ends at {plain[study, WITHOUT[study]]:.0f} %")
    grid[0].set_ylabel("$\\gamma$  [nats]")
    figure.colorbar(grid[0].collections[0], ax=grid, label="PGD accuracy, validation  [%]", fraction=0.04)
    caption_below(figure, table.attrs["caption"], 6)
    return figure


def _panel(axes: Axes, points: pd.DataFrame, top: float) -> None:
    """One grid; a cell tells its mean, the spread of the seeds and how many failed."""
    told = [
        f"{cell['end']:.0f} ± {cell['sd']:.0f}" + f"\n{cell['failed']} of {cell['n']} fail" * (cell["failed"] > 0)
        for cell in points.to_dict("records")
    ]
    grid = points.assign(told=told).pivot(index="gamma", columns="beta")
    sns.heatmap(
        grid["end"], annot=grid["told"], fmt="", annot_kws={"fontsize": 7}, vmin=0, vmax=top, cmap="viridis",
        xticklabels=[f"{beta:g}" for beta in grid["end"].columns], yticklabels=[f"{gamma:g}" for gamma in grid.index],
        cbar=False, ax=axes,
    )  # fmt: skip
    axes.invert_yaxis()  # upwards, as of other axes
    axes.tick_params(axis="y", rotation=0)
    axes.set(xlabel="$\\beta$", ylabel="")
