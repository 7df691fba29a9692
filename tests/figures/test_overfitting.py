"""The studies of overfitting: what is compared, what is read out of a run, what is drawn."""

import json

import numpy as np
import pandas as pd
import pytest

from analyses.overfitting import record
from energylens.errors import InputError, RunError
from energylens.figures import abnormal_share, der_study, energy_forms, studies
from energylens.figures import overfitting as panels
from energylens.figures.run_cache import RunCache
from energylens.figures.studies import STUDIES, recorded
from energylens.tables.overfitting import epochs, falls, outcomes, summary
from energylens.tables.training_runs import TrainingRun
from energylens.training.history import STEP_COLUMNS
from energylens.training.recipes import settings_of

FALLING = [0.2, 0.3, 0.4, 0.1, 0.0, 0.0]
STEPS = 20  # in an epoch


@pytest.fixture
def run(tmp_path):
    """A run as the trainer leaves it: ``run(pgd, seed)``."""

    def make(pgd=FALLING, seed=0, **own):
        settings = settings_of("co-small", seed=seed, epochs=len(pgd), **own)
        history = pd.DataFrame({"epoch": range(1, len(pgd) + 1), "test_pgd": pgd, "train_pgd": pgd, "val_pgd": pgd})
        history = history.assign(
            test_clean=0.5, train_fgsm=0.4, delta_marginal=-0.1, abnormal_share=0.02, seconds=2.0, alarm=""
        )
        history.loc[2, "alarm"] = "co"
        folder = tmp_path / f"{seed}-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        steps = pd.DataFrame(0.0, index=range(STEPS * len(pgd)), columns=list(STEP_COLUMNS)).assign(
            step=np.arange(STEPS * len(pgd)) + 1, epoch=np.arange(STEPS * len(pgd)) // STEPS + 1
        )
        steps["abnormal_share"] = steps["epoch"] / 10
        steps.to_parquet(folder / "steps.parquet")
        return TrainingRun(folder, settings.manifest(), history)

    return make


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_holds_settings_that_can_run_each_once(name):
    runs = STUDIES[name].runs()
    assert len({settings for _, settings in runs}) == len(runs) == len(STUDIES[name].arms) * len(STUDIES[name].seeds)


def test_what_became_of_a_run(run):
    row = outcomes(["FGSM"], [run()]).iloc[0]
    assert (row["best_epoch"], row["best_pgd"], row["failed"], row["failed_epoch"]) == (3, 40.0, "co", 4)
    assert (row["last_pgd"], row["lost"], row["judge"]) == (0.0, 40.0, "PGD-10")
    assert row["val_end"] == pytest.approx(100 * np.mean(FALLING[-4:]))
    assert (row["alarm"], row["alarm_epoch"], row["seconds"]) == ("co", 3, 12.0)
    assert "--eps 28/255" in row["command"]
    assert "--seed 0" in row["command"]


def test_the_validation_split_chooses_and_the_judgement_at_the_end_counts(run):
    judged = run()
    judged.history["val_pgd"] = [0.1, 0.5, 0.1, 0.1, 0.1, 0.1]
    assert outcomes(["FGSM"], [judged]).iloc[0][["best_epoch", "best_pgd"]].tolist() == [2, 30.0]
    ends = {"best": {"epoch": 2, "clean": 0.6, "pgd": 0.25}, "last": {"epoch": 6, "clean": 0.5, "pgd": 0.125}}
    told = {"attack": "pgd,steps=50,restarts=10", "images": 500, **ends}
    (judged.path / "final.json").write_text(json.dumps(told))
    again = TrainingRun(judged.path, judged.settings, judged.history)
    row = outcomes(["FGSM"], [again]).iloc[0]
    assert row[["judge", "best_pgd", "last_pgd", "lost", "best_clean"]].tolist() == [
        "PGD-50-10",
        25.0,
        12.5,
        12.5,
        60.0,
    ]


def test_a_run_that_diverged_is_reported_as_far_as_it_came(run):
    broken = run([0.2, 0.3, 0.1])
    broken = TrainingRun(broken.path, {**broken.settings, "epochs": 6}, broken.history)
    row = outcomes(["x"], [broken]).iloc[0]
    assert (row["failed"], row["failed_epoch"], row["best_pgd"]) == ("diverged", 4, 30.0)


def test_the_papers_scale_trains_and_draws_both_data_sets(run):
    """In a run cache that has every run, made up, but those of CIFAR-100 only where they are at hand."""

    class Complete:
        scale = "paper"
        at_hand = True

        def __init__(self):
            self.told = []

        def train(self, wanted, diverged_too=False):
            if not self.at_hand and wanted[0].dataset == "cifar100":
                raise RunError("no cifar100 here")
            return [run(seed=one.seed, dataset=one.dataset, eps=one.eps) for one in wanted]

        def tell(self, said):
            self.told.append(said)

    cache = Complete()
    table = panels.catastrophic(cache)
    assert table.groupby("dataset")["arm"].nunique().to_dict() == {"cifar10": 8, "cifar100": 8}
    figure = panels.draw(table)
    titles = [axes.get_title() for axes in figure.axes[:16]]
    assert titles[:3] == ["cifar10, FGSM, 8/255", "cifar100, FGSM, 8/255", "cifar10, FGSM + DER, 8/255"]
    columns = {axes.get_title().partition(",")[0]: axes.get_position().x0 for axes in figure.axes[:16]}
    assert len(columns) == len(set(columns.values())) == 2

    around = abnormal_share.table(cache)
    assert around["seed"].unique().tolist() == [0, 1, 2] and "eps 8/255" in around.attrs["caption"]

    cache.at_hand = False
    assert panels.robust(cache)["dataset"].unique().tolist() == ["cifar10"]
    assert cache.told == ["without cifar100: no cifar100 here"]


def test_a_study_made_in_parts_is_the_study_made_at_once(run, tmp_path):
    arms = ["FGSM", "RS-FGSM", "FGSM + GradAlign"]
    table = outcomes(arms, [run([0.2, 0.3, 0.3333333, 0.1, 0.1, 0.1]), run([0.4] * 6), run([0.1] * 6)])
    late, others = table["arm"] == "RS-FGSM", [arm for arm in STUDIES["co"].arms if arm not in arms]
    for folder in ("whole", "parts"):
        (tmp_path / folder).mkdir()
    record(table, tmp_path / "whole", "co", "runs", others)
    record(table[~late], tmp_path / "parts", "co", "runs", ["RS-FGSM", *others])
    record(table[~late].head(1), tmp_path / "parts", "co", "falls", ["RS-FGSM", *others])
    commands = [
        json.loads((tmp_path / "parts" / f"co-{what}.json").read_text())["command"] for what in ("runs", "falls")
    ]
    assert commands[0] == commands[1]
    assert commands[0].endswith("co --data-root DATA --only 'FGSM' --only 'FGSM + GradAlign'")
    record(table[late], tmp_path / "parts", "co", "runs", ["FGSM", "FGSM + GradAlign", *others])
    for name in ("co-runs.csv", "co-runs.json"):
        assert (tmp_path / "parts" / name).read_text() == (tmp_path / "whole" / name).read_text()


def test_where_nothing_collapsed_there_is_no_fall_to_show(run):
    with pytest.raises(InputError, match="none of 1 runs collapsed"):
        falls(["held"], [run([0.4] * 6)])


def test_what_is_recorded_of_plain_fgsm_keeps_its_caption():
    table = abnormal_share.table(RunCache())
    assert set(table["arm"]) == {"FGSM"} and "Recorded, not computed now" in table.attrs["caption"]


def test_seeds_are_one_line_in_the_order_of_the_arms(run):
    runs = [run(seed=0), run(seed=1), run([0.4] * 6)]
    table = summary(outcomes(["b", "b", "a"], runs))
    assert table["arm"].tolist() == ["b", "a"]
    assert table["co"].tolist() == [2, 0]
    assert table["last_pgd_mean"].tolist() == pytest.approx([0, 40])
    assert table["val_end_mean"].tolist() == pytest.approx([100 * np.mean(FALLING[-4:]), 40])


def test_the_steps_around_a_collapse_in_windows_of_ten(run):
    table = falls(["FGSM", "held"], [run(), run([0.4] * 6)])
    assert set(table["arm"]) == {"FGSM"}
    assert len(table) == 2 * len(FALLING)
    ends = table.dropna(subset="test_pgd")
    assert ends["test_pgd"].tolist() == pytest.approx([100 * value for value in FALLING])
    assert ends["from_fall"].round().tolist() == [-3, -2, -1, 0, 1, 2]
    assert table["abnormal_share"].tolist() == pytest.approx([10, 10, 20, 20, 30, 30, 40, 40, 50, 50, 60, 60])


def test_what_is_recorded_is_read_with_its_caption_or_missed_by_name(run, tmp_path, monkeypatch):
    monkeypatch.setattr(studies, "RECORDS", tmp_path)
    with pytest.raises(InputError, match=r"python -m analyses\.overfitting co"):
        recorded("co", "epochs")
    epochs(["FGSM"], [run()]).to_csv(tmp_path / "co-epochs.csv", index=False)
    (tmp_path / "co-epochs.json").write_text(json.dumps({"command": "python -m analyses.overfitting co --without X"}))
    table = recorded("co", "epochs")
    assert table["alarm"].tolist() == ["", "", "co", "", "", ""]
    assert table.attrs["caption"].endswith("Recorded, not computed now: python -m analyses.overfitting co --without X.")


def test_what_an_earlier_version_recorded_is_told_with_the_settings_that_it_had():
    """Its recipe had other numbers of images, and it chose by the test set."""
    caption = energy_forms.table(RunCache()).attrs["caption"]
    assert "1500 images a class" in caption and "PGD-10 on 300 test images" in caption
    assert "as that version chose" in caption and caption.endswith("Recorded, not computed now.")
    assert "1600 images a class" in recorded("co", "epochs").attrs["caption"]


def test_the_pictures_hold_what_the_tables_do(run):
    runs = [run(seed=0), run(seed=1), run([0.4] * 6)]
    arms = ["FGSM", "FGSM", "held"]
    table = epochs(arms, [run(seed=0), run([0.4] * 6, seed=1), run([0.4] * 6)])
    figure = panels.draw(table)
    left = figure.axes[0]
    assert [axes.get_title() for axes in figure.axes[:2]] == arms[1:]
    errors = np.array([[100 - 100 * value, 60] for value in FALLING])
    assert left.lines[0].get_ydata().tolist() == pytest.approx(errors.mean(axis=1).tolist())
    band = left.collections[0].get_paths()[0].vertices
    for epoch, seeds in enumerate(errors, start=1):
        at = band[band[:, 0] == epoch][:, 1]
        assert (at.min(), at.max()) == pytest.approx((seeds.min(), seeds.max()))
    (alarms,) = (line for line in left.lines if line.get_marker() == "v")
    assert alarms.get_xdata().tolist() == [3, 3]  # of each seed the first

    found = pd.DataFrame({"arm": arms, "end_pgd": 30.0, "best_pgd": 40.0, "end_clean": 50.0, "failed": ""})
    found.attrs["caption"] = "made up"
    names = [text.get_text() for text in energy_forms.draw(found).axes[0].get_yticklabels()]
    assert names == arms[::-1]

    around = falls(arms, runs)
    around.attrs["caption"] = "made up"
    figure = abnormal_share.draw(around)
    lines = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [line.get_ydata().tolist() for line in lines] == 2 * [pytest.approx([100 * value for value in FALLING])]
    assert len(figure.legends[0].get_texts()) == 3  # a name a quantity, though there are two seeds


def test_the_grid_of_der_is_drawn_with_its_failures(run):
    """Two panels of a grid beside training without DER; a cell tells mean, spread and how many of its seeds failed."""
    made = {
        "der-co": ["FGSM", "gamma 0, beta 10, on abnormal", "gamma 0, beta 10, on abnormal", "n-fgsm, start clean"],
        "der-ro": ["PGD", "gamma 0.1, beta 5, on all", "gamma 0.1, beta 5, on all", "gamma 0, beta 5, on all"],
    }
    courses = [[0.1] * 6, [0.4] * 6, FALLING, [0.3] * 6]
    tables = [
        outcomes(arms, [run(pgd, seed) for seed, pgd in enumerate(courses)]).assign(study=study)
        for study, arms in made.items()
    ]
    table = pd.concat(tables, ignore_index=True)
    table.attrs["caption"] = "made up"
    points = der_study.cells(table)
    assert points[["study", "gamma", "n", "failed"]].values.tolist() == [
        ["der-co", 0.0, 2, 1],
        ["der-ro", 0.0, 1, 0],
        ["der-ro", 0.1, 2, 1],
    ]
    assert points["end"][0] == pytest.approx(50 * (0.4 + np.mean(FALLING[-4:])))
    figure = der_study.draw(table)
    assert [axes.get_title().splitlines()[-1] for axes in figure.axes[:2]] == [
        "FGSM alone ends at 10 %",
        "PGD alone ends at 10 %",
    ]
    assert [text.get_text() for text in figure.axes[0].texts] == ["26 ± 19\n1 of 2 fail"]
    ends = figure.axes[1].collections[0].get_array()
    drawn = points[points["study"] == "der-ro"].pivot(index="gamma", columns="beta", values="end")
    np.testing.assert_allclose(ends.reshape(drawn.shape), drawn)
    assert [text.get_text() for text in figure.axes[1].get_yticklabels()] == ["0", "0.1"]
    assert figure.axes[1].get_ylim()[0] < figure.axes[1].get_ylim()[1]  # gamma grows upwards
