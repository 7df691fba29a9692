"""Runs side by side: what is best, last and gap, which runs are one row, and what the command says and refuses."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from energylens.errors import InputError, Note
from energylens.figures.compare_runs import draw as draw_comparison
from energylens.figures.training_curves import draw as draw_curves
from energylens.tables.compare_runs import comparison, followed
from energylens.tables.training_curves import curves
from energylens.tables.training_runs import read_run, read_runs
from energylens.training.history import COLUMNS
from energylens.training.settings import TrainSettings

PGD = (0.30, 0.40, 0.10)


@pytest.fixture
def made(tmp_path):
    """A run folder as the trainer leaves it: ``made("name", pgd=(...), seed=1, ...)``."""

    def make(name, pgd=PGD, alarm=("", "", ""), val=True, **settings):
        folder = tmp_path / name
        folder.mkdir()
        identity = {"settings": TrainSettings(**{"epochs": 3, "method": "fgsm", "eps": "0.2", **settings}).manifest()}
        (folder / "manifest.json").write_text(json.dumps({"identity": identity}))
        history = pd.DataFrame(np.nan, index=range(len(pgd)), columns=list(COLUMNS))
        accuracies = {name: np.asarray(pgd) for name in ("test_pgd", "train_pgd", "train_fgsm")}
        history = history.assign(
            epoch=range(1, len(pgd) + 1), test_clean=0.9, train_clean=0.95, delta_marginal=-0.1, abnormal_share=0.01,
            alarm=alarm[: len(pgd)], **accuracies,
        )  # fmt: skip
        if val:
            history["val_pgd"] = history["test_pgd"]
        history.to_parquet(folder / "history.parquet", index=False)
        return folder

    return make


def test_best_last_and_gap_of_one_run(made):
    row = comparison([read_run(made("one"))]).iloc[0]
    assert (row["best_epoch_mean"], row["seeds"], row["unfinished"]) == (2, 1, "")
    assert row[["best_pgd_mean", "last_pgd_mean", "gap_pgd_mean", "gap_clean_mean"]].tolist() == pytest.approx(
        [40, 10, 30, 0]
    )
    assert np.isnan(row["gap_pgd_sd"])


def test_of_several_runs_one_without_an_epoch_is_passed_over_with_a_note(made):
    whole, begun = made("whole"), made("begun")
    (begun / "history.parquet").unlink()
    with pytest.warns(Note, match="begun has not finished an epoch yet and is passed over"):
        assert [run.path for run in read_runs([whole, begun])] == [whole.resolve()]
    with pytest.raises(InputError, match="no finished epoch yet"):
        read_runs([begun])


def test_epochs_that_were_not_judged_are_neither_best_nor_last(made):
    row = comparison([read_run(made("some", pgd=(np.nan, 0.3, np.nan), eval_every=2, epochs=4))]).iloc[0]
    assert (row["best_epoch_mean"], row["last_pgd_mean"]) == (2, 30)
    with pytest.raises(InputError, match="no epoch was judged yet"):
        comparison([read_run(made("none", pgd=(np.nan,), eval_every=2, epochs=4))])


def test_the_validation_split_picks_the_best_epoch_not_the_test_set(made):
    folder = made("one")
    history = pd.read_parquet(folder / "history.parquet").assign(val_pgd=[0.5, 0.1, 0.1])
    history.to_parquet(folder / "history.parquet")
    table = comparison([read_run(folder)])
    assert table["best_pgd_mean"].item() == pytest.approx(30)
    assert not table.attrs["notes"]
    assert "picked on training images" in comparison([read_run(made("two", val=False))]).attrs["notes"][0]


def test_the_judgement_at_the_end_goes_before_the_epochs_own(made):
    folder = made("one")
    ends = {"best": {"epoch": 2, "clean": 0.8, "pgd": 0.25}, "last": {"epoch": 3, "clean": 0.7, "pgd": 0.125}}
    told = {"attack": "pgd,steps=50,restarts=10", "images": 500, **ends}
    (folder / "final.json").write_text(json.dumps(told))
    table = comparison([read_run(folder), read_run(made("two", method="pgd"))])
    assert table["judge"].tolist() == ["PGD-50-10", "PGD-10"]
    assert table[["best_pgd_mean", "gap_pgd_mean", "last_clean_mean"]].iloc[0].tolist() == [25, 12.5, 70]
    assert any("PGD-50-10 on 500, PGD-10 on 1000 test images" in note for note in table.attrs["notes"])


def test_seeds_are_one_row_with_their_spread(made):
    lasts = (0.10, 0.20, 0.30)
    runs = [read_run(made(f"s{s}", pgd=(0.3, 0.4, last), seed=s)) for s, last in enumerate(lasts)]
    runs.append(read_run(made("der", seed=0, reg=("der",), alarm=("", "co", ""))))
    table = comparison(runs)
    assert table["label"].tolist() == ["fgsm", "fgsm + der"]
    assert table["seeds"].tolist() == [3, 1]
    assert table["last_pgd_mean"].tolist() == pytest.approx([20, 10])
    assert table["last_pgd_sd"].iloc[0] == pytest.approx(100 * np.std(lasts, ddof=1))
    assert table["alarms"].tolist() == ["", "co 1/1"]
    third = followed(runs).query("label == 'fgsm' and quantity == 'test_pgd' and epoch == 3")
    assert third["seed"].tolist() == [0, 1, 2] and third["value"].tolist() == pytest.approx([10, 20, 30])


def test_labels_tell_runs_of_one_method_apart(made):
    runs = [
        read_run(made("a", eps="4/255")),
        read_run(made("b", eps="8/255", lr=0.1)),
        read_run(made("c", eps="8/255", method="pgd", steps=7)),
    ]
    assert comparison(runs)["label"].tolist() == [
        "fgsm, eps 4/255, lr 0.002",
        "fgsm, eps 8/255, lr 0.1",
        "pgd, eps 8/255",
    ]
    judged = [read_run(made(f"n{n}", eval_samples=n)) for n in (100, 200)]
    assert comparison(judged)["label"].tolist() == ["fgsm, eval-samples 100", "fgsm, eval-samples 200"]
    others = [read_run(made("digits", lr=0.1)), read_run(made("mnist", dataset="mnist", lr=0.2))]
    assert comparison(others)["label"].tolist() == ["fgsm, dataset digits", "fgsm, dataset mnist"]


def test_a_run_named_twice_is_one_and_a_seed_twice_is_said(made, tmp_path):
    one = made("one")
    assert len(read_runs([one, tmp_path / "." / "one"])) == 1
    notes = comparison([read_run(one), read_run(made("copy"))]).attrs["notes"]
    assert notes == ["a seed comes twice in one row: its deviation is too small"]


def test_unfinished_runs_and_other_data_sets_are_said(made):
    table = comparison([read_run(made("a", epochs=30)), read_run(made("b", dataset="mnist"))])
    assert table["unfinished"].tolist() == ["3/30 epochs", ""]
    notes = " ".join(table.attrs["notes"])
    assert "data sets differ (digits, mnist)" in notes and "unfinished" in notes


def test_the_curves_are_the_histories_in_percent(made):
    table = curves([read_run(made("a", alarm=("", "co", ""))), read_run(made("b", seed=1))])
    first = table[table["run"] == 0]
    assert first["test_pgd_error"].tolist() == pytest.approx([70, 60, 90])
    assert first["train_clean_error"].tolist() == pytest.approx([5, 5, 5])
    assert first["alarm"].tolist() == ["", "co", ""]
    assert table["label"].unique().tolist() == ["fgsm, seed 0", "fgsm, seed 1"]
    assert "eps 0.2" in table.attrs["caption"] and "n = 1000" in table.attrs["caption"]
    assert "seed" not in table.attrs["caption"]


def test_the_curves_figure_draws_every_run_and_marks_the_alarm(made):
    runs = [read_run(made("a", alarm=("", "co", ""))), read_run(made("b", seed=1))]
    figure = draw_curves(curves(runs))
    visible = [axes for axes in figure.axes if axes.get_visible()]
    assert len(visible) == 2 * 3  # errors, dE(x) on the right, AAE
    errors = [axes for axes in visible if axes.get_ylabel().startswith("error")]
    assert [axes.get_title() for axes in errors] == ["fgsm, seed 0", "fgsm, seed 1"]
    np.testing.assert_allclose(errors[0].lines[0].get_ydata(), [70, 60, 90])
    assert [[text.get_text() for text in axes.texts] for axes in errors] == [["CO"], []]
    shown = [text.get_text() for text in figure.legends[0].texts]
    assert "alarm" in shown
    assert "alarm" not in [text.get_text() for text in draw_curves(curves(runs[1:])).legends[0].texts]


def test_a_natural_training_has_no_energies_of_attacks_in_its_legend(made):
    folder = made("natural", method="standard")
    history = pd.read_parquet(folder / "history.parquet").assign(delta_marginal=np.nan, abnormal_share=np.nan)
    history.to_parquet(folder / "history.parquet")
    figure = draw_curves(curves([read_run(folder)]))
    figure.savefig("/dev/null", format="png")
    shown = [text.get_text() for text in figure.legends[0].texts]
    assert shown == ["PGD test error", "FGSM training error", "clean training error"]


def test_the_comparison_figure_has_a_line_a_group_in_every_panel(made):
    runs = [read_run(made(f"s{s}", pgd=(0.3, 0.4, last), seed=s)) for s, last in enumerate((0.1, 0.2))]
    runs.append(read_run(made("pgd", method="pgd")))
    figure = draw_comparison(followed(runs))
    lines = [[line for line in axes.lines if len(line.get_xdata())] for axes in figure.axes]
    assert [len(panel) for panel in lines] == [2, 2, 2, 2]
    np.testing.assert_allclose(lines[0][0].get_ydata(), [30, 40, 15])
    band = figure.axes[0].collections[0].get_paths()[0].vertices
    spread = np.std((10, 20), ddof=1)
    assert sorted(set(band[band[:, 0] == 3][:, 1])) == pytest.approx([15 - spread, 15 + spread])
    assert [text.get_text() for text in figure.legends[0].texts] == ["fgsm  (n = 2)", "pgd  (n = 1)"]


def test_the_command_prints_the_table_in_four_forms(made, run, tmp_path):
    words = [made("a"), made("b", seed=1, pgd=(0.3, 0.4, 0.2)), made("c", method="pgd")]
    status, out, err = run("compare", *words)
    assert status == 0 and "15.0 ± 7.1" in out and "pgd" in out and not err
    _, out, _ = run("compare", *words, "--csv", "--figure", tmp_path / "x.png")
    (tmp_path / "table.csv").write_text(out)
    assert pd.read_csv(tmp_path / "table.csv")["last_pgd_mean"].tolist() == pytest.approx([15, 10])
    assert (tmp_path / "x.png").stat().st_size > 10_000 and (tmp_path / "x.csv").is_file()
    _, out, _ = run("compare", *words, "--markdown")
    lines = out.splitlines()
    assert len(lines) == 4 and len({line.count("|") for line in lines}) == 1 and "15.0 ± 7.1" in lines[2]
    _, out, _ = run("compare", *words, "--latex")
    assert r"15.0 $\pm$ 7.1 &" in out and r"\toprule" in out and out.count(r"\\") == 3


def test_mistakes_get_one_clear_line(made, run, tmp_path):
    damaged, profile, started = made("damaged"), made("profile"), made("started")
    (damaged / "history.parquet").write_bytes(b"PAR1 cut off")
    (profile / "manifest.json").write_text('{"identity": {"attack": {}}}')
    (started / "history.parquet").unlink()
    for folder, status, message in (
        (tmp_path, 2, "is no run folder"),
        (tmp_path / "nowhere", 2, "is no run folder"),
        (profile, 2, "is not a training run's"),
        (started, 2, "no finished epoch yet"),
        (damaged, 1, "is damaged"),
    ):
        came, out, err = run("compare", folder)
        assert (came, out) == (status, "") and message in err and len(err.splitlines()) == 1
    assert run("compare")[0] == 2


def test_the_table_says_which_split_chose_the_best_epoch(run, made):
    folders = made("judged"), made("unjudged", val=False, method="pgd")
    assert comparison(read_runs(folders))["best_by"].tolist() == ["validation", "training"]
    status, out, _ = run("compare", *folders)
    assert status == 0 and re.search(r"fgsm.* validation .*\n.*pgd.* training ", out) and "best by" in out
    assert re.search(r"fgsm.* & validation & ", run("compare", *folders, "--latex")[1])
