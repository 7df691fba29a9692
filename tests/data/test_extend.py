"""A data set is added by a commit of one file and its test, as the docs show it."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "extend" / "index.md"
ADDED, TESTED = re.findall(r"^```diff\n(.*?)^```", PAGE.read_text().partition("\n## A data set\n")[2], re.M | re.S)[:2]


def test_it_is_a_commit_of_about_fifteen_lines_in_one_file(commit):
    assert len(re.findall(r"^\+[^+\n]", ADDED, re.M)) <= 15
    commit(ADDED, TESTED)
