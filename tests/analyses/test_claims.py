"""RESULTS.md says what is measured, and of each claim whether the paper's statement holds. (All of it: ``python -m
analyses.claims``.)"""

import pandas as pd
import pytest

from analyses import claims
from analyses.claims import RESULTS, kept, measured, page, untrue, written
from energylens.figures.run_cache import RunCache

ALL = claims.all_claims()
QUICK = [claim for claim in ALL if claim.recorded or "weight at" in claim.what]
TESTED = [claim for claim in ALL if claim.holds]


def test_every_line_stands_in_results():
    assert list(written()) == [claim.what for claim in ALL]


def test_what_is_quick_to_measure_is_true():
    assert len(QUICK) > 10
    assert untrue(QUICK, RunCache()) == []


def test_a_wrong_number_a_wrong_verdict_and_a_missing_claim_are_named(tmp_path, monkeypatch):
    wrong = tmp_path / "RESULTS.md"
    text = RESULTS.read_text().replace("| 1.4427 |", "| 1.5 |", 1).replace("E(x) = -3.87", "E(x) = -3.88")
    before, line, after = text.partition("WEAT's weight at E(x) = -11.47")
    wrong.write_text(before + line + after.replace("as published", "not reproduced", 1))
    monkeypatch.setattr(claims, "RESULTS", wrong)
    first, second, third = untrue(QUICK, RunCache())
    assert first == "WEAT's weight at E(x) = 0: RESULTS.md says 1.5, measured 1.4427"
    assert second == "WEAT's weight at E(x) = -3.87: not in RESULTS.md"
    assert third == "WEAT's weight at E(x) = -11.47: 0.0872 is 'as published', not 'not reproduced'"


@pytest.mark.parametrize("claim", ALL, ids=lambda claim: claim.what)
def test_a_claim_is_whole(claim):
    """A papers' claim has its number, where that is from and a threshold that can be missed; ours has none of them."""
    assert claim.command.split()[0] in ("energylens", "python")
    assert claim.seed
    of_paper = [bool(claim.paper), bool(claim.provenance), bool(claim.threshold), claim.holds is not None]
    assert all(of_paper) or not any(of_paper)


def test_a_threshold_is_no_number_of_ours():
    """A sign, an order, a count of seeds, or the paper's own number."""
    for claim in TESTED:
        numbers = [word for word in claim.threshold.replace("%", "").split() if word[0].isdigit()]
        assert set(numbers) <= {"0", "0:", "95", "7.9"}, claim.threshold
    assert "7.9" in next(claim.paper for claim in TESTED if "7.9" in claim.threshold)


@pytest.mark.parametrize("claim", [one for one in TESTED if " seed" not in one.threshold], ids=lambda claim: claim.what)
def test_every_claim_of_a_number_can_fail_and_can_hold(claim, monkeypatch):
    ends = {"PGD": -0.7, "TRADES": -0.06, "MAIL-TRADES": -0.05, "WEAT_nat": -0.04, "WEAT_adv": -0.01}
    monkeypatch.setattr(claims, "_last_delta", lambda method, cache: ends[method])
    monkeypatch.setattr(claims, "_without", lambda rule, quantity, column, cache: 1.5)
    monkeypatch.setattr(claims, "_summarised", lambda model, attack, n, column, cache: 2.0)
    found = {
        claim.holds(value, RunCache()) for value in (-9.0, -0.5, -0.001, 0.001, 0.0872, 0.257, 0.5, 1.4427, 1.6, 9.0)
    }
    assert found == {True, False}


def test_nearest_to_zero_is_a_comparison(monkeypatch):
    (claim,) = [one for one in TESTED if one.threshold == "nearest to 0 of all four"]
    ends = {"TRADES": -0.044, "MAIL-TRADES": -0.032, "WEAT_nat": 0.006}
    monkeypatch.setattr(claims, "_last_delta", lambda method, cache: ends[method])
    assert claim.verdict(-0.005, RunCache()) == "as published; other data"
    assert claim.verdict(-0.007, RunCache()) == "not reproduced; other data"
    ends["WEAT_nat"] = -1.0
    assert claim.verdict(0.04, RunCache()) == "not reproduced; other data"


@pytest.mark.parametrize(
    ("co", "verdicts"),
    [((3, 0), ("as published", "as published")), ((2, 1), ("not reproduced", "not reproduced"))],
)
def test_a_collapse_is_that_of_every_seed_and_holding_that_of_all(co, verdicts, monkeypatch):
    fallen = dict(zip(("FGSM", "RS-FGSM"), co, strict=True))
    monkeypatch.setattr(claims, "_collapsed", lambda arm: (fallen[arm], 3))
    for arm, verdict in zip(fallen, verdicts, strict=True):
        (claim,) = [one for one in TESTED if f", {arm}: PGD-" in one.what]
        assert claim.verdict(0.0, RunCache()) == f"{verdict}; other data"


def test_der_must_lose_less_in_every_seed(monkeypatch):
    runs = pd.DataFrame({"seed": [0, 1, 0, 1], "arm": ["PGD"] * 2 + ["PGD + DER"] * 2, "lost": [9.0, 8.0, 2.0, 7.0]})
    monkeypatch.setattr(claims, "_study", lambda name: runs)
    assert claims._loses_less(4.5, RunCache())
    runs.loc[3, "lost"] = 8.5
    assert not claims._loses_less(5.0, RunCache())


def test_a_verdict_of_chance_is_checked_against_the_interval(monkeypatch):
    monkeypatch.setattr(claims, "_without", lambda rule, quantity, column, cache: 1.5)
    assert claims._worse_than_random("low-energy", 2.0, RunCache())
    assert not claims._worse_than_random("low-energy", 1.4, RunCache())


def test_the_recorded_lines_are_written_anew_and_the_others_left(tmp_path, monkeypatch):
    old = tmp_path / "RESULTS.md"
    text = RESULTS.read_text()
    some = next(claim for claim in ALL if claim.recorded)
    line = next(line for line in text.splitlines() if line.startswith(f"| {some.what} |"))
    old.write_text(text.replace(line, line.replace(", recorded", "9, recorded")).replace("| 1.4427 |", "| 1.5 |", 1))
    monkeypatch.setattr(claims, "RESULTS", old)
    table = kept(ALL, RunCache())
    new = page(table)
    assert line in new.splitlines() and "| 1.5 |" in new
    assert table["claim"].tolist() == [claim.what for claim in ALL]


def test_lines_carry_command_and_verdict():
    table = measured(QUICK[:1], RunCache())
    assert table["command"][0] == f"`{QUICK[0].command}`"
    assert table["ours"][0] == written()[QUICK[0].what]["ours"]
    assert table["verdict"][0] == written()[QUICK[0].what]["verdict"]
