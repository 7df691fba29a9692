"""The field's words, and no others for the same things: a reader of RobustBench or timm needs no dictionary."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
INSTEAD = {  # a word that was ours: the field's
    "exhibit": "figure, table",
    "rung": "consistency check",
    "patient": "model under test",
    "disease": "fault",
    "felled": "broken",
    "dear": "expensive",
    "to and fro": "alternating",
    "goes before": "overrides",
    "looks? through": "uses, computes",
    "lab": "run cache",
}
EARLIER = {"ladder": "checks", "kernels": "backend"}  # names that old commands and records have, and still may
READS_EARLIER = re.compile(r"earlier|formerly|FORMERLY|own\[|\.get\(|ladder is None|def ladder|ladder: bool|\"ladder\"")
TEXT = {".py", ".md", ".toml", ".html", ".js", ".css"}
ITSELF = Path(__file__).relative_to(ROOT)


def lines():
    """Every line of the repository's own text, with where it is."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    if not listed:
        pytest.skip("no git checkout here")
    for name in map(Path, listed):
        if name.suffix in TEXT and name != ITSELF and (ROOT / name).is_file():
            for number, line in enumerate((ROOT / name).read_text(encoding="utf-8").splitlines(), 1):
                yield name, number, line


@pytest.mark.parametrize(("word", "instead"), INSTEAD.items())
def test_words_that_no_dictionary_of_the_field_has_are_gone(word, instead):
    form = re.compile(rf"\b{word}s?\b", re.IGNORECASE)
    found = [f"{name}:{number}: {line.strip()}" for name, number, line in lines() if form.search(line)]
    assert not found, f"write {instead}:\n" + "\n".join(found)


@pytest.mark.parametrize(("word", "instead"), EARLIER.items())
def test_an_earlier_name_stands_only_where_it_is_read(word, instead):
    """In the package; tests and docs of old commands may use it."""
    form = re.compile(rf"(?<!float32 )\b{word}\b")
    found = [
        f"{name}:{number}: {line.strip()}"
        for name, number, line in lines()
        if name.parts[0] == "energylens" and form.search(line) and not READS_EARLIER.search(line)
    ]
    assert not found, f"write {instead}:\n" + "\n".join(found)
