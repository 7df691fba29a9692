"""The papers' landscape on a real model and real images: signs and places of PAPERS' table (arXiv 2407.06315)."""

import pytest

import energylens as el


@pytest.fixture(scope="module")
def record(cifar10_root):
    """The first 32 images of CIFAR-10's test set under the natural ResNet-18 of AutoAttack's wheel."""
    return el.profile("autoattack-resnet18", "cifar10", ["fgsm", "pgd", "trades", "cw"], n=32, data_root=cifar10_root)


def test_places_are_the_papers(record):
    rows = {row["attack"]: row for row in record.as_numbers()}
    assert rows["natural"]["accuracy"] > 0.9
    assert -15.5 < rows["natural"]["marginal_mean"] < -12
    assert rows["pgd"]["accuracy"] == 0 and rows["cw"]["accuracy"] == 0
    assert -31 < rows["pgd"]["marginal_mean"] < -24 and 4 < rows["pgd"]["joint_mean"] < 10
    assert -31 < rows["trades"]["marginal_mean"] < -24
    assert -11 < rows["cw"]["marginal_mean"] < -7.5 and -8 < rows["cw"]["joint_mean"] < -3


def test_signs_are_the_papers(record):
    delta = {row["attack"]: row["delta_marginal_mean"] for row in record.as_numbers()}
    assert delta["pgd"] > 8 and delta["trades"] > 8  # far left of the data: lower energy than natural
    assert delta["cw"] < -2  # right of the data
    assert all(row["delta_joint_mean"] < 0 for row in record.as_numbers()[1:])


def test_perturbations_are_what_was_asked(record):
    assert record["pgd"].rows["linf"].max() <= 8 / 255 + 1e-6
    assert record["cw"].rows["l2"].mean() < 0.6
    assert (record["pgd"].rows["forwards"] == 20).all()


def test_the_consistency_checks_hold_and_e_of_x_tells_pgd(record):
    assert len(record.checks) == 8 and all(check.holds for check in record.checks)
    assert {row["attack"]: row["auroc"] for row in record.as_numbers()}["pgd"] > 0.9
