"""Geometry of the page's charts: tables -> paths in a square of SIZE.

The page stretches the square under labels of its own size. What a pointer shows lies over it in strips.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

SIZE = 1000.0
ERRORS = {  # column: what it is, the class of its line
    "test_pgd_error": ("PGD test error", "error"),
    "train_fgsm_error": ("FGSM training error", "error dashed"),
    "train_clean_error": ("clean training error", "error dotted"),
}
HEADROOM = 1.06


@dataclass(frozen=True)
class Shape:
    """An SVG path and the classes that style it."""

    path: str
    style: str


@dataclass(frozen=True)
class Tick:
    """A number beside an axis.

    Attributes:
        at: where on its axis, in % from the left or from the bottom.
        text: the number.
    """

    at: float
    text: str


@dataclass(frozen=True)
class Strip:
    """What is shown over a part of the x axis.

    Attributes:
        left: where it begins, in units of SIZE.
        width: in units of SIZE.
        text: what is shown, in lines.
    """

    left: float
    width: float
    text: str


@dataclass(frozen=True)
class Chart:
    """A chart as the page draws it.

    Attributes:
        label: what it shows, for who cannot see it.
        shapes: what is drawn, in order.
        strips: what a pointer shows, from left to right.
        x: ticks of the x axis.
        left: ticks of the left axis.
        right: ticks of the right axis, none where there is no such axis.
        marks: words at the top, over their place on the x axis.
    """

    label: str
    shapes: Sequence[Shape]
    strips: Sequence[Strip]
    x: Sequence[Tick]
    left: Sequence[Tick]
    right: Sequence[Tick] = ()
    marks: Sequence[Tick] = ()


@dataclass(frozen=True)
class Scale:
    """From low to high, linearly onto SIZE."""

    low: float
    high: float

    def __call__(self, value: float) -> float:
        """The value's place on the axis."""
        return SIZE * (value - self.low) / (self.high - self.low)

    def ticks(self, count: int, *, whole: bool = False) -> list[Tick]:
        """About so many round numbers on the axis.

        Args:
            count: how many are wanted; a few more or fewer may come.
            whole: whole numbers only.

        Returns:
            Places in % of the axis and their labels.
        """
        from matplotlib.ticker import MaxNLocator

        values = MaxNLocator(count, integer=whole, steps=[1, 2, 2.5, 5, 10]).tick_values(self.low, self.high)
        rounded = [round(value, 9) + 0.0 for value in values]  # floats make 0.30000000000000004 of 0.3, and -0
        return [Tick(self(value) / SIZE * 100, number(value)) for value in rounded if self.low <= value <= self.high]


def number(value: float) -> str:
    """As short as it can be, with a typographer's minus.

    Args:
        value: any float.

    Returns:
        Its text, of six significant digits at most.

    Example:
        >>> number(-0.25), number(3.0)
        ('−0.25', '3')
    """
    return f"{value:g}".replace("-", "−")


def histogram(bins: pd.DataFrame, symbol: str, tallest: int) -> Chart:
    """One energy of one attack.

    Args:
        bins: rows of ``energylens.tables.attack_landscape.landscape``.
        symbol: the energy's, ``E(x)``.
        tallest: the largest count of a bin among the charts to be compared.

    Returns:
        The chart, natural and adversarial over each other.
    """
    series = {name: bins[bins["series"] == name] for name in ("natural", "adversarial")}
    natural, adversarial = series.values()
    x = Scale(natural["left"].min(), natural["right"].max())
    y = Scale(0, tallest * HEADROOM)
    shapes = [Shape(_staircase(rows, x, y), f"area {name}") for name, rows in series.items()]
    shapes += [Shape(_upright(x(rows["mean"].iloc[0])), f"mean {name}") for name, rows in series.items()]
    counts = zip(natural["left"], natural["right"], natural["count"], adversarial["count"], strict=True)
    strips = [
        _strip(x, left, right, f"{symbol} {_nats(left)} to {_nats(right)}\nnatural {before}\nadversarial {after}")
        for left, right, before, after in counts
    ]
    means = f"natural {_nats(natural['mean'].iloc[0])}, adversarial {_nats(adversarial['mean'].iloc[0])}"
    label = f"Histogram of {symbol}; means in nats: {means}"
    return Chart(label, shapes, strips, x.ticks(5), y.ticks(3, whole=True))


def errors(epochs: pd.DataFrame) -> Chart:
    """Errors on the left, dE(x) on the right, alarms across.

    Args:
        epochs: of one run, of ``tables.training_curves.curves``.

    Returns:
        The chart; without the right axis where no dE(x) was measured.
    """
    x, left = _epochs(epochs), Scale(0, 100)
    shapes = [Shape(_line(epochs, name, x, left), f"line {style}") for name, (_, style) in ERRORS.items()]
    right: list[Tick] = []
    delta = epochs["delta_marginal"].dropna()
    if len(delta):
        low, high = min(delta.min(), 0.0), max(delta.max(), 0.0)
        margin = 0.1 * (high - low) or 1.0
        scale = Scale(low - margin, high + margin)
        shapes.append(Shape(f"M0 {_f(SIZE - scale(0))}H{SIZE:g}", "line zero"))
        shapes.append(Shape(_line(epochs, "delta_marginal", x, scale), "line delta"))
        right = scale.ticks(5)
    alarms = epochs[epochs["alarm"] != ""]
    marks = [Tick(x(at) / SIZE * 100, kind.upper()) for at, kind in zip(alarms["epoch"], alarms["alarm"], strict=True)]
    shapes += _alarms(epochs, x)
    label = "Errors in % and dE(x) in nats against the epoch"
    return Chart(label, shapes, _strips(epochs, x), x.ticks(6, whole=True), left.ticks(5), right, marks)


def abnormal(epochs: pd.DataFrame) -> Chart:
    """The share of abnormal adversarial examples against the epoch.

    Args:
        epochs: of one run, of ``tables.training_curves.curves``.

    Returns:
        The chart, up to 10 % at least.
    """
    x, epochs = _epochs(epochs), epochs.fillna({"abnormal_share": 0.0})
    y = Scale(0, max(10.0, HEADROOM * epochs["abnormal_share"].max()))
    first, last = (_f(x(epochs["epoch"].iloc[at])) for at in (0, -1))
    outline = _line(epochs, "abnormal_share", x, y).replace("M", "L")
    shapes = [Shape(f"M{first} {SIZE:g}{outline}L{last} {SIZE:g}Z", "area abnormal"), *_alarms(epochs, x)]
    label = "Share of abnormal adversarial examples in % against the epoch"
    return Chart(label, shapes, _strips(epochs, x), x.ticks(6, whole=True), y.ticks(2))


def _epochs(epochs: pd.DataFrame) -> Scale:
    """From the first epoch to the last, or a little further where they are the same."""
    return Scale(1, max(float(epochs["epoch"].max()), 2))


def _strips(epochs: pd.DataFrame, x: Scale) -> list[Strip]:
    """An epoch's numbers, half an epoch to each side."""
    strips = []
    for row in epochs.to_dict("records"):
        lines = [f"epoch {row['epoch']:g}"]
        lines += [f"{name} {row[column]:.1f} %" for column, (name, _) in ERRORS.items() if row[column] == row[column]]
        if row["delta_marginal"] == row["delta_marginal"]:
            lines += [f"ΔE(x) {_nats(row['delta_marginal'], 3)}", f"AAE {row['abnormal_share']:.1f} %"]
        lines += [f"alarm {row['alarm'].upper()}"] if row["alarm"] else []
        strips.append(_strip(x, max(row["epoch"] - 0.5, x.low), min(row["epoch"] + 0.5, x.high), "\n".join(lines)))
    return strips


def _strip(x: Scale, left: float, right: float, text: str) -> Strip:
    return Strip(x(left), x(right) - x(left), text)


def _alarms(epochs: pd.DataFrame, x: Scale) -> list[Shape]:
    return [Shape(_upright(x(epoch)), "alarm") for epoch in epochs.loc[epochs["alarm"] != "", "epoch"]]


def _nats(value: float, digits: int = 1) -> str:
    return f"{value:.{digits}f}".replace("-", "−")


def _f(value: float) -> str:
    """A coordinate, to a hundredth of a percent of the chart."""
    return f"{value:.1f}".removesuffix(".0")


def _staircase(rows: pd.DataFrame, x: Scale, y: Scale) -> str:
    """The outline of a histogram, closed along its foot."""
    steps = "".join(
        f"V{_f(SIZE - y(count))}H{_f(x(right))}" for count, right in zip(rows["count"], rows["right"], strict=True)
    )
    return f"M{_f(x(rows['left'].iloc[0]))} {SIZE:g}{steps}V{SIZE:g}Z"


def _upright(x: float) -> str:
    return f"M{_f(x)} 0V{SIZE:g}"


def _line(epochs: pd.DataFrame, column: str, x: Scale, y: Scale) -> str:
    """A line through the column's points, broken where one is missing."""
    pens = np.where(epochs[column].shift().isna(), "M", "L")
    points = zip(pens, epochs["epoch"], epochs[column], strict=True)
    return "".join(f"{pen}{_f(x(at))} {_f(SIZE - y(value))}" for pen, at, value in points if value == value)
