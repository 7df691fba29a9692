"""RESULTS.md says what is measured; a wrong number in it is named. (All of it: ``python -m analyses.claims``.)"""

import pytest

from analyses import claims
from analyses.claims import RESULTS, measured, untrue, written
from analyses.lab import Lab

QUICK = [claim for claim in claims.all_claims() if claim.recorded or "weight at" in claim.what]


def test_every_claim_stands_in_results():
    assert list(written()) == [claim.what for claim in claims.all_claims()]


def test_what_is_quick_to_measure_is_true():
    assert len(QUICK) > 10
    assert untrue(QUICK, Lab()) == []


def test_a_wrong_number_and_a_missing_claim_are_named(tmp_path, monkeypatch):
    wrong = tmp_path / "RESULTS.md"
    wrong.write_text(RESULTS.read_text().replace("| 1.4427 |", "| 1.5 |", 1).replace("E(x) = -3.87", "E(x) = -3.88"))
    monkeypatch.setattr(claims, "RESULTS", wrong)
    first, second = untrue(QUICK, Lab())
    assert first == "WEAT's weight at E(x) = 0: RESULTS.md says 1.5, measured 1.4427"
    assert second == "WEAT's weight at E(x) = -3.87: not in RESULTS.md"


def test_lines_carry_command_and_verdict():
    table = measured(QUICK[:1], Lab())
    assert table["command"][0] == f"`{QUICK[0].command}`"
    assert table["ours"][0] == written_cell(QUICK[0].what)


def written_cell(what: str) -> str:
    (line,) = [line for line in RESULTS.read_text().splitlines() if line.startswith(f"| {what} |")]
    return line.split(" | ")[3]


@pytest.mark.parametrize("claim", claims.all_claims(), ids=lambda claim: claim.what)
def test_a_claim_is_whole(claim):
    assert claim.command.split()[0] in ("energylens", "python")
    assert claim.seed


def test_a_verdict_of_chance_is_checked_against_the_interval(monkeypatch):
    worse = {"worse": 2.0, "worse_half": 1.5}
    monkeypatch.setattr(claims, "_without", lambda rule, quantity, column, lab: worse[column])
    assert claims._told_from_chance("low-energy", "PGD", True, Lab())
    assert not claims._told_from_chance("low-energy", "PGD", False, Lab())
    worse["worse_half"] = 2.5
    assert claims._told_from_chance("low-energy", "PGD", False, Lab())
