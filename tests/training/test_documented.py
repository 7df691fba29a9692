"""docs/reference/training.md says what the tables of the code say."""

import re
from pathlib import Path

import pytest

from energylens.training.methods import METHODS
from energylens.training.recipes import settings_of
from energylens.training.regularizers import REGULARIZERS

TEXT = (Path(__file__).parents[2] / "docs" / "reference" / "training.md").read_text()


def rows(heading):
    """The cells of the table under this heading, by the first cell of each row."""
    section = TEXT.split(f"## {heading}", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")][1:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in cells}


METHOD_ROWS, REGULARIZER_ROWS = rows("Methods"), rows("Regularisers")


def test_every_row_is_documented_and_no_other():
    assert list(METHOD_ROWS) == list(METHODS)
    assert list(REGULARIZER_ROWS) == list(REGULARIZERS)


@pytest.mark.parametrize("name", [name for name, row in METHODS.items() if row.adversarial])
def test_the_attack_of_a_method_is_documented(name):
    start, steps, step, within, mode, beta, source = METHOD_ROWS[name]
    row = METHODS[name]
    scale = {"gaussian": f"gaussian, {row.attack.start_scale:g}".replace("0.", "."), "zero": "zero"}
    told = scale.get(row.attack.start, f"{row.attack.start}, {row.attack.start_scale:g} eps")
    assert start == ("carried over" if row.replays else told)
    assert (int(steps), float(step)) == (row.attack.steps, row.attack.relative_step)
    assert (within, mode) == ("yes" if row.attack.clip else "no", row.attack_mode)
    assert beta == ("-" if row.beta is None else f"{row.beta:g}")
    assert set(re.findall(r"\d{4}\.\d{4,5}", row.source)) == set(re.findall(r"\d{4}\.\d{4,5}", source))


@pytest.mark.parametrize(
    ("reg", "own", "weight", "told"),
    [
        ("der", {"method": "fgsm"}, 3, "3 on abnormal"),
        ("der", {"method": "fgsm", "der_mean": "all"}, 300, "300, divided by the batch's"),
        ("der", {"method": "pgd"}, 5, "5 on all"),
        ("gradalign", {"method": "fgsm", "eps": "16/255"}, 2, ".02 10^(255 eps/8)"),
        ("gradalign", {"method": "fgsm", "eps": "24/255"}, 2, "held beyond 16/255"),
        ("elle", {"method": "fgsm", "eps": "8/255"}, 1000, "1000 to 8/255"),
        ("elle", {"method": "fgsm", "eps": "16/255"}, 5000, "5000 from 10 to 20"),
        ("elle", {"method": "fgsm", "eps": "24/255"}, 10000, "10000 from 22 to 26"),
        ("elle-a", {"method": "fgsm", "eps": "8/255"}, 4000, "4000"),
        ("energy-linearity", {"method": "fgsm"}, 16000, "16000 for 3x32x32"),
        ("delta-l2", {"method": "pgd"}, 100, "100"),
    ],
)
def test_the_weight_of_a_regulariser_is_documented(reg, own, weight, told):
    assert settings_of("co", reg=(reg,), **own).reg_weight == (pytest.approx(weight),)
    assert told in REGULARIZER_ROWS[reg][0]


def test_the_recipes_choices_are_documented():
    full = settings_of("co")
    assert (full.peak, full.final_steps, full.final_restarts, full.final_samples) == (0.5, 50, 10, 0)
    assert settings_of("co-small").final_samples == settings_of("ro-small").final_samples == 500
    assert "peak at 1/2" in TEXT and "PGD-50 and 10 restarts on all test images" in TEXT and "small ones on 500" in TEXT
    assert settings_of("digits", method="free").replays == 8 and "`--replays` times (8)" in TEXT
