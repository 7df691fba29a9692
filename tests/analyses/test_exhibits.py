"""The smaller analyses on the shipped models, and their pictures."""

import numpy as np
import pandas as pd
import pytest

import energylens as el
from analyses.delta_curves import curves, phases
from analyses.energy_plane import plane
from analyses.model_survey import survey
from analyses.robustness import robustness
from analyses.training_runs import TrainingRun
from analyses.weat_weight import weights
from energylens.training.recipes import settings_of
from figures import delta_curves, energy_plane, model_survey, weat_weight
from figures import robustness as robustness_cells


@pytest.fixture(scope="module")
def record():
    return el.profile("digits-pgd", "digits", ["pgd,steps=4", "fgsm"], n=60, ladder=False)


def test_the_plane_holds_every_sample_and_few_arrows(record):
    table = plane(record, arrows=7)
    assert len(table) == 2 * len(record)
    assert table.groupby("attack")["shown"].sum().tolist() == [7, 7]
    assert (table["joint_adv"] >= table["marginal_adv"]).all()  # their difference is a cross-entropy
    figure = energy_plane.draw(table)
    assert [axes.get_title() for axes in figure.axes] == ["PGD, steps 4", "FGSM"]


def test_weats_weight_is_the_papers_and_the_shares_are_all_images(record):
    table = weights(record)
    middle = (table["left"] + table["right"]) / 2
    assert table["weight"].tolist() == pytest.approx((1 / np.log1p(np.exp(middle.abs()))).tolist())
    assert (table["right_share"] + table["wrong_share"]).sum() == pytest.approx(100)
    natural = record.attacks[0].rows
    assert table["wrong_share"].sum() == pytest.approx(100 * (natural["pred_clean"] != natural["label"]).mean())
    assert len(weat_weight.draw(table).axes) == 2


def test_the_survey_is_the_records_accuracy_with_an_interval_around_it(record):
    table = survey({"one": record, "two": record})
    row = table.iloc[0]
    assert row["robust"] == pytest.approx(100 * record.as_numbers()[1]["accuracy"])
    assert row["robust_low"] < row["robust"] < row["robust_high"]
    assert table["delta_joint"].mean() == pytest.approx(record.as_numbers()[1]["delta_joint_mean"], abs=1e-4)
    labels = [text.get_text() for text in model_survey.draw(table).axes[1].get_xticklabels()]
    assert labels == ["one", "two"]


def test_the_robustness_table_has_a_line_a_model(record):
    table = robustness({"one": record, "two": record})
    cells = robustness_cells.draw(table)
    assert cells.columns.tolist() == ["model", "n", "natural", "PGD, steps 4", "FGSM"]
    accuracy = 100 * record.as_numbers()[0]["accuracy"]
    assert cells["natural"][0].startswith(f"{accuracy:.1f} (")


def test_phases_are_cut_where_the_curve_breaks():
    curve = np.concatenate([np.linspace(0, -0.1, 10), np.full(60, -0.1), np.linspace(-0.1, -0.7, 30)])
    found = phases(curve)
    assert np.flatnonzero(np.diff(found)).tolist() == pytest.approx([9, 69], abs=1)
    assert phases(curve[:8]).tolist() == [1] * 8


def test_the_curves_of_two_methods(tmp_path):
    history = pd.DataFrame({"epoch": range(1, 31), "delta_marginal": np.linspace(0, -1, 30), "test_pgd": 0.4})
    runs = {
        name: TrainingRun(tmp_path, settings_of("digits", method=method).manifest(), history)
        for name, method in (("PGD", "pgd"), ("TRADES", "trades"))
    }
    table = curves(runs, phased=("PGD",))
    assert table.groupby("method")["phase"].max().to_dict() == {"PGD": 3, "TRADES": 1}
    figure = delta_curves.draw(table)
    assert len(figure.axes[0].lines) == 4  # two curves, two ends of a phase
