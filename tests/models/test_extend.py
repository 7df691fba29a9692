"""A model is added by a commit of one file and its test, as the docs show it; then it trains and can be shipped."""

import json
import re
import shutil
from pathlib import Path

import pytest

from energylens.models import architectures, zoo

PAGE = Path(__file__).parents[2] / "docs" / "extend" / "index.md"
SECTION = PAGE.read_text().partition("\n## A model\n")[2]
ADDED, TESTED = re.findall(r"^```diff\n(.*?)^```", SECTION, re.M | re.S)[:2]


def test_it_is_a_commit_of_about_fifteen_lines_in_one_file(commit):
    assert len(re.findall(r"^\+[^+\n]", ADDED, re.M)) <= 15
    commit(ADDED, TESTED)


@pytest.fixture
def row(monkeypatch):
    """The example's row, in the table for the length of a test."""
    *network, row = re.findall(r"^\+(?!\+\+)(.*)", ADDED, re.M)
    names = {**vars(architectures)}
    exec("\n".join(network), names)
    for name, value in eval(f"{{{row}}}", names).items():
        monkeypatch.setitem(architectures.ARCHITECTURES, name, value)


@pytest.fixture
def weights(monkeypatch, tmp_path):
    """An empty folder for shipped weights; the zoo is read again after."""
    monkeypatch.setattr(zoo, "WEIGHTS", tmp_path / "weights")
    zoo.WEIGHTS.mkdir()
    yield zoo.WEIGHTS
    zoo.rows.cache_clear()


def test_it_trains_and_is_shipped_under_its_name(run, row, weights):
    status, out, _ = run("train", "--arch", "digits-tiny", "--method", "standard", "--epochs", 1)
    assert status == 0
    best = Path(out.split()[-1])
    for suffix in (".safetensors", ".json"):
        shutil.copy(best.with_suffix(suffix), weights / f"digits-tiny{suffix}")
    zoo.rows.cache_clear()
    status, out, _ = run("profile", "--model", "digits-tiny", "--attack", "fgsm", "--n", 20, "--json")
    told = json.loads(out)
    assert status == 0
    assert (told["model"], told["dataset"], told["n"]) == ("digits-tiny", "digits", 20)
    assert "digits-tiny" in run("models", "digits")[1]
