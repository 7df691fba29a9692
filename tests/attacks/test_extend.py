"""An attack of one's own is a few lines in one file: a function, its settings, and a row that says what it can do."""

import json

import pytest
import torch

import energylens as el
from energylens.attacks.registry import ATTACKS, AttackRow, find_row, register
from energylens.tables.profile_runs import find_runs, read_records

#: quoted by the docs
EXAMPLE = """\
@dataclass(frozen=True)
class Brightness(Settings):
    eps: Length = radius()
    norm: NormName = norm_of(["linf"])
    shifts: int = setting(5, "brightnesses tried between -eps and eps", above=0, amount=True)

def brightness(model, x, y, *, noise, settings, **_):
    shifts = torch.linspace(-settings.eps, settings.eps, settings.shifts, device=x.device).tolist()
    images = torch.stack([(x + shift).clamp(0, 1) for shift in shifts])
    losses = torch.stack([el.joint_energy(logits, y) - el.marginal_energy(logits) for logits in map(model, images)])
    worst, tried = images[losses.argmax(0), torch.arange(len(x))], counts(len(shifts), x)
    return AttackResult(worst, steps=tried, forwards=tried, backwards=counts(0, x))

register(AttackRow("brightness", "Brightness", brightness, Brightness(math.nan), "the worst brightness", "ours"))
"""
IMPORTS = """\
import math
from dataclasses import dataclass

import torch

import energylens as el
from energylens.attacks.registry import AttackRow, register
from energylens.attacks.result import AttackResult, counts
from energylens.attacks.settings import Length, NormName, Settings, norm_of, radius
from energylens.settings import setting

"""


@pytest.fixture
def row():
    """The example's row, in the table for the length of a test."""
    exec(compile(IMPORTS + EXAMPLE, "example", "exec"), {"__name__": "energylens_example"})
    row = find_row("brightness")
    yield row
    ATTACKS.remove(row)


@pytest.fixture(scope="module")
def robust():
    return el.load_model("digits-pgd")


@pytest.fixture(scope="module")
def digits():
    return el.load_data("digits", n=20)


def test_it_is_short():
    assert len([line for line in EXAMPLE.splitlines() if line.strip()]) <= 15


def test_it_runs_by_its_name(row, robust, digits):
    x, y = digits.images, digits.labels
    result = el.attack("brightness", robust, x, y, eps=0.3, shifts=3, full=True)
    assert 0 < (result.x_adv - x).abs().max() <= 0.3 + 1e-6 and result.forwards.tolist() == [3] * len(x)
    assert torch.equal(result.x_adv, el.attack("brightness,shifts=3,eps=0.3", robust, x, y))
    assert (result.joint_adv - result.marginal_adv >= result.joint_clean - result.marginal_clean - 1e-5).all()


def test_its_settings_are_told_and_checked(row):
    listed = str(el.Attack("brightness"))
    assert "  shifts=5 " in listed and "brightnesses tried between" in listed and "linf" in listed
    for settings, message in (
        ({"shifts": 0}, "brightness: shifts=0 cannot be run with: a number above 0"),
        ({"shifts": 2.5}, "brightness: shifts=2.5 is of type float, a whole number was expected"),
        ({"shift": 3}, "brightness has no setting 'shift': did you mean shifts?"),
        ({"norm": "l2"}, "brightness: unknown norm 'l2': give one of linf"),
        ({"eps": 8}, "did you mean 8/255"),
        ({"target": 3}, "brightness cannot aim at a class"),
    ):
        with pytest.raises(el.InputError) as raised:
            el.Attack("brightness", **settings)
        assert message in str(raised.value)


def test_the_command_line_lists_it(row, run):
    _, out, _ = run("attacks", "--json")
    (listed,) = [one for one in json.loads(out) if one["name"] == "brightness"]
    assert (listed["settings"], listed["norms"]) == ({"shifts": "5"}, ["linf"])
    assert "brightness" in run("attacks")[1]


def test_its_rows_are_recorded_found_again_and_compared(row, robust, digits, tmp_path):
    battery = ["brightness", "brightness,shifts=9"]
    record = el.profile(robust, digits, battery, eps=0.3, out=tmp_path)
    assert {(check.weaker, check.stronger) for check in record.checks if check.rule == "stronger"} >= {
        ("natural", "brightness"),
        tuple(battery),
    }
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("part-*")}
    again = el.profile(robust, digits, battery, eps=0.3, out=tmp_path)
    assert str(again) == str(record) and files == {p: p.stat().st_mtime_ns for p in tmp_path.rglob("part-*")}
    (kept,) = read_records(find_runs([tmp_path])[0])
    assert [attack.name for attack in kept.attacks] == ["natural", *battery]


def test_it_is_gone_when_it_is_taken_out(row, robust, digits):
    ATTACKS.remove(row)
    with pytest.raises(el.InputError, match="unknown attack 'brightness'"):
        el.attack("brightness", robust, digits.images, digits.labels, eps=0.3)
    register(row)
    for taken in ("brightness", "TRADES-KL", "natural"):
        with pytest.raises(el.InputError, match=f"there is an attack {taken.lower()} already"):
            register(AttackRow(taken, "", row.run, row.defaults, "", ""))
