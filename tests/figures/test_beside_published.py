"""Published numbers beside ours: of claims and of models."""

import pandas as pd

from analyses.claims import all_claims
from energylens.figures.beside_published import draw, of_claims, of_models


def test_a_claim_stands_beside_its_paper():
    table = of_claims()
    assert table["claim"].tolist() == [claim.what for claim in all_claims() if claim.holds]
    assert table.columns.tolist() == ["claim", "seed", "ours", "paper", "provenance", "threshold", "verdict"]
    line = table.set_index("claim").loc["WEAT's weight at E(x) = -3.87"]
    assert line.tolist() == [
        "0", "0.2570", ".257", "arXiv 2407.06315: its formula", "equal to its last digit", "as published",
    ]  # fmt: skip
    assert table["paper"].all()
    assert draw(table).equals(table)


def test_a_model_is_within_or_outside_our_interval():
    common = {"dataset": "cifar10", "eps": "8/255", "n": 1000, "seconds": 1.0}
    rows = [
        {"model": "One", "attack": "natural", "accuracy": 90.0, "low": 88.0, "high": 91.8, "published": 89.69},
        {"model": "One", "attack": "PGD, steps 50", "accuracy": 60.0, "low": 56.9, "high": 63.1, "published": None},
        {"model": "One", "attack": "AutoAttack", "accuracy": 55.0, "low": 51.9, "high": 58.1, "published": 59.53},
    ]
    table = pd.DataFrame([common | row for row in rows])
    table.attrs["caption"] = "accuracy in %"
    found = of_models(table)
    assert found["claim"].tolist() == ["One: natural accuracy", "One: AutoAttack accuracy"]
    assert found["verdict"].tolist() == [
        "within our 95 % interval, n = 1000", "OUTSIDE our 95 % interval, n = 1000",
    ]  # fmt: skip
    assert found["paper"].tolist() == ["89.69 %", "59.53 %"]
