"""The loop as a whole, on a few digits: every row of the tables, exact resume, alarms, faults, several processes."""

import json
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import click
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from torch.distributed.run import main as torchrun

import energylens as el
from energylens.cli import root
from energylens.cli.options import settings_options
from energylens.errors import InputError, RunError
from energylens.training import loop
from energylens.training.checkpoint import load_state
from energylens.training.final import judge_ends, read_ends
from energylens.training.folder import Plan, settings_in
from energylens.training.history import CLASSES, COLUMNS, HISTORY, STEP_COLUMNS
from energylens.training.loop import train
from energylens.training.methods import METHODS
from energylens.training.recipes import RECIPES, settings_of
from energylens.training.run import open_run
from energylens.training.settings import TrainSettings
from energylens.training.watch import Alarm, EnergyWatch

TINY = {
    "per_class": 30,
    "batch_size": 64,
    "epochs": 2,
    "eps_ramp": 0.0,
    "eval_samples": 32,
    "eval_steps": 1,
    "steps": 2,
    "method": "pgd",
}
OPTIONS = ("--epochs", "1", "--per-class", "30", "--eval-samples", "32", "--method", "fgsm", "--reg", "der")


def tiny(**own):
    settings = {**TINY, **own}
    if not METHODS[settings["method"]].steppable:
        del settings["steps"]
    return settings_of("digits", **settings)


def files(folder: Path) -> dict[str, bytes]:
    """What must not differ between equal runs, the history without its seconds."""
    weights = {name: (folder / f"{name}.safetensors").read_bytes() for name in ("best", "last")}
    tables = {
        "history": pd.read_parquet(folder / HISTORY).drop(columns="seconds"),
        "steps": pd.read_parquet(folder / "steps.parquet"),
    }
    return weights | {name: table.to_csv().encode() for name, table in tables.items()}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains(method, tmp_path):
    trained = train(tiny(method=method, epochs=1), out=tmp_path)
    (row,) = trained.history.to_dict("records")
    assert list(row) == list(COLUMNS)
    assert row["loss"] > 0
    assert (row["trades_conditional"] + row["trades_marginal"] >= 0) == METHODS[method].adversarial
    assert trained.history["delta_marginal"].notna().all() == METHODS[method].adversarial
    assert el.load_model(str(trained.folder / "last.safetensors"))(torch.zeros(1, 1, 8, 8)).shape == (1, 10)


def test_an_epoch_that_is_not_judged_has_no_accuracies_and_the_last_one_has(tmp_path):
    trained = train(tiny(epochs=3, eval_every=2, method="fgsm"), out=tmp_path)
    assert trained.history["test_pgd"].notna().tolist() == [False, True, True]
    assert trained.history["probe_delta_marginal"].notna().all()
    assert trained.best in (2, 3)


def attacked(tmp_path, **own):
    """What the attack of a run's first step makes of its images."""
    run = open_run(Plan(tiny(**own), tmp_path, device="cpu", overwrite=True))
    run.generator.manual_seed(0)
    _, x, y = next(run.walk(0))
    return run.attacker(x, y, run.course.radius).x_adv


@pytest.mark.parametrize(("method", "exact"), [("trades", True), ("weat-adv", True), ("pgd", False)])
def test_attacks_that_compare_with_clean_logits_stay_float32_under_bf16(method, exact, tmp_path):
    torch.manual_seed(0)
    whole, half = (attacked(tmp_path, method=method, steps=5, amp=amp) for amp in ("no", "bf16"))
    assert torch.equal(whole, half) == exact


def test_everything_at_once_trains(tmp_path):
    settings = tiny(method="trades", reg=("der", "elle"), awp=0.005, ema=0.9, amp="bf16", channels_last=True,
                    normalize=True, classwise=True, norm="l2", epochs=1)  # fmt: skip
    trained = train(settings, out=tmp_path)
    classes = pd.read_parquet(trained.folder / CLASSES)
    assert len(classes) == 10 and classes["n"].sum() == 32
    means = (classes["marginal_clean"] - classes["marginal_adv"]).mul(classes["n"]).sum() / 32
    assert means == pytest.approx(trained.history["probe_delta_marginal"].item(), abs=1e-6)
    about = json.loads((trained.folder / "best.json").read_text())
    assert (about["threat_model"], about["dataset"], len(about["mean"])) == ("L2", "digits", 1)


@pytest.mark.parametrize(
    "own",
    [
        {"method": "free", "replays": 2},
        {"method": "rs-fgsm", "ema": 0.9, "optimizer": "sgd", "reg": ("elle-a", "der")},
    ],
)
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(own, tmp_path):
    settings = tiny(**own, epochs=3, watch_every=3, measure_every=1)
    watches = [EnergyWatch() for _ in range(3)]
    whole = train(settings, out=tmp_path / "whole", watch=watches[0])

    def interrupt(progress):
        if progress.epoch == 2 and not progress.finished:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(settings, out=tmp_path / "parts", watch=watches[1], listener=interrupt)
    assert len(pd.read_parquet(tmp_path / "parts" / "train" / whole.folder.name / HISTORY)) == 1
    parts = train(settings, out=tmp_path / "parts", watch=watches[2])
    assert files(whole.folder) == files(parts.folder)
    assert watches[0].state_dict() == watches[2].state_dict() == load_state(parts.folder)["watch"]
    assert watches[0].state_dict()["batches"] == 12 * (settings.replays or 1)


def test_the_watch_hears_nothing_while_eps_grows(tmp_path):
    watch = EnergyWatch()
    train(tiny(method="fgsm", epochs=2, eps_ramp=1.0), out=tmp_path, watch=watch)
    assert watch.state_dict()["batches"] == 1 + 4  # the last of the first epoch, and the second


def test_the_same_settings_give_the_same_bytes_and_another_seed_does_not(tmp_path):
    state = torch.get_rng_state()
    one, other = (train(tiny(epochs=1), out=tmp_path / name) for name in "ab")
    assert torch.equal(state, torch.get_rng_state())
    assert files(one.folder) == files(other.folder)
    assert files(one.folder)["last"] != files(train(tiny(epochs=1, seed=1), out=tmp_path).folder)["last"]


def test_steps_are_measured_where_the_method_sees_clean_images_and_now_and_then_elsewhere(tmp_path):
    settings = {"epochs": 1, "batch_size": 32, "measure_every": 3}
    every, some = (train(tiny(method=m, **settings), out=tmp_path).folder for m in ("fgsm", "pgd"))
    assert pd.read_parquet(every / "steps.parquet")["step"].tolist() == list(range(1, 9))
    table = pd.read_parquet(some / "steps.parquet")
    assert table["step"].tolist() == [1, 4, 7]
    assert tuple(table) == STEP_COLUMNS


def test_measuring_leaves_batch_norms_statistics_alone():
    network = torch.nn.BatchNorm2d(2)
    before = network.running_mean.clone()
    with loop.statistics_kept(network):
        network(torch.randn(4, 2, 3, 3))
    assert torch.equal(before, network.running_mean) and network.momentum == 0.1


class Watchdog:
    """Barks when it is asked for the n-th time, or at an evaluation where the n-th epoch ends."""

    def __init__(self, left: int, epochs: int = 0) -> None:
        self.left, self.epochs, self.seen = left, epochs, 0

    def update(self, logits_clean, logits_adv, y) -> None:
        self.seen += len(y)

    def step(self, reduce=None):
        self.left -= 1
        return Alarm("co", "it smells", 1, {}) if self.left == 0 else None

    def judge_gap(self, fgsm, pgd, samples):
        assert 0 <= pgd <= 1 and samples == 32
        self.epochs -= 1
        return Alarm("co", "it gapes", 1, {}) if self.epochs == 0 else None

    def state_dict(self):
        return {"left": self.left}

    def load_state_dict(self, state) -> None:
        self.left = state["left"]


# four steps an epoch, heard after the third and the fourth: the third hearing is in the middle of epoch 2
@pytest.mark.parametrize(("on_alarm", "epochs", "steps"), [("warn", 3, 12), ("stop", 2, 7), ("rollback", 2, 7)])
def test_an_alarm_is_written_down_and_acted_on_at_once(on_alarm, epochs, steps, tmp_path):
    said, settings = [], tiny(method="fgsm", epochs=3, on_alarm=on_alarm, watch_every=3)
    trained = train(settings, out=tmp_path, watch=(dog := Watchdog(3)), listener=lambda at: said.append(at.message))
    assert dog.seen == 64 * steps
    assert trained.history["alarm"].tolist() == ["", "co", ""][:epochs]
    table = pd.read_parquet(trained.folder / "steps.parquet")
    assert len(table) == steps and table[table["alarm"] != ""][["step", "alarm"]].values.tolist() == [[7, "co"]]
    assert "epoch 2, step 7: it smells" in said
    again = train(settings, out=tmp_path, watch=Watchdog(9))
    assert (len(again.history), again.stopped) == (epochs, "" if on_alarm == "warn" else "co")
    same = files(trained.folder)["best"] == files(trained.folder)["last"]
    assert on_alarm != "rollback" or (same and trained.best == 1)


def test_a_gap_between_fgsm_and_pgd_is_acted_on_at_the_epochs_end(tmp_path):
    said, settings = [], tiny(method="pgd", epochs=3, on_alarm="stop", measure_every=3)
    trained = train(settings, out=tmp_path, watch=Watchdog(99, epochs=2), listener=lambda at: said.append(at.message))
    assert (trained.stopped, trained.history["alarm"].tolist()) == ("co", ["", "co"])
    steps = pd.read_parquet(trained.folder / "steps.parquet")
    assert steps[steps["alarm"] != ""]["step"].tolist() == [8]  # of steps 5, 8 in the second epoch
    assert "epoch 2, step 8: it gapes" in said


def test_an_alarm_at_an_epochs_end_is_written_at_the_last_step_that_the_watch_has_seen(tmp_path):
    trained = train(tiny(measure_every=3, batch_size=32, epochs=1), out=tmp_path, watch=Watchdog(1))
    assert pd.read_parquet(trained.folder / "steps.parquet")[["step", "alarm"]].values.tolist() == [
        [1, ""], [4, ""], [7, "co"],
    ]  # fmt: skip
    assert trained.history["alarm"].tolist() == ["co"]


def test_a_second_process_on_the_same_run_is_told_to_wait_and_a_killed_one_holds_nothing(tmp_path):
    command = [sys.executable, "-m", "energylens", "train", *OPTIONS, "--epochs", "1000000", "--out", str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as first:
        try:
            assert first.stderr is not None
            next(line for line in first.stderr if "epoch 1 loss" in line)
            first.send_signal(signal.SIGSTOP)  # it holds the run all the same, and leaves the cores to this process
            (folder,) = (tmp_path / "train").iterdir()
            told = re.escape(f"process {first.pid} on {socket.gethostname()} is filling {folder}: wait for it, or give")
            for overwrite in (False, True):
                with pytest.raises(RunError, match=told):
                    train(settings_in(folder), folder=folder, overwrite=overwrite)
        finally:
            first.kill()
    done = len(pd.read_parquet(folder / HISTORY))

    def interrupt(progress):
        if progress.finished:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(settings_in(folder), folder=folder, listener=interrupt)
    assert len(pd.read_parquet(folder / HISTORY)) == done + 1


def test_an_exploding_loss_stops_with_the_last_good_network_kept(tmp_path, monkeypatch):
    good = METHODS["fgsm"].loss
    settings = tiny(method="fgsm")

    def broken(step):
        return good(step) * (torch.nan if step.progress > 1.5 else 1)

    monkeypatch.setitem(METHODS, "fgsm", replace(METHODS["fgsm"], loss=broken))
    with pytest.raises(RunError, match=r"loss is nan at step 7 \(epoch 2\): .*last.safetensors .* epoch 1; try"):
        train(settings, out=tmp_path)
    (folder,) = (tmp_path / "train").iterdir()
    assert load_state(folder)["epoch"] == 1
    assert el.load_model(str(folder / "last.safetensors"))


@pytest.fixture
def size_limit():
    """A function that lets no file grow beyond so many bytes, as a full disk would not."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [300_000, 100_000])  # bytes: too few for the state, and for the weights
def test_a_full_disk_is_told_in_a_line_and_costs_one_epoch(size, size_limit, tmp_path):
    settings = tiny(method="fgsm")
    with pytest.raises(RunError, match=f"^cannot write to {tmp_path}.*File too large.*") as refusal:
        train(settings, out=tmp_path, listener=lambda at: size_limit(size) if at.finished else None)
    assert "\n" not in str(refusal.value)
    (folder,) = (tmp_path / "train").iterdir()
    assert load_state(folder)["epoch"] == 1 and not list(folder.glob(".*.tmp"))
    size_limit(resource.RLIM_INFINITY)
    assert files(train(settings, out=tmp_path).folder) == files(train(settings, out=tmp_path / "whole").folder)


def test_what_a_killed_process_left_half_written_goes_and_a_damaged_file_is_named(tmp_path):
    folder = train(tiny(epochs=1), out=tmp_path).folder
    left = [folder / name for name in (".state.pt.elsewhere-1.tmp", ".tmpAb12Cd")]
    for half in left:
        half.write_bytes(b"half")
    assert len(train(tiny(epochs=1), out=tmp_path).history) == 1
    assert not [half for half in left if half.exists()]
    for name in ("state.pt", "steps.parquet", "history.parquet"):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(RunError, match=f"^{re.escape(str(folder / name))} is damaged .*--overwrite") as refusal:
            train(tiny(epochs=1), out=tmp_path)
        assert "\n" not in str(refusal.value)
        (folder / name).write_bytes(whole)
    (folder / "history.parquet").unlink()
    with pytest.raises(RunError, match=r"history.parquet lacks epochs of 1: --overwrite"):
        train(tiny(epochs=1), out=tmp_path)
    assert len(train(tiny(epochs=1), out=tmp_path, overwrite=True).history) == 1


def test_resume_keeps_to_the_runs_own_settings(tmp_path):
    folder = train(tiny(epochs=1), out=tmp_path).folder
    assert settings_in(folder) == settings_in(folder, epochs=1) == tiny(epochs=1)
    with pytest.raises(InputError, match=r"other settings: lr is 0.002 there and 0.1 here"):
        settings_in(folder, epochs=5, lr=0.1)
    with pytest.raises(InputError, match="holds no training run"):
        settings_in(tmp_path)
    moved = folder.rename(tmp_path / "moved")
    assert len(train(settings_in(moved), folder=moved).history) == 1


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"method": "standard", "reg": ("der",)}, "--reg means nothing to --method standard"),
        ({"method": "standard", "awp": 0.01}, "--awp means nothing"),
        ({"method": "pgd", "beta": 6.0}, "--beta means nothing to --method pgd"),
        ({"method": "fgsm", "steps": 10}, "--steps means nothing to --method fgsm"),
        ({"method": "pdg"}, r"unknown --method 'pdg': did you mean pgd\? give one of standard, fgsm"),
        ({"reg": ("dre",)}, r"unknown --reg 'dre': did you mean der\? give one of der, gradalign"),
        ({"eps": "0"}, "eps must be positive"),
        ({"eps": "8"}, "did you mean 8/255"),
        ({"lr": 0.0}, "--lr is 0.0: give a number from"),
        ({"epochs": 0}, "--epochs is 0"),
        ({"reg": ("der",), "reg_weight": (1.0, 2.0)}, "2 --reg-weight came for 1 --reg"),
        ({"reg": ("der",), "reg_weight": (float("nan"),)}, "finite numbers"),
        ({"reg": ("gradalign",), "compile": True}, "--reg gradalign needs a double backward, .* leave --compile out"),
        ({"classes": (3,)}, "two or more different labels"),
        ({"arch": "resnet81"}, "unknown architecture 'resnet81' .did you mean resnet18"),
        ({"nonsense": 1}, "unknown setting 'nonsense'"),
    ],
)
def test_what_cannot_be_run_is_refused_in_a_line(own, message):
    with pytest.raises(InputError, match=message) as refusal:
        settings_of("digits", **own)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"arch": "mnist-smallcnn"}, r"mnist-smallcnn does not take digits's images of shape \(1, 8, 8\)"),
        ({"classes": (3, 12)}, "classes 3, 12 came; expected two or more different labels of digits, 0 to 9"),
        ({"per_class": 1000}, "--per-class 1000: a class has"),
        ({"batch_size": 5000}, "do not fill one batch: --batch-size is 5000"),
    ],
)
def test_what_does_not_fit_the_data_is_refused_before_anything_is_written(own, message, tmp_path):
    with pytest.raises(InputError, match=message):
        train(tiny(**own), out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_network_of_some_classes_is_profiled_on_them_alone(tmp_path):
    trained = train(tiny(classes=(7, 1), epochs=8, method="standard", batch_size=16, val_fraction=0.0), out=tmp_path)
    about = json.loads((trained.folder / "last.json").read_text())
    assert (about["num_classes"], about["classes"], about["dataset"], about["labels"]) == (
        2, ["7", "1"], "digits", [7, 1],
    )  # fmt: skip
    assert trained.history["val_pgd"].isna().all()
    digits, path = el.load_data("digits"), str(trained.folder / "last.safetensors")
    record = el.profile(path, attacks="fgsm", n=80)
    assert record.dataset == "digits (classes 7, 1)"
    rows = record["natural"].rows
    assert rows["index"].tolist() == torch.isin(digits.labels, torch.tensor([7, 1])).nonzero().flatten()[:80].tolist()
    assert rows["label"].tolist() == [[7, 1].index(digits.labels[index]) for index in rows["index"]]
    assert (rows["pred_clean"] == rows["label"]).mean() > 0.9
    assert "labels" not in el.examine(path).failed
    with pytest.raises(InputError, match="the model gives 2 logits, digits has 10 classes"):
        el.profile(path, digits)


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_can_be_written_as_a_command_and_read_again(recipe):
    settings, seen = settings_of(recipe, reg=("der", "elle")), []
    command = settings_options(TrainSettings)(click.command()(lambda **own: seen.append(own)))
    done = CliRunner().invoke(command, settings.as_options().split(), standalone_mode=False)
    assert done.exception is None
    assert settings_of("digits", **{name: value for name, value in seen[0].items() if value is not None}) == settings


def test_the_command_trains_and_says_where_to_go_on(tmp_path):
    here, some = ("--out", str(tmp_path)), ("--classes", "3,5", "--batch-size", "16")
    done = CliRunner().invoke(root, ["train", *OPTIONS, *some, *here], catch_exceptions=False)
    assert "--der-gamma" not in done.stderr  # the manifest has the settings
    assert "epoch 1 loss" in done.stderr
    command = done.stdout.splitlines()[-1].split()
    assert command[:3] == ["energylens", "profile", "--model"]
    told = CliRunner().invoke(root, [*command[1:], "-a", "fgsm", "--n", "9", *here], catch_exceptions=False)
    assert told.stdout.splitlines()[0].startswith(f"{command[3]} on digits (classes 3, 5), 9 samples, eps 0.2 linf")


def test_two_processes_train_together(tmp_path, capfd):
    judged = ("--final-steps", "2", "--final-samples", "60")
    # what torchrun calls: here it need not start a third Python
    torchrun(["--nproc-per-node", "2", "-m", "energylens", "train", *OPTIONS, *judged, "--out", str(tmp_path)])
    (folder,) = (tmp_path / "train").iterdir()
    assert capfd.readouterr().err.count("epoch 1 loss") == 1  # one process speaks
    (row,) = pd.read_parquet(folder / HISTORY).to_dict("records")
    alone = train(settings_in(folder), out=tmp_path / "alone")
    together = read_ends(folder)
    (folder / "final.json").unlink()
    shutil.rmtree(folder / "judged")
    assert judge_ends(folder, settings_in(folder)) == together
    # the same batches and weights, other shifts: close, and not the same
    assert row["loss"] == pytest.approx(alone.history["loss"].item(), abs=0.02)
    assert row["loss"] != alone.history["loss"].item()
