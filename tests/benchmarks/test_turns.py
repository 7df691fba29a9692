"""What the benchmarks publish follows from what they measured."""

import json

import pandas as pd

from benchmarks import run
from benchmarks.turns import Seconds, compared, in_turn


def test_ratios_are_of_the_same_turn_and_above_one_where_quicker():
    times = {
        "loop": [Seconds(2.0, 4.0), Seconds(4.0, 4.0), Seconds(3.0, 4.0)],
        "ours": [Seconds(1.0, 2.0), Seconds(1.0, 4.0), Seconds(2.0, 1.0)],
    }
    table = compared(times, ["loop"], work=6).set_index("way")
    assert table.loc["ours", "x loop"] == "2.00 (1.50 to 4.00)"
    assert table.loc["ours", "x loop by CPU seconds"] == "2.00 (1.00 to 4.00)"
    assert table.loc["loop", "x loop"] == "1.00 (1.00 to 1.00)"
    assert table.loc[["loop", "ours"], "images/s"].tolist() == ["2", "6"]


def test_turns_go_to_and_fro_and_give_what_came_last():
    done = []

    def way(name):
        return lambda: done.append(name) or len(done)

    times, given = in_turn({"a": way("a"), "b": way("b")}, turns=2)
    assert done == ["a", "b", "b", "a", "a", "b"]
    assert given == {"a": 5, "b": 6}
    assert {name: len(own) for name, own in times.items()} == {"a": 2, "b": 2}


def test_a_table_stands_between_its_marks(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "RESULTS", tmp_path)
    pd.DataFrame({"way": ["loop"], "seconds": ["1.0"]}).to_csv(tmp_path / "pgd.csv", index=False)
    about = {"command": "the command", "setting": "the setting", "machine": "a machine", "versions": "torch 2"}
    (tmp_path / "pgd.json").write_text(json.dumps(about))
    page = "before\n<!-- pgd -->\nold\n<!-- end -->\nbetween\n<!-- task -->\n<!-- end -->\n"
    written = run.with_tables(page)
    assert "old" not in written and "| loop | 1.0 |" in written and "*the setting; a machine; torch 2.*" in written
    assert "Recorded: [pgd.csv](results/pgd.csv), seed 0: `the command`." in written
    assert written.endswith("<!-- end -->\nbetween\n<!-- task -->\n<!-- end -->\n")
    assert run.with_tables(written) == written
