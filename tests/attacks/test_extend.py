"""An attack of one's own is a few lines in one file: a function, its settings, and a row that says what it can do."""

import json
import re
from pathlib import Path

import pytest
import torch

import energylens as el
from energylens.attacks import registry
from energylens.attacks.registry import ATTACKS, AttackRow, register
from energylens.tables.profile_runs import find_runs, read_records

PAGE = Path(__file__).parents[2] / "docs" / "extend" / "index.md"
ADDED, TESTED = re.findall(r"^```diff\n(.*?)^```", PAGE.read_text().partition("\n## An attack\n")[2], re.M | re.S)[:2]


@pytest.fixture
def row():
    """The example's row, in the table for the length of a test, as ``register`` adds it from a file of one's own."""
    lines = [line[1:] for line in ADDED.splitlines() if line.startswith("+") and not line.startswith("+++")]
    names = {**vars(registry)}
    exec(compile("\n".join(lines[:-1]), "example", "exec", dont_inherit=True), names)
    row = register(eval(lines[-1].strip(" ,"), names))
    yield row
    ATTACKS.remove(row)


@pytest.fixture(scope="module")
def robust():
    return el.load_model("digits-pgd")


@pytest.fixture(scope="module")
def digits():
    return el.load_data("digits", n=20)


def test_it_is_a_commit_of_about_fifteen_lines_in_one_file(commit):
    assert len(re.findall(r"^\+[^+\n]", ADDED, re.M)) <= 16
    commit(ADDED, TESTED)


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
