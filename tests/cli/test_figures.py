"""``energylens figures`` as typed."""

import json
import sys

import pytest

from analyses import overfitting
from energylens.cli import main
from figures.catalog import EXHIBITS


@pytest.fixture
def figures(monkeypatch, capsys, tmp_path):
    """``figures("plane") -> (status, standard output, standard error)``, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def typed(*words):
        monkeypatch.setattr(sys, "argv", ["energylens", "figures", *words])
        status = 0
        try:
            main()
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return typed


def test_the_list_has_every_figure(figures):
    status, said, _ = figures("--list")
    assert status == 0
    assert all(name in said for name in EXHIBITS)


@pytest.mark.parametrize("name", EXHIBITS)
def test_every_row_of_the_catalog_leads_somewhere(name):
    assert callable(EXHIBITS[name].table)
    assert callable(EXHIBITS[name].draw)


def test_a_figure_comes_with_its_numbers_and_where_they_are_from(figures, tmp_path):
    status, said, _ = figures("weat-weight")
    folder = tmp_path / "figures-drawn" / "demo"
    assert status == 0
    assert "weat-weight.png" in said
    assert {path.suffix for path in folder.iterdir()} == {".png", ".pdf", ".csv", ".json"}
    about = json.loads((folder / "weat-weight.json").read_text())
    assert about["command"] == "energylens figures weat-weight --scale demo"
    assert all((tmp_path / run).is_dir() for run in about["runs"])


def test_what_cannot_be_drawn_is_named_and_the_rest_is_drawn(figures, tmp_path, monkeypatch):
    monkeypatch.setattr(overfitting, "RESULTS", tmp_path)
    status, said, complaint = figures("co", "weat-weight")
    assert status == 1
    assert "weat-weight.png" in said
    assert "1 of 2 figures could not be drawn: co (no co-epochs.csv" in complaint


def test_an_unknown_figure_is_refused_with_its_neighbour(figures):
    status, _, complaint = figures("landscpe")
    assert status == 2
    assert "did you mean landscape?" in complaint
