"""Ours beside the published: exact intervals, and what is compared with what."""

import dataclasses

import pytest

import energylens as el
from energylens.statistics import accuracy_interval
from energylens.tables.published import beside_published


def test_the_interval_is_clopper_and_pearsons():
    """Tail probabilities of 2.5 % at both ends, by the binomial sum itself."""
    from math import comb

    low, high = accuracy_interval(37, 50)

    def tail(p, ks):
        return sum(comb(50, k) * p**k * (1 - p) ** (50 - k) for k in ks)

    assert tail(low, range(37, 51)) == pytest.approx(0.025)
    assert tail(high, range(38)) == pytest.approx(0.025)


@pytest.fixture(scope="module")
def record():
    return el.profile("digits-pgd", "digits", ["apgd-ensemble,block=20", "fgsm"], n=20)


def dressed(record, split="test", **facts):
    """The record as if its model were RobustBench's, its second row AutoAttack."""
    card = {**record.attacks[0].manifest["model"], "source": "robustbench", "eps": 0.2} | facts

    def manifest(attack):
        identity = attack.manifest["identity"]
        chosen, data = identity["attack"], {**identity["dataset"], "split": split}
        name = "autoattack" if chosen["name"] == "apgd-ensemble" else chosen["name"]
        return {"model": card, "identity": {**identity, "attack": {**chosen, "name": name}, "dataset": data}}

    attacks = tuple(dataclasses.replace(attack, manifest=manifest(attack)) for attack in record.attacks)
    return dataclasses.replace(record, attacks=attacks)


def test_clean_and_autoattack_are_set_beside_the_published(record):
    clean, robust = beside_published(dressed(record, clean=97.0, autoattack=1.0))
    assert clean.startswith("clean: 100.0 %") and "n = 20" in clean and clean.endswith("97.00 %, within that.")
    assert robust.startswith("autoattack:") and robust.endswith("1.00 %, OUTSIDE that.")


def test_only_like_is_compared_with_like(record):
    assert beside_published(record) == []  # not RobustBench's
    assert beside_published(dressed(record, clean=97.0, autoattack=1.0, dataset="cifar10")) == []
    assert beside_published(dressed(record, clean=97.0, autoattack=1.0, split="train")) == []
    for other in ({"eps": 8 / 255}, {"threat_model": "L2"}):
        (clean,) = beside_published(dressed(record, clean=97.0, autoattack=1.0, **other))
        assert clean.startswith("clean")
