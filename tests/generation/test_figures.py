"""Analyses of generations and their figures, at the smallest scale."""

import numpy as np
import pandas as pd
import pytest

import energylens as el
from energylens.figures import contact_sheet, generation_chains, generation_grid, generation_scores, generation_tradeoff
from energylens.figures import contact_sheet as generation_panels
from energylens.figures import generation_chains as chains
from energylens.figures import generation_scores as scores_table
from energylens.figures.contact_sheet import panels
from energylens.figures.generation_grid import spread_and_variance
from energylens.figures.generation_tradeoff import quality_and_variability
from energylens.figures.run_cache import RunCache
from energylens.generation.generated import to_bytes
from energylens.generation.score import Value
from energylens.generation.starts import STARTS


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache whose runs are gone afterwards, of 20 images a generation."""
    monkeypatch.setitem(generation_panels.SCALES["demo"], "n", 20)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return RunCache(runs=tmp_path)


def test_the_contact_sheet_shows_every_image_under_its_class():
    made = el.generate(n=20, steps=2)
    table = panels({"local-pca": made})
    assert len(table) == 20 and "n = 20" in table.attrs["caption"] and "start local-pca" in table.attrs["caption"]
    (axes,) = contact_sheet.draw(table).axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == list("0123456789")
    mosaic = axes.images[0].get_array()
    np.testing.assert_allclose(mosaic[10:18, 28:36], made.images[13, 0])  # second row, class 3
    assert len(axes.collections[0].get_paths()) == (~table["right"]).sum()


def test_four_panels_of_starts(cache):
    table = generation_panels.starts(cache)
    titles = [axes.get_title().split("\n") for axes in contact_sheet.draw(table).axes]
    assert [name for name, _ in titles] == [f"from {start}" for start in STARTS]
    assert all("frechet distance" in told for _, told in titles)
    assert len(cache.used) == 4 and all(folder.is_dir() for folder in cache.used)


def test_robust_against_natural(cache):
    table = generation_panels.robust_and_natural(cache)
    assert list(table["panel"].unique()) == [
        f"{kind}, from {start}" for start in ("noise", "pca") for kind in ("robust", "natural")
    ]
    away = table.groupby("panel")["nearest_l2"].median()
    assert away["natural, from pca"] > 1.5 * away["robust, from pca"]


def test_a_cell_a_pair_of_spread_and_variance(cache):
    table = spread_and_variance(cache, (0.5, 1), (0.8, 1))
    assert len(table) == 4
    figure = generation_grid.draw(table)
    assert [axes.get_title() for axes in figure.axes] == [
        f"distance {row.frechet:.0f}, coverage {row.coverage:.2f}" for row in table.itertuples()
    ]


def test_every_start_and_setting_is_on_the_curves_of_quality(cache):
    table = quality_and_variability(cache, (0.5, 1), (0, 1))
    assert table["start"].value_counts().to_dict() == {"gaussian": 4, "pca": 4, "local-pca": 4, "noise": 2, "real": 1}
    figure = generation_tradeoff.draw(table)
    assert [axes.get_title() for axes in figure.axes] == ["over spread, 0.5 to 1", "over steps, 0 to 1"]
    lines = [line for line in figure.axes[1].lines if len(line.get_xdata())]
    for start, line in zip([*STARTS, "real"], lines, strict=True):
        rows = table[(table["start"] == start) & (table["varied"] != "spread")]
        assert line.get_xydata().tolist() == rows[["coverage", "precision"]].values.tolist()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [*STARTS, "real"]


def test_chains_are_drawn_with_the_line_where_they_stop(cache):
    table = generation_chains.table(cache, steps=2)
    assert len(table) == 2 * 4 * 3
    one = el.generate(start="pca", n=20, steps=2, guidance="reference-energy", stop="reference-energy")
    first = table.query("rule != 'E(x, y)' and start == 'pca' and step == 0")
    assert first["mean"].item() == pytest.approx(np.mean([path[0] for path in one.rows["joint_path"]]))
    figure = chains.draw(table)
    assert figure.axes[1].lines[-1].get_ydata()[0] == pytest.approx(table["reference"].iloc[-1])


def test_scores_of_every_start_with_and_without_guidance(cache, monkeypatch):
    monkeypatch.setattr(generation_scores, "SEEDS", (0, 1))
    table = generation_scores.table(cache)
    made = [el.generate(start="pca", n=20, seed=seed) for seed in (0, 1)]
    each = [generation_panels.scorer_of(cache)([to_bytes(one.images)])["frechet_distance"].value for one in made]
    row = table.query("images == 'pca' and guidance == 'none' and score == 'frechet_distance'").iloc[0]
    assert row["value"] == pytest.approx(np.mean(each))
    assert row["high"] - row["value"] == pytest.approx(12.7062 * abs(each[0] - each[1]) / 2, rel=1e-4)
    cells = scores_table.draw(table)
    assert cells["images"].tolist() == [*(start for start in STARTS for _ in range(2)), "real (test)", "uniform noise"]
    assert cells["frechet distance"][4].startswith(f"{row['value']:.3g} ± ")
    assert not any("published" in name for name in cells)  # not on the digits
    assert "seed 0, 1" in table.attrs["caption"]


def test_published_scores_stand_beside_ours_only_where_they_compare():
    rows = [
        *generation_scores._rows("pca", "none", 20, {"fid": Value(40.0, 30.0, 50.0)}, {"fid": 30.74}),
        *generation_scores._rows("JEM", "", 0, {}, {"fid": 38.4}),
    ]
    cells = scores_table.draw(pd.DataFrame(rows))
    assert cells.values.tolist() == [["pca", "none", "20", "40 ± 10", "30.74"], ["JEM", "", "", "", "38.40"]]
