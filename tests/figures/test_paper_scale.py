"""At the papers' scale stand the papers' constants: literal values, from their pages, figures and authors' code."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import energylens as el
from energylens.figures import (
    attack_landscape,
    generation_grid,
    generation_scores,
    generation_tradeoff,
    model_survey,
    robustness,
)
from energylens.figures import contact_sheet as generation_panels
from energylens.figures import model_survey as violins
from energylens.figures.run_cache import RunCache
from energylens.generation.settings import GenerationSettings

PAPER = RunCache(scale="paper")
AUTOATTACK = {  # in the order of the figure
    "Engstrom2019Robustness": 49.25,
    "Zhang2020Geometry": 59.64,
    "Zhang2019Theoretically": 53.08,
    "Wang2020Improving": 56.29,
    "Wu2020Adversarial": 56.17,
    "Cui2023Decoupled_WRN-34-10": 57.09,
    "Cui2023Decoupled_WRN-28-10": 67.73,
    "Wang2023Better_WRN-70-16": 70.69,
}


@pytest.fixture
def asked(monkeypatch):
    """What would be generated, in turn: the settings that ``energylens.generate`` gets; four digits come back."""
    few = el.generate(n=4, steps=0, start="noise")
    made, own = [], {"model", "data", "n", "seed", "threat_model", "out", "data_root", "listener"}

    def generate(**settings):
        made.append(settings)
        sampler = {name: value for name, value in settings.items() if name not in own}
        return replace(few, settings=GenerationSettings(**sampler).told())

    monkeypatch.setattr(generation_panels, "generate", generate)
    monkeypatch.setattr(generation_panels, "scorer_of", lambda cache, **space: None)
    return made


def test_the_robust_models_chains_have_the_papers_step_size_and_steps(asked):
    generation_panels.starts(PAPER)
    *linf, l2 = asked
    assert len(linf) == 4
    for one in linf:
        assert (one["model"], one["data"], one["n"]) == ("Engstrom2019Robustness", "cifar10", 10_000)
        assert one["step_size"] in (0.5, 0.8) and 20 <= one["steps"] <= 50 and one["noise"] == 0.001
        assert one["spread"] == pytest.approx(0.005 * 4999**0.5, abs=0.005)  # sigma .005 of the singular values
    assert (l2["model"], l2["threat_model"], l2["start"]) == ("Engstrom2019Robustness", "L2", "pca")
    assert (l2["step_size"], l2["steps"], l2["momentum"], l2["retained_variance"]) == (0.025, 500, 0.8, 0.99)


def test_no_generation_at_the_papers_scale_has_the_digits_step_size(asked, monkeypatch):
    monkeypatch.setattr(generation_panels, "trained", lambda cache, names: {})
    generation_panels.robust_and_natural(PAPER)
    assert {one["step_size"] for one in asked} == {0.8} and {one["steps"] for one in asked} == {50}
    asked.clear()
    monkeypatch.setattr(generation_grid, "scorer_of", lambda cache: _Scorer())
    generation_grid.table(PAPER)
    assert {one["spread"] for one in asked} == {0.35, 0.71, 1.41}  # sigma .005, .01, .02
    variances = {one["retained_variance"] for one in asked}
    assert (min(variances), max(variances)) == (0.8, 0.99)
    assert {(one["step_size"], one["steps"]) for one in asked} == {(0.5, 50)}
    steps = generation_tradeoff.STEPS["paper"]
    assert (steps[0], min(steps[1:]), max(steps)) == (0, 20, 50)


class _Scorer:
    """Gives 0 for everything."""

    frechet = "fid"
    extractor = SimpleNamespace(name="none")

    def __call__(self, batches):
        return {name: SimpleNamespace(value=0.0) for name in ("fid", "precision", "coverage")}


def test_published_scores_are_the_notes():
    assert generation_scores.PUBLISHED["pca"] == {"fid": 30.74, "inception_score": 8.97}
    assert generation_scores.PUBLISHED["SADA-JEM"] == {"fid": 17.38, "inception_score": 8.07}


def test_the_survey_has_the_papers_models_in_its_order_and_what_cannot_be_had_is_left_out_by_name(monkeypatch):
    record = el.profile("digits-pgd", "digits", ["fgsm"], n=20, ladder=False)
    asked = []

    def profile(self, model, **settings):
        asked.append((model, settings))
        if model.startswith("Cui2023"):
            raise el.RunError("no network")
        return record

    said = []
    monkeypatch.setattr(RunCache, "profile", profile)
    table = model_survey.table(RunCache(scale="paper", tell=said.append))
    assert [model for model, _ in asked] == list(AUTOATTACK)
    assert all(own == {"data": "cifar10", "attacks": "pgd", "eps": "8/255", "n": 10_000} for _, own in asked)
    left = [model for model in AUTOATTACK if not model.startswith("Cui2023")]
    assert list(table["model"].unique()) == left
    assert table.groupby("model", sort=False)["autoattack"].first().to_dict() == {
        model: AUTOATTACK[model] for model in left
    }
    without = "without Cui2023Decoupled_WRN-34-10, Cui2023Decoupled_WRN-28-10, which could not be had"
    assert table.attrs["caption"].endswith(without)
    assert [line for line in said if "no network" in line] == [
        "without Cui2023Decoupled_WRN-34-10: no network", "without Cui2023Decoupled_WRN-28-10: no network",
    ]  # fmt: skip
    above = violins.draw(table).axes[0]
    assert [text.get_text() for text in above.texts if "AutoAttack" in text.get_text()] == [
        f"AutoAttack\n{AUTOATTACK[model]:.2f}" for model in left
    ]
    assert robustness.table(PAPER).attrs["caption"].endswith(without)


def test_where_no_model_can_be_had_the_survey_says_why(monkeypatch):
    def profile(self, model, **settings):
        raise el.RunError(f"{model}: no network")

    monkeypatch.setattr(RunCache, "profile", profile)
    with pytest.raises(el.RunError, match="Wang2023Better_WRN-70-16: no network"):
        model_survey.table(PAPER)


def test_the_landscape_has_the_papers_bins_and_queries(monkeypatch):
    asked = []
    record = el.profile("digits-standard", "digits", ["fgsm"], n=20, ladder=False)
    monkeypatch.setattr(RunCache, "profile", lambda self, **settings: asked.append(settings) or record)
    table = attack_landscape.table(PAPER)
    assert asked[0]["attacks"] == (
        "pgd", "trades", "apgd-ce", "apgd-t", "apgd-dlr", "fab", "square,queries=1000", "cw", "diff-pgd",
    )  # fmt: skip
    assert (asked[0]["model"], asked[0]["eps"], asked[0]["n"]) == ("Standard", "8/255", 10_000)
    for _, bins in table.groupby(["attack", "energy", "series"]):
        edges = [*bins["left"], bins["right"].iloc[-1]]
        np.testing.assert_allclose(edges, np.linspace(-50, 20, 200))


def test_the_histogram_takes_the_papers_bins(run, tmp_path):
    status, _, _ = run("histogram", "--paper", "--attack", "fgsm", "--n", 20, "--figure", "paper.png")
    table = pd.read_csv(tmp_path / "paper.csv")
    assert status == 0 and len(table) == 4 * 199 and table["left"].min() == -50 and table["right"].max() == 20
