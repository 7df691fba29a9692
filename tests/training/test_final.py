"""The judgement at a run's end: strong PGD on the best and the last weights, once."""

import json

import pytest
import torch

import energylens as el
from energylens.errors import InputError
from energylens.tables.profile_runs import find_runs
from energylens.training import final
from energylens.training.evaluation import Judge
from energylens.training.final import read_ends
from energylens.training.folder import settings_in
from energylens.training.loop import train
from energylens.training.recipes import settings_of
from energylens.training.settings import TrainSettings

N = 40
TINY = {
    "per_class": 30, "batch_size": 64, "epochs": 2, "eps_ramp": 0.0, "eval_samples": 32, "eval_steps": 1,
    "method": "fgsm", "schedule": "constant", "final_steps": 3, "final_restarts": 2, "final_samples": N,
}  # fmt: skip


def tiny(**own):
    return settings_of("digits", **{**TINY, **own})


def broken_by(monkeypatch, which):
    """From now on the judgement of these weights, "best" or "last", fails."""
    whole = final.profile

    def interrupted(weights, *rest, **own):
        if weights.stem == which:
            raise KeyboardInterrupt
        return whole(weights, *rest, **own)

    monkeypatch.setattr(final, "profile", interrupted)


def test_both_ends_are_judged_by_the_steps_and_restarts_asked_for(tmp_path):
    trained = train(tiny(epochs=3, lr=0.02), out=tmp_path)
    ends, samples = trained.ends, el.load_data("digits", n=N)
    assert (ends.judge, ends.images) == ("PGD-3-2", N)
    assert (ends.best["epoch"], ends.last["epoch"]) == (trained.best, 3)
    x, y = samples.batch(0, N)
    for which, end in (("best", ends.best), ("last", ends.last)):
        model = el.load_model(str(trained.folder / f"{which}.safetensors"))
        with torch.no_grad():
            clean = model(x).argmax(dim=1) == y
        x_adv = el.attack("pgd,steps=3,restarts=2", model, x, y, eps=trained.settings.radius)
        with torch.no_grad():
            robust = clean & (model(x_adv).argmax(dim=1) == y)
        assert (end["clean"], end["pgd"]) == pytest.approx((clean.sum().item() / N, robust.sum().item() / N))
    assert ends.lost == ends.best["pgd"] - ends.last["pgd"]
    assert read_ends(trained.folder) == ends


def test_what_was_lost_is_best_minus_last():
    best, last = ({"epoch": epoch, "clean": 0.9, "pgd": pgd} for epoch, pgd in ((3, 0.75), (9, 0.25)))
    assert final.Ends("pgd,steps=50,restarts=10", 500, best, last).lost == 0.5


def test_a_finished_judgement_is_read_and_one_that_was_interrupted_goes_on(tmp_path, monkeypatch):
    settings = tiny(epochs=3, lr=0.02)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        broken_by(patch, "last")
        train(settings, out=tmp_path)
    (folder,) = (tmp_path / "train").iterdir()
    assert read_ends(folder) is None and len(list(folder.glob("judged/best/**/part-*"))) == 2
    ends = train(settings, out=tmp_path).ends
    for which in ("best", "last"):
        broken_by(monkeypatch, which)
    assert train(settings, out=tmp_path).ends == ends


def test_weights_of_one_epoch_are_judged_once(tmp_path, monkeypatch):
    broken_by(monkeypatch, "last")
    ends = train(tiny(epochs=1), out=tmp_path).ends
    assert ends.best == ends.last and ends.lost == 0


def test_a_run_that_is_extended_is_judged_anew(tmp_path):
    before = train(tiny(epochs=1), out=tmp_path)
    after = train(settings_in(before.folder, epochs=2), folder=before.folder)
    assert (before.ends.last["epoch"], after.ends.last["epoch"]) == (1, 2)
    assert read_ends(before.folder) == after.ends


def test_the_records_of_a_judgement_belong_to_their_run(tmp_path):
    """A report of the run has no sections of them; asked for by their own folder they are there."""
    folder = train(tiny(epochs=1), out=tmp_path).folder
    assert find_runs([tmp_path]) == ([], [folder])
    records, runs = find_runs([folder / "judged"])
    assert (len(records), runs) == (2, [])  # natural and PGD


def test_without_final_steps_nothing_is_judged(tmp_path):
    trained = train(tiny(epochs=1, final_steps=0), out=tmp_path)
    assert trained.ends is None and not (trained.folder / "final.json").exists()


def test_more_images_than_there_are_stand_for_all_and_so_does_none(tmp_path):
    folder = train(tiny(epochs=1, final_steps=0), out=tmp_path).folder
    whole = len(el.load_data("digits"))
    for asked in (0, 10**6):
        assert final.judge_ends(folder, tiny(epochs=1, final_steps=1, final_samples=asked)).images == whole


def test_a_damaged_judgement_says_what_to_do(tmp_path):
    (tmp_path / "final.json").write_text('{"attack": "pgd"')
    with pytest.raises(el.RunError, match=r"final\.json is damaged .* delete final\.json"):
        read_ends(tmp_path)


def test_the_epochs_judge_takes_its_own_steps_restarts_and_step_size():
    usual, own = tiny(), tiny(eval_steps=7, eval_restarts=3, eval_step="1/255")
    assert usual.part(Judge).attacks["pgd"].step == pytest.approx(usual.radius / 4)
    assert usual.part(Judge).attacks["pgd"].restarts == 1
    pgd = own.part(Judge).attacks["pgd"]
    assert (pgd.steps, pgd.restarts, pgd.step) == (7, 3, pytest.approx(1 / 255))
    assert final.final_attack(own) == "pgd,steps=3,restarts=2,step_size=1/255"


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"eval_restarts": 0}, "--eval-restarts is 0: give a number from 1"),
        ({"final_steps": -1}, "--final-steps is -1"),
        ({"final_restarts": 0}, "--final-restarts is 0"),
        ({"final_samples": -5}, "--final-samples is -5"),
        ({"eval_step": "wide"}, "eval-step"),
    ],
)
def test_settings_that_cannot_judge_are_refused(own, said):
    with pytest.raises(InputError, match=said):
        tiny(**own)


def test_runs_of_a_version_without_these_settings_are_the_same_runs():
    """What an earlier version wrote lacks them; they are written where they are not the default."""
    plain = settings_of("digits")
    assert not [name for name in plain.manifest() if name.startswith("final") or name in ("eval_restarts", "eval_step")]
    assert TrainSettings.from_manifest(json.loads(json.dumps(plain.manifest()))) == plain
    told = tiny().manifest()
    assert (told["final_steps"], told["final_restarts"]) == (3, 2)
    assert "--final-steps 3 --final-restarts 2" in tiny().as_options()
