"""What a network is follows from its history; the recorded table is one of the doctor's verdicts and of its limits."""

from pathlib import Path

import pandas as pd
import pytest

from analyses.doctor_thresholds import RESULTS, confusion, kind_of
from energylens.checks.overfitting import CATASTROPHIC, LEARNT_BY_HEART, ONE_STEP_ONLY, ROBUST
from energylens.tables.training_runs import TrainingRun
from energylens.training.settings import TrainSettings

TOLD = {"collapsed": CATASTROPHIC.name, "robustly overfitted": ROBUST.name}


def run(method, pgd, fgsm=None, train=None):
    columns = {"epoch": range(1, len(pgd) + 1), "test_pgd": pgd, "train_pgd": train or pgd, "test_fgsm": fgsm or pgd}
    return TrainingRun(Path(), TrainSettings(method=method).manifest(), pd.DataFrame(columns))


@pytest.mark.parametrize(
    ("made", "epoch", "kind"),
    [
        (run("fgsm", [0.3, 0.4, 0.01]), 3, "collapsed"),
        (run("fgsm", [0.3, 0.4, 0.01]), 2, "robust"),  # the weights before it happened
        (run("fgsm", [0.03, 0.04, 0.01], fgsm=[0.1, 0.3, 0.4]), 3, "one step only"),  # nothing was lost
        (run("pgd", [0.03, 0.04, 0.01], fgsm=[0.1, 0.3, 0.4]), 3, "robust"),
        (run("standard", [0.3, 0.1]), 2, "natural"),
        (run("pgd", [0.5] * 8 + [0.4] * 12, train=[k / 20 for k in range(20)]), 20, "robustly overfitted"),
    ],
)
def test_the_kind_is_what_the_history_shows(made, epoch, kind):
    assert kind_of(made, epoch) == kind


@pytest.fixture(scope="module")
def nets():
    return pd.read_csv(RESULTS / "doctor-nets.csv")


def test_the_recorded_confusion_is_that_of_the_recorded_networks(nets):
    recorded = pd.read_csv(RESULTS / "doctor-confusion.csv")
    pd.testing.assert_frame_equal(confusion(nets), recorded)
    assert len(nets) >= 20 and (~nets["chose_limits"]).sum() >= 10


def test_the_limits_part_the_networks_that_chose_them(nets):
    """And stand far from both sides."""
    chose = nets[nets["chose_limits"]].set_index("kind")
    healthy = chose.loc[["robust", "natural"]]
    assert healthy["q"].max() < ONE_STEP_ONLY - 0.1 and chose.loc[["collapsed"], "q"].min() > ONE_STEP_ONLY + 0.1
    assert healthy["g"].max() < LEARNT_BY_HEART < chose.loc[["robustly overfitted"], "g"].min() - 0.1


def test_no_healthy_network_is_called_and_a_failed_one_is_missed_at_chance_alone(nets):
    """A model that is no better than guessing has hardly an image to be robust on; the doctor says that then."""
    said = nets["said"].fillna("").str.split("; ")
    for kind, failed in zip(nets["kind"], said, strict=True):
        overfitting = set(failed) & set(TOLD.values())
        if kind in TOLD:
            assert overfitting == {TOLD[kind]} or "labels" in failed
        elif kind != "one step only":
            assert not overfitting
