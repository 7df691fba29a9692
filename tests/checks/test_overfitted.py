"""The doctor knows the two failures of adversarial training, and keeps quiet where it cannot know."""

import pytest
import torch
from torch import nn

import energylens as el
from energylens.checks import examine
from energylens.checks.overfitting import CATASTROPHIC, ROBUST
from energylens.data import data_set, lies_here


class ByHeart(nn.Module):
    """digits-standard, but robust around each image of the training split's beginning: what it has learnt by heart."""

    def __init__(self, eps=0.2):
        super().__init__()
        self.network, self.eps = el.load_model("digits-standard"), eps
        learnt = el.load_data("digits", split="train", n=64)
        x, y = learnt.batch(0, 64)
        self.register_buffer("x", x)
        self.register_buffer("y", y)

    def forward(self, x):
        far = (x.detach()[:, None] - self.x).flatten(2).abs().amax(dim=2)
        nearest, which = far.min(dim=1)
        known = 20.0 * nn.functional.one_hot(self.y[which], 10)
        logits = self.network(x)
        return torch.where((nearest <= self.eps + 1e-6)[:, None], known + 0 * logits, logits)


def test_a_collapsed_model_is_told_and_nothing_else_of_it(one_step_only):
    diagnosis = examine(one_step_only)
    assert diagnosis.failed == (CATASTROPHIC.name,)
    finding = diagnosis[CATASTROPHIC.name]
    assert "are robust to fgsm" in finding.measured and "95 %" in finding.measured
    assert "--reg der" in finding.remedy and "gradalign" in finding.remedy
    assert {diagnosis[check].verdict for check in ("range", "normalisation", ROBUST.name)} == {"skipped"}


def test_the_command_says_it_with_status_one(run, one_step_only, monkeypatch):
    monkeypatch.setattr("energylens.checks.examination.the_module", lambda *_: one_step_only)
    status, out, _ = run("doctor", "folded")
    assert status == 1 and "FAIL catastrophic overfitting" in out
    assert "Failed: catastrophic overfitting." in out


def test_images_learnt_by_heart_are_told():
    diagnosis = examine(ByHeart().eval(), "digits")
    assert diagnosis.failed == (ROBUST.name,)
    assert "100.0 % on training and" in diagnosis[ROBUST.name].measured
    assert "best epoch" in diagnosis[ROBUST.name].remedy


@pytest.mark.parametrize("name", ["digits-standard", "digits-pgd"])
def test_both_checks_pass_natural_and_robust_models(name):
    diagnosis = examine(name)
    assert {diagnosis[check].verdict for check in (CATASTROPHIC.name, ROBUST.name)} == {"ok"}


def test_without_training_images_there_is_no_verdict():
    digits = el.load_data("digits", n=64)
    by_hand = examine("digits-pgd", digits.batch(0, 64))
    assert by_hand.healthy and by_hand[ROBUST.name].verdict == "skipped"
    assert "give the data set by its name" in by_hand[ROBUST.name].measured
    learnt = examine("digits-pgd", split="train")
    assert learnt[ROBUST.name].measured == "these are the training images: examine the test split"


def test_nothing_is_downloaded_for_training_images(tmp_path, mnist_root):
    """SVHN's splits are a file each: a test split alone on the disk asks for no other."""
    assert lies_here("digits", "train") and lies_here("mnist", "train", mnist_root)
    assert not lies_here("mnist", "train", tmp_path)
    for split in ("test", "train"):
        assert not lies_here("svhn", split, tmp_path)
        for file in data_set("svhn").files_of(split):
            (tmp_path / data_set("svhn").folder / file.path).touch()
        assert lies_here("svhn", split, tmp_path)
    assert not lies_here("tinyimagenet", "train", tmp_path)
    (tmp_path / data_set("tinyimagenet").folder / "train").mkdir(parents=True)
    assert lies_here("tinyimagenet", "train", tmp_path)
    assert not lies_here("imagenet", "train", tmp_path)  # which has no such split


def test_an_attack_runs_once(monkeypatch):
    """Three checks ask for FGSM and PGD; the attacks run on test images and PGD on training images, each once."""
    import energylens.checks.model_under_test as tested

    made = []
    configure = tested.configure
    monkeypatch.setattr(tested, "configure", lambda spec, **own: made.append(spec) or configure(spec, **own))
    examine("digits-pgd")
    assert sorted(made) == ["fgsm", "pgd,steps=10", "pgd,steps=10", "rs-fgsm", "square,queries=50"]
