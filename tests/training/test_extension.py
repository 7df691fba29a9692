"""A finished run made longer, and a run that starts from a model's weights."""

import json
import re

import pandas as pd
import pytest
import torch

import energylens as el
from energylens.errors import InputError
from energylens.tables.training_runs import group_runs, read_run
from energylens.training.folder import extension, settings_in
from energylens.training.history import HISTORY
from energylens.training.loop import train
from energylens.training.recipes import settings_of

TINY = {
    "per_class": 30, "batch_size": 16, "eps_ramp": 0.0, "eval_samples": 32, "eval_steps": 1, "method": "fgsm",
    "eval_every": 2, "classes": (0, 1),
}  # fmt: skip
FAST = ("--per-class", "30", "--batch-size", "16", "--eval-samples", "32", "--method", "fgsm", "--classes", "3,5")


def tiny(epochs, **own):
    return settings_of("digits", **{**TINY, "epochs": epochs, **own})


def files(folder):
    """What must not differ between equal runs: weights, and tables without their seconds."""
    weights = {name: (folder / f"{name}.safetensors").read_bytes() for name in ("best", "last")}
    steps = pd.read_parquet(folder / "steps.parquet").to_csv()
    return weights, pd.read_parquet(folder / HISTORY).drop(columns="seconds").to_csv(), steps


def extended(out, before, after, **own):
    """A run of so many epochs, then made longer in its own folder."""
    folder = train(tiny(before, **own), out=out).folder
    assert train(settings_in(folder, epochs=after), folder=folder).folder == folder
    return folder


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_without_a_schedule_the_longer_run_is_the_run_of_so_many_epochs(ema, tmp_path):
    folder = extended(tmp_path / "extended", 2, 4, schedule="constant", ema=ema)
    whole = train(tiny(4, schedule="constant", ema=ema), out=tmp_path / "whole").folder
    assert files(folder) == files(whole)
    assert read_run(folder).settings == read_run(whole).settings  # one row of a comparison, if the seeds differ
    assert settings_in(folder) == tiny(4, schedule="constant", ema=ema)


@pytest.mark.parametrize("schedule", ["onecycle", "cosine", "piecewise", "cyclic"])
def test_with_one_it_goes_on_as_that_of_the_longer_run_and_says_so(schedule, tmp_path):
    settings = tiny(2, schedule=schedule)
    folder = train(settings, out=tmp_path).folder
    told = extension(folder, settings_in(folder, epochs=3))
    assert f"extended from 2 to 3 epochs: the {schedule} schedule depends on them" in told
    train(settings_in(folder, epochs=3), folder=folder)
    rates = pd.read_parquet(folder / HISTORY)["lr"].tolist()
    short, long = (train(tiny(n, schedule=schedule), out=tmp_path / str(n)).history["lr"].tolist() for n in (2, 3))
    assert rates == [*short, long[2]]
    (run, other) = read_run(folder), read_run(train(tiny(3, schedule=schedule), out=tmp_path / "3").folder)
    assert run.settings["extended"] == [2] and len(group_runs([run, other])) == 2  # not the same recipe
    assert run.finished and "extended 2" in next(iter(group_runs([run, other])))


def test_the_settings_of_a_run_extended_twice_repeat_it(tmp_path):
    folder = extended(tmp_path / "extended", 1, 2)
    train(settings_in(folder, epochs=3), folder=folder)
    settings = settings_in(folder)
    assert settings.extended == (1, 2) and "--epochs 3" in settings.as_options()
    assert "--extended 1,2" in settings.as_options()
    assert files(train(settings, out=tmp_path / "again").folder) == files(folder)


def test_an_interrupted_extension_goes_on(tmp_path):
    def interrupt(progress):
        if progress.finished and progress.epoch == 3:
            raise KeyboardInterrupt

    folder = train(tiny(2), out=tmp_path).folder
    with pytest.raises(KeyboardInterrupt):
        train(settings_in(folder, epochs=4), folder=folder, listener=interrupt)
    assert len(train(settings_in(folder), folder=folder).history) == 4
    whole = extended(tmp_path / "whole", 2, 4)
    assert files(folder) == files(whole)


def test_what_cannot_be_extended_is_refused_and_left_as_it_is(tmp_path):
    def interrupt(progress):
        if progress.finished:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tiny(2), out=tmp_path, listener=interrupt)
    (folder,) = (tmp_path / "train").iterdir()
    before = (folder / "manifest.json").read_bytes()
    with pytest.raises(InputError, match=r"has 1 of 2 epochs: only a finished run is extended; finish it first, with"):
        settings_in(folder, epochs=4)
    with pytest.raises(InputError, match=r"is a run of 2 epochs: --epochs 1 cannot make it shorter"):
        settings_in(folder, epochs=1)
    with pytest.raises(InputError, match="other settings: lr is"):
        settings_in(folder, epochs=4, lr=0.1)
    assert (folder / "manifest.json").read_bytes() == before
    train(settings_in(folder), folder=folder)
    train(settings_in(folder, epochs=4), folder=folder)
    with pytest.raises(
        InputError, match=rf"was extended to 4 epochs: `energylens train --resume {re.escape(str(folder))}`"
    ):
        train(tiny(2), out=tmp_path)
    with pytest.raises(InputError, match=r"--extended is 3,2: give rising numbers of epochs below --epochs 4"):
        tiny(4, extended=(3, 2))


def test_the_command_extends_says_the_schedule_and_prints_settings_only_when_asked(run, tmp_path):
    _, _, quiet = run("train", *FAST, "--epochs", 1)
    assert "--weight-decay" not in quiet
    (folder,) = tmp_path.glob("runs/train/*")
    status, out, said = run("train", "--resume", folder, "--epochs", 2, "--verbose")
    assert status == 0 and "2 epochs" in out
    assert "Best: the epoch of the highest PGD accuracy on the validation split." in out
    assert "is extended from 1 to 2 epochs: the onecycle schedule depends on them" in said
    words = next(line for line in said.splitlines() if line.startswith("energylens train")).split()
    assert "--extended" in words and "--weight-decay" in words
    again = run(*words[1:], "--out", "again")
    assert again[0] == 0
    assert files(next(tmp_path.glob("again/train/*"))) == files(folder)


def test_a_run_starts_from_a_models_weights(tmp_path):
    whole = settings_of("digits", **{**TINY, "epochs": 1, "classes": None, "init": "digits-pgd", "lr": 1e-9})
    trained = train(whole, out=tmp_path)
    given, made = (
        el.load_model(name).state_dict() for name in ("digits-pgd", str(trained.folder / "last.safetensors"))
    )
    assert all(torch.allclose(given[name].float(), made[name].float(), atol=1e-5) for name in given)
    assert trained.history["test_clean"].item() > 0.9


def test_the_weights_are_part_of_what_a_run_is_and_their_place_is_not(tmp_path):
    first = train(tiny(1, seed=1), out=tmp_path).folder / "last.safetensors"
    moved = tmp_path / "moved.safetensors"
    for suffix in (".safetensors", ".json"):
        moved.with_suffix(suffix).write_bytes(first.with_suffix(suffix).read_bytes())
    here, there = (train(tiny(1, init=str(path)), out=tmp_path).folder for path in (first, moved))
    plain = train(tiny(1), out=tmp_path).folder
    other = train(tiny(1, init=str(plain / "last.safetensors")), out=tmp_path).folder
    assert here == there and len({here, plain, other}) == 3
    manifest = json.loads((here / "manifest.json").read_text())
    assert manifest["identity"]["init"] == el.models.card.weights_digest(el.load_model(str(first)))
    assert manifest["named"]["init"] == str(first) and "init" not in manifest["identity"]["settings"]
    assert "--init" in settings_in(here).as_options() and read_run(here).settings["init"] == str(first)
    assert files(here) != files(plain)


@pytest.mark.parametrize("normalize", [True, False])
def test_a_normalised_model_starts_as_the_function_it_is(normalize, tmp_path):
    first = train(tiny(1, normalize=normalize, seed=1), out=tmp_path).folder / "last.safetensors"
    settings = tiny(1, normalize=normalize, init=str(first), lr=1e-9, per_class=60, weight_decay=0.0)
    made = el.load_model(str(train(settings, out=tmp_path).folder / "last.safetensors"))
    x = el.load_data("digits", n=20).images
    assert torch.allclose(el.load_model(str(first))(x), made(x), atol=1e-4)
    does = "normalises" if normalize else "does not normalise"
    with pytest.raises(InputError, match=f"{does} its images, the run is to do otherwise: give --.*normalize"):
        train(tiny(1, normalize=not normalize, init=str(first)), out=tmp_path)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"init": "digit-pgd"}, "unknown model 'digit-pgd'"),
        ({"init": "nowhere.safetensors"}, "nowhere.safetensors"),
        ({"init": "digits-pgd"}, r"--init digits-pgd does not fit digits-cnn: .* of another shape .*--classes"),
        ({"init": "autoattack-resnet18"}, r"--init autoattack-resnet18 does not fit digits-cnn: .*missing"),
    ],
)
def test_weights_that_do_not_fit_are_refused_before_anything_is_written(own, message, tmp_path):
    with pytest.raises(InputError, match=message) as refusal:
        train(tiny(1, **own), out=tmp_path)
    assert "\n" not in str(refusal.value) and not list(tmp_path.iterdir())


def test_a_manifest_of_the_first_release_is_the_same_run(tmp_path):
    """It had neither of the settings, and the fingerprint of its folder must not change."""
    told = tiny(1).manifest()
    assert "init" not in told and "extended" not in told
    assert type(tiny(1)).from_manifest(told) == tiny(1)
