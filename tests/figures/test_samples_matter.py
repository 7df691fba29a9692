"""Training without some samples: means, intervals and differences that are known, and their picture."""

import numpy as np
import pytest

from energylens.figures import samples_matter
from energylens.figures.run_cache import RunCache
from energylens.figures.samples_matter import draw, over_seeds
from energylens.tables.training_runs import read_run
from energylens.training.loop import train
from energylens.training.recipes import settings_of

MEASURED = {
    ("all", 0): [90, 50], ("all", 1): [94, 54],
    ("high-energy", 0): [80, 40], ("high-energy", 1): [84, 48],
    ("random", 0): [88, 48], ("random", 1): [90, 50],
}  # fmt: skip
T = 12.7062  # Student's .975 quantile of one degree of freedom


def test_means_intervals_and_what_is_lost_beside_random():
    rows = over_seeds(MEASURED).drop_duplicates(["rule", "quantity"]).set_index(["rule", "quantity"])
    all_natural = rows.loc[("all", "natural")]
    assert (all_natural["mean"], all_natural["worse"]) == (92, -3)
    assert all_natural["high"] - all_natural["mean"] == pytest.approx(2 * T, rel=1e-5)  # sd / sqrt(2) is 2
    lost = rows.loc[("high-energy", "PGD")]
    assert (lost["worse"], lost["mean"]) == (5, 44)  # 8 and 2 by seed
    assert lost["worse_half"] == pytest.approx(3 * T, rel=1e-5)
    assert rows.loc[("random", "PGD"), ["worse", "worse_half"]].tolist() == [0, 0]


@pytest.mark.parametrize("scale", samples_matter.SCALES.values(), ids=samples_matter.SCALES)
def test_the_settings_of_both_scales_can_run(scale):
    whole = settings_of(**scale["training"])
    assert whole.method == "pgd"
    assert settings_of(**scale["training"] | scale["reference"]).epochs < whole.epochs


def test_the_exhibit_trains_judges_and_draws_every_rule(tmp_path, monkeypatch):
    """All of it on few images, an epoch a run, in this process."""

    def here(cache, wanted):
        return [read_run(train(settings, out=cache.runs).folder) for settings in wanted]

    training = {
        "recipe": "digits", "per_class": 40, "epochs": 1, "method": "fgsm", "eval_samples": 16, "eval_steps": 1,
    }  # fmt: skip
    small = {"training": training, "reference": {"epochs": 2}, "judging": {"n": 30}}
    monkeypatch.setitem(samples_matter.SCALES, "demo", small)
    monkeypatch.setattr(samples_matter, "SEEDS", (0, 1))
    monkeypatch.setattr(RunCache, "train", here)
    table = samples_matter.table(RunCache(runs=tmp_path))
    rules = ["all", "high-energy", "misclassified", "low-energy", "random"]
    assert table["rule"].drop_duplicates().tolist() == rules
    assert len(table) == 5 * 2 * 2
    assert "misclassified" in table.attrs["caption"] and "reconstruction [R]" in table.attrs["caption"]
    figure = draw(table)
    told = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert told == ["all", *(f"without {rule}" for rule in rules[1:])]
    assert figure.axes[0].get_ylim()[0] > figure.axes[0].get_ylim()[1]  # from the top
    for axes, quantity in zip(figure.axes, ("natural", "PGD"), strict=True):
        for at, rule in enumerate(rules):
            rows = table[(table["quantity"] == quantity) & (table["rule"] == rule)]
            dots = axes.collections[at].get_offsets()
            assert sorted(dots[:, 0]) == pytest.approx(sorted(rows["accuracy"]))
            assert set(dots[:, 1]) == {at - 0.22}
            mean, low, high = rows[["mean", "low", "high"]].iloc[0]
            assert axes.lines[0].get_xdata()[at] == pytest.approx(mean)
            drawn = {round(x, 6) for line in axes.lines[1:] for x in np.ravel(line.get_xdata())}
            assert {round(low, 6), round(high, 6)} <= drawn
    assert [axes.get_xlabel() for axes in figure.axes] == ["natural accuracy  [%]", "PGD accuracy  [%]"]
