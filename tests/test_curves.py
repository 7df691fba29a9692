"""Accuracy against the radius: closed forms of a linear model, and the command."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import energylens as el
from energylens.curves import read_radii
from energylens.errors import InputError
from energylens.figures.accuracy_curve import draw


@pytest.fixture(scope="module")
def plane():
    """A model of two classes cut by a hyperplane, 60 images, labels and their distances to it in Linf and L2."""
    generator = torch.Generator().manual_seed(3)
    w = torch.randn(12, generator=generator)
    flat = nn.Linear(12, 2)
    with torch.no_grad():
        flat.weight.copy_(torch.stack([w, torch.zeros(12)]))
        flat.bias.copy_(torch.stack([-0.5 * w.sum(), torch.tensor(0.0)]))
    model = nn.Sequential(nn.Flatten(), flat).eval()
    x = 0.4 + 0.2 * torch.rand(60, 3, 2, 2, generator=generator)
    with torch.no_grad():
        lead = model(x)[:, 0]
    y = (lead < 0).long()
    y[:5] = 1 - y[:5]  # five that are wrong as they are
    distances = {norm: (lead.abs() / w.norm(p=p)).numpy() for norm, p in (("linf", 1), ("l2", 2))}
    for one in distances.values():
        one[:5] = 0
    return model, x, y, distances


@pytest.mark.parametrize(("norm", "attacks"), [
    ("linf", ["fgsm", "pgd,steps=40", "fmn,steps=200"]), ("l2", ["fgsm", "fmn-l2,steps=200"]),
])  # fmt: skip
def test_of_a_linear_model_it_is_the_closed_form(norm, attacks, plane):
    model, x, y, distances = plane
    radii = np.quantile(distances[norm], [0.3, 0.5, 0.7, 0.9]) + 1e-4
    found = el.curve(model, (x, y), attacks, eps=radii.tolist(), norm=norm)
    for attack in attacks:
        own = found.table[found.table["attack"] == attack]
        expected = [55 / 60, *[(distances[norm] > radius).mean() for radius in radii]]
        assert own["eps"].tolist() == pytest.approx([0, *radii])
        # FMN comes as near to the boundary as a hundredth
        assert own["accuracy"].tolist() == pytest.approx(expected, abs=1e-9 if "fmn" not in attack else 1.01 / 60)
        assert (own["low"] <= own["accuracy"]).all() and (own["accuracy"] <= own["high"]).all()
    (key,) = found.sizes
    np.testing.assert_allclose(found.sizes[key], distances[norm], rtol=0.01, atol=1e-4)
    area = found.summary().set_index("attack")["area"]
    assert area["fgsm"] == pytest.approx(np.trapezoid([55 / 60, *expected[1:]], [0, *radii]) / radii[-1])


def test_accuracy_never_rises_and_a_smaller_radius_counts():
    found = el.curve("digits-pgd", attacks="pgd,steps=3", eps=[0.1, 0.2, 0.3, 0.4], n=60)
    accuracy = found.table["accuracy"].to_numpy()
    assert (np.diff(accuracy) <= 0).all() and accuracy[0] > accuracy[-1]
    rights = [(record.attacks[1].rows["pred_adv"] == record.attacks[1].rows["label"]).to_numpy()
              for record in found.records]  # fmt: skip
    natural = found.records[0].attacks[0].rows
    alone = np.logical_and.accumulate([(natural["pred_clean"] == natural["label"]).to_numpy(), *rights])
    assert accuracy.tolist() == alone.mean(axis=1).tolist()
    for record, (_, row) in zip(found.records, found.table.iloc[1:].iterrows(), strict=True):
        assert row["marginal"] == pytest.approx(record.attacks[1].rows["marginal_adv"].mean(), rel=1e-5)


def test_without_radii_they_are_shares_of_the_usual_one_or_of_the_sizes():
    found = el.curve("digits-standard", attacks=["fgsm", "fmn"], n=20)
    assert sorted(set(found.table["eps"].round(6))) == pytest.approx([0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4])
    alone = el.curve("digits-standard", attacks="fmn", n=20)
    assert alone.table["accuracy"].iloc[-1] == 0 and len(alone.table) == 13
    assert "median" in str(alone)


@pytest.mark.parametrize(("asked", "told"), [
    ({"eps": [0]}, "a radius above 0"), ({"eps": ["x"]}, "is not a number"), ({"eps": [-1]}, "must be positive"),
    ({"attacks": "pgd,eps=0.1", "eps": [0.2]}, "sets a radius of its own"),
    ({"attacks": "cw-search", "eps": [0.2]}, "in l2, the radii are in linf"),
    ({"attacks": lambda model, x, y: x, "eps": [0.2]}, "is not told the radius"),
])  # fmt: skip
def test_what_is_no_curve_is_told(asked, told):
    with pytest.raises(InputError, match=told):
        el.curve("digits-standard", n=4, **{"attacks": "fgsm", **asked})


def test_radii_are_read_sorted_and_once():
    assert read_radii(["8/255", 0, "0.1", 8 / 255]) == pytest.approx([8 / 255, 0.1])


def test_the_command_draws_keeps_and_goes_on(run, tmp_path):
    words = ("curve", "--model", "digits-standard", "--model", "digits-pgd", "--attack", "fgsm", "--attack", "fmn",
             "--n", "12", "--eps", "0,0.1,0.2", "--json")  # fmt: skip
    status, printed, told = run(*words)
    assert status == 0
    found = json.loads(printed)
    assert [row["attack"] for row in found["summary"]] == ["fgsm", "fmn"] * 2
    assert len(found["points"]) == 2 * 2 * 3
    (picture,) = tmp_path.rglob("curve-*.png")
    assert (
        picture.with_suffix(".csv").is_file() and picture.with_suffix(".json").is_file() and str(picture.name) in told
    )
    parts = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("part-*.parquet")}
    assert run(*words)[1] == printed
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("part-*.parquet")} == parts
    assert run("curve", "--eps", "no")[0] == 2 and run("curve", "--eps", ",")[0] == 2


def test_the_picture_shows_energies_where_attacks_tell_them():
    found = el.curve("digits-standard", attacks=["fgsm", "fmn"], eps=[0.1, 0.2], n=8)
    assert [axes.get_ylabel() for axes in draw(found.table).axes] == ["accuracy  [%]", "$E(x)$  [nats]",
                                                                      "$E(x, y)$  [nats]"]  # fmt: skip
    alone = el.curve("digits-standard", attacks="fmn", eps=[0.1], n=8)
    assert len(draw(alone.table).axes) == 1
