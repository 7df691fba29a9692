"""What does quality cost in variability? Precision against coverage over the start, its spread and the steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from torch import Tensor

from analyses.generation_panels import SCALES, caption, generated, scorer_of
from analyses.lab import Lab
from energylens.data import load_data
from energylens.generation.generated import Generated, to_bytes
from energylens.generation.starts import STARTS

#: standard deviations; arXiv 2407.06315's code: .005, .01 and .02 of a class's 5,000 images' singular values
SPREADS = {"demo": (0.25, 0.5, 1.0, 1.5, 2.0), "paper": (0.35, 0.71, 1.41)}
STEPS = {"demo": (0, 20, 50, 100, 200), "paper": (0, 20, 30, 40, 50)}  # the paper's are 20 to 50
SCORES = ("precision", "density", "recall", "coverage")


def exhibit(lab: Lab) -> pd.DataFrame:
    """Over SPREADS and STEPS."""
    return quality_and_variability(lab, SPREADS[lab.scale], STEPS[lab.scale])


def quality_and_variability(lab: Lab, spreads: Sequence[float], steps: Sequence[int]) -> pd.DataFrame:
    """A row a generation: start, varied ("spread" or "steps"), at (its value), the SCORES; and one, start "real", of as
    many test images. What is not varied is at its default. ``attrs["caption"]`` says what was done."""
    scorer = scorer_of(lab)

    def scores(images: Tensor) -> dict[str, float]:
        values = scorer([to_bytes(images)])
        return {name: values[name].value for name in SCORES}

    made: list[Generated] = []
    rows: list[dict[str, Any]] = []
    for start, row in STARTS.items():
        for varied, values in {"spread": spreads if row.spreads else (), "steps": steps}.items():
            for at in values:
                made.append(generated(lab, start=start, **{varied: at}))
                rows.append({"start": start, "varied": varied, "at": at, **scores(made[-1].images)})
    real = load_data(SCALES[lab.scale]["data"], n=len(made[0]), choose="random", root=lab.root)
    rows.append({"start": "real", "varied": "", "at": 0, **scores(real.images)})
    table = pd.DataFrame(rows)
    table.attrs["caption"] = caption(made, scorer)
    return table
