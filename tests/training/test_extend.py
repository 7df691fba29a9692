"""What it takes to add a setting or a regulariser: the examples below are quoted in the docs, and run here."""

import sys
from dataclasses import make_dataclass
from importlib import import_module

import click
import pytest
from click.testing import CliRunner

from energylens.cli import root
from energylens.cli.options import settings_options
from energylens.errors import InputError
from energylens.generation.settings import GenerationSettings
from energylens.settings import as_markdown, check_ranges, declared, names_in, setting
from energylens.training.loop import train
from energylens.training.recipes import settings_of
from energylens.training.regularizers import REGULARIZERS
from energylens.training.settings import TrainSettings

#: a line of ``TrainSettings``; what a loss takes of it is a field of that name in ``Terms``
SETTING = """
    label_smoothing: float = setting(
        0.0, "Share of the label that the other classes get.", metavar="F", least=0, most=0.9, later=True
    )
"""

#: in regularizers.py, or in a file of one's own that is imported before the run
REGULARIZER = '''
from torch import Tensor

from energylens.training.regularizers import REGULARIZERS, Regularizer
from energylens.training.step import Step


def logit_pairing(step: Step) -> Tensor:
    """``|f(x) - f(x*)|^2``, mean over the batch (arXiv 1803.06373)."""
    return (step.logits - step.logits_adv).square().sum(dim=1).mean()


REGULARIZERS["logit-pairing"] = Regularizer(logit_pairing, weight=lambda terms: 0.5, source="arXiv 1803.06373")
'''

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
    assert "--label-smoothing F" in CliRunner().invoke(command, ["--help"]).output
    CliRunner().invoke(command, ["--label-smoothing", "0.1"], standalone_mode=False)
    assert seen[0]["label_smoothing"] == 0.1
    own = longer(label_smoothing=0.1).resolved()
    assert own.manifest()["label_smoothing"] == 0.1 and "--label-smoothing 0.1" in own.as_options()
    assert longer.from_manifest(own.manifest()) == own
    assert longer().manifest() == TrainSettings().manifest()  # a run of an earlier version is the same run
    assert longer.from_manifest(TrainSettings().manifest()) == longer()
    assert "| `--label-smoothing` | 0.0 | 0 to 0.9 | Share of the label" in as_markdown(longer)
    with pytest.raises(InputError, match=r"--label-smoothing is 1\.5: give a number from 0 to 0\.9"):
        longer(label_smoothing=1.5).resolved()


def test_a_range_may_leave_out_its_lower_end():
    rates = make_dataclass("Rates", [("rate", float, setting(1.0, "How fast.", above=0, most=2))])
    for rate in (0, 3, float("nan"), "1"):
        with pytest.raises(InputError, match=f"--rate is {rate}: give a number above 0, up to 2"):
            check_ranges(rates(rate))
    check_ranges(rates(2))


def test_a_misspelled_property_is_refused_where_it_is_declared():
    with pytest.raises(TypeError, match="mots"):
        setting(1.0, "How fast.", mots=2)


@pytest.fixture
def added():
    exec(REGULARIZER, {})
    yield
    del REGULARIZERS["logit-pairing"]


def test_a_regulariser_is_a_function_and_a_row(added, tmp_path):
    few = {"per_class": 10, "batch_size": 32, "epochs": 1, "eps_ramp": 0.0, "eval_samples": 8, "eval_steps": 1}
    settings = settings_of("digits", method="fgsm", reg=("logit-pairing",), **few)
    assert settings.reg_weight == (0.5,)
    assert train(settings, out=tmp_path, device="cpu").history["reg"].iloc[0] > 0
    assert "logit-pairing" in "".join(CliRunner().invoke(root, ["train", "--help"]).output.split())
    with pytest.raises(InputError, match=r"--reg 'x' is unknown: give one of der, .*, logit-pairing"):
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
    with pytest.raises(InputError, match=r"unknown setting 'epoch': did you mean epochs\? one of amp"):
        settings_of("digits", epoch=3)
