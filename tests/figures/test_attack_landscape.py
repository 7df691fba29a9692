"""The landscape's table holds the record's numbers, and the figure draws all of the table."""

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from torch import nn

import energylens as el
from energylens.figures.attack_landscape import COLOURS, draw
from energylens.tables.attack_landscape import landscape


@pytest.fixture(scope="module")
def record():
    return el.profile("digits-standard", "digits", ["fgsm", "cw"], n=60)


def test_bins_are_the_records_histogram(record):
    table = landscape(record, bins=30, limits=(-50, 20))
    assert len(table) == 2 * 2 * 2 * 30  # attacks, energies, series, bins
    bins = table.query("attack == 'cw' and energy == 'joint' and series == 'adversarial'")
    values = record["cw"].rows["joint_adv"]
    count, edges = np.histogram(values, np.linspace(-50, 20, 31))
    assert bins["count"].tolist() == count.tolist()
    np.testing.assert_allclose(bins["left"], edges[:-1])
    assert (bins["density"] * (bins["right"] - bins["left"])).sum() == pytest.approx(1)
    assert bins["mean"].iloc[0] == pytest.approx(values.mean())


def test_bins_of_its_own_choice_hold_every_sample(record):
    table = landscape(record)
    assert (table.groupby(["attack", "energy", "series"])["count"].sum() == 60).all()
    edges = table.groupby("energy")["left"].unique()
    assert all(16 <= len(left) <= 200 for left in edges)


@pytest.mark.parametrize(
    ("n", "share", "bins"), [(100, 1, 16), (100, 1 / 40, 40), (10_000, 1 / 3, 64), (10_000, 1 / 40, 200)]
)
def test_a_hundred_samples_get_few_bins_and_ten_thousand_many(n, share, bins):
    """Natural energies evenly on a share of [-10, 0], an attack's on all of it: 1 / share n^(1/3) bins by the rule."""

    class Linear(nn.Module):
        def forward(self, x):
            return torch.cat([10 * x.flatten(1), 10 * x.flatten(1) - 50], dim=1)  # E(x) is E(x, 0), -10 x

    def spread(model, x, y):
        return x / share

    x = torch.linspace(0, share, n).reshape(-1, 1, 1, 1)
    table = landscape(el.profile(Linear(), (x, torch.zeros(n, dtype=torch.int64)), [spread], ladder=False))
    assert table.groupby(["energy", "series"]).size().tolist() == [bins] * 4


def test_the_figure_has_a_panel_an_attack_and_energy_with_shared_axes(record):
    table = landscape(record)
    figure = draw(table)
    assert len(figure.axes) == 4
    assert [axes.get_title() for axes in figure.axes[:2]] == ["FGSM", "C&W"]
    for row in (figure.axes[:2], figure.axes[2:]):
        assert len({axes.get_xlim() for axes in row}) == len({axes.get_ylim() for axes in row}) == 1
        highest = max(drawn.get_paths()[0].vertices[:, 1].max() for axes in row for drawn in axes.collections)
        assert row[0].get_ylim()[1] >= highest
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["natural", "adversarial"]
    assert "n = 60, eps 0.2 linf, seed 0" in figure.get_supxlabel()


@pytest.mark.parametrize("limits", [None, (-12, 0)])
def test_the_figure_draws_the_densities_and_means_of_the_table(record, limits):
    table = landscape(record, limits=limits)
    figure = draw(table)
    for number, energy in enumerate(("marginal", "joint")):
        axes = figure.axes[2 * number + 1]  # of C&W
        drawn = {to_hex(area.get_facecolor()[0]): area.get_paths()[0].vertices for area in axes.collections}
        means = {to_hex(line.get_color()): line.get_xdata()[0] for line in axes.lines}
        for series, colour in COLOURS.items():
            bins = table[(table["attack"] == "cw") & (table["energy"] == energy) & (table["series"] == series)]
            outline = drawn[colour]
            for left, right, density in zip(bins["left"], bins["right"], bins["density"], strict=True):
                assert np.isclose(outline, (left, density)).all(1).any()
                assert np.isclose(outline, (right, density)).all(1).any()
            assert means[colour] == pytest.approx(bins["mean"].iloc[0])


def test_the_caption_claims_no_radius_for_an_attack_without():
    caption = landscape(el.profile("digits-standard", "digits", ["cw,steps=3"], n=5)).attrs["caption"]
    assert caption == "digits-standard on digits, n = 5, no eps, seed 0"


def test_a_model_of_one_energy_still_draws():
    class Constant(nn.Module):
        def forward(self, x):
            return 0 * x.flatten(1)[:, :10]

    x, y = torch.rand(10, 1, 8, 8), torch.arange(10)
    table = landscape(el.profile(Constant(), (x, y), ["fgsm"], eps=0.1))
    assert (table.groupby(["energy", "series"])["count"].sum() == 10).all()
    draw(table).savefig("/dev/null", format="png")
