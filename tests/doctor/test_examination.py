"""Healthy models pass, and each planted disease is named by its own check and by no other."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import energylens as el
from energylens.doctor import examine
from energylens.doctor.checks import CHECKS


class Around(nn.Module):
    """digits-standard with something before it and something after it."""

    def __init__(self, before=lambda x: x, after=lambda logits: logits):
        super().__init__()
        self.before, self.after, self.network = before, after, el.load_model("digits-standard")

    def forward(self, x):
        return self.after(self.network(self.before(x)))


class Stubborn(Around):
    """Its parts never hear of eval mode."""

    def train(self, mode=True):
        return self


class StraightThrough(torch.autograd.Function):
    """Rounds to five levels and pretends not to."""

    @staticmethod
    def forward(ctx, x):
        return (4 * x).round() / 4

    @staticmethod
    def backward(ctx, gradient):
        return gradient


def resized(x):
    size = int(torch.randint(6, 9, ()))
    return F.interpolate(F.interpolate(x, size=(size, size)), size=(8, 8))


def nan_for_some(logits):
    return torch.where(logits[:, :1] > logits.median(), logits, torch.nan)


def with_dropout(**kind):
    return Stubborn(before=nn.Dropout(**kind).train())


def swapped(logits):
    return logits[:, [1, 0, *range(2, 10)]]


MEAN, STD = 0.305, 0.376  # of the digits


DISEASES = {
    "half precision": ("precision", lambda: Around().half()),
    "seven classes": ("fit", lambda: Around(after=lambda logits: logits[:, :7])),
    "dropout in train mode": ("eval mode", lambda: with_dropout(p=0.3)),
    "batch norm in train mode": ("eval mode", lambda: Stubborn(before=nn.BatchNorm2d(1))),
    "batch norm without statistics": (
        "eval mode",
        lambda: Around(before=nn.BatchNorm2d(1, track_running_stats=False)),
    ),
    "NaN for some": ("finite", lambda: Around(after=nan_for_some)),
    "dropout by hand": ("deterministic", lambda: Around(before=lambda x: F.dropout(x, 0.3, training=True))),
    "noise": ("deterministic", lambda: Around(before=lambda x: x + 0.1 * torch.randn_like(x))),
    "resizing": ("deterministic", lambda: Around(before=resized)),
    "batch statistics by hand": ("batch", lambda: Around(before=lambda x: x - x.mean(dim=0) + 0.3)),
    "softmax": ("logits", lambda: Around(after=lambda logits: logits.softmax(dim=1))),
    "log-softmax": ("logits", lambda: Around(after=lambda logits: logits.log_softmax(dim=1))),
    "sigmoid": ("logits", lambda: Around(after=torch.sigmoid)),
    "grey levels": ("range", lambda: Around(before=lambda x: x / 255)),
    "symmetric range": ("range", lambda: Around(before=lambda x: (x + 1) / 2)),
    "normalised twice": ("normalisation", lambda: Around(before=lambda x: (x - MEAN) / STD)),
    "other class order": ("labels", lambda: Around(after=lambda logits: logits.roll(3, dims=1))),
    "two classes swapped": ("labels", lambda: Around(after=swapped)),
    "untrained": ("labels", lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10))),
    "detached": ("attached", lambda: Around(before=lambda x: x.detach())),
    "rounding": ("gradient", lambda: Around(before=lambda x: (4 * x).round() / 4)),
    "huge logits": ("saturation", lambda: Around(after=lambda logits: 1e4 * logits)),
    "straight-through rounding": ("slope", lambda: Around(before=StraightThrough.apply)),
    "shattered gradient": ("attacks", lambda: Around(before=lambda x: x + 0.02 * torch.sin(300 * x))),
}


@pytest.mark.parametrize("name", ["digits-standard", "digits-pgd"])
def test_the_shipped_models_are_healthy(name):
    diagnosis = examine(name)
    assert diagnosis.healthy and {finding.verdict for finding in diagnosis.findings} == {"ok"}
    assert [finding.check for finding in diagnosis.findings] == [check.name for check in CHECKS]


@pytest.mark.parametrize("disease", DISEASES)
def test_a_disease_is_named_by_its_own_check_alone(disease):
    check, build = DISEASES[disease]
    torch.manual_seed(0)
    diagnosis = examine(build().eval(), "digits", n=64)
    assert diagnosis.failed == (check,)
    assert diagnosis[check].meaning and diagnosis[check].remedy
    assert "warn" not in {finding.verdict for finding in diagnosis.findings}


def test_a_model_that_misses_its_normalisation_is_told_to_normalise():
    """(x - .305) / .376 and 2x - 1 are too much alike for 64 digits to tell apart; the remedy is the same."""
    diagnosis = examine(Around(before=lambda x: x * STD + MEAN).eval(), "digits")
    assert diagnosis.failed in {("range",), ("normalisation",)}
    assert "--mean and --std" in diagnosis[diagnosis.failed[0]].remedy


def test_train_mode_is_a_warning_and_is_given_back():
    model = el.load_model("digits-standard").train()
    diagnosis = examine(model, "digits")
    assert diagnosis.healthy and diagnosis["eval mode"].verdict == "warn" and model.training


def test_few_images_are_no_disease():
    diagnosis = examine("digits-pgd", n=3)
    assert diagnosis.healthy


def test_the_wrong_data_set_is_a_finding(mnist_root):
    diagnosis = examine("digits-pgd", "mnist", n=8, data_root=mnist_root)
    assert diagnosis.failed == ("fit",)
    assert all(finding.verdict == "skipped" for finding in diagnosis.findings[3:])


def test_real_models_are_healthy_and_a_forgotten_normalisation_is_found(cifar10_root, mnist_root, shared_checkpoints):
    mnist = examine(
        str(shared_checkpoints / "trades_mnist_smallcnn.pt"), "mnist", arch="mnist-smallcnn", data_root=mnist_root
    )
    small = {"model": str(shared_checkpoints / "resnet4b_adv2.pth"), "arch": "resnet4b", "data_root": cifar10_root}
    normalised = examine(data="cifar10", mean=(0.4914, 0.4822, 0.4465), std=(0.2471, 0.2435, 0.2616), **small)
    assert mnist.healthy and normalised.healthy
    assert examine(data="cifar10", **small).failed == ("normalisation",)
