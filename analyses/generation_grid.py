"""How far may a start lie from its class's mean, and how many components should it have? Spread x retained variance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analyses.generation_panels import caption, generated, scorer_of
from analyses.lab import Lab
from energylens.generation.generated import to_bytes

#: standard deviations; arXiv 2407.06315's code: .005, .01 and .02 of a class's 5,000 images' singular values
SPREADS = {"demo": (0.5, 1.0, 1.5, 2.0), "paper": (0.35, 0.71, 1.41)}
VARIANCES = {"demo": (0.5, 0.8, 0.95, 1.0), "paper": (0.8, 0.9, 0.95, 0.99)}  # of the paper: from .80 to .99
SHOWN = 10  # images of each pair


def exhibit(lab: Lab) -> pd.DataFrame:
    """From the principal components of a class, by default."""
    return spread_and_variance(lab, SPREADS[lab.scale], VARIANCES[lab.scale])


def spread_and_variance(lab: Lab, spreads: Sequence[float], variances: Sequence[float]) -> pd.DataFrame:
    """One row a pair: spread, retained_variance, frechet, precision, coverage.

    ``attrs``: images (rows, SHOWN, C, H, W), the first of each; frechet, what the distance is called in the feature
    space; caption.
    """
    scorer, rows, made = scorer_of(lab), [], []
    for spread in spreads:
        for variance in variances:
            one = generated(lab, start="pca", spread=spread, retained_variance=variance)
            values = scorer([to_bytes(one.images)])
            rows.append(
                {
                    "spread": spread,
                    "retained_variance": variance,
                    "frechet": values[scorer.frechet].value,
                    **{name: values[name].value for name in ("precision", "coverage")},
                }
            )
            made.append(one)
    table = pd.DataFrame(rows)
    table.attrs |= {
        "images": np.stack([one.images[:SHOWN].numpy() for one in made]),
        "frechet": scorer.frechet.replace("_", " "),
        "caption": caption(made, scorer),
    }
    return table
