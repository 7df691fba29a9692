"""The papers' figures as a table: adding one is adding a row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from analyses.lab import Lab

LANDSCAPE, TRAINING = "arXiv 2407.06315", "arXiv 2505.22486"


@dataclass(frozen=True)
class Exhibit:
    """One row. about: the question it answers; source: the paper. analysis, figure: modules of ``analyses`` and
    ``figures``; function: the analysis' that makes the table of a lab."""

    about: str
    source: str
    analysis: str
    figure: str
    function: str = "exhibit"

    @property
    def table(self) -> Callable[[Lab], pd.DataFrame]:
        """What is drawn, computed where it is not there yet. Raises what profile and train raise."""
        found: Callable[[Lab], pd.DataFrame] = getattr(import_module(f"analyses.{self.analysis}"), self.function)
        return found

    @property
    def draw(self) -> Callable[[pd.DataFrame], Figure | pd.DataFrame]:
        """The picture of that table, or, of a table in a paper, its cells."""
        found: Callable[[pd.DataFrame], Figure | pd.DataFrame] = import_module(f"figures.{self.figure}").draw
        return found

    @property
    def seen(self) -> str:
        """What is to be seen in it: how the docstring of the figure's module begins, in one line."""
        text = import_module(f"figures.{self.figure}").__doc__ or ""
        return " ".join(text.partition("\n\n")[0].split())


EXHIBITS: dict[str, Exhibit] = {
    "landscape": Exhibit("where nine attacks put E(x) and E(x, y)", LANDSCAPE, "attack_landscape", "attack_landscape"),
    "steps": Exhibit(
        "how E(x) goes with the steps of PGD and HE-PGD", "arXiv 2304.04033", "energy_steps", "energy_steps"
    ),
    "plane": Exhibit("which way attacks move samples in (E(x, y), E(x))", LANDSCAPE, "energy_plane", "energy_plane"),
    "survey": Exhibit("how models part in dE(x) and dE(x, y)", LANDSCAPE, "model_survey", "model_survey"),
    "robustness": Exhibit("table: clean, PGD, AutoAttack, published", LANDSCAPE, "robustness", "robustness"),
    "published": Exhibit(
        "table: published numbers beside ours", f"{LANDSCAPE}, {TRAINING}", "beside_published", "beside_published"
    ),
    "weat-weight": Exhibit("which samples WEAT weighs", LANDSCAPE, "weat_weight", "weat_weight"),
    "weat": Exhibit(
        "dE(x) of TRADES and what weighs its samples", LANDSCAPE, "delta_curves", "delta_curves", "weat_family"
    ),
    "phases": Exhibit("SAT against TRADES, in phases", LANDSCAPE, "delta_curves", "delta_curves", "sat_and_trades"),
    "samples-matter": Exhibit(
        "training without high-energy, misclassified, low-energy samples", LANDSCAPE, "samples_matter", "samples_matter"
    ),
    "starts": Exhibit("generated from four starts", TRAINING, "generation_panels", "contact_sheet", "starts"),
    "robust-natural": Exhibit(
        "a robust model's images and a natural one's",
        LANDSCAPE,
        "generation_panels",
        "contact_sheet",
        "robust_and_natural",
    ),
    "losses": Exhibit(
        "images of a CE-trained and a KL-trained model", TRAINING, "generation_panels", "contact_sheet", "losses"
    ),
    "generation": Exhibit(
        "table: scores of every start and guidance", LANDSCAPE, "generation_scores", "generation_scores"
    ),
    "spread": Exhibit("spread x retained variance", TRAINING, "generation_grid", "generation_grid"),
    "quality": Exhibit("quality against variability", TRAINING, "generation_tradeoff", "generation_tradeoff"),
    "chains": Exhibit("energy along the chain, and where it stops", TRAINING, "generation_chains", "generation_chains"),
    "co": Exhibit("what holds catastrophic overfitting off", TRAINING, "overfitting", "overfitting", "catastrophic"),
    "ro": Exhibit("what holds robust overfitting off", TRAINING, "overfitting", "overfitting", "robust"),
    "aae": Exhibit("the AAE share around a collapse", TRAINING, "overfitting", "abnormal_share", "abnormal_share"),
    "energy-forms": Exhibit(
        "which energies held before DER's formula was known", "ours [R]", "overfitting", "energy_forms", "energy_forms"
    ),
}
