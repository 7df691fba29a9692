"""The papers' figures as a table: adding one is adding a row."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from energylens.figures.run_cache import RunCache

LANDSCAPE, TRAINING = "arXiv 2407.06315", "arXiv 2505.22486"


@dataclass(frozen=True)
class PaperFigure:
    """One row.

    Attributes:
        about: the question it answers.
        source: the paper.
        module: the file beside this one that has ``draw`` and the function that makes the table of a run cache.
        function: that function's name, where it is not ``table``.
    """

    about: str
    source: str
    module: str
    function: str = "table"

    def table(self, cache: RunCache) -> pd.DataFrame:
        """What is drawn, computed where it is not there yet.

        Args:
            cache: where runs come from and are kept; its scale says how large they are.

        Returns:
            What ``draw`` takes, its caption in ``attrs``.

        Raises:
            InputError: a model, data set or study cannot be had.
            RunError: a run cannot be made or read.
        """
        table: pd.DataFrame = getattr(self._module, self.function)(cache)
        return table

    def draw(self, table: pd.DataFrame) -> Figure | pd.DataFrame:
        """The picture of that table, or, of a table in a paper, its cells.

        Args:
            table: as ``table`` returned it.

        Returns:
            A picture, or cells of text.
        """
        drawn: Figure | pd.DataFrame = self._module.draw(table)
        return drawn

    @property
    def seen(self) -> str:
        """What is to be seen in it: how the docstring of its module begins, in one line."""
        return " ".join((self._module.__doc__ or "").partition("\n\n")[0].split())

    @property
    def _module(self) -> ModuleType:
        return import_module(f"energylens.figures.{self.module}")


FIGURES: dict[str, PaperFigure] = {
    "landscape": PaperFigure("where nine attacks put E(x) and E(x, y)", LANDSCAPE, "attack_landscape"),
    "steps": PaperFigure("how E(x) goes with the steps of PGD and HE-PGD", "arXiv 2304.04033", "energy_steps"),
    "plane": PaperFigure("which way attacks move samples in (E(x, y), E(x))", LANDSCAPE, "energy_plane"),
    "survey": PaperFigure("how models part in dE(x) and dE(x, y)", LANDSCAPE, "model_survey"),
    "robustness": PaperFigure("table: clean, PGD, AutoAttack, published", LANDSCAPE, "robustness"),
    "published": PaperFigure("table: published numbers beside ours", f"{LANDSCAPE}, {TRAINING}", "beside_published"),
    "weat-weight": PaperFigure("which samples WEAT weighs", LANDSCAPE, "weat_weight"),
    "weat": PaperFigure("dE(x) of TRADES and what weighs its samples", LANDSCAPE, "delta_curves", "weat_family"),
    "phases": PaperFigure("SAT against TRADES, in phases", LANDSCAPE, "delta_curves", "sat_and_trades"),
    "samples-matter": PaperFigure(
        "training without high-energy, misclassified, low-energy samples", LANDSCAPE, "samples_matter"
    ),
    "starts": PaperFigure("generated from four starts", TRAINING, "contact_sheet", "starts"),
    "robust-natural": PaperFigure(
        "a robust model's images and a natural one's", LANDSCAPE, "contact_sheet", "robust_and_natural"
    ),
    "losses": PaperFigure("images of a CE-trained and a KL-trained model", TRAINING, "contact_sheet", "losses"),
    "generation": PaperFigure("table: scores of every start and guidance", LANDSCAPE, "generation_scores"),
    "spread": PaperFigure("spread x retained variance", TRAINING, "generation_grid"),
    "quality": PaperFigure("quality against variability", TRAINING, "generation_tradeoff"),
    "chains": PaperFigure("energy along the chain, and where it stops", TRAINING, "generation_chains"),
    "co": PaperFigure("what holds catastrophic overfitting off", TRAINING, "overfitting", "catastrophic"),
    "ro": PaperFigure("what holds robust overfitting off", TRAINING, "overfitting", "robust"),
    "der": PaperFigure("which of DER's settings hold", "ours [R]", "der_study"),
    "aae": PaperFigure("the AAE share around a collapse", TRAINING, "abnormal_share"),
    "energy-forms": PaperFigure("which energies held before DER's formula was known", "ours [R]", "energy_forms"),
}
