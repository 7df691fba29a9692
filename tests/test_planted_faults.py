"""The mutation run itself is not part of this suite; here its faults can still be planted, and its page says what it
found."""

import csv
import importlib
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def mutations():
    """The packages of the run; another package may be called ``tests`` here."""
    before, path = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "tests"}, sys.path[:]
    for name in before:
        del sys.modules[name]
    sys.path.insert(0, str(ROOT))
    yield {name: importlib.import_module(f"tests.mutations.{name}") for name in ("faults", "mechanical", "table")}
    sys.path[:] = path
    for name in [name for name in sys.modules if name.split(".")[0] == "tests"]:
        del sys.modules[name]
    sys.modules.update(before)


def test_every_fault_can_still_be_planted(mutations):
    """Whoever changes a line that a fault of tests/mutations/table.txt is about changes the fault too."""
    package = ROOT / "energylens"
    by_rule = mutations["mechanical"].mechanical(package)
    assert mutations["faults"].check([*mutations["table"].FAULTS, *by_rule], package) == []
    assert len(mutations["table"].FAULTS) >= 200 and len(by_rule) >= 600


def test_a_fault_whose_text_is_gone_twice_there_or_without_effect_is_an_error(mutations):
    fault, error = mutations["faults"].Fault, mutations["faults"].FaultError
    assert fault("m.py", "a", "b", "sign", "x").planted("a + 1") == "b + 1"
    for source, after, said in (("c", "b", "0 times"), ("a + a", "b", "2 times"), ("a", "(a)", "changes nothing"),
                                ("a", "a +", "no Python")):  # fmt: skip
        with pytest.raises(error, match=said):
            fault("m.py", "a", after, "sign", "x").planted(source)


def test_the_page_says_what_the_last_run_found():
    text = (ROOT / "docs" / "contributing" / "planted-faults.md").read_text()
    lines = (ROOT / "tests" / "mutations" / "result.csv").read_text().splitlines()
    rows = list(csv.DictReader(lines[1:]))
    left = [row for row in rows if not row["caught_by"]]
    by_rule = [row for row in rows if re.match(r"training/\w+:\S", row["fault"])]
    told = [f"`{lines[0].removeprefix('# ').split(', ')[0]}`", lines[0].split(", ")[1]]
    for part in (rows, [row for row in rows if row not in by_rule], by_rule):
        caught = sum(bool(row["caught_by"]) for row in part)
        told.append(f"{caught} of {len(part)}")
    assert [part for part in told if part not in text] == []
    assert len(left) <= 0.05 * len(rows)
    assert [row["fault"] for row in left if row["fault"] not in text] == []
