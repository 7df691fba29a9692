"""The page: tables of runs -> HTML. The modules beside this one make the tables, and say what is in them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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
from energylens.report import charts, pictures

SYMBOLS = {"marginal": "E(x)", "joint": "E(x, y)"}
FAILURES = (CATASTROPHIC.name, ROBUST.name)
COLOURS = {
    "natural": style.NATURAL,
    "adversarial": style.ADVERSARIAL,
    "error": style.ERROR,
    "delta": style.DELTA,
    "abnormal": style.ABNORMAL,
}


@dataclass(frozen=True)
class Repeat:
    """What it takes to do it again. commands: none where none does it; caveats: what must be known with them."""

    commands: Sequence[str]
    caveats: Sequence[str]
    settings: Sequence[tuple[str, str]]
    facts: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class ProfileStory:
    """One record.

    apart: what tells it from others of its model's name and data, or "". attacks, checks, samples: tables of
    ``report.profile``; landscape: of ``tables.attack_landscape``. missing: why images are not shown, or "". published,
    notes: sentences.
    """

    model: str
    dataset: str
    split: str
    threat: str
    seed: int
    apart: str
    attacks: pd.DataFrame
    checks: pd.DataFrame
    landscape: pd.DataFrame
    samples: pd.DataFrame
    missing: str
    published: Sequence[str]
    notes: Sequence[str]
    repeat: Repeat

    kind: ClassVar[str] = "profile"

    @property
    def title(self) -> str:
        """``MODEL on DATASET``, and what tells the section from others of the same."""
        return ", ".join(filter(None, [f"{self.model} on {self.dataset}", self.apart]))

    @property
    def setting(self) -> str:
        """What every number of it holds for."""
        split = "" if self.split == "all" else f"{self.split} "  # a user's own tensors
        return f"n = {self.natural['n']} {split}images, {self.threat}, seed {self.seed}"

    @property
    def natural(self) -> dict[str, Any]:
        """The row of the natural images."""
        return self.rows[0]

    @property
    def strongest(self) -> dict[str, Any]:
        """The row of the attack that leaves the fewest samples right, of several the first."""
        return min(self.rows[1:], key=lambda row: row["accuracy"])

    @property
    def most_abnormal(self) -> dict[str, Any]:
        """The row of the attack that lowered the loss of most samples."""
        return max(self.rows[1:], key=lambda row: row["abnormal_share"])

    @property
    def violated(self) -> list[dict[str, Any]]:
        """The consistency checks that do not hold."""
        return [check for check in _rows(self.checks) if not check["holds"]]

    @property
    def overfitted(self) -> list[dict[str, Any]]:
        """Those of them that concern the training, not the attacks."""
        return [check for check in self.violated if check["rule"] in FAILURES]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The attacks' rows, natural first."""
        return _rows(self.attacks)

    def histograms(self) -> list[tuple[dict[str, Any], list[tuple[str, charts.Chart]]]]:
        """An attack's row and its histograms, each under its symbol; counts share an axis within an energy."""
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

    def curves(self) -> list[tuple[dict[str, Any], charts.Chart, charts.Chart | None]]:
        """A run's row, its errors, and its AAE share where there is one."""
        rows = _rows(self.runs)
        epochs = [table for _, table in self.epochs.groupby("run")]
        return [
            (row, charts.errors(table), charts.abnormal(table) if table["abnormal_share"].notna().any() else None)
            for row, table in zip(rows, epochs, strict=True)
        ]


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def render(sections: Sequence[ProfileStory | TrainingStory]) -> str:
    """The page of these sections, in their order, as HTML; every text in it is escaped."""
    environment = Environment(
        loader=PackageLoader("energylens.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "decimal": decimal,
        "signed": signed,
        "sentence": sentence,
        "picture": pictures.data_uri,
    }
    template = environment.get_template("page.html")
    return template.render(sections=sections, colours=COLOURS, size=charts.SIZE, version=version("energylens"))


def save_page(html: str, path: Path) -> None:
    """Write the page; it is there whole or not at all. Raises RunError where it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as temporary:
            temporary.write_text(html, encoding="utf-8")
    except OSError as error:
        raise RunError(f"cannot write the page to {path} ({error.strerror or error}): give another --out") from error


def percent(share: float, digits: int = 1) -> str:
    """A share in [0, 1] in %, without its sign.

    >>> percent(0.125)
    '12.5'
    """
    return f"{100 * share:.{digits}f}"


def decimal(value: float, digits: int = 2) -> str:
    """A number, or a dash where there is none.

    >>> decimal(-9.526), decimal(float("nan"))
    ('−9.53', '–')
    """
    return "–" if math.isnan(value) else f"{value:.{digits}f}".replace("-", "−")


def signed(value: float, digits: int = 2) -> str:
    """A difference with its sign.

    >>> signed(0.5), signed(-2.394, 1)
    ('+0.50', '−2.4')
    """
    return "–" if math.isnan(value) else f"{value:+.{digits}f}".replace("-", "−")


def sentence(text: str) -> str:
    """The text with a capital and a full stop."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."
