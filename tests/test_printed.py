"""What ``print`` shows of a result is a table that fits a terminal, and ``summary`` is one in pandas."""

import pandas as pd
import pytest

import energylens as el


@pytest.fixture(scope="module")
def record():
    return el.profile("digits-pgd", attacks=["fgsm", "pgd,steps=3"], n=40, ladder=False)


def test_a_printed_record_is_its_title_and_a_row_an_attack(record):
    title, heading, *rows = str(record).splitlines()
    assert title == "digits-pgd on digits, 40 samples, eps 0.2 linf, seed 0"
    assert heading.split() == ["attack", "accuracy", "E(x)", "E(x,y)", "dE(x)", "dE(x,y)", "AAE"]
    assert [row.split()[0] for row in rows] == ["natural", "fgsm", "pgd,steps=3"]
    assert max(map(len, str(record).splitlines())) <= 80
    assert repr(record) == f"Record({title}: natural, fgsm, pgd,steps=3)"
    assert "manifest" not in repr(record.attacks[0]) and len(repr(record.attacks[0])) < 80


def test_the_summary_is_a_table_of_the_numbers(record):
    summary = record.summary()
    assert isinstance(summary, pd.DataFrame) and list(summary["attack"]) == ["natural", "fgsm", "pgd,steps=3"]
    for row, numbers in zip(summary.to_dict("records"), record.as_numbers(), strict=True):
        assert {name: row[name] for name in numbers if numbers[name] is not None} == {
            name: value for name, value in numbers.items() if value is not None
        }


def test_every_other_result_prints_as_a_table_too(tmp_path):
    made = el.generate("digits-pgd", n=10, steps=1, out=tmp_path)
    scores = el.score(made.folder)
    for result, rows in ((made, 11), (scores, 3), (el.examine("digits-standard", n=48), 1)):
        lines = str(result).splitlines()
        assert len(lines) > rows and max(map(len, lines)) < 240 and "(" not in lines[0][:8]
    assert list(made.summary()["class"]) == [*map(str, range(10)), "all"]
    assert made.summary()["reference"].isna().all()
    assert scores.summary()["images"].tolist() == [row.name for row in scores.rows]
