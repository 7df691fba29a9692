"""Judging the early warning: what counts as a failure, when it is seen, and what recorded runs hear from the watch."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analyses.early_warning import early_warning, failure, gap_alarm, pgd_drop, replay
from analyses.training_runs import TrainingRun
from energylens.training.settings import TrainSettings

HISTORIES = Path(__file__).parents[1] / "training" / "histories"
BATCH = 128


def history(test_pgd, train_pgd, train_fgsm=None):
    table = pd.DataFrame({"epoch": range(1, len(test_pgd) + 1), "test_pgd": test_pgd, "train_pgd": train_pgd})
    return table.assign(train_fgsm=train_pgd if train_fgsm is None else train_fgsm)


def test_a_collapse_is_half_of_the_best_so_far():
    pgd = [0.1, 0.3, 0.4, 0.21, 0.19, 0.4]
    assert failure(history(pgd, pgd)) == ("co", 5)
    assert failure(history(pgd[:4], pgd[:4])) == ("", 0)


def test_robust_overfitting_is_a_slow_loss_on_the_test_set_alone():
    rising, falling = np.linspace(0.3, 0.9, 30), np.r_[np.linspace(0.3, 0.5, 10), np.linspace(0.5, 0.4, 20)]
    kind, epoch = failure(history(falling, rising))
    assert kind == "ro" and 15 < epoch < 25  # 3 of the 10 points in 20 epochs, seen in means over five
    assert failure(history(falling, falling)) == ("", 0)
    assert failure(history(rising, rising)) == ("", 0)


def test_the_drop_rule_is_fast_adversarials():
    assert pgd_drop(history([0] * 4, [0.5, 0.35, 0.16, 0.15])) == 0
    assert pgd_drop(history([0] * 4, [0.5, 0.35, 0.14, 0.13])) == 3


def test_epochs_that_were_not_judged_are_passed_over():
    every_third = np.full(30, np.nan)
    every_third[2::3] = [0.1, 0.2, 0.3, 0.4, 0.4, 0.38, 0.1, 0.1, 0.1, 0.1]
    assert failure(history(every_third, every_third)) == ("co", 21)
    assert gap_alarm(history(every_third, every_third, every_third + np.linspace(0, 0.3, 30)), 1000) == 21


def test_the_gap_rule_hears_what_the_share_does_not(monkeypatch):
    steps = pd.DataFrame({"step": range(1, 41), "epoch": np.repeat([1, 2, 3, 4], 10), "delta_marginal": -0.1})
    steps["abnormal_share"] = 0.01
    monkeypatch.setattr(TrainingRun, "steps", lambda run: steps)
    settings = TrainSettings(method="fgsm", seed=3, batch_size=BATCH).manifest()
    course = history([0.4, 0.4, 0.4, 0.1], [0.4, 0.4, 0.35, 0.1], [0.45, 0.45, 0.6, 0.6])
    table = early_warning([TrainingRun(Path(), settings, course)], windows=(10,), rises=(0.05,))
    assert table[["alarm", "gap", "gap_lead"]].values.tolist() == [["", 30.0, 10.0]]


def test_leads_are_counted_from_the_epochs_end_that_shows_the_fall(monkeypatch):
    share = np.r_[np.zeros(24), np.full(16, 0.5)]  # four epochs of ten steps; rises in the third, at step 25
    steps = pd.DataFrame({"step": range(1, 41), "epoch": np.repeat([1, 2, 3, 4], 10), "delta_marginal": -0.1})
    steps["abnormal_share"] = share
    monkeypatch.setattr(TrainingRun, "steps", lambda run: steps)
    settings = TrainSettings(method="fgsm", seed=3, batch_size=BATCH).manifest()
    run = TrainingRun(Path(), settings, history([0.4, 0.4, 0.4, 0.1], [0.5, 0.5, 0.5, 0.1]))
    table = early_warning([run], windows=(1, 5, 0), rises=(0.05, 0.6)).set_index(["window", "rise"])
    assert (table["failed"] == "co").all() and (table["fell"] == 40).all() and (table["drop_lead"] == 0).all()
    low = table.xs(0.05, level="rise")
    assert low["step"].tolist() == [25, 25, 30] and low["lead"].tolist() == [15, 15, 10]
    assert low["lead_epochs"].tolist() == [1.5, 1.5, 1.0] and low["right"].all()
    high = table.xs(0.6, level="rise")
    assert (high["alarm"] == "").all() and high["step"].isna().all() and not high["right"].any()


@pytest.mark.parametrize("window", [1, 10, 0], ids=["each step", "ten steps", "each epoch"])
@pytest.mark.parametrize("name", sorted(path.stem for path in HISTORIES.glob("*.csv")))
def test_recorded_runs_hear_of_their_own_failure_and_no_other(name, window):
    steps = pd.read_csv(HISTORIES / f"{name}.csv")
    kind, fell = failure(steps.groupby("epoch", as_index=False)[["test_pgd", "train_pgd"]].first())
    assert kind or name.startswith("healthy")
    alarms = list(replay(steps, BATCH, window))
    assert bool(alarms) == bool(kind)
    if kind:
        step, alarm = alarms[0]
        assert alarm.kind == kind == name[:2]
        here = steps.loc[steps["epoch"] == fell, "step"]
        assert step <= here.max(), "later than the evaluation that shows it"
        assert window == 0 or step < here.min(), "no earlier than the epoch in which it fell"


def test_a_dip_before_the_best_epoch_is_no_collapse():
    rising = [0.02, 0.005, 0.3, 0.4, 0.42]
    assert failure(history(rising, rising)) == ("", 0)
    assert failure(history([*rising, 0.1], [*rising, 0.1])) == ("co", 6)
