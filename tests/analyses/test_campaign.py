"""The campaign with tiny settings on a CPU: done arms are kept, a killed one goes on to the same numbers."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from click.testing import CliRunner

from analyses import campaign
from analyses.campaign import CAMPAIGNS, Desk, finished, main, perform
from energylens.errors import InputError
from energylens.figures import campaign as panels

TINY = {
    "dataset": "digits", "arch": "digits-cnn", "augment": "none", "epochs": 2, "per_class": 30,
    "batch_size": 32, "eval_samples": 20, "eval_every": 2, "amp": "no", "val_fraction": 0.2, "final_steps": 0,
}  # fmt: skip
LONG = 30  # epochs: far more than are done when the test kills
OPTIONS = [f"--set={name}={value}" for name, value in TINY.items()]
ALONE = ["--arm", "N-FGSM 16/255", "--strong", "4", "--autoattack", "0", *OPTIONS]


@pytest.fixture
def arms(monkeypatch):
    """Two arms of the digits, judged by four images each."""
    made = campaign.Campaign(
        {**TINY, "eps": "16/255"},
        {"FGSM": {"recipe": "co", "seeds": (0, 1)}, "PGD": {"recipe": "ro", "steps": 1}},
        4,
        4,
    )
    return made.runs()


@pytest.mark.parametrize("name", CAMPAIGNS)
def test_every_arm_can_run_and_first_seeds_come_first(name):
    arms = CAMPAIGNS[name].runs()
    assert len({arm.slug for arm in arms}) == len(arms)
    seeds = [arm.settings.seed for arm in arms]
    assert seeds == sorted(seeds, key=bool)
    der = [arm.settings for arm in arms if "DER" in arm.name]
    assert {(one.method, one.der_on) for one in der} == {
        ("fgsm", "abnormal"), ("rs-fgsm", "abnormal"), ("pgd", "all")
    }  # fmt: skip


def test_an_arm_is_trained_judged_and_written_down(arms, tmp_path):
    desk = Desk(tmp_path / "out", tmp_path / "results")
    desk.settle(arms)
    perform(arms[0], desk)
    perform(arms[1], desk)
    assert [desk.done(arm) for arm in arms] == [True, True, False]
    table = finished(desk.results)
    assert table[["arm", "seed"]].values.tolist() == [["FGSM", 0], ["PGD", 0]]
    for which in ("best", "last"):
        assert (table[f"{which}_autoattack"] <= table[f"{which}_clean"]).all()
        assert set(table[f"{which}_pgd_50_10"] % 25) == {0}  # of four images
    epochs = pd.read_csv(desk.results / arms[0].slug / "epochs.csv")
    assert epochs["test_pgd"].notna().tolist() == [False, True]
    assert len(pd.read_csv(desk.results / arms[0].slug / "steps.csv")) == 1
    curves = campaign.curves(desk.results)
    assert curves.groupby("arm", sort=False)["epoch"].apply(list).to_dict() == {"FGSM": [1, 2], "PGD": [1, 2]}
    figure = panels.draw(curves)
    assert [axes.get_title() for axes in figure.axes if axes.get_title()] == ["FGSM", "PGD"]
    (error,) = (line.get_ydata() for line in figure.axes[0].lines if line.get_linewidth() == 1.4)
    assert error.tolist() == pytest.approx([100 - 100 * epochs["test_pgd"][1]])


def test_without_a_finished_arm_there_is_nothing_to_draw(tmp_path):
    with pytest.raises(InputError, match=r"python -m analyses\.campaign cifar10 makes them"):
        campaign.curves(tmp_path)


def test_an_arm_that_diverges_at_once_is_written_down_and_no_campaign_overwrites_another(arms, tmp_path):
    desk = Desk(tmp_path / "out", tmp_path / "results")
    lost = replace(arms[0], settings=replace(arms[0].settings, lr=1e3))
    perform(lost, desk)
    assert desk.done(lost) and "the loss is" in finished(desk.results)["diverged"].item()
    with pytest.raises(InputError, match="no finished arm"):
        campaign.curves(desk.results)
    folders = {name: campaign.RESULTS / name for name in CAMPAIGNS}
    assert len(set(folders.values())) == len(CAMPAIGNS)


def test_a_campaign_of_other_settings_is_refused_in_a_line(arms, tmp_path):
    desk = Desk(tmp_path, tmp_path / "results")
    desk.settle(arms)
    desk.settle(arms)
    longer = [replace(arms[0], settings=replace(arms[0].settings, epochs=3)), *arms[1:]]
    with pytest.raises(InputError, match=r"fgsm-s0: epochs is 2 there, 3 here.: give another --out"):
        desk.settle(longer)
    with pytest.raises(InputError, match="the arm pgd-s0 is in one of the two"):
        desk.settle([arms[0], arms[2]])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--arm", "FGMS"], "no arm 'FGMS': one of FGSM 8/255"),
        (["--set", "width"], "write NAME=VALUE"),
        (["--set", "widht=8"], "unknown setting 'widht'"),
        (["--jobs", "0"], "--jobs"),
    ],
)
def test_wrong_options_are_refused(options, told, tmp_path):
    result = CliRunner().invoke(main, ["cifar10", "--out", str(tmp_path), *options])
    assert result.exit_code and told in f"{result.output}{result.exception}"


def command(out: Path, *more: str) -> list[str]:
    where = ["--out", str(out), "--results", str(out / "done")]
    return [sys.executable, "-m", "analyses.campaign", "paper", *ALONE, *where, *more]


def test_killed_in_the_middle_it_goes_on_to_the_same_numbers(tmp_path):
    """One arm undisturbed in this process; and killed after an epoch of many, its worker with it, and started again."""
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    words = command(killed, f"--set=epochs={LONG}")
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as one:
        while one.poll() is None and not list(killed.glob("**/state.pt")):
            time.sleep(0.05)
        os.kill(one.pid, signal.SIGKILL)
    assert not list(killed.glob("**/final.json"))
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "images/s: n-fgsm-16-255-s0" in done.stderr and "every arm is done" in done.stdout

    arms = replace(CAMPAIGNS["paper"], strong=4, autoattack=0).runs(**{**TINY, "epochs": LONG})
    (alone,) = (arm for arm in arms if arm.name == ALONE[1])
    with one_thread():
        perform(alone, Desk(undisturbed, undisturbed / "done" / "paper"))
    tables = sorted(path.relative_to(undisturbed) for path in undisturbed.glob("done/paper/*/*.csv"))
    assert len(tables) == 2
    for path in tables:
        ours, theirs = (pd.read_csv(root / path) for root in (undisturbed, killed))
        times = {"seconds"} & set(ours)
        pd.testing.assert_frame_equal(ours.drop(columns=times), theirs.drop(columns=times))
    ends = [json.loads(next(root.glob("done/paper/*/final.json")).read_text()) for root in (undisturbed, killed)]
    assert ends[0] | {"last_sitting_seconds": 0} == ends[1] | {"last_sitting_seconds": 0}


@contextmanager
def one_thread() -> Iterator[None]:
    """As a worker of the campaign runs."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def test_the_time_ends_and_what_is_left_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(campaign, "throughput", lambda arm, desk: 100.0)
    result = CliRunner().invoke(main, command(tmp_path, "--minutes", "0")[3:], catch_exceptions=False)
    assert result.stdout.splitlines() == ["n-fgsm-16-255-s0: not done"]
