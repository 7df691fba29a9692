"""AutoAttack under our scheduler, against the package's own run and against its parts."""

import dataclasses
import logging

import pandas as pd
import pytest
import torch

import energylens as el
from energylens.attacks import autoattack, registry
from energylens.attacks.autoattack import PARTS


@pytest.fixture(scope="module")
def robust():
    return el.load_model("digits-pgd")


@pytest.fixture(scope="module")
def digits():
    return el.load_data("digits", n=100)


def rows(record):
    return record.attacks[1].rows


@pytest.mark.parametrize("name", ["apgd-ce", "apgd-t", "apgd-dlr", "fab", "fab-t", "square"])
def test_a_part_fells_as_many_as_the_packages_own_run(name, robust, digits):
    from pyautoattack import AutoAttack

    logging.getLogger("auto-attack").setLevel(logging.ERROR)
    theirs = AutoAttack(robust, norm="Linf", eps=0.2, version="custom", attacks=[name], seed=1)
    theirs.apgd.n_restarts = theirs.fab.n_restarts = 1
    theirs.square.n_queries = 500
    for attack in (theirs.apgd, theirs.apgd_targeted, theirs.fab):
        attack.n_iter = attack.n_iter_orig = 20
    x_adv, _ = theirs.run_standard_evaluation(digits.images, digits.labels, batch_size=50)
    with torch.no_grad():
        standing = (robust(x_adv).argmax(dim=1) == digits.labels).sum().item()
    spec = "square,queries=500" if name == "square" else f"{name},steps=20"
    ours = rows(el.profile(robust, digits, [spec]))
    assert abs((~ours["success"]).sum() - standing) <= 2
    assert ours["linf"].max() <= 0.2 + 1e-6
    assert set(ours["broken_by"]) <= {"", "natural", name}


def test_the_ensemble_is_no_weaker_than_its_parts(robust, digits):
    digits = digits.subset(range(40))
    whole = rows(el.profile(robust, digits, ["apgd-ensemble"]))
    for part in ("apgd-ce", "apgd-t"):
        alone = rows(el.profile(robust, digits, [part]))
        assert (~whole["success"]).sum() <= (~alone["success"]).sum() + 1
    assert (whole["success"] == (whole["broken_by"] != "")).all()
    assert (whole["linf"][whole["broken_by"].isin(["", "natural"])] == 0).all()
    assert set(whole["broken_by"]) == {"", "natural", "apgd-ce", "apgd-t"}


def test_blocks_are_the_same_whatever_the_batch_size_and_after_an_interruption(robust, tmp_path):
    options = {"n": 90, "attacks": ["apgd-ce,steps=5,block=30"]}
    whole = el.profile(robust, "digits", **options).frame()
    pd.testing.assert_frame_equal(whole, el.profile(robust, "digits", batch_size=7, **options).frame(), atol=1e-5)

    def stop(step):
        if step.attack.startswith("apgd"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        el.profile(robust, "digits", out=tmp_path, listener=stop, **options)
    assert len(list(tmp_path.glob("*/apgd-ce-*/part-*"))) == 1
    pd.testing.assert_frame_equal(whole, el.profile(robust, "digits", out=tmp_path, **options).frame(), atol=1e-5)
    assert len(list(tmp_path.glob("*/apgd-ce-*/part-*"))) == 3


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.2), ("l2", 1.0), ("l1", 5.0)])
def test_every_norm_keeps_to_its_ball(norm, eps, robust):
    data = el.load_data("digits", n=20)
    x_adv = el.attack("apgd-ce,steps=10", robust, data.images, data.labels, eps=eps, norm=norm)
    delta = (x_adv - data.images).flatten(1)
    size = {"linf": delta.abs().amax(1), "l2": delta.norm(dim=1), "l1": delta.abs().sum(1)}[norm]
    assert 0 < size.max() <= eps * (1 + 1e-4)


def test_two_classes_have_no_dlr():
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2)).eval()
    data = (torch.rand(8, 1, 8, 8), torch.arange(8) % 2)
    for name in ("apgd-dlr", "apgd-t", "autoattack", "pgd,loss=dlr"):
        with pytest.raises(el.InputError, match="DLR loss is undefined for 2"):
            el.profile(model, data, [name], eps=0.1)
    el.profile(model, data, ["apgd-ce,steps=3", "fab-t,steps=3"], eps=0.1)


def test_every_part_says_its_passes(robust):
    data = el.load_data("digits", n=10)
    for name in PARTS:
        spec = f"{name},queries=50" if name == "square" else f"{name},steps=4"
        found = rows(el.profile(robust, data, [spec]))
        assert (found["forwards"][found["broken_by"] != "natural"] > 0).all(), name


@pytest.mark.parametrize("failure", [RuntimeError("view size\nis odd"), KeyboardInterrupt()])
def test_a_part_that_fails_costs_its_own_work_alone(failure, digits, tmp_path, monkeypatch):
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    with torch.no_grad():
        model[1].weight.copy_(torch.randn(10, 64, generator=torch.Generator().manual_seed(0)))
        y = model(digits.images).argmax(dim=1)
    data, runs = (digits.images, y), []

    def part(name, fails=False):
        def build(*arguments):
            runs.append(name)
            if fails:
                raise failure
            return PARTS[name].build(*arguments)

        return {name: autoattack.Part(build, PARTS[name].passes)}

    options = {"attacks": ["parted,queries=20,block=50"], "eps": 0.02, "ladder": False}
    row = next(row for row in registry.ATTACKS if row.name == "square")
    parted = dataclasses.replace(
        row, name="parted", defaults=dataclasses.replace(row.defaults, parts=("fab", "square"))
    )
    monkeypatch.setattr(registry, "ATTACKS", (*registry.ATTACKS, parted))
    whole = el.profile(model, data, **options).frame()
    assert set(whole["broken_by"]) >= {"", "fab"}
    monkeypatch.setattr(autoattack, "PARTS", PARTS | part("fab") | part("square", fails=True))
    with pytest.raises((el.RunError, KeyboardInterrupt)) as caught:
        el.profile(model, data, out=tmp_path, **options)
    if isinstance(caught.value, el.RunError):
        assert str(caught.value).startswith("square failed (RuntimeError: view size); what ran before it is kept")
        with pytest.raises(el.RunError, match=r"square failed .*: give out \(--out\)"):
            el.profile(model, data, **options)
        del runs[2:]
    monkeypatch.setattr(autoattack, "PARTS", PARTS | part("fab") | part("square"))
    again = el.profile(model, data, out=tmp_path, **options).frame()
    assert runs == ["fab", "square", "square", "fab", "square"]  # the first block's fab ran once
    pd.testing.assert_frame_equal(again, whole)
    assert not list(tmp_path.rglob("unfinished*"))
