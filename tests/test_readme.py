"""What the README shows in Python works as it stands there."""

import re
from pathlib import Path

import pytest
import torch

import energylens as el
from energylens.attacks import battery, registry

BLOCKS = re.findall(r"```python\n(.*?)```", (Path(__file__).parents[1] / "README.md").read_text(), re.DOTALL)


def test_the_python_lines_run():
    names = {}
    exec(BLOCKS[0], names)
    assert list(names["record"].frame()["attack"].unique()) == ["natural", "pgd", "cw", "flip"]
    assert names["x_adv"].shape == (100, 1, 8, 8)


def test_the_rows_example_adds_an_attack(monkeypatch):
    row = eval(BLOCKS[1], vars(registry))
    monkeypatch.setattr(registry, "ATTACKS", (*registry.ATTACKS, row))
    data, model = el.load_data("digits", n=10), el.load_model("digits-pgd")
    record = el.profile(model, data, ["bim", "bim,steps=3"])
    assert [attack.name for attack in record.attacks] == ["natural", "bim", "bim,steps=3"]
    assert (record["bim"].rows["forwards"] == 10).all()
    assert torch.equal(
        el.attack("bim", model, data.images, data.labels), el.attack("bim", model, data.images, data.labels, seed=1)
    )
    with pytest.raises(el.InputError, match="bim has no setting 'loss=dlr'"):
        battery.configure("bim,loss=dlr", eps=0.1)
