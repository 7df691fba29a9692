"""Every command and every Python block of README and site runs as it is shown, or is told here why it does not.

A command is run with fewer samples, steps or epochs than it has by itself (``SHORTER``), in one folder for all pages.
"""

import re
import shlex
import sys
from pathlib import Path

import pytest

from energylens.cli import main

ROOT = Path(__file__).resolve().parents[1]
BY_ROW = {ROOT / "docs" / "extend" / "index.md"}  # its Python is added as rows and run by tests/test_readme.py
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")])
FENCED = re.compile(r"^```(.*?)\n(.*?)^```\n?", re.DOTALL | re.MULTILINE)

#: What is not run, as a pattern of the command or of the block, and why.
NOT_RUN = {
    r"^(pip|mkdocs|eval) ": "changes the environment or the shell; .ci/run installs and tests",
    r"^python -m pytest": "this is what runs it",
    r"^energylens .*(--data-root|--dataset cifar10|autoattack-resnet18|imagenette)": "needs CIFAR-10 or ImageNet",
    r"^energylens .*(Carmon2019|resnet4b)": "needs a download",
    r"^energylens .*--recipe": "needs CIFAR-10, and minutes to days",
    r"^energylens figures (?!--list)": "minutes each: tests/figures draws every figure at a small size",
    r"^python -m analyses": "hours",
    r"^torchrun": "several processes: tests/records/test_shards.py and tests/training start them",
    r"^energylens .*--attack (autoattack|diff-pgd)": "minutes: tests/attacks has them",
    r"^energylens .*(package\.module|quantised:|my\.pt|\bRUN\b)": "stands for something of the reader's",
    r"^energylens .*(bim|moved|mixed|logit-pairing|train --restarts|digits-tiny)": "the reader's row: a test adds it",
    r"import ImageFolder": "pictures of the reader's: tests/test_readme.py draws some, and runs it",
    r"import duckdb": "duckdb is in no extra: it is the reader's",
    r"import lightning\n": "lightning is in no extra: tests/training/test_callbacks.py has a stand-in",
    r"import torchattacks|^def apgd": "torchattacks is in no extra: benchmarks give it an environment of its own",
}
SHORTER = {
    "profile": "--n 12", "histogram": "--n 12", "trajectory": "--n 12", "doctor": "--n 48",
    "generate": "--n 10 --steps 1", "train": "--epochs 1 --per-class 8 --steps 1 --eval-samples 20",
}  # fmt: skip
WILD = re.compile(r"[-/]\*")  # folders; a pattern of names is the command's
BEFORE = {  # what a command needs that another one makes, by a word of it
    "runs/train": "energylens train",
    "runs/digits-pgd/generate": "energylens generate --model digits-pgd",
    "runs/digits-standard": "energylens profile",
    "share-": "energylens profile --attack pgd --shard 1/2 --out share-1",
}


def reason_of(text):
    return next((why for pattern, why in NOT_RUN.items() if re.search(pattern, text)), "")


def command_lines(page):
    """The lines of a page that are typed into a shell, a broken one as one line."""
    text = page.read_text().replace("\\\n", " ")
    prompted = re.findall(r"^\$ (.*)$", text, re.MULTILINE)
    indented = re.findall(
        r"^    ((?:energylens|python|pip|torchrun|mkdocs|eval) .*)$", FENCED.sub("", text), re.MULTILINE
    )
    return [line.partition(" #")[0].strip() for line in (*prompted, *indented)]


def python_blocks(page):
    return [code for language, code in FENCED.findall(page.read_text()) if language.strip() == "python"]


LINES = sorted({line for page in PAGES for line in command_lines(page)})
RUN = [line for line in LINES if not reason_of(line)]
WITH_PYTHON = [page for page in PAGES if python_blocks(page) and page not in BY_ROW]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("shown")


def typed(line, monkeypatch):
    """Run a command as a shell would, wildcards filled in; its exit status."""
    name, *words = shlex.split(line.removeprefix("energylens "))
    filled = [str(path) for word in words for path in (sorted(Path().glob(word)) if WILD.search(word) else [word])]
    shorter = shlex.split(SHORTER.get(name, ""))
    monkeypatch.setattr(sys, "argv", ["energylens", name, *filled, *shorter])
    try:
        main()
    except SystemExit as stop:
        return stop.code or 0
    return 0


@pytest.mark.parametrize("line", RUN)
def test_a_command_runs(line, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    for before in (command for word, command in BEFORE.items() if word in line):
        assert typed(before, monkeypatch) == 0
    status = typed(line, monkeypatch)
    assert status == 0 or (line.startswith("energylens doctor") and status == 1), capsys.readouterr().err


@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: page.name)
def test_the_python_of_a_page_runs_from_top_to_bottom(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": page.stem}
    run = [code for code in python_blocks(page) if not reason_of(code)]
    for code in run:
        exec(compile(code, str(page), "exec"), names)
    assert run or all(map(reason_of, python_blocks(page)))


@pytest.mark.parametrize("pattern", NOT_RUN)
def test_every_reason_is_needed(pattern):
    """A pattern that nothing matches is a leftover."""
    shown = [*LINES, *(code for page in PAGES for _, code in FENCED.findall(page.read_text()))]
    assert any(re.search(pattern, text) for text in shown)
