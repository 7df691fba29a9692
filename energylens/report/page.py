"""The page: tables of runs -> HTML. The modules beside this one make the tables, and say what is in them."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from energylens.checks.overfitting import CATASTROPHIC, ROBUST
from energylens.errors import RunError
from energylens.files import whole_file
from energylens.plots import style
from energylens.records.record import Record
from energylens.report import charts, pictures

SYMBOLS = {"marginal": "E(x)", "joint": "E(x, y)"}
Row = dict[Hashable, Any]  # of a table
FAILURES = (CATASTROPHIC.name, ROBUST.name)
COLOURS = {
    "natural": style.NATURAL, "adversarial": style.ADVERSARIAL,
    "error": style.ERROR, "delta": style.DELTA, "abnormal": style.ABNORMAL,
}  # fmt: skip


@dataclass(frozen=True)
class Repeat:
    """What it takes to do it again.

    Attributes:
        commands: none where none does it.
        caveats: what must be known with them, a sentence each.
        settings: name and value.
        facts: name and value.
    """

    commands: Sequence[str]
    caveats: Sequence[str]
    settings: Sequence[tuple[str, str]]
    facts: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class ProfileStory:
    """One record.

    Attributes:
        apart: what tells it from others of its model's name and data, or "".
        attacks: of ``report.profile.attack_table``.
        checks: of ``report.profile.check_table``.
        landscape: of ``tables.attack_landscape``.
        samples: of ``report.profile.abnormal_samples``.
        missing: why images are not shown, or "".
        published: sentences.
    """

    record: Record
    apart: str
    attacks: pd.DataFrame
    checks: pd.DataFrame
    landscape: pd.DataFrame
    samples: pd.DataFrame
    missing: str
    published: Sequence[str]
    repeat: Repeat

    kind: ClassVar[str] = "profile"

    @property
    def title(self) -> str:
        """``MODEL on DATASET``, and what tells the section from others of the same."""
        return ", ".join(filter(None, [f"{self.record.model_title} on {self.record.dataset}", self.apart]))

    @property
    def setting(self) -> str:
        """What every number of it holds for."""
        split = self.record.attacks[0].manifest["identity"]["dataset"]["split"]
        images = "images" if split == "all" else f"{split} images"  # a user's own tensors have no split
        return f"n = {len(self.record)} {images}, {self.record.threat}, seed {self.record.seed}"

    @property
    def rows(self) -> list[Row]:
        """The attacks' rows, natural first."""
        return self.attacks.to_dict("records")

    @property
    def natural(self) -> Row:
        """The row of the natural images."""
        return self.rows[0]

    @property
    def strongest(self) -> Row:
        """The row of the attack that leaves the fewest samples right, of several the first."""
        return min(self.rows[1:], key=lambda row: row["accuracy"])

    @property
    def most_abnormal(self) -> Row:
        """The row of the attack that lowered the loss of most samples."""
        return max(self.rows[1:], key=lambda row: row["abnormal_share"])

    @property
    def violated(self) -> list[Row]:
        """The consistency checks that do not hold."""
        return [check for check in self.checks.to_dict("records") if not check["holds"]]

    @property
    def overfitted(self) -> list[Row]:
        """Those of them that concern the training, not the attacks."""
        return [check for check in self.violated if check["rule"] in FAILURES]

    def histograms(self) -> list[tuple[Row, list[tuple[str, charts.Chart]]]]:
        """An attack's row and its histograms, each under its symbol; counts share an axis within an energy.

        Returns:
            For each attack its row and, by symbol, its charts.
        """
        tallest = self.landscape.groupby("energy")["count"].max()
        bins = dict(list(self.landscape.groupby(["attack", "energy"])))
        return [
            (row, [(s, charts.histogram(bins[row["attack"], e], s, int(tallest[e]))) for e, s in SYMBOLS.items()])
            for row in self.rows[1:]
        ]


@dataclass(frozen=True)
class TrainingStory:
    """Training runs that differ only in their seed.

    Attributes:
        runs: of ``report.training.outcomes``.
        spread: their row of ``tables.compare_runs.comparison``.
        epochs: of ``tables.training_curves.curves``, with their caption.
        notes: what a reader must know, a sentence each.
    """

    title: str
    settings: Mapping[str, Any]
    runs: pd.DataFrame
    spread: Mapping[Any, Any]
    epochs: pd.DataFrame
    notes: Sequence[str]
    repeat: Repeat

    kind: ClassVar[str] = "training"

    def curves(self) -> list[tuple[Row, charts.Chart, charts.Chart | None]]:
        """A run's row, its errors, and its AAE share where there is one.

        Returns:
            For each run its row and its charts.
        """
        rows = self.runs.to_dict("records")
        epochs = [table for _, table in self.epochs.groupby("run")]
        return [
            (row, charts.errors(table), charts.abnormal(table) if table["abnormal_share"].notna().any() else None)
            for row, table in zip(rows, epochs, strict=True)
        ]


def render(sections: Sequence[ProfileStory | TrainingStory]) -> str:
    """The page of these sections, in their order, as HTML; every text in it is escaped.

    Args:
        sections: of the page, one at least.

    Returns:
        One HTML document that needs no other file.
    """
    environment = Environment(
        loader=PackageLoader("energylens.report"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {form.__name__: form for form in (percent, decimal, signed, sentence)}
    environment.filters["picture"] = pictures.data_uri
    return environment.get_template("page.html").render(
        sections=sections, colours=COLOURS, size=charts.SIZE, version=version("energylens")
    )


def save_page(html: str, path: Path) -> None:
    """Write the page; it is there whole or not at all.

    Args:
        html: the page.
        path: where; its folder is made where missing.

    Raises:
        RunError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as temporary:
            temporary.write_text(html, encoding="utf-8")
    except OSError as error:
        raise RunError(f"cannot write the page to {path} ({error.strerror or error}): give another --out") from error


def percent(share: float, digits: int = 1) -> str:
    """A share in [0, 1] in %, without its sign.

    Args:
        share: in [0, 1].
        digits: behind the point.

    Returns:
        Its text.

    Example:
        >>> percent(0.125)
        '12.5'
    """
    return f"{100 * share:.{digits}f}"


def decimal(value: float, digits: int = 2) -> str:
    """A number, or a dash where there is none.

    Args:
        value: any float, NaN for none.
        digits: behind the point.

    Returns:
        Its text, with a typographer's minus.

    Example:
        >>> decimal(-9.526), decimal(float("nan"))
        ('−9.53', '–')
    """
    return "–" if math.isnan(value) else f"{value:.{digits}f}".replace("-", "−")


def signed(value: float, digits: int = 2) -> str:
    """A difference with its sign.

    Args:
        value: any float, NaN for none.
        digits: behind the point.

    Returns:
        Its text with + or a typographer's minus; a dash for NaN.

    Example:
        >>> signed(0.5), signed(-2.394, 1)
        ('+0.50', '−2.4')
    """
    return "–" if math.isnan(value) else f"{value:+.{digits}f}".replace("-", "−")


def sentence(text: str) -> str:
    """The text with a capital and a full stop.

    Args:
        text: of one sentence, with or without a full stop.

    Returns:
        The sentence.
    """
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."
