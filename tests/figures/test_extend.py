"""A figure is added by a commit of one file and its test, as the docs show it; then the command line draws it."""

import json
import re
import sys
import types
from pathlib import Path

from energylens.figures import catalog

PAGE = Path(__file__).parents[2] / "docs" / "extend" / "index.md"
ADDED, TESTED = re.findall(r"^```diff\n(.*?)^```", PAGE.read_text().partition("\n## A figure\n")[2], re.M | re.S)[:2]


def test_it_is_a_commit_of_about_fifteen_lines_in_one_file(commit):
    assert len(re.findall(r"^\+[^+\n]", ADDED, re.M)) <= 15
    commit(ADDED, TESTED)


def test_the_command_line_draws_it(run, monkeypatch, tmp_path):
    module = types.ModuleType("energylens.figures.moved")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(catalog, "FIGURES", dict(catalog.FIGURES))
    exec("\n".join(re.findall(r"^\+(?!\+\+)(.*)", ADDED, re.M)), vars(module))
    assert "which way PGD moves E(x)" in run("figures", "--list")[1]
    status, out, _ = run("figures", "moved")
    folder = tmp_path / "figures-drawn" / "demo"
    assert status == 0 and "moved.png" in out
    assert {path.name for path in folder.iterdir()} == {f"moved.{kind}" for kind in ("png", "pdf", "csv", "json")}
    assert len((folder / "moved.csv").read_text().splitlines()) == 1 + 100
    about = json.loads((folder / "moved.json").read_text())
    assert about["shows"] == "which way PGD moves E(x)" and about["seed"] == [0]
