"""Judging the early warning: what counts as a failure, when it is seen, and what recorded runs hear from the watch."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from analyses import early_warning
from analyses.early_warning import alarms, chosen, gap_alarm, judged, pgd_drop, replay
from energylens.errors import InputError
from energylens.tables.overfitting import failure
from energylens.tables.training_runs import TrainingRun, read_run
from energylens.training.loop import train
from energylens.training.recipes import settings_of
from energylens.training.settings import TrainSettings
from energylens.training.watch import EnergyWatch

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
    assert pgd_drop(history([0] * 4, [0.4, 0.35, 0.16, 0.15]), 0.15) == 3


def test_epochs_that_were_not_judged_are_passed_over():
    every_third = np.full(30, np.nan)
    every_third[2::3] = [0.1, 0.2, 0.3, 0.4, 0.4, 0.38, 0.1, 0.1, 0.1, 0.1]
    assert failure(history(every_third, every_third)) == ("co", 21)
    assert gap_alarm(history(every_third, every_third, every_third + np.linspace(0, 0.3, 30)), 1000) == 21


STEPS = pd.DataFrame({"step": range(1, 41), "epoch": np.repeat([1, 2, 3, 4], 10), "delta_marginal": -0.1})


@pytest.fixture
def run(monkeypatch):
    """``run(history, share)``: four epochs of ten steps with this AAE share at each."""
    shares = {}
    monkeypatch.setattr(TrainingRun, "steps", lambda one: STEPS.assign(abnormal_share=shares[one.path]))

    def make(course, share=0.01, **own):
        settings = TrainSettings(**{"method": "fgsm", "eps": "8/255", "seed": 3, "batch_size": BATCH, **own})
        course = course.assign(loss=course.get("loss", 1.0))
        one = TrainingRun(Path(str(len(shares))), settings.manifest(), course)
        shares[one.path] = share
        return one

    return make


FALLEN = [0.4, 0.4, 0.4, 0.1]
RISING = np.r_[np.zeros(24), np.full(16, 0.5)]  # of the AAE share, in the third epoch: in the window of steps 21 to 30


def test_every_rule_hears_its_own_sign_at_its_threshold(run):
    silent = alarms([run(history(FALLEN, [0.4] * 4))])
    assert (silent["kind"] == "").all() and silent["heard"].isna().all() and (silent["failed"] == "co").all()
    loss = history(FALLEN, [0.4, 0.4, 0.36, 0.1], [0.45, 0.45, 0.6, 0.6]).assign(loss=[1.0, 0.9, 0.6, 0.58])
    heard = alarms([run(loss, RISING)]).set_index(["rule", "threshold"])["heard"]
    assert heard["energies"].to_dict() == {0.2: 3, 0.1: 3, 0.05: 3, 0.03: 3, 0.02: 3}
    assert heard["gap"].to_dict() == {0.3: 4, 0.2: 4, 0.15: 3, 0.1: 3, 0.05: 3}
    assert heard["PGD drop"].dropna().to_dict() == {0.2: 4, 0.15: 4, 0.1: 4, 0.07: 4, 0.05: 4}
    assert heard["loss"].dropna().to_dict() == {0.3: 3, 0.2: 3, 0.1: 3, 0.05: 2}


def test_a_replay_hears_what_the_trainer_heard(tmp_path):
    """A real run, measured every third step: heard at the ends of epochs too, and not while eps grows."""
    settings = settings_of(
        "digits", per_class=40, batch_size=32, epochs=6, eps_ramp=2.0, eval_samples=32, eval_steps=1, method="rs-fgsm",
        measure_every=3, watch_every=2, lr=0.02,
    )  # fmt: skip
    heard = []

    class Noted(EnergyWatch):
        def judge(self, delta, share, samples):
            heard.append((delta, share))
            return super().judge(delta, share, samples)

    run = read_run(train(settings, out=tmp_path, watch=Noted()).folder)
    steps = run.steps()
    length = early_warning._epoch_length(steps)
    assert length == 400 * 0.9 // 32
    again = []
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patch:
        patch.setattr(early_warning.EnergyWatch, "judge", lambda watch, *told: again.append(told[:2]))
        list(replay(steps[steps["step"] >= 2 * length], 32, 2))
    assert again == [pytest.approx(pair, abs=1e-5) for pair in heard]


def test_the_trainers_rule_is_whichever_comes_first(run):
    course = history(FALLEN, [0.4, 0.4, 0.35, 0.1], [0.45, 0.45, 0.6, 0.6])
    late = np.r_[np.zeros(30), np.full(10, 0.5)]
    level = history(FALLEN, [0.4] * 4)
    for case, share, when in ((course, RISING, 3), (course, late, 3), (level, late, 4)):
        table = alarms([run(case, share)]).query("rule == 'energies or gap' and threshold == 0.05")
        assert table["heard"].item() == when


MADE = pd.DataFrame(
    [
        ("fgsm", "co", 6, 10, 0.1, "co", 4.5), ("fgsm", "co", 6, 10, 0.2, "co", 6.0),
        ("fgsm", "co", 8, 10, 0.1, "co", 7.0), ("fgsm", "co", 8, 10, 0.2, "", np.nan),
        ("pgd", "ro", 9, 20, 0.1, "co", 3.0), ("pgd", "ro", 9, 20, 0.2, "ro", 8.0),
        ("pgd", "", np.nan, 30, 0.1, "co", 3.0), ("pgd", "", np.nan, 30, 0.2, "", np.nan),
        ("pgd", "", np.nan, 10, 0.1, "", np.nan), ("pgd", "", np.nan, 10, 0.2, "", np.nan),
    ],
    columns=["method", "failed", "fell", "epochs", "threshold", "kind", "heard"],
).assign(rule="made")  # fmt: skip


def test_the_threshold_is_the_one_that_tells_failures_from_healthy_runs():
    # .1: two of three failures early and by their kind, one of two healthy runs called; .2: one of three, none
    assert chosen(MADE) == {"made": 0.2}
    told = MADE.assign(kind=MADE["kind"].where(MADE["failed"] != "", ""))
    assert chosen(told) == {"made": 0.1}
    assert chosen(MADE.assign(kind="")) == {"made": 0.2}  # of equals the strictest
    with pytest.raises(InputError, match="some of which failed and some of which did not"):
        chosen(MADE[MADE["failed"] == "co"])


def test_recall_is_of_all_failures_and_false_alarms_are_of_healthy_epochs():
    table = judged(MADE, {"made": 0.1}).set_index("method")
    assert list(table.index) == ["fgsm", "pgd", "all"]
    everything = table.loc["all"]
    assert everything[["co", "co_called", "co_early", "ro", "ro_called", "ro_early"]].tolist() == [2, 2, 2, 1, 0, 0]
    assert everything["lead"] == 1.25 and everything["healthy_epochs"] == 40
    assert everything["false_per_100"] == 2.5 and np.isnan(table.loc["fgsm", "false_per_100"])
    strict = judged(MADE, {"made": 0.2}).set_index("method")
    assert strict.loc["all", ["co_called", "co_early", "ro_called", "ro_early"]].tolist() == [1, 0, 1, 1]


def test_what_is_recorded_is_judged_or_missed_by_name(run, tmp_path, monkeypatch):
    monkeypatch.setattr(early_warning, "RESULTS", tmp_path)
    typed = CliRunner()
    missing = typed.invoke(early_warning.main, ["table"])
    assert "python -m analyses.early_warning record chosen RUN" in str(missing.exception)
    runs = [run(history(FALLEN, FALLEN), RISING), run(history([0.4] * 4, [0.4] * 4))]
    monkeypatch.setattr(early_warning, "read_runs", lambda paths: runs)
    for name in ("chosen", "held-out"):
        assert typed.invoke(early_warning.main, ["record", name, "x"], catch_exceptions=False).exit_code == 0
    told = typed.invoke(early_warning.main, ["table"], catch_exceptions=False).stdout
    assert re.search(r"energies +0\.2 +all +2 +1 +1 +1 ", told)
    usual = typed.invoke(early_warning.main, ["table", "--usual"], catch_exceptions=False).stdout
    assert re.search(r"energies +0\.05 +all +2 +1 +1 +1 ", usual)
    written = pd.read_csv(tmp_path / "early-warning-usual.csv").set_index(["rule", "method"])
    assert written.loc[("PGD drop", "all"), ["threshold", "co", "co_called", "co_early"]].tolist() == [0.2, 1, 1, 0]
    assert json.loads((tmp_path / "early-warning-judged.json").read_text())["seed"] == [3]


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
