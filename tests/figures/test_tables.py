"""The smaller analyses on the shipped models, and their pictures."""

import numpy as np
import pandas as pd
import pytest

import energylens as el
from energylens.figures import delta_curves, energy_plane, model_survey, weat_weight
from energylens.figures import robustness as robustness_cells
from energylens.figures.delta_curves import curves, phases
from energylens.figures.energy_plane import plane
from energylens.figures.model_survey import survey
from energylens.figures.robustness import robustness
from energylens.figures.weat_weight import weights
from energylens.tables.training_runs import TrainingRun
from energylens.training.recipes import settings_of


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
    _, natural, adversarial = figure.axes[1].collections  # arrows, points
    rows = table[table["label"] == "FGSM"]
    assert natural.get_offsets().tolist() == rows[["joint_clean", "marginal_clean"]].values.tolist()
    assert adversarial.get_offsets().tolist() == rows[["joint_adv", "marginal_adv"]].values.tolist()
    named = [text.get_text() for text in figure.legends[0].get_texts()]
    assert named == ["natural", "adversarial", "mean", "cross-entropy 0"]


def test_weats_weight_is_the_papers_and_the_shares_are_all_images(record):
    table = weights(record)
    middle = (table["left"] + table["right"]) / 2
    assert table["weight"].tolist() == pytest.approx((1 / np.log1p(np.exp(middle.abs()))).tolist())
    assert (table["right_share"] + table["wrong_share"]).sum() == pytest.approx(100)
    natural = record.attacks[0].rows
    assert table["wrong_share"].sum() == pytest.approx(100 * (natural["pred_clean"] != natural["label"]).mean())
    figure = weat_weight.draw(table)
    axes, right = figure.axes
    assert right.lines[0].get_ydata().tolist() == pytest.approx(table["weight"].tolist())
    tops = [area.get_paths()[0].vertices for area in axes.collections]  # of a stack
    for stacked in (table["right_share"] + table["wrong_share"], table["right_share"]):
        corners = np.column_stack([table["left"], stacked])
        assert any(all(np.isclose(top, corner).all(1).any() for corner in corners) for top in tops)
    named = [text.get_text() for text in figure.legends[0].get_texts()]
    assert named == ["misclassified", "classified rightly", "weight"]


def test_the_survey_is_the_records_accuracy_with_an_interval_around_it(record):
    table = survey({"one": record, "two": record})
    row = table.iloc[0]
    assert row["robust"] == pytest.approx(100 * record.as_numbers()[1]["accuracy"])
    assert row["robust_low"] < row["robust"] < row["robust_high"]
    assert table["delta_joint"].mean() == pytest.approx(record.as_numbers()[1]["delta_joint_mean"], abs=1e-4)
    figure = model_survey.draw(table)
    violins = figure.axes[1]
    assert [text.get_text() for text in violins.get_xticklabels()] == ["one", "two"]
    halves = [half.get_paths()[0].vertices for half in violins.collections]  # dE(x), dE(x, y) of one, then of two
    for half, column in zip(halves, ("delta_marginal", "delta_joint") * 2, strict=True):
        assert (half[:, 1].min(), half[:, 1].max()) == pytest.approx((table[column].min(), table[column].max()))
    assert halves[0][:, 0].max() == pytest.approx(halves[1][:, 0].min()) == 0  # to either side of the model's place
    medians = {line.get_ydata()[0] for line in violins.lines[1:]}
    assert {table["delta_joint"].median(), table["delta_marginal"].median()} <= medians
    named = {text.get_text() for text in figure.legends[0].get_texts()}
    assert named == {"natural accuracy", "robust accuracy", "$\\Delta E(x)$", "$\\Delta E(x, y)$"}


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
    curves_drawn = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 30]
    assert [line.get_ydata().tolist() for line in curves_drawn] == 2 * [history["delta_marginal"].tolist()]
    ends = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 2]
    assert [line.get_xdata()[0] for line in ends] == table.loc[table["phase"].diff() == 1, "epoch"].tolist()
