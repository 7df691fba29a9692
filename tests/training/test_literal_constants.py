"""The numbers that sources state, as literals: what a method, a regulariser, a recipe is by default; and which epoch
is the best."""

import pytest
import torch
from torch import nn

from energylens.training import loop
from energylens.training.data import Images
from energylens.training.evaluation import Judge, Share, count_correct
from energylens.training.recipes import settings_of
from energylens.training.regularizers import REGULARIZERS, aaer_weights

# method: steps, step size and start in units of eps (TRADES' start is .001 whatever eps is), loss, clipped to eps,
# batch norm in the attack, beta, replays
DEFAULTS = {
    "standard": (0, None, "zero", 1.0, "ce", True, "train", None, None),
    "fgsm": (1, 1.0, "zero", 1.0, "ce", True, "train", None, None),
    "rs-fgsm": (1, 1.25, "uniform", 1.0, "ce", True, "train", None, None),
    "n-fgsm": (1, 1.0, "uniform", 2.0, "ce", False, "train", None, None),
    "free": (1, 1.0, "zero", 1.0, "ce", True, "train", None, 8),
    "pgd": (10, 0.25, "uniform", 1.0, "ce", True, "train", None, None),
    "trades": (10, 0.25, "gaussian", 0.001, "kl", True, "eval", 6.0, None),
    "mart": (10, 0.25, "gaussian", 0.001, "ce", True, "eval", 5.0, None),
    "mail-trades": (10, 0.25, "gaussian", 0.001, "kl", True, "eval", 5.0, None),
    "weat-nat": (10, 0.25, "gaussian", 0.001, "kl", True, "eval", 6.0, None),
    "weat-adv": (10, 0.25, "gaussian", 0.001, "kl", True, "eval", 6.0, None),
}


@pytest.mark.parametrize("method", DEFAULTS)
def test_a_methods_own_numbers(method):
    steps, step, start, scale, loss, clip, mode, beta, replays = DEFAULTS[method]
    settings = settings_of("digits", dataset="cifar10", method=method)
    assert (settings.steps, settings.attack_mode, settings.beta, settings.replays) == (steps, mode, beta, replays)
    assert (settings.eps, settings.norm) == ("8/255", "linf")
    attack = settings.attack
    assert (attack.start, attack.start_scale, attack.loss, attack.clip) == (start, scale, loss, clip)
    assert (attack.steps, attack.restarts) == (steps, 1)
    assert step is None or attack.step == pytest.approx(step * 8 / 255)


@pytest.mark.parametrize(
    ("dataset", "norm", "eps"),
    [("digits", "linf", 0.2), ("mnist", "linf", 0.3), ("cifar10", "linf", 8 / 255), ("cifar10", "l2", 0.5)],
)
def test_the_radius_is_the_data_sets(dataset, norm, eps):
    assert settings_of("digits", dataset=dataset, norm=norm).radius == pytest.approx(eps)


@pytest.mark.parametrize(
    ("eps", "elle"),
    [
        (1, 1000), (4, 1000), (8, 1000), (9, 1000), (9.5, 5000), (10, 5000), (16, 5000), (20, 5000), (21, 5000),
        (21.5, 10000), (22, 10000), (26, 10000), (40, 10000),
    ],
)  # fmt: skip
def test_elles_weight_has_three_ranges_and_elle_as_is_four_thousand(eps, elle):
    settings = settings_of("digits", eps=f"{10 * eps:.0f}/2550", method="fgsm", reg=("elle", "elle-a"))
    assert settings.reg_weight == (elle, 4000)


@pytest.mark.parametrize(
    ("method", "pairs"),
    [
        ("rs-fgsm", {8: (2.5, 1.5), 12: (5, 2.5), 16: (7, 3.25), 32: (6, 1.5)}),
        ("n-fgsm", {8: (1.5, 0.15), 12: (5, 0.55), 16: (8.5, 1.5), 32: (3.5, 0.7)}),
        ("fgsm", {8: (2.5, 1.5), 12: (5, 2.5), 16: (7, 3.25), 32: (6, 1.5)}),  # the README lacks it: RS-FGSM's
    ],
)
def test_aaers_pairs_are_its_readmes_and_between_them_the_nearest(method, pairs):
    nearest = {1: 8, 8: 8, 10: 8, 11: 12, 12: 12, 14: 12, 15: 16, 16: 16, 24: 16, 25: 32, 32: 32, 60: 32}
    for eps, of in nearest.items():
        settings = settings_of("digits", eps=f"{eps}/255", method=method, reg=("aaer",))
        assert aaer_weights(settings.terms) == pairs[of]
        assert settings.reg_weight == (1,)


def test_the_weights_of_the_rest():
    def weight(reg, **own):
        return settings_of("digits", **{"dataset": "cifar10", "method": "fgsm", "reg": (reg,), **own}).reg_weight[0]

    for eps, gradalign in ((4, 0.02 * 10**0.5), (8, 0.2), (16, 2.0), (32, 2.0)):
        assert weight("gradalign", eps=f"{eps}/255") == pytest.approx(gradalign)
    assert (weight("der"), weight("der", method="pgd"), weight("der", der_on="both")) == (3, 5, 100)
    assert (weight("energy-linearity"), weight("delta-l2")) == (16000, 100)
    assert {name for name, row in REGULARIZERS.items() if row.switched} == {"elle-a"}
    assert {name for name, row in REGULARIZERS.items() if row.double_backward} == {"gradalign"}


@pytest.mark.parametrize(
    ("method", "on", "gamma"), [("fgsm", "abnormal", 0), ("n-fgsm", "abnormal", 0), ("pgd", "all", 0.1)]
)
def test_der_is_of_abnormal_examples_in_one_step_and_of_all_in_several(method, on, gamma):
    settings = settings_of("digits", method=method, reg=("der",))
    assert (settings.der_on, settings.der_gamma) == (on, gamma)
    assert settings_of("digits", method=method, reg=("der",), der_on="both").der_gamma == 0


SGD = {"optimizer": "sgd", "weight_decay": 5e-4, "batch_size": 128, "augment": "crop-flip", "dataset": "cifar10"}
PAPERS = {
    "co": {
        **SGD, "arch": "preactresnet18", "normalize": True, "method": "fgsm", "eps": "8/255", "lr": 0.2,
        "momentum": 0.9, "schedule": "cyclic", "peak": 0.5, "epochs": 30, "steps": 1, "attack_mode": "train",
        "final_steps": 50, "final_restarts": 10, "final_samples": 0, "eval_step": None,
    },
    "ro": {
        **SGD, "arch": "preactresnet18", "normalize": True, "method": "pgd", "eps": "8/255", "steps": 10,
        "step_size": "2/255", "lr": 0.1, "momentum": 0.9, "schedule": "piecewise", "milestones": (0.5, 0.75),
        "epochs": 200, "final_steps": 50, "final_restarts": 10, "final_samples": 0, "eval_step": None,
    },
    "weat": {
        **SGD, "arch": "resnet18", "normalize": False, "method": "weat-adv", "eps": "8/255", "steps": 10,
        "step_size": "2/255", "lr": 0.1, "schedule": "onecycle", "peak": 0.25, "epochs": 100, "beta": 6,
        "attack_mode": "eval", "final_steps": 50, "final_restarts": 10, "final_samples": 0, "eval_step": None,
    },
}  # fmt: skip


@pytest.mark.parametrize("recipe", PAPERS)
def test_a_recipe_has_its_papers_settings(recipe):
    settings = settings_of(recipe)
    assert {name: getattr(settings, name) for name in PAPERS[recipe]} == PAPERS[recipe]
    assert settings.val_fraction > 0  # which chooses the best epoch


@pytest.mark.parametrize(
    ("val_fraction", "best"),
    [(0.1, 2), (0.0, 3)],  # without a validation split the training images choose
)
def test_the_best_epoch_is_chosen_by_validation_and_never_by_the_test_set(
    val_fraction, best, trainee, monkeypatch, tmp_path
):
    course = {"val_pgd": [0.4, 0.6, 0.5], "test_pgd": [0.9, 0.1, 0.2], "train_pgd": [0.1, 0.2, 0.7]}
    rest = {
        "val_clean": [0.1, 0.2, 0.9],
        "test_clean": [0.9, 0.2, 0.1],
        "val_fgsm": [0.9, 0.2, 0.1],
        "train_fgsm": [0.5] * 3,
    }
    rest |= {"test_fgsm": [0.9, 0.3, 0.3], "train_clean": [0.9, 0.8, 0.7]}
    pupil = trainee(epochs=3, method="fgsm", val_fraction=val_fraction, eval_samples=8)
    monkeypatch.setattr(loop, "open_run", lambda *args, **words: pupil.run)
    monkeypatch.setattr(
        loop, "accuracies", lambda run, *rest_of: {n: v[run.epoch - 1] for n, v in {**course, **rest}.items()}
    )
    trained = loop.train(pupil.settings, out=tmp_path)
    assert trained.best == best
    assert trained.history["test_pgd"].tolist() == course["test_pgd"]


def test_the_best_of_equal_epochs_is_the_first(trainee, monkeypatch, tmp_path):
    pupil = trainee(epochs=2, method="fgsm", val_fraction=0.1, eval_samples=8)
    names = [f"{split}_{judge}" for split in ("val", "test", "train") for judge in ("clean", "fgsm", "pgd")]
    monkeypatch.setattr(loop, "open_run", lambda *args, **words: pupil.run)
    monkeypatch.setattr(loop, "accuracies", lambda *args: dict.fromkeys(names, 0.5))
    assert loop.train(pupil.settings, out=tmp_path).best == 1


class Bowl(nn.Module):
    """Wrong about grey images of class 0, right about what FGSM makes of them: it steps over to the other side."""

    def forward(self, x):
        away = (x.flatten(1).mean(dim=1) - 0.5) / 0.2
        own = 2 * away.square() - 1 + 0.01 * away
        return torch.stack([own, torch.zeros_like(own)], dim=1)


def test_a_sample_that_is_wrong_as_it_is_counts_as_fallen_under_the_attacks():
    settings, x = settings_of("digits", eps="0.2", method="fgsm"), torch.full((4, 1, 1, 1), 0.5)
    assert Bowl()(x + 0.2).argmax(dim=1).tolist() == [0] * 4
    grey = Images((2 * x).to(torch.uint8), torch.zeros(4, dtype=torch.int64), 2)
    assert count_correct(Bowl(), grey, settings.part(Judge), Share()).tolist() == [0, 0, 0]
