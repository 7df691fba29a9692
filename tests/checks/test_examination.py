"""Healthy models pass, and each planted fault is named by its own check and by no other."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import energylens as el
from energylens.checks import examine
from energylens.checks.doctor import CHECKS
from energylens.errors import InputError


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


class OneByOne(Around):
    """Knows batches of one image alone."""

    def forward(self, x):
        return {1: super().forward}[len(x)](x)


def nan_for_some(logits):
    return torch.where(logits[:, :1] > logits.median(), logits, torch.nan)


def with_dropout(**kind):
    return Stubborn(before=nn.Dropout(**kind).train())


def swapped(logits):
    return logits[:, [1, 0, *range(2, 10)]]


MEAN, STD = 0.305, 0.376  # of the digits


FAULTS = {
    "half precision": ("precision", lambda: Around().half()),
    "half precision logits": ("precision", lambda: Around(after=lambda logits: logits.half())),
    "votes": ("precision", lambda: Around(after=lambda logits: logits.round().long())),
    "seven classes": ("fit", lambda: Around(after=lambda logits: logits[:, :7])),
    "dropout in train mode": ("eval mode", lambda: with_dropout(p=0.3)),
    "batch norm in train mode": ("eval mode", lambda: Stubborn(before=nn.BatchNorm2d(1))),
    "batch norm without statistics": (
        "eval mode",
        lambda: Around(before=nn.BatchNorm2d(1, track_running_stats=False)),
    ),
    "one image at a time": ("finite", OneByOne),
    "NaN for some": ("finite", lambda: Around(after=nan_for_some)),
    "dropout by hand": ("deterministic", lambda: Around(before=lambda x: F.dropout(x, 0.3, training=True))),
    "noise": ("deterministic", lambda: Around(before=lambda x: x + 0.1 * torch.randn_like(x))),
    "resizing": ("deterministic", lambda: Around(before=resized)),
    "batch statistics by hand": ("batch", lambda: Around(before=lambda x: x - x.mean(dim=0) + 0.3)),
    "softmax": ("logits", lambda: Around(after=lambda logits: logits.softmax(dim=1))),
    "log-softmax": ("logits", lambda: Around(after=lambda logits: logits.log_softmax(dim=1))),
    "sigmoid": ("logits", lambda: Around(after=torch.sigmoid)),
    "high temperature": ("logits", lambda: Around(after=lambda logits: logits / 1e4)),
    "higher temperature": ("logits", lambda: Around(after=lambda logits: logits / 1e8)),
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


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_by_its_own_check_alone(fault):
    check, build = FAULTS[fault]
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


def test_forty_eight_images_are_enough_and_fewer_are_refused():
    assert examine("digits-pgd", n=48).healthy
    twice = FAULTS["normalised twice"][1]().eval()
    assert not examine(twice, "digits", n=48).healthy
    message = r"^{} images came, at least 48 were expected: .* give n \(--n\) of 48 or more"
    for n in (3, 10, 47):
        with pytest.raises(InputError, match=message.format(n)):
            examine(twice, "digits", n=n)
    with pytest.raises(InputError, match=message.format(8)):
        examine(twice, el.load_data("digits", n=8))


def test_what_a_check_raises_is_told_in_a_line():
    diagnosis = examine(OneByOne().eval(), "digits")
    assert diagnosis["finite"].measured == "KeyError: 64"
    assert {diagnosis[check].verdict for check in ("batch", "logits", "attacks")} == {"skipped"}


@pytest.mark.parametrize("error", [RuntimeError("first\nsecond"), NotImplementedError(), SystemError("first")])
def test_a_model_that_gives_up_later_is_a_finding(error):
    """It answers twelve times, enough for the first checks, and never again."""
    calls = iter(range(12))

    def worn(logits):
        if next(calls, None) is None:
            raise error
        return logits

    diagnosis = examine(Around(after=worn).eval(), "digits")
    kind = type(error).__name__
    assert diagnosis[diagnosis.failed[0]].measured in {f"{kind}: first", f"{kind}: {kind}"}


def test_flat_energies_are_told_what_to_remove():
    finding = examine(Around(after=lambda logits: logits / 1e4).eval(), "digits")["logits"]
    assert finding.measured == "E(x) is -log 10 = -2.3 for every image, within 0.01 nats"
    assert "temperature" in finding.remedy and "division" in finding.remedy


class Kinked(torch.autograd.Function):
    """A triangle wave, 0.002 long and 0.001 high, with its own gradient."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        at = (x / 0.002) % 1
        return 0.002 * torch.where(at < 0.5, at, 1 - at)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * torch.where((x / 0.002) % 1 < 0.5, 1.0, -1.0)


class Hidden(nn.Module):
    """Keeps its network where nobody converts it to float64."""

    def __init__(self, network):
        super().__init__()
        self.call = network.forward

    def forward(self, x):
        return self.call(x.float())


def teeth(x):
    """As steep as the identity, and steeper; half a grey level off, away from the tips of the waves."""
    return x + 3 * (Kinked.apply(x + 0.0003) - Kinked.apply(torch.full_like(x, 0.0003)).detach())


@pytest.mark.parametrize("wrapped", [lambda model: model, Hidden], ids=["in float64", "in float32"])
def test_a_kinked_function_is_no_wrong_gradient_and_a_wrong_gradient_is_not_kinked(wrapped):
    kinked = examine(wrapped(Around(before=teeth).eval()), "digits")["slope"]
    assert kinked.verdict == "ok" and "kinked, not wrong" in kinked.measured
    wrong = examine(wrapped(Around(before=StraightThrough.apply).eval()), "digits")["slope"]
    assert wrong.verdict == "fail" and "0.01 to 1e-05" in wrong.measured and "at any scale" in wrong.meaning


def test_a_smooth_model_takes_one_step_and_no_float64(monkeypatch):
    """What the slope of a healthy model costs does not grow."""
    monkeypatch.setattr("energylens.checks.model_under_test.functional_call", None)
    finding = examine("digits-pgd")["slope"]
    assert finding.verdict == "ok" and finding.measured.startswith("a small step does 1.00")


@pytest.mark.parametrize("kind", ["double", "half", "bfloat16"])
def test_weights_of_another_type_are_told_as_such(kind):
    """Also where the model never says which type it wants, and never to take another data set."""
    diagnosis = examine(getattr(Around(), kind)().eval(), "digits")
    assert diagnosis.failed == ("precision",) and "model.float()" in diagnosis["precision"].remedy
    assert diagnosis["fit"].verdict == "skipped"


def test_logits_in_double_precision_are_healthy():
    assert examine(Around(after=lambda logits: logits.double()).eval(), "digits").healthy


def test_the_wrong_data_set_is_a_finding(mnist_root):
    diagnosis = examine("digits-pgd", "mnist", n=48, data_root=mnist_root)
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
