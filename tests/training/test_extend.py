"""What it takes to add a setting or a regulariser: the examples below are quoted in the docs, and run here."""

import re
import sys
from dataclasses import make_dataclass
from importlib import import_module
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from energylens.cli import root
from energylens.cli.options import settings_options
from energylens.errors import InputError
from energylens.generation.settings import GenerationSettings
from energylens.settings import as_markdown, check_ranges, declared, names_in, setting
from energylens.training.recipes import settings_of
from energylens.training.regularizers import REGULARIZERS
from energylens.training.settings import TrainSettings

PAGE = (Path(__file__).parents[2] / "docs" / "extend" / "index.md").read_text()


def commit_of(heading: str) -> list[str]:
    """The diffs that the page shows under a heading: of the package, and the test of it."""
    return re.findall(r"^```diff\n(.*?)^```", PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0], re.M | re.S)


@pytest.mark.parametrize("heading", ["A regulariser", "A training method", "A training setting"])
def test_it_is_a_commit_of_a_few_lines_in_one_file(heading, commit):
    added, tested = commit_of(heading)
    assert 0 < len(re.findall(r"^\+[^+\n]", added, re.M)) <= 15 and added.count("\n+++ ") == 1
    commit(added, tested)


#: a line of ``TrainSettings``, which a page shows with what takes it
(SETTING,) = re.findall(r"^\+(    restarts: .*)$", commit_of("A training setting")[0], re.M)

HEAD = """
from dataclasses import dataclass
from energylens.settings import setting
from energylens.training.settings import TrainSettings

@dataclass(frozen=True)
class Longer(TrainSettings):
"""


@pytest.fixture
def longer():
    """``TrainSettings`` with the line added."""
    made = {"__name__": TrainSettings.__module__}
    exec(HEAD + SETTING, made)
    return made["Longer"]


def test_a_setting_is_one_field(longer):
    seen = []
    command = settings_options(longer)(click.command()(lambda **own: seen.append(own)))
    assert "--restarts K" in CliRunner().invoke(command, ["--help"]).output
    CliRunner().invoke(command, ["--restarts", "2"], standalone_mode=False)
    assert seen[0]["restarts"] == 2
    own = longer(restarts=2).resolved()
    assert own.manifest()["restarts"] == 2 and "--restarts 2" in own.as_options()
    assert longer.from_manifest(own.manifest()) == own
    assert longer().manifest() == TrainSettings().manifest()  # a run of an earlier version is the same run
    assert longer.from_manifest(TrainSettings().resolved().manifest()) == longer().resolved()
    assert "| `--restarts` | 1 | 1 to 100 | Restarts of the attack." in as_markdown(longer)
    with pytest.raises(InputError, match=r"--restarts is 101: give a number from 1 to 100"):
        longer(restarts=101).resolved()


def test_a_range_may_leave_out_its_lower_end():
    rates = make_dataclass("Rates", [("rate", float, setting(1.0, "How fast.", above=0, most=2))])
    for rate in (0, 3, float("nan"), "1"):
        with pytest.raises(InputError, match=f"--rate is {rate}: give a number above 0, up to 2"):
            check_ranges(rates(rate))
    check_ranges(rates(2))


def test_a_misspelled_property_is_refused_where_it_is_declared():
    with pytest.raises(TypeError, match="mots"):
        setting(1.0, "How fast.", mots=2)


def test_a_row_is_told_by_help_and_by_errors(monkeypatch):
    monkeypatch.setitem(REGULARIZERS, "mine", REGULARIZERS["der"])
    assert "mine" in "".join(CliRunner().invoke(root, ["train", "--help"]).output.split())
    with pytest.raises(InputError, match=r"give one of der, .*, mine"):
        settings_of("digits", reg=("x",))


#: those that need torch
TABLES = {
    choice for kind in (TrainSettings, GenerationSettings) for one in declared(kind) for choice in one.choices
    if choice.startswith(("energylens.training.", "energylens.generation."))
}  # fmt: skip


@pytest.mark.parametrize("address", sorted(TABLES))
def test_help_reads_the_names_of_a_table_from_its_source(address, monkeypatch):
    module, name = address.split(":")
    known = list(getattr(import_module(module), name))
    monkeypatch.delitem(sys.modules, module)
    assert names_in(address) == known and module not in sys.modules


def test_a_wrong_name_is_told_the_nearest():
    with pytest.raises(InputError, match=r"unknown setting 'epoch': did you mean epochs\? give one of amp"):
        settings_of("digits", epoch=3)
