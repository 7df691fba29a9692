"""Which samples does WEAT weigh? Its weight against E(x), over the energies that a model's images have
(arXiv 2407.06315)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch

from analyses.lab import Lab
from energylens.record import Record
from energylens.training.methods import weat_weight

SCALES: dict[str, dict[str, Any]] = {
    "demo": {"model": "digits-pgd", "n": 500},
    "paper": {"model": "Rade2021Helper_R18_ddpm", "data": "cifar10", "n": 10_000},
}
BINS = 24


def exhibit(lab: Lab) -> pd.DataFrame:
    """The weight over the natural test images of a robust model."""
    return weights(lab.profile(attacks="fgsm", **SCALES[lab.scale]))


def weights(record: Record) -> pd.DataFrame:
    """The natural images of a record in bins of E(x): left, right (nats), right_share and wrong_share (% of all images,
    rightly and wrongly classified), weight (w at the bin's middle). ``attrs["caption"]`` says what was measured."""
    rows = record.frame().query("attack == 'natural'")
    energies, wrong = rows["marginal_clean"].to_numpy("float64"), rows["pred_clean"].ne(rows["label"]).to_numpy()
    edges = np.linspace(min(energies.min(), -1.0), max(energies.max(), 0.0), BINS + 1)
    middle = torch.tensor((edges[:-1] + edges[1:]) / 2)
    logits = torch.stack([-middle, torch.full_like(middle, -torch.inf)], dim=1)  # of one class: E(x) is minus its logit
    shares = {
        name: 100 * np.histogram(energies[chosen], edges)[0] / len(energies)
        for name, chosen in (("right_share", ~wrong), ("wrong_share", wrong))
    }
    table = pd.DataFrame({"left": edges[:-1], "right": edges[1:], **shares, "weight": weat_weight(logits).numpy()})
    table.attrs["caption"] = f"{record.model_title} on {record.dataset}, n = {len(record)} natural test images"
    return table
