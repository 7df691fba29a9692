"""What the README shows in Python works as it stands there."""

import json
import re
import shutil
import sys
import types
from pathlib import Path

import pytest
import torch

import energylens as el
from energylens.attacks import battery, registry
from energylens.figures import catalog
from energylens.models import architectures, zoo
from energylens.models.architectures import small_cnn
from energylens.training import methods


def blocks(heading):
    """The Python blocks under a heading of the README, in order."""
    text = (Path(__file__).parents[1] / "README.md").read_text()
    (section,) = re.findall(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#+ |\Z)", text, re.DOTALL | re.MULTILINE)
    return re.findall(r"^```python\n(.*?)^```", section, re.DOTALL | re.MULTILINE)


def added(monkeypatch, table, function, row, *modules):
    """Add a row to a table that is a dict, its function defined before it, in the modules' names."""
    names = {name: value for module in modules for name, value in vars(module).items()}
    exec(function, names)
    for name, value in eval(f"{{{row}}}", names).items():
        monkeypatch.setitem(table, name, value)


def test_the_python_lines_run():
    names = {}
    exec(blocks("In Python")[0], names)
    assert list(names["record"].frame()["attack"].unique()) == ["natural", "pgd", "pgd,steps=50", "cw", "flip"]
    assert names["x_adv"].shape == names["found"].x_adv.shape == (100, 1, 8, 8)


def test_the_rows_example_adds_an_attack(monkeypatch):
    monkeypatch.setattr(registry, "ATTACKS", registry.ATTACKS + eval(blocks("An attack")[0], vars(registry)))
    data, model = el.load_data("digits", n=10), el.load_model("digits-pgd")
    record = el.profile(model, data, ["bim", "bim,steps=3"])
    assert [attack.name for attack in record.attacks] == ["natural", "bim", "bim,steps=3"]
    assert (record["bim"].rows["forwards"] == 10).all()
    assert torch.equal(
        el.attack("bim", model, data.images, data.labels), el.attack("bim", model, data.images, data.labels, seed=1)
    )
    with pytest.raises(el.InputError, match="bim has no setting 'loss=dlr'"):
        battery.configure("bim,loss=dlr", eps=0.1)


@pytest.fixture
def shipped(monkeypatch, tmp_path):
    """An empty folder for shipped weights; the zoo is read again before and after."""
    monkeypatch.setattr(zoo, "WEIGHTS", tmp_path / "weights")
    zoo.WEIGHTS.mkdir()
    zoo.rows.cache_clear()
    yield zoo.WEIGHTS
    zoo.rows.cache_clear()


def test_the_rows_example_adds_a_model(run, monkeypatch, shipped):
    network, architecture, row = blocks("A model")
    added(monkeypatch, architectures.ARCHITECTURES, network, architecture, small_cnn, architectures)
    monkeypatch.setattr(zoo, "_OWN", zoo._OWN + eval(row, vars(zoo)))
    status, out, _ = run("train", "--arch", "digits-tiny", "--method", "standard", "--epochs", 1)
    assert status == 0
    best = Path(out.split()[-1])
    for suffix in (".safetensors", ".json"):
        shutil.copy(best.with_suffix(suffix), shipped / f"digits-tiny{suffix}")
    status, out, _ = run("profile", "--model", "digits-tiny", "--attack", "fgsm", "--n", 20, "--json")
    told = json.loads(out)
    assert status == 0
    assert (told["model"], told["dataset"], told["n"]) == ("digits-tiny", "digits", 20)
    assert "digits-tiny" in run("models", "digits")[1]


def test_the_rows_example_adds_a_method(run, monkeypatch):
    loss, row = blocks("A training method")
    added(monkeypatch, methods.METHODS, loss, row, methods)
    status, out, err = run("train", "--method", "mixed", "--steps", 2, "--epochs", 1, "--verbose")
    assert status == 0 and "--method mixed" in err and "best.safetensors" in out
    step = types.SimpleNamespace(logits=torch.tensor([[1.0, 0.0]]), logits_adv=torch.tensor([[0.0, 1.0]]))
    step.y = torch.tensor([0])
    expected = (torch.log1p(torch.exp(torch.tensor(-1.0))) + torch.log1p(torch.exp(torch.tensor(1.0)))) / 2
    assert methods.METHODS["mixed"].loss(step) == pytest.approx(expected.item())


def test_the_rows_example_adds_a_figure(run, monkeypatch, tmp_path):
    code, row = blocks("A figure")
    module = types.ModuleType("energylens.figures.moved")
    exec(code, vars(module))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    added(monkeypatch, catalog.FIGURES, "", row, catalog)
    assert "which way PGD moves E(x)" in run("figures", "--list")[1]
    status, out, _ = run("figures", "moved")
    folder = tmp_path / "figures-drawn" / "demo"
    assert status == 0 and "moved.png" in out
    assert {path.name for path in folder.iterdir()} == {f"moved.{kind}" for kind in ("png", "pdf", "csv", "json")}
    assert len((folder / "moved.csv").read_text().splitlines()) == 1 + 100
    about = json.loads((folder / "moved.json").read_text())
    assert about["caption"] == "digits-standard, PGD, n = 100" and about["shows"] == "which way PGD moves E(x)"
