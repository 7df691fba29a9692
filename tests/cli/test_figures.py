"""``energylens figures`` as typed."""

import json
import shlex
import shutil

import pytest

from energylens.figures import studies
from energylens.figures.catalog import FIGURES


def test_the_list_has_every_figure(run):
    status, said, _ = run("figures", "--list")
    assert status == 0
    assert all(name in said for name in FIGURES)


@pytest.mark.parametrize("name", FIGURES)
def test_every_row_of_the_catalog_leads_somewhere(name):
    assert callable(FIGURES[name].table)
    assert callable(FIGURES[name].draw)


def test_a_figure_comes_with_its_numbers_and_where_they_are_from(run, tmp_path):
    status, said, _ = run("figures", "weat-weight")
    folder = tmp_path / "figures-drawn" / "demo"
    assert status == 0
    assert "weat-weight.png" in said
    assert {path.suffix for path in folder.iterdir()} == {".png", ".pdf", ".csv", ".json"}
    about = json.loads((folder / "weat-weight.json").read_text())
    assert about["command"] == "energylens figures weat-weight --scale demo"
    assert all((tmp_path / run).is_dir() for run in about["runs"])
    assert about["seed"] == [0] and "torch" in about["machine"]


def test_the_recorded_command_draws_the_same_again(run, tmp_path):
    """With the paths as they were typed, and one name of several."""
    status, _, _ = run("figures", "weat-weight", "plane", "--out", "my runs", "--figures", "drawn", "--jobs", 2)
    about = json.loads((tmp_path / "drawn" / "demo" / "plane.json").read_text())
    assert status == 0
    words = shlex.split(about["command"])
    assert " ".join(words[:7]) == "energylens figures plane --scale demo --figures drawn"
    assert words[7:] == ["--out", "my runs", "--jobs", "2"]
    shutil.rmtree(tmp_path / "drawn")
    status, _, _ = run(*words[1:])
    assert status == 0
    assert json.loads((tmp_path / "drawn" / "demo" / "plane.json").read_text()) == about


def test_what_cannot_be_drawn_is_named_and_the_rest_is_drawn(run, tmp_path, monkeypatch):
    monkeypatch.setattr(studies, "RECORDS", tmp_path)
    status, said, complaint = run("figures", "co", "weat-weight")
    assert status == 1
    assert "weat-weight.png" in said
    assert "1 of 2 figures could not be drawn: co (no co-epochs.csv" in complaint


def test_an_unknown_figure_is_refused_with_its_neighbour(run):
    status, _, complaint = run("figures", "landscpe")
    assert status == 2
    assert "did you mean landscape?" in complaint
