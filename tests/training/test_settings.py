"""Settings and recipes, against the numbers of the papers and the ranges that the help promises."""

import math
from dataclasses import asdict

import pytest

from energylens.data import data_set
from energylens.errors import InputError
from energylens.training.methods import METHODS
from energylens.training.recipes import RECIPES, settings_of
from energylens.training.schedules import Course
from energylens.training.settings import TrainSettings

#: what a run is that sets nothing. A default that changes makes another run of a command that was written down.
DEFAULTS = {
    "dataset": "digits", "classes": None, "per_class": None, "val_fraction": 0.1, "omit": None, "omit_share": None,
    "omit_by": None, "augment": None, "arch": "digits-cnn", "width": None, "normalize": False, "method": "pgd",
    "eps": None, "norm": "linf", "steps": None, "step_size": None, "attack_mode": None, "eps_ramp": 0.0, "beta": None,
    "replays": None, "reg": [], "reg_weight": [], "der_gamma": None, "der_on": "auto", "der_mean": "all",
    "der_unit": "nats", "der_start": "clean", "der_stop_gradient": "none", "der_warmup": 0.0, "awp": 0.0,
    "optimizer": "adamw", "lr": 0.002, "momentum": 0.9, "weight_decay": 0.0001, "schedule": "onecycle", "peak": 0.3,
    "milestones": [0.5, 0.75], "epochs": 60, "batch_size": 64, "ema": 0.0, "amp": "no", "channels_last": False,
    "compile": False, "eval_samples": 1000, "eval_steps": 10, "eval_every": 1, "measure_every": 10, "watch_every": 10,
    "classwise": False, "on_alarm": "warn", "seed": 0,
}  # fmt: skip
#: the same of what came later, which a manifest tells only where it is set
LATER = {
    "init": None, "extended": [], "eval_restarts": 1, "eval_step": None, "eval_amp": "no", "eval_train_every": 1,
    "final_steps": 0, "final_restarts": 10, "final_samples": 0,
}  # fmt: skip

_CIFAR = {"dataset": "cifar10", "normalize": True, "augment": "crop-flip", "channels_last": True, "batch_size": 128,
          "val_fraction": 0.02, "final_steps": 50}  # fmt: skip
_SMALL = {"dataset": "cifar10", "classes": [0, 1, 6, 7], "arch": "cifar-smallcnn", "normalize": True,
          "augment": "none", "optimizer": "adam", "lr": 2e-3, "weight_decay": 0.0, "schedule": "constant",
          "channels_last": True, "final_steps": 50, "final_samples": 500}  # fmt: skip

#: arXiv 2001.03994 and 2007.02617 (co), 2002.11569 (ro), 2407.06315 (weat); what is ours is that of the recorded runs
SOURCES = {
    "digits": {"eps_ramp": 10.0, "epochs": 40, "eval_samples": 500},
    "co": _CIFAR | {
        "arch": "preactresnet18", "method": "fgsm", "eps": "8/255", "optimizer": "sgd", "lr": 0.2, "momentum": 0.9,
        "weight_decay": 5e-4, "schedule": "cyclic", "peak": 0.5, "epochs": 30,
    },
    "ro": _CIFAR | {
        "arch": "preactresnet18", "method": "pgd", "eps": "8/255", "steps": 10, "step_size": "2/255",
        "optimizer": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4, "schedule": "piecewise",
        "milestones": [0.5, 0.75], "epochs": 200,
    },
    "weat": _CIFAR | {
        "arch": "resnet18", "normalize": False, "method": "weat-adv", "eps": "8/255", "steps": 10,
        "step_size": "2/255", "optimizer": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4,
        "schedule": "onecycle", "peak": 0.25, "epochs": 100,
    },
    "co-small": _SMALL | {
        "per_class": 1600, "method": "fgsm", "eps": "28/255", "eps_ramp": 1.0, "epochs": 24, "batch_size": 128,
        "val_fraction": 0.0625, "eval_samples": 400,
    },
    "ro-small": _SMALL | {
        "per_class": 375, "method": "pgd", "eps": "8/255", "steps": 7, "step_size": "2/255", "epochs": 36,
        "batch_size": 64, "val_fraction": 0.2, "eval_samples": 400,
    },
}  # fmt: skip


def settings_told(settings: TrainSettings) -> dict:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(settings).items()}


def test_ders_mean_has_no_part_in_a_run_without_der():
    settings = settings_of("digits")
    assert settings.der_mean == "all" and settings.resolved() == settings
    assert TrainSettings.from_manifest(settings.manifest()) == settings
    with pytest.raises(InputError, match="--der-mean means nothing without DER"):
        settings_of("digits", der_mean="selected")


def test_a_run_that_sets_nothing_is_what_it_was():
    told = settings_told(TrainSettings())
    assert told == DEFAULTS | LATER | {"der_mean": "auto"}
    assert TrainSettings().manifest() == DEFAULTS


@pytest.mark.parametrize("recipe", SOURCES)
def test_a_recipe_is_its_sources(recipe):
    told = settings_told(settings_of(recipe))
    open_ones = {"eps", "augment", "steps", "step_size", "attack_mode", "beta"}  # filled in by data set and method
    usual = {name: value for name, value in (DEFAULTS | LATER).items() if name not in open_ones}
    expected = usual | SOURCES[recipe]
    assert {name: told[name] for name in expected} == expected
    assert set(SOURCES) == set(RECIPES)


def test_what_a_user_sets_goes_before_a_recipe_and_a_recipe_before_the_defaults():
    settings = settings_of("co", lr=0.01, method="n-fgsm")
    assert (settings.lr, settings.method, settings.weight_decay, settings.seed) == (0.01, "n-fgsm", 5e-4, 0)


#: (method, attack mode, steps, step in eps, beta, replays), as each source has it
USUAL = {
    "standard": ("train", 0, None, None, None), "fgsm": ("train", 1, 1.0, None, None),
    "rs-fgsm": ("train", 1, 1.25, None, None), "n-fgsm": ("train", 1, 1.0, None, None),
    "free": ("train", 1, 1.0, None, 8), "pgd": ("train", 10, 0.25, None, None),
    "trades": ("eval", 10, 0.25, 6.0, None), "mart": ("eval", 10, 0.25, 5.0, None),
    "mail-trades": ("eval", 10, 0.25, 5.0, None), "weat-nat": ("eval", 10, 0.25, 6.0, None),
    "weat-adv": ("eval", 10, 0.25, 6.0, None),
}  # fmt: skip


@pytest.mark.parametrize("method", USUAL)
def test_what_is_left_open_is_the_methods_own(method):
    settings = settings_of("digits", method=method, eps="0.4")
    mode, steps, step, beta, replays = USUAL[method]
    assert (settings.attack_mode, settings.steps, settings.beta, settings.replays) == (mode, steps, beta, replays)
    if step is not None:
        assert float(settings.step_size) == pytest.approx(step * 0.4)
    assert METHODS[method].adversarial == (method != "standard")
    assert METHODS[method].steppable == (steps == 10)


def test_what_is_set_stays():
    own = {"method": "trades", "steps": 3, "step_size": "0.03", "attack_mode": "train", "beta": 2.0, "augment": "none",
           "eps": "0.1", "reg": ("elle", "delta-l2"), "reg_weight": (2.0, 0.0)}  # fmt: skip
    settings = settings_of("digits", **own)
    assert {name: getattr(settings, name) for name in own} == own
    assert settings_of("digits", method="free", replays=3).replays == 3
    assert settings_of("digits", reg=("delta-l2",)).reg_weight == (100.0,)
    assert settings_of("digits", method="fgsm", steps=1).steps == 1


@pytest.mark.parametrize("own", [{}, {"norm": "l2"}, {"dataset": "cifar10"}, {"dataset": "cifar10", "norm": "l2"}])
def test_the_radius_is_the_usual_one_of_the_data_and_the_norm(own):
    settings = settings_of("digits", **own)
    usual = data_set(settings.dataset).default_eps
    assert settings.radius == pytest.approx(float(usual[settings.norm])) and usual["linf"] != usual["l2"]


#: setting -> least and most, and what it needs to mean anything
RANGES = {
    "per_class": (1, 10**9, {}), "val_fraction": (0.0, 0.9, {}), "omit_share": (0.001, 0.9, {"omit": "random"}),
    "steps": (0, 10**4, {}), "eps_ramp": (0.0, 1e6, {}), "beta": (0.0, 1e6, {"method": "trades"}),
    "replays": (1, 1000, {"method": "free"}), "der_gamma": (0.0, 1e6, {"reg": ("der",)}),
    "der_warmup": (0.0, 1e6, {"reg": ("der",)}), "awp": (0.0, 1.0, {}), "lr": (1e-12, 1e3, {}),
    "momentum": (0.0, 0.9999, {}), "weight_decay": (0.0, 1e3, {}), "peak": (0.001, 0.999, {}),
    "epochs": (1, 10**6, {}), "batch_size": (2, 10**6, {}), "ema": (0.0, 0.999999, {}),
    "eval_samples": (0, 10**9, {}), "eval_steps": (1, 10**4, {}), "eval_every": (1, 10**6, {}),
    "eval_restarts": (1, 10**4, {}), "eval_train_every": (1, 10**6, {}), "final_steps": (0, 10**4, {}),
    "final_restarts": (1, 10**4, {}), "final_samples": (0, 10**9, {}),
    "measure_every": (1, 10**9, {}), "watch_every": (1, 10**9, {}), "seed": (0, 2**63 - 1, {}),
}  # fmt: skip


@pytest.mark.parametrize("name", RANGES)
def test_a_number_is_taken_within_its_range_and_refused_outside(name):
    least, most, needs = RANGES[name]
    for value in (least, most):
        assert getattr(settings_of("digits", **needs, **{name: value}), name) == value
    whole = isinstance(least, int)
    outside = (least - 1, most + 1) if whole else (math.nextafter(least, -1), math.nextafter(most, math.inf))
    for value in outside:
        if name == "seed" and value > most:
            value = 2**64  # as a number of floating point the largest seed is rounded up
        with pytest.raises(InputError, match=f"--{name.replace('_', '-')} is .*: give a number from"):
            settings_of("digits", **needs, **{name: value})


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"step_size": "0"}, "step-size must be positive"),
        ({"eval_step": "0"}, "eval-step must be positive"),
        ({"eval_amp": "fp16"}, "unknown --eval-amp 'fp16'"),
        ({"method": "standard", "eps": "8"}, "did you mean 8/255"),  # it is judged under attacks
        ({"classes": (3, 3)}, "two or more different labels"),
        ({"extended": (60,), "epochs": 60}, "rising numbers of epochs below --epochs 60"),
        ({"extended": (0,)}, "rising numbers of epochs"),
        ({"extended": (2, 2)}, "rising numbers of epochs"),
        ({"reg": ("elle",), "reg_weight": (math.inf,)}, "finite numbers of at least 0"),
        ({"reg": ("elle",), "reg_weight": (-0.1,)}, "finite numbers of at least 0"),
        ({"augment": "mirror"}, "unknown --augment 'mirror'"),
        ({"optimizer": "lion"}, "unknown --optimizer 'lion'"),
        ({"schedule": "step"}, "unknown --schedule 'step'"),
        ({"attack_mode": "frozen"}, "unknown --attack-mode 'frozen'"),
        ({"amp": "fp16"}, "unknown --amp 'fp16'"),
        ({"on_alarm": "shout"}, "unknown --on-alarm 'shout'"),
        ({"dataset": "cifar11"}, "cifar11"),
        ({"norm": "l1"}, "l1"),
        ({"method": "pgd", "replays": 3}, "--replays means nothing to --method pgd"),
        ({"method": "trades", "replays": 3}, "--replays means nothing to --method trades"),
        ({"reg": ("elle", "der"), "der_on": "all", "der_mean": "selected"}, "selects every sample"),
    ],
)
def test_what_cannot_be_run_is_refused(own, message):
    with pytest.raises(InputError, match=message):
        settings_of("digits", **own)


@pytest.mark.parametrize(
    "own",
    [
        {"method": "trades", "beta": 0.0},
        {"reg": ("elle",), "compile": True},
        {"reg": ("elle",), "reg_weight": (0.0,)},
        {"reg": ("der",), "der_on": "both", "der_mean": "selected"},
        {"method": "fgsm", "reg": ("der",), "der_mean": "selected"},
        {"extended": (1, 59), "epochs": 60},
        {"classes": (9, 0)},
        {"omit": "low-energy", "omit_by": "digits-pgd", "omit_share": 0.3},
        {"omit": "random"},
        {"awp": 0.01},
    ],
)
def test_what_can_be_run_is_taken(own):
    settings = settings_of("digits", **own)
    assert {name: getattr(settings, name) for name in own} == own


def test_a_rules_usual_share_is_a_tenth():
    assert settings_of("digits", omit="random").omit_share == 0.1
    assert settings_of("digits").omit_share is None


def test_a_runs_name_tells_what_it_is_of():
    assert settings_of("digits", method="fgsm", eps="8/255", reg=("der",), awp=0.01, seed=3).name == (
        "digits-digits-cnn-fgsm-der-awp-8-255-s3"
    )
    assert (
        settings_of("digits", method="standard", omit="random").name == "digits-digits-cnn-standard-without-random-s0"
    )


def test_an_epoch_follows_the_schedule_of_the_length_it_belongs_to():
    settings = settings_of("digits", epochs=6, extended=(2, 3))
    assert [settings.part(Course).length_at(epoch) for epoch in range(6)] == [2, 2, 3, 6, 6, 6]


def test_an_extension_is_told_where_the_longer_run_is_another_one():
    def extended(**own):
        return settings_of("digits", epochs=4, **own).extended_to(6).extended

    assert extended(schedule="constant") == ()
    assert extended(schedule="constant", eval_every=3) == (4,)  # its fourth epoch was judged, as the last
    assert extended(schedule="cosine") == (4,)
    assert settings_of("digits", epochs=4).extended_to(6).epochs == 6


def test_as_options_leaves_out_what_follows_and_what_is_not_set():
    words = settings_of("digits", method="trades", eps="0.1", reg=("elle",), classes=(3, 1)).as_options()
    for part in ("--method trades", "--eps 0.1", "--reg elle", "--classes 3,1", "--no-normalize", "--beta 6.0"):
        assert part in words
    for absent in ("--step-size", "--init", "--extended", "--omit", "--width", "None"):
        assert absent not in words
    assert "--step-size 0.03" in settings_of("digits", eps="0.1", step_size="0.03").as_options()
    assert "--normalize" in settings_of("digits", normalize=True).as_options().split()
