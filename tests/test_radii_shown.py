"""A multiple of 1/255 is shown as one, whatever rounding has made of it."""

import re
from pathlib import Path

import pandas as pd
import pytest

import energylens as el
from energylens.report.profile import attack_settings
from energylens.report.training import all_settings
from energylens.tables.profile_runs import find_runs, read_records
from energylens.tables.training_runs import TrainingRun, labels
from energylens.training.recipes import RECIPES, settings_of

DECIMALS = re.compile(r"\d\.\d{7,}")


def run_of(**own):
    return TrainingRun(Path("here"), settings_of("co", **own).manifest(), pd.DataFrame())


def test_settings_of_trainings_are_read_as_they_are_written():
    run = run_of(method="pgd", eps="8/255")
    assert DECIMALS.search(run.settings["step_size"])  # as the manifest of every earlier run has it
    assert dict(all_settings(run))["step-size"] == "2/255"
    others = run_of(method="rs-fgsm", eps="8/255")  # 1.25 eps
    assert dict(all_settings(others))["step-size"] == "10/255"
    told = labels([run_of(method="pgd", step_size=step).settings for step in ("0.00784313725490196", "4/255")])
    assert told == ["pgd, step-size 2/255", "pgd, step-size 4/255"]


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_command_that_repeats_a_training_has_no_digits_that_nobody_typed(recipe):
    command = settings_of(recipe).as_options()
    assert not DECIMALS.search(command)


def test_settings_of_attacks_are_too(tmp_path):
    record = el.profile("digits-pgd", attacks=["pgd,step_size=2/255,steps=2"], eps="8/255", n=10, out=tmp_path)
    (read,) = read_records(find_runs([record.folder])[0])
    assert read.attacks[1].name == "pgd,steps=2,step_size=2/255"
    ((_, told),) = attack_settings(read)
    assert "eps 8/255" in told and "step-size 2/255" in told and not DECIMALS.search(told)
