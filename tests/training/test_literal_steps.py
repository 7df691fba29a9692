"""Three steps of every row of the tables, and of every setting away from its default, beside their literal
transcription: iterates, losses, gradients, batch norm, weights and the optimiser's state."""

import copy
from dataclasses import replace
from functools import partial

import pytest
import torch
import transcriptions as plain
from beside import Case, compare, images

from energylens.training.methods import METHODS
from energylens.training.optimizers import OPTIMIZERS
from energylens.training.regularizers import REGULARIZERS
from energylens.training.schedules import SCHEDULES

METHOD_CASES = {
    "standard": Case({}, plain.no_attack, plain.natural_loss),
    "fgsm": Case({}, plain.fgsm),
    "rs-fgsm": Case({}, plain.rs_fgsm),
    "n-fgsm": Case({}, plain.n_fgsm),
    "free": Case(
        {"replays": 2},
        replays=2,
        schedule=partial(plain.rate, "onecycle", total=20, peak=0.3, milestones=()),
        rest={"free": True},
    ),
    "pgd": Case({}, plain.pgd),
    "trades": Case({}, plain.trades_attack, plain.trades_loss),
    "mart": Case({}, plain.mart_attack, plain.mart_loss),
    "mail-trades": Case({}, plain.trades_attack, plain.mail_loss),
    "weat-nat": Case({}, plain.trades_attack, plain.weat_nat_loss),
    "weat-adv": Case({}, plain.trades_attack, plain.weat_adv_loss),
}


def case_of(method, own, eps=0.2, loss=None, regs=(), rest=None, **attack):
    """The method's case with settings of the trainer's and the same as literal numbers: eps, the attack's words, the
    loss's (loss), the regularisers and the rest."""
    case = METHOD_CASES[method]
    return replace(
        case,
        own={**case.own, "method": method, **own},
        attack=partial(case.attack, **attack),
        loss=partial(case.loss, **(loss or {})),
        eps=eps,
        regs=regs,
        rest={**case.rest, **(rest or {})},
    )


def test_every_method_is_here():
    assert set(METHOD_CASES) == set(METHODS)


@pytest.mark.parametrize("method", METHOD_CASES)
def test_a_method_is_its_papers(method, trainee, tape):
    case = METHOD_CASES[method]
    compare(case, trainee(method=method, **case.own), tape)


def reg_case(name, weight, function=None, method="fgsm", eps="0.5", radius=0.5, own=None, **attack):
    """One regulariser, by default at a radius at which one step goes wrong for some images and not for others."""
    regs = ((function or getattr(plain, name.replace("-", "_")), weight),)
    return case_of(method, {"reg": (name,), "eps": eps, **(own or {})}, radius, regs=regs, **attack)


REGULARIZER_CASES = {
    "der": lambda: reg_case("der", 3.0, partial(plain.der, mean="selected")),
    "gradalign": lambda: reg_case("gradalign", 0.02 * 10 ** (12 / 8), eps="12/255", radius=12 / 255),
    "aaer": lambda: reg_case("aaer", 1.0, partial(plain.aaer, l2=6.0, l3=1.5), method="rs-fgsm"),
    "elle": lambda: reg_case("elle", 1000.0, eps="8/255", radius=8 / 255),
    "elle-a": lambda: reg_case(
        # eps grows, and with it the error: far above what it was, so that the switch goes on
        "elle-a", plain.Switched(4000.0), plain.elle, own={"eps_ramp": 1.2}, radius=lambda n: 0.5 * min(1, (n + 1) / 6)
    ),
    "energy-linearity": lambda: reg_case("energy-linearity", 16000 * (64 / 3072) ** 2),
    "delta-l2": lambda: reg_case("delta-l2", 100.0),
}  # fmt: skip


def test_every_regulariser_is_here():
    assert set(REGULARIZER_CASES) == set(REGULARIZERS)


def abnormal_counts(steps, at="start"):
    """Of each step, how many images' loss the attack lowered."""
    return [int(plain.abnormal(s.at[at], s.at["adv"], images(n)[1]).sum()) for n, s in enumerate(steps)]


@pytest.mark.parametrize("name", REGULARIZER_CASES)
def test_a_regulariser_is_its_papers(name, trainee, tape):
    case = REGULARIZER_CASES[name]()
    case.steps = 9 if name == "elle-a" else 3
    steps = compare(case, trainee(**case.own), tape)
    if name == "elle-a":
        ((_, switch),) = case.regs
        regs = [step.reg.item() for step in steps]
        assert regs[0] == 0 and regs[-1] > 0 and 0.9 < switch.share < 1
    else:
        assert any(step.reg.item() > 1e-6 for step in steps)
    if name in ("der", "aaer"):
        assert any(0 < count < 16 for count in abnormal_counts(steps))


L2 = {"norm": "l2", "eps": "1.5"}
SETTINGS = {
    "eps": lambda: case_of("pgd", {"eps": "0.07"}, 0.07),
    "eps as a fraction": lambda: case_of("n-fgsm", {"eps": "16/255"}, 16 / 255),
    "steps": lambda: case_of("pgd", {"steps": 3}, steps=3),
    "steps of trades": lambda: case_of("trades", {"steps": 3}, steps=3),
    "step_size": lambda: case_of("pgd", {"step_size": "0.03"}, step=0.15),
    "step_size of rs-fgsm": lambda: case_of("rs-fgsm", {"step_size": "0.1"}, step=0.5),
    "step_size of mart": lambda: case_of("mart", {"step_size": "0.1"}, step=0.5),
    "eps_ramp": lambda: case_of(
        "pgd", {"eps_ramp": 0.5, "step_size": "0.1"}, lambda n: 0.2 * min(1, (n + 1) / 2.5), step=0.5
    ),
    **{
        f"attack_mode of {method}": lambda method=method, mode=mode: case_of(
            method, {"attack_mode": mode}, mode=mode
        )
        for method, mode in {
            "fgsm": "eval", "rs-fgsm": "eval", "n-fgsm": "eval", "pgd": "eval", "trades": "train", "mart": "train",
            "mail-trades": "train", "weat-nat": "train", "weat-adv": "train",
        }.items()
    },
    **{
        f"norm of {method}": lambda method=method: case_of(method, L2, 1.5, norm="l2")
        for method in ("fgsm", "rs-fgsm", "n-fgsm", "pgd", "trades", "mart")
    },
    "norm of free": lambda: case_of("free", L2, 1.5, rest={"norm": "l2"}),
    "norm of elle": lambda: case_of(
        "fgsm", {**L2, "reg": ("elle",), "reg_weight": (5.0,)}, 1.5, regs=((partial(plain.elle, norm="l2"), 5.0),),
        norm="l2",
    ),
    "norm of energy-linearity": lambda: case_of(
        "fgsm", {**L2, "reg": ("energy-linearity",), "reg_weight": (2.0,)}, 1.5,
        regs=((partial(plain.energy_linearity, norm="l2"), 2.0),), norm="l2",
    ),
    "replays": lambda: replace(
        case_of("free", {"replays": 3}), replays=3, steps=7,
        schedule=partial(plain.rate, "onecycle", total=30, peak=0.3, milestones=()),
    ),
    **{
        f"beta of {method}": lambda method=method: case_of(method, {"beta": 2.5}, loss={"beta": 2.5})
        for method in ("trades", "mart", "mail-trades", "weat-nat", "weat-adv")
    },
    "two regularisers": lambda: case_of(
        "pgd", {"reg": ("delta-l2", "gradalign"), "reg_weight": (3.0, 0.5)},
        regs=((plain.delta_l2, 3.0), (plain.gradalign, 0.5)),
    ),
    "elle-a's weight": lambda: reg_case(
        "elle-a", plain.Switched(7.0), plain.elle, own={"eps_ramp": 1.2, "reg_weight": (7.0,)},
        radius=lambda n: 0.5 * min(1, (n + 1) / 6),
    ),
    "awp": lambda: case_of("pgd", {"awp": 0.01}, rest={"awp": 0.01}),
    "awp of trades with a regulariser": lambda: case_of(
        "trades", {"awp": 0.05, "reg": ("delta-l2",)}, regs=((plain.delta_l2, 100.0),), rest={"awp": 0.05}
    ),
    "ema": lambda: case_of("fgsm", {"ema": 0.7}, rest={"ema": 0.7}),
    "normalize": lambda: case_of("trades", {"normalize": True}),
    "channels_last": lambda: case_of("fgsm", {"channels_last": True}),
    "lr": lambda: replace(case_of("fgsm", {"lr": 0.05}), lr=0.05),
    "epochs": lambda: replace(
        case_of("fgsm", {"epochs": 7}), schedule=partial(plain.rate, "onecycle", total=35, peak=0.3, milestones=())
    ),
    "batch_size": lambda: replace(
        case_of("fgsm", {"batch_size": 40}), schedule=partial(plain.rate, "onecycle", total=4, peak=0.3, milestones=())
    ),
    # an optimiser's momentum is its setting's where the schedule does not cycle it
    **{
        f"{name}, {schedule}": lambda name=name, schedule=schedule: replace(
            case_of(
                "rs-fgsm", {"optimizer": name, "lr": 0.05, "momentum": 0.7, "weight_decay": 0.3, "schedule": schedule}
            ),
            optimizer=partial(plain.OPTIMIZERS[name], momentum=0.7, weight_decay=0.3),
            schedule=partial(plain.rate, schedule, total=10, peak=0.3, milestones=()),
            lr=0.05, steps=6,
        )
        for name in OPTIMIZERS for schedule in ("constant", "onecycle")
    },
    **{
        schedule: lambda schedule=schedule: replace(
            case_of("fgsm", {"schedule": schedule, "peak": 0.25, "milestones": (0.2, 0.7)}),
            schedule=partial(plain.rate, schedule, total=10, peak=0.25, milestones=(0.2, 0.7)), steps=10,
        )
        for schedule in SCHEDULES
    },
}  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_away_from_its_default(name, trainee, tape):
    case = SETTINGS[name]()
    compare(case, trainee(**case.own), tape)


FAR, FAR_TOO = {"steps": 2, "step_size": "0.4"}, {"steps": 2, "step": 0.8}


def der_case(method="fgsm", own=None, attack=None, share=None, **words):
    """DER with switches of the trainer's (own), and the same for the transcription: of the attack and DER's own."""
    usual = "selected" if words.get("on", "abnormal") == "abnormal" else "all"  # where the trainer is told no mean
    function = partial(plain.der, **{"mean": usual} | words)
    own = {"reg_weight": (5.0,), **(own or {})}
    if share is not None:
        calls = iter(range(99))
        return reg_case("der", 5.0, lambda *a: share(next(calls)) * function(*a), method, own=own)
    return reg_case("der", 5.0, function, method, own=own, **(attack or {}))


DER = {
    "gamma": lambda: der_case(own={"der_gamma": 0.4}, gamma=0.4),
    "on all": lambda: der_case(own={"der_on": "all"}, on="all", gamma=0.1),
    "on both": lambda: der_case(own={"der_on": "both"}, on="both"),
    # steps of .4 go wrong for some
    "on abnormal, against the steps": lambda: der_case("pgd", {"der_on": "abnormal", **FAR}, FAR_TOO, on="abnormal"),
    "on all, by the steps": lambda: der_case("pgd", FAR, FAR_TOO, on="all", gamma=0.1),
    "on abnormal, by the steps": lambda: der_case("pgd", {**FAR, "steps": 1}, {**FAR_TOO, "steps": 1}, on="abnormal"),
    "mean": lambda: der_case(own={"der_mean": "all"}, mean="all"),
    "mean of both": lambda: der_case(own={"der_mean": "selected", "der_on": "both"}, on="both", mean="selected"),
    "unit": lambda: der_case(own={"der_unit": "spread", "der_gamma": 0.2}, unit="spread", gamma=0.2),
    "start": lambda: der_case("rs-fgsm", {"der_start": "start"}, x="start"),
    "start of n-fgsm": lambda: der_case(
        "n-fgsm", {"der_start": "start", "der_on": "all"}, x="start", on="all", gamma=0.1
    ),
    "clean start": lambda: der_case("rs-fgsm"),
    "stop_gradient clean": lambda: der_case(own={"der_stop_gradient": "clean"}, stop="clean"),
    "stop_gradient adv": lambda: der_case(own={"der_stop_gradient": "adv"}, stop="adv"),
    "warmup": lambda: der_case(
        own={"der_warmup": 0.5}, share=lambda n: min(1.0, (n + 1) / 5 / 0.5)
    ),
    "of trades": lambda: der_case("trades", on="all", gamma=0.1),
}  # fmt: skip


@pytest.mark.parametrize("name", DER)
def test_a_switch_of_ders(name, trainee, tape):
    case = DER[name]()
    steps = compare(case, trainee(**case.own), tape)
    assert any(step.reg.item() > 1e-3 for step in steps)
    assert any(0 < count < 16 for count in abnormal_counts(steps, "x"))


# batch norm in another mode, or other weights, are another function: the attack's logits are not compared with its
AAER_ALONE = {
    "another mode": lambda: case_of(
        "rs-fgsm", {"attack_mode": "eval", "reg": ("aaer",), "eps": "0.5"}, 0.5, mode="eval",
        regs=((partial(plain.aaer, l2=6.0, l3=1.5, seen=False), 1.0),),
    ),
    "awp": lambda: case_of(
        "n-fgsm", {"awp": 0.02, "reg": ("aaer",), "eps": "0.5"}, 0.5,
        regs=((partial(plain.aaer, l2=3.5, l3=0.7, seen=False), 1.0),), rest={"awp": 0.02},
    ),
    "trades": lambda: case_of(
        "trades", {"reg": ("aaer",), "eps": "0.5"}, 0.5,
        regs=((partial(plain.aaer, l2=6.0, l3=1.5, seen=False), 1.0),),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", AAER_ALONE)
def test_aaer_looks_at_the_start_with_the_function_that_looks_at_the_end(name, trainee, tape):
    case = AAER_ALONE[name]()
    compare(case, trainee(**case.own), tape)


MEASURED = {
    "seen by the loss": lambda: case_of("trades", {"measure_every": 2}),
    "seen by the attack": lambda: case_of("fgsm", {"measure_every": 2}),
    "looked at": lambda: case_of("pgd", {"measure_every": 2}),
    "looked at, for the attack was in another mode": lambda: case_of(
        "fgsm", {"measure_every": 2, "attack_mode": "eval"}, mode="eval"
    ),
    "looked at, for the attack saw other weights": lambda: case_of(
        "fgsm", {"measure_every": 2, "awp": 0.05}, rest={"awp": 0.05}
    ),
}


@pytest.mark.parametrize("name", MEASURED)
def test_a_step_is_measured_by_the_energies_at_its_own_weights(name, trainee, tape):
    case, seen = MEASURED[name](), []
    pupil = trainee(**case.own)
    steps = compare(case, pupil, tape, after=lambda training, step, x, y: seen.append((training.at_loss, step, x, y)))
    assert len(steps) == 3
    for number, (found, (net, step, x, y)) in enumerate(zip(pupil.measures, seen, strict=True)):
        adv = step.at["adv"].detach()
        expected = {"train_adv_accuracy": (adv.argmax(1) == y).double().mean()}
        with torch.no_grad():
            clean = copy.deepcopy(net)(x)
        if name.startswith("looked") and number == 1:
            assert all(found[column] != found[column] for column in ("marginal_clean", "abnormal_share"))
        else:
            p = torch.softmax(clean, dim=1)
            expected |= {
                "train_accuracy": (clean.argmax(1) == y).double().mean(),
                "marginal_clean": plain.marginal(clean).mean(),
                "marginal_adv": plain.marginal(adv).mean(),
                "joint_clean": plain.joint(clean, y).mean(),
                "joint_adv": plain.joint(adv, y).mean(),
                "abnormal_share": plain.abnormal(clean, adv, y).double().mean(),
                "trades_conditional": (p * (clean - adv)).sum(dim=1).mean(),
                "trades_marginal": (plain.marginal(clean) - plain.marginal(adv)).mean(),
            }
        for column, value in expected.items():
            assert found[column] == pytest.approx(value.item(), rel=1e-7, abs=1e-9), column
