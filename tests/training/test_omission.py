"""Who is left out of training, by a planted model whose energies are known; and what else must stay as it is."""

import hashlib
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from energylens.data import Samples, load_data
from energylens.errors import InputError
from energylens.models import load_model, module_digest
from energylens.training.data import load_training_data
from energylens.training.folder import settings_in
from energylens.training.loop import train
from energylens.training.omission import RULES, omission
from energylens.training.recipes import settings_of

CPU = torch.device("cpu")
TINY = {"epochs": 1, "per_class": 30, "batch_size": 64, "eval_samples": 32, "eval_steps": 1, "method": "fgsm"}
PLANTED = """
import torch

class Planted(torch.nn.Module):
    def forward(self, x):
        return 10 * x.flatten(1)[:, :2]

def make():
    return Planted()
"""
N = 12


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """Twelve images of class 0 under logits 10 * (i, 0) / 12, so that E(x) falls with i; of every third one the pixels
    are exchanged, so that it is misclassified. Image 0 has equal logits and is taken for class 0."""
    (tmp_path / "planted.py").write_text(PLANTED)
    monkeypatch.chdir(tmp_path)
    x = torch.zeros(N, 1, 1, 2)
    x[:, 0, 0, 0] = torch.arange(N) / N
    x[2::3] = x[2::3].flip(-1)
    return Samples.from_tensors(x, torch.zeros(N, dtype=torch.int64), classes=["a", "b"])


def asked(settings):
    """What ``omission`` takes of these settings."""
    return {
        "omit": settings.omit, "share": settings.omit_share, "by": settings.omit_by, "seed": settings.seed,
        "device": CPU,
    }  # fmt: skip


def chosen(samples, rule, share, learnt=None, seed=0, by="planted:make"):
    settings = settings_of(omit=rule, omit_share=share, omit_by=by if RULES[rule].judged else None, seed=seed)
    learnt = torch.randperm(N) if learnt is None else learnt
    return omission(samples, learnt, **asked(settings)).positions.tolist()


def test_a_rule_takes_the_first_by_its_known_energies(planted):
    assert chosen(planted, "high-energy", 0.25) == [0, 1, 3]  # 2 is misclassified
    assert chosen(planted, "low-energy", 0.25) == [9, 10, 11]  # 11 is misclassified
    assert chosen(planted, "misclassified", 4 / 12) == [2, 5, 8, 11]


def test_only_what_is_learnt_is_left_out(planted):
    assert chosen(planted, "high-energy", 0.5, learnt=torch.tensor([10, 4, 6, 7])) == [4, 6]


def test_the_order_they_come_in_does_not_matter_but_the_seed_does(planted):
    first, again, other = (chosen(planted, "random", 0.5, seed=seed) for seed in (0, 0, 1))
    assert first == again != other


def test_too_few_are_counted(planted):
    with pytest.raises(
        InputError, match=r"4 of 12 training images are misclassified by planted:make, --omit-share 0.5"
    ):
        chosen(planted, "misclassified", 0.5)


@pytest.mark.parametrize("rule", [None, *RULES])
def test_everything_but_the_learnt_images_is_the_same_for_every_rule(rule):
    by = "digits-standard" if rule and RULES[rule].judged else None
    ruled = settings_of(omit=rule, omit_by=by, omit_share=rule and 0.01)
    whole, cut = (load_training_data(settings, None, CPU) for settings in (settings_of(), ruled))
    for name in ("probe", "val", "test"):
        assert torch.equal(getattr(whole, name).pixels, getattr(cut, name).pixels)
    lost = 0 if rule is None else round(0.01 * len(whole.train))
    assert len(cut.train) == len(whole.train) - lost
    images = {image.numpy().tobytes() for image in whole.train.pixels}
    assert all(image.numpy().tobytes() in images for image in cut.train.pixels)


def test_a_run_pins_the_model_not_its_path_and_goes_on(tmp_path):
    one, two = (tmp_path / name for name in ("one.safetensors", "two.safetensors"))
    for path in (one, two):
        save_file(load_model("digits-standard").state_dict(), path)
        path.with_suffix(".json").write_text(json.dumps({"arch": "digits-cnn", "dataset": "digits"}))
    first, again = (
        train(settings_of(**TINY, omit="low-energy", omit_by=str(path)), out=tmp_path / path.stem)
        for path in (one, two)
    )
    assert first.folder.name == again.folder.name
    manifest = json.loads((first.folder / "manifest.json").read_text())
    left_out = manifest["identity"]["data"]["left_out"]
    assert left_out["by"] == module_digest(load_model(str(one)))
    assert left_out["n"] == 27  # a tenth of 270
    settings = settings_in(first.folder)
    assert settings == first.settings
    assert train(settings, folder=first.folder).history.equals(first.history)
    changed = {name: value + 1 for name, value in load_file(one).items()}
    save_file(changed, one)
    with pytest.raises(InputError, match=r"data\.left_out"):
        train(settings, folder=first.folder)


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"omit": "hard"}, "unknown --omit 'hard': give one of high-energy, misclassified, low-energy, random"),
        ({"omit_share": 0.1}, "mean nothing without --omit"),
        ({"omit_by": "digits-pgd"}, "mean nothing without --omit"),
        ({"omit": "low-energy"}, "name it with --omit-by"),
        ({"omit": "random", "omit_by": "digits-pgd"}, "asks no model: leave --omit-by out"),
        ({"omit": "random", "omit_share": 0.95}, "--omit-share is 0.95: give a number from 0.001 to 0.9"),
    ],
)
def test_what_means_nothing_is_refused(own, said):
    with pytest.raises(InputError, match=said):
        settings_of(**own)


def test_a_model_of_other_classes_is_refused():
    settings = settings_of(omit="low-energy", omit_by="digits-pgd", classes=(1, 7))
    with pytest.raises(InputError, match=r"--omit-by digits-pgd knows digits, the run learns digits \(classes 1, 7\)"):
        omission(load_data("digits", classes=(1, 7)), torch.arange(20), **asked(settings))


def test_the_command_takes_the_rule_and_says_what_it_needs(run, tmp_path):
    words = ("--per-class", 30, "--epochs", 1, "--eval-samples", 32, "--method", "fgsm", "--omit", "misclassified")
    status, _, complaint = run("train", *words, "--omit-by", "digits-standard")
    assert status == 2
    assert "of 270 training images are misclassified by digits-standard, --omit-share 0.1 asks for 27" in complaint
    status, _, said = run("train", *words[:-1], "random", "--omit-share", 0.2, "--verbose")
    assert status == 0
    assert "--omit random --omit-share 0.2" in said
    (folder,) = (tmp_path / "runs" / "train").iterdir()
    assert folder.name.startswith("digits-digits-cnn-fgsm-without-random-0.2-s0-")
    assert json.loads((folder / "manifest.json").read_text())["identity"]["data"]["left_out"]["n"] == 54


def test_too_little_left_to_fill_a_batch_is_refused():
    with pytest.raises(InputError, match="27 training images do not fill one batch"):
        load_training_data(settings_of(**TINY, omit="random", omit_share=0.9), None, CPU)


def test_the_share_is_of_what_is_learnt_and_rounded(planted):
    learnt = torch.tensor([0, 1, 3, 4, 6, 7, 9])
    for share, left in ((0.3, 2), (0.36, 3), (0.07, 0), (0.9, 6)):
        assert len(chosen(planted, "random", share, learnt=learnt)) == left
        assert len(chosen(planted, "low-energy", share, learnt=learnt)) == left
    assert len(chosen(planted, "high-energy", 8 / 12)) == 8  # all who are rightly classified
    with pytest.raises(InputError, match="8 of 12 training images are rightly classified"):
        chosen(planted, "high-energy", 9 / 12)


def test_who_is_left_out_by_chance_is_a_chance_of_the_seed(planted):
    seen = [tuple(chosen(planted, "random", 0.5, seed=seed)) for seed in range(8)]
    assert len(set(seen)) == 8 and {i for left in seen for i in left} == set(range(N))
    fallen = [tuple(chosen(planted, "misclassified", 2 / 12, seed=seed)) for seed in range(8)]
    assert len(set(fallen)) > 1 and {i for left in fallen for i in left} == {2, 5, 8, 11}


def test_an_omission_tells_how_many_and_a_digest_of_which(planted):
    settings = settings_of(omit="random", omit_share=0.25)
    found = omission(planted, torch.arange(N), **asked(settings))
    assert found.by is None and found.told()["n"] == 3
    assert found.told()["digest"] == hashlib.sha256(np.array(found.positions.tolist(), "<i8").tobytes()).hexdigest()
    judged = omission(planted, torch.arange(N), **asked(settings_of(omit="low-energy", omit_by="planted:make")))
    assert judged.by == module_digest(load_model("planted:make"))
