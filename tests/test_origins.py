"""Every picture and every table of numbers in README and docs says where it is from, and shows what was recorded.

Below each stands a line ``Recorded: [NAME.csv](PATH), seed N: `COMMAND`.``, with ";" between several records. The link
leads to a CSV in the repository, beside which a JSON names the same command and seed, and the machine. A link
to a CSV elsewhere whose text holds a number is held to that number.

A cell's number must be a recorded one after rounding: of the record's row that the line of the table names (its value,
or over several rows their mean, standard deviation, least, largest, sum or count), in the column of its heading where
the record has that.
"""

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "RESULTS.md", ROOT / "benchmarks" / "README.md", *ROOT.glob("docs/**/*.md")])
LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+\.csv)\)")
RECORD = re.compile(r"\[[^\]]*\]\(([^)\s]+\.csv)\), seeds? ([\d, ]+): `([^`]+)`")
PICTURE = re.compile(r"!\[[^\]]*\]\(([^)]+)\)", re.DOTALL)
NUMBER = re.compile(r"(?<![\w.])[-+−]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:e[-+]?\d+)?(?![\w])")
TENS = {f"{tens}0" for tens in range(1, 10)}  # large numbers are shown by their first two or three digits
WANTED = ("wanted",)  # headings of columns that hold goals
PRINTED = re.compile(r"^\$ (energylens (?:profile|doctor)[^\n]*)", re.MULTILINE)


@dataclass(frozen=True)
class Piece:
    """A picture, table or printed block of a page. below: the paragraph that tells its origin, "" for none."""

    page: Path
    kind: str
    text: str
    below: str

    def __str__(self):
        return f"{self.page.relative_to(ROOT)}, {self.kind} {self.text.splitlines()[0][:60]!r}"


def blocks(text):
    """The paragraphs of a page, a fenced block as one of them; HTML comments alone in a line part paragraphs too."""
    found, lines, fenced = [], [], False
    for line in text.splitlines():
        if line.startswith("```"):
            fenced = not fenced
        apart = not line.strip() or (line.startswith("<!--") and line.endswith("-->"))
        if apart and not fenced:
            if lines:
                found.append("\n".join(lines))
            lines = []
        else:
            lines.append(line)
    return [*found, "\n".join(lines)] if lines else found


def kind_of(block):
    if block.startswith("!["):
        return "picture"
    if block.startswith("|") and is_of_numbers(block):
        return "table"
    if block.startswith("```") and PRINTED.search(block):
        return "printed"
    return ""


def cells_of(block):
    """The rows of a Markdown table, its headings first."""
    lines = [line for line in block.splitlines() if line.startswith("|")]
    split = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))] for line in lines]
    return [row for row in split if any(set(cell) - set("-: ") for cell in row)]


def is_of_numbers(block):
    """Whether a third of its cells, behind the first column, are numbers."""
    headings, *rows = cells_of(block)
    body = [cell for row in rows for cell in row[1:]]
    if (
        "source" in headings
    ):  # constants, each with its source: tests/training/test_documented.py holds them to the code
        return False
    return sum(bool(re.match(r"[*±+\-−]*\.?\d", cell)) for cell in body) >= max(1, len(body) / 3)


def pieces():
    found = []
    for page in PAGES:
        parts = blocks(page.read_text())
        for at, block in enumerate(parts):
            if kind := kind_of(block):
                below = [part for part in parts[at + 1 : at + 4] if not part.startswith("#")]
                origin = next((part for part in below if part.startswith("Recorded: ")), "")
                found.append(Piece(page, kind, block, origin))
    return found


PIECES = pieces()


def records(text, page):
    """(CSV, seeds, command) of every record that a line names."""
    return [
        ((page.parent / path).resolve(), [int(seed) for seed in re.findall(r"\d+", seeds)], command)
        for path, seeds, command in RECORD.findall(" ".join(text.split()))
    ]


def about(csv):
    """The JSON beside a CSV, which names command, seed and machine."""
    assert csv.is_file() and ROOT in csv.parents, f"{csv} is not in the repository"
    told = json.loads(csv.with_suffix(".json").read_text())
    assert {"command", "seed", "machine"} <= told.keys(), csv.with_suffix(".json")
    return told


@pytest.mark.parametrize("piece", PIECES, ids=str)
def test_a_picture_or_table_says_where_it_is_from(piece):
    named = records(piece.below, piece.page)
    assert named, f"{piece}: no line 'Recorded: [NAME.csv](PATH), seed N: `COMMAND`' below it"
    for csv, seeds, command in named:
        told = about(csv)
        assert command == told["command"], piece
        assert seeds == (told["seed"] if isinstance(told["seed"], list) else [told["seed"]]), piece
        assert len(pd.read_csv(csv)), piece
        assert csv.stat().st_size < 300_000, piece
    if piece.kind == "picture":
        (picture,) = PICTURE.findall(piece.text)
        assert (piece.page.parent / picture).is_file()


@pytest.mark.parametrize("piece", [one for one in PIECES if one.kind != "picture"], ids=str)
def test_shown_numbers_are_the_recorded_ones(piece):
    tables = [pd.read_csv(csv, keep_default_na=False, na_values=[""]) for csv, *_ in records(piece.below, piece.page)]
    wrong = of_block(piece.text, tables[0]) if piece.kind == "printed" else of_table(cells_of(piece.text), tables)
    assert not wrong, f"{piece}: {'; '.join(wrong[:5])}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_number_that_links_to_a_record_is_in_it(page):
    for text, path in LINK.findall(page.read_text()):
        csv = (page.parent / path).resolve()
        about(csv)
        shown = re.sub(r"[\w-]+\.csv", "", " ".join(text.split()))
        recorded = pool(pd.read_csv(csv))
        assert all(among(number, recorded) for number in numbers(shown)), f"{page.name}: {text}"


def test_what_was_drawn_is_shown_somewhere_and_every_record_is_told_of():
    """No picture and no record lies about that no page leads to."""
    text = "\n".join(page.read_text() for page in PAGES)
    told = {(page.parent / path).resolve() for page in PAGES for path in PICTURE.findall(page.read_text())}
    drawn = {*ROOT.glob("docs/**/*.png"), *ROOT.glob("figures/**/*.png")}
    assert drawn == {path for path in told if path.suffix == ".png"}
    shown = [*ROOT.glob("analyses/results/shown/*.csv"), *ROOT.glob("analyses/results/gallery/*.csv")]
    assert not [path.name for path in shown if path.name not in text]


@pytest.mark.parametrize(
    ("shown", "value", "same"),
    [("16.1", 16.149, True), ("16.1", 16.16, False), (".36", 0.359, True), ("298", 298.4, True), ("298", 299, False)],
)
def test_a_number_is_the_recorded_one_after_rounding(shown, value, same):
    assert among(shown, [value]) == same


def test_a_table_is_held_to_its_rows_and_headings():
    record = pd.DataFrame({"arm": ["a", "a", "b"], "lost": [1.0, 3.0, 9.0], "best": [50.0, 52.0, 60.0]})
    headings = ["", "lost", "at best"]
    assert of_table([headings, ["**a** *", "2.0 ± 1.4", "51.0"], ["b", "9.0", "60.0"]], [record]) == []
    assert of_table([headings, ["a", "51.0", "51.0"]], [record]) == ["a: 51.0"]  # of the other column
    assert of_table([headings, ["a", "2.0", "60.0"]], [record]) == ["a: 60.0"]  # of the other row


def of_table(rows, tables):
    """What the cells of a table say that no record does."""
    headings, *body = rows
    wrong = []
    for label, *cells in body:
        name = re.sub(r"[*`]", "", label).strip()
        chosen = [named(table, name) for table in tables]
        if len(tables) > 1 and any(len(part) < len(table) for part, table in zip(chosen, tables, strict=True)):
            chosen = [part for part, table in zip(chosen, tables, strict=True) if len(part) < len(table)]
        whole = [value for part in chosen for value in pool(part)]
        for heading, cell in zip(headings[1:], cells, strict=True):
            if heading in WANTED:
                continue
            columns = [part[[heading]] for part in chosen if heading in part]
            recorded = [value for part in columns for value in pool(part)] or whole
            wrong += [f"{name}: {number}" for number in numbers(cell) if not among(number, recorded)]
    return wrong


def of_block(text, table):
    """What a printed block says that the record does not."""
    told = " ".join(text.split())
    if "measured" in table:  # the doctor's
        said = [" ".join([row.check, row.verdict, str(row.measured)]) for row in table.itertuples()]
        return [line for line in said if line not in told]
    wrong = []
    for attack in table["attack"]:
        (line,) = [line for line in text.splitlines() if line.split()[:1] == [attack]]
        recorded = pool(table[table["attack"] == attack])
        shown = numbers(line.replace(attack, "", 1).replace("+", " ").replace("/", " "))
        wrong += [f"{attack}: {number}" for number in shown if not among(number, recorded)]
    return wrong


def named(table, label):
    """The rows that a label names in a cell; all of them where none does."""
    words = table.select_dtypes(exclude="number").astype(str)
    hit = words.apply(lambda column: column.str.strip() == label).any(axis=1)
    return table[hit] if hit.any() else table


def pool(table):
    """Every number that a record holds, those in its words, and what a table may tell of several rows."""
    found = [float(len(table))]
    for name, column in table.items():
        if pd.api.types.is_numeric_dtype(column):
            values = column.dropna().astype(float)
            found += [*values, values.mean(), values.std(), values.min(), values.max(), values.sum()]
        else:
            found += [as_number(word) for cell in column.dropna().astype(str) for word in numbers(cell)]
            found += column.value_counts().astype(float).tolist()
        if name == "low" and "high" in table:
            found += ((table["high"] - table["low"]) / 2).tolist()
    return [value for value in found if not math.isnan(value)]


def numbers(text):
    """The numbers in a text as they are written there; not those in code, nor in names."""
    return [word for word in NUMBER.findall(re.sub(r"`[^`]*`", "", text)) if any(map(str.isdigit, word))]


def as_number(word):
    return float(word.replace("−", "-").replace(",", ""))


def among(word, recorded):
    """Whether a number as it is written is one of the recorded ones after rounding."""
    value, digits = as_number(word), len(word.partition("e")[0].partition(".")[2])
    zeros = len(word) - len(word.rstrip("0")) if not digits and (len(word) > 3 or word[1:] in TENS) else 0
    slack = 0.5001 * 10.0 ** (zeros - digits) + 1e-5 * abs(value)
    return any(abs(value - one) <= slack for one in recorded)
