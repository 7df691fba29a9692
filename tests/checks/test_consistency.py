"""Consistency checks hold where attacks work, and each is violated where its rows are wrong."""

import json
from dataclasses import replace
from itertools import permutations

import pytest
from torch import nn

import energylens as el
from energylens.attacks.battery import configure
from energylens.checks.consistency import check_rows, robust_overfitting, sentence
from energylens.checks.strength import contender, is_larger, is_stronger
from energylens.models import card_of
from energylens.records.manifest import manifest_of, shared_identity
from energylens.statistics import sign_test

BATTERY = ["fgsm", "pgd", "pgd,steps=40", "pgd,eps=0.1", "trades", "cw"]


class Quantised(nn.Module):
    """digits-pgd behind a rounding to five levels: its gradient is zero, its accuracy that of digits-pgd."""

    def __init__(self):
        super().__init__()
        self.network = el.load_model("digits-pgd")

    def forward(self, x):
        return self.network((4 * x).round() / 4)


@pytest.fixture(scope="module")
def record():
    return el.profile("digits-pgd", attacks=BATTERY, n=100)


def checks_of(record):
    return {(check.rule, check.weaker, check.stronger): check for check in record.checks}


@pytest.mark.parametrize("name", ["digits-standard", "digits-pgd"])
def test_all_checks_hold_where_attacks_work(name):
    made = el.profile(name, attacks=BATTERY, n=100).checks
    assert all(check.holds for check in made)
    assert {check.rule for check in made} == {"stronger", "eps", "huge-eps", "noise", "catastrophic overfitting"}


def test_the_checks_of_a_battery(record):
    expected = {("stronger", "natural", name) for name in BATTERY}
    expected |= {("stronger", "fgsm", "pgd"), ("stronger", "fgsm", "pgd,steps=40"), ("stronger", "pgd", "pgd,steps=40")}
    expected |= {("eps", "pgd,eps=0.1", "pgd"), ("huge-eps", "half of chance", "pgd,eps=1")}
    expected |= {("noise", "noise of 0.2", "pgd"), ("noise", "noise of 0.2", "pgd,steps=40")}
    expected |= {("noise", "noise of 0.1", "pgd,eps=0.1")}
    expected |= {("catastrophic overfitting", "fgsm", "pgd")}
    assert set(checks_of(record)) == expected
    check = checks_of(record)["stronger", "fgsm", "pgd"]
    accuracy = {row["attack"]: row["accuracy"] for row in record.as_numbers()}
    assert (check.accuracy_weaker, check.accuracy_stronger, check.n) == (accuracy["fgsm"], accuracy["pgd"], 100)


def test_a_masked_gradient_breaks_the_huge_eps_check():
    found = checks_of(el.profile(Quantised(), "digits", ["fgsm", "pgd"], n=64))[
        "huge-eps", "half of chance", "pgd,eps=1"
    ]
    assert not found.holds and found.accuracy_stronger > 0.9
    assert "huge-eps" in sentence(found) and "masked" in sentence(found) and "energylens doctor" in sentence(found)


def swapped(record, one, other):
    """The record with the rows of two attacks exchanged."""
    rows = {one: record[other].rows, other: record[one].rows}
    return replace(record, attacks=tuple(replace(a, rows=rows.get(a.name, a.rows)) for a in record.attacks))


@pytest.mark.parametrize(("rule", "one", "other"), [("stronger", "fgsm", "pgd"), ("eps", "pgd,eps=0.1", "pgd")])
def test_exchanged_rows_break_their_check(record, rule, one, other):
    broken = {(check.rule, check.weaker, check.stronger): check for check in check_rows(swapped(record, one, other))}
    assert not broken[rule, one, other].holds
    assert broken["stronger", "natural", other].holds


def test_ties_and_few_samples_break_nothing(record):
    assert all(check.holds for check in check_rows(swapped(record, "pgd", "pgd,steps=40")))
    few = swapped(record, "fgsm", "pgd")
    few = replace(few, attacks=tuple(replace(attack, rows=attack.rows[:5]) for attack in few.attacks))
    assert all(check.holds for check in check_rows(few))


def test_the_sign_test_is_the_binomial():
    """7 of 7 pairs have p = 2^-7 < .01, 6 of 6 do not: the smallest violation there can be."""
    assert sign_test(7, 0) == pytest.approx(2**-7) and sign_test(6, 0) == pytest.approx(2**-6)
    assert sign_test(3, 4) == pytest.approx(99 / 128)


def test_they_are_made_only_where_there_is_something_to_check():
    assert el.profile("digits-pgd", attacks="fgsm", n=5).checks == ()
    assert el.profile("digits-pgd", attacks=["fgsm", "pgd"], n=5, checks=False).checks == ()
    unseen = el.profile("digits-pgd", attacks=["square,queries=5", lambda model, x, y: x], n=5).checks
    assert [(check.weaker, check.stronger) for check in unseen] == [("natural", "square,queries=5")]


@pytest.mark.parametrize("option", ["--no-checks", "--no-ladder"])
def test_they_are_skipped_under_both_names(option, run):
    """``ladder`` is what earlier versions called them, and what their readers of the JSON look for."""
    words = ("profile", "--model", "digits-pgd", "--attack", "fgsm", "--attack", "pgd", "--n", "5")
    assert "Consistency checks: all 6 hold." in run(*words)[1]
    assert "onsistency" not in run(*words, option)[1]
    assert json.loads(run(*words, option, "--json")[1])["ladder"] == []
    assert len(json.loads(run(*words, "--json")[1])["ladder"]) == 6


def test_the_earlier_names_still_work():
    record = el.profile("digits-pgd", attacks=["fgsm", "pgd"], n=5)
    assert record.ladder == record.checks and len(record.checks) == 6
    assert el.profile("digits-pgd", attacks=["fgsm", "pgd"], n=5, ladder=False).checks == ()


def test_the_checks_do_not_depend_on_the_batch(record):
    assert el.profile("digits-pgd", attacks=BATTERY, n=100, batch_size=7).checks == record.checks


def test_a_healthy_model_holds_in_l2_too(mnist_root, shared_checkpoints):
    """Twenty steps along the L2 gradient leave 23 % of these 64 right, anywhere in the cube; signs leave none."""
    model = el.load_model(str(shared_checkpoints / "trades_mnist_smallcnn.pt"), arch="mnist-smallcnn")
    made = el.profile(model, "mnist", ["fgsm", "pgd"], norm="l2", n=64, data_root=mnist_root).checks
    assert all(check.holds for check in made)


def test_robustness_to_one_step_alone_is_catastrophic_overfitting(one_step_only):
    """Among the images that are right without an attack, counted from the rows."""
    record = el.profile(one_step_only, "digits", ["fgsm", "rs-fgsm", "pgd"], n=64)
    (check,) = (check for check in record.checks if check.rule == "catastrophic overfitting")
    right = {a.name: (a.rows["pred_adv"] == a.rows["label"]) for a in record.attacks}
    counts = {name: int((right["natural"] & right[name] & ~right["pgd"]).sum()) for name in ("fgsm", "rs-fgsm")}
    assert (check.weaker, check.stronger, check.n) == (max(counts, key=counts.get), "pgd", int(right["natural"].sum()))
    assert not check.holds and f"{100 * max(counts.values()) / check.n:.1f} % (95 %" in check.evidence
    assert check.evidence in sentence(check) and "--reg der" in sentence(check) and "doctor" not in sentence(check)
    assert all(other.holds for other in record.checks if other is not check)
    assert all(check.holds for check in el.profile("digits-pgd", attacks=["fgsm", "trades"], n=64).checks)


def test_a_targeted_attack_and_one_of_another_radius_tell_nothing_of_it(one_step_only):
    specs = ["fgsm", "pgd,target=random", "pgd,eps=0.02", "n-fgsm"]
    record = el.profile(one_step_only, "digits", specs, n=64)
    assert "catastrophic overfitting" not in {check.rule for check in record.checks}


def test_training_images_beside_test_images_tell_robust_overfitting():
    """digits-pgd is as robust on new images; were it right on all training images, it would not be."""
    test, train = (el.profile("digits-pgd", attacks=["fgsm", "pgd"], n=200, split=s) for s in ("test", "train"))
    (healthy,) = robust_overfitting(test, train)
    assert healthy.holds and (healthy.weaker, healthy.stronger) == ("pgd on training images", "pgd on test images")
    rows = train["pgd"].rows
    by_heart = replace(train["pgd"], rows=rows.assign(pred_adv=rows["label"]))
    (told,) = robust_overfitting(test, replace(train, attacks=(train.attacks[0], by_heart)))
    assert not told.holds and told.accuracy_weaker == 1.0 and "dE(x)" in sentence(told)
    assert robust_overfitting(test, el.profile("digits-pgd", attacks="pgd,steps=5", n=5, split="train")) == ()


def order(specs, eps="0.2", norm="linf"):
    """Which of the attacks must not do worse than which, from their identities."""
    attacks = [configure(spec, eps=eps, norm=norm) for spec in specs]
    model, samples = el.load_model("digits-pgd"), el.load_data("digits", n=2)
    common = shared_identity(model, samples, 0)
    identities = [manifest_of(a, card_of(model), samples, common)["identity"]["attack"] for a in attacks]
    known = list(zip(specs, map(contender, identities), strict=True))
    pairs = [(less, more, one, other) for (less, other), (more, one) in permutations(known, 2)]
    return {(less, more) for less, more, one, other in pairs if is_stronger(one, other) or is_larger(one, other)}


@pytest.mark.parametrize(
    ("weaker", "stronger", "ordered"),
    [
        ("rs-fgsm", "pgd", True),
        ("n-fgsm", "pgd", False),  # reaches 3 eps
        ("fgsm", "pgd,steps=3", False),  # three quarters of the radius
        ("fgsm", "pgd,loss=margin", False),
        ("fgsm,eps=0.1", "pgd", False),
        ("pgd", "pgd,restarts=2", True),
        ("pgd", "pgd,target=random", False),
        ("pgd,target=random", "pgd,target=random,steps=30", True),
        ("pgd", "pgd,steps=30,step_size=0.01", False),
        ("trades", "trades,steps=40", False),
        ("trades", "trades,restarts=2", True),
        ("trades,eps=0.1", "trades", True),
        ("pgd", "apgd-ce", False),
        ("apgd-ce", "autoattack", True),
        ("apgd-ce,restarts=2", "autoattack", False),
        ("apgd-t,targets=3", "apgd-t", True),
        ("square", "autoattack", True),
        ("fab", "autoattack", False),  # untargeted: not one of the standard parts
        ("fab", "autoattack-plus", True),
        ("autoattack", "autoattack-plus", True),
        ("apgd-ce", "autoattack-rand", False),  # averages its gradients
        ("square,queries=10", "square,queries=20,block=9", True),
        ("cw", "cw-search", True),
        ("cw", "cw,c=2", False),
    ],
)
def test_the_partial_order(weaker, stronger, ordered):
    assert order([weaker, stronger]) == ({(weaker, stronger)} if ordered else set())
