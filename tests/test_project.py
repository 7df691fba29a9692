"""The habits of a project: citation, changelog and contributing page say what is so, and types are declared."""

import re
import shlex
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml

from energylens.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
README = (ROOT / "README.md").read_text()


@pytest.fixture(scope="module")
def citation():
    return yaml.safe_load((ROOT / "CITATION.cff").read_text())


def test_the_citation_is_of_this_version_and_has_what_the_form_asks(citation):
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])
    assert citation["title"].startswith(f"{PROJECT['name']}: ")


def test_the_citation_has_the_papers_as_the_front_page_has_them(citation):
    front = " ".join(README.partition("## Papers")[2].split())
    assert len(citation["references"]) == 2
    for paper in citation["references"]:
        *names, last = (person["family-names"] for person in paper["authors"])
        (identifier,) = paper["identifiers"]
        number = identifier["value"].removeprefix("arXiv:")
        assert f"{', '.join(names)} and {last}, *{paper['title']}*, arXiv {number}." in front


def test_the_changelog_is_in_its_form_and_knows_this_version():
    text = (ROOT / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## \[(.+?)\](?: - (\d{4}-\d\d-\d\d))?$", text, re.MULTILINE)
    assert versions[0] == ("Unreleased", "")
    assert all(date for _, date in versions[1:]) and PROJECT["version"] in dict(versions)
    dates = [date for _, date in versions[1:]]
    assert dates == sorted(dates, reverse=True)
    kinds = set(re.findall(r"^### (.*)$", text, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_every_command_of_the_changelog_exists():
    told = re.findall(r"`energylens ([a-z]+)[ `]", (ROOT / "CHANGELOG.md").read_text())
    assert told and set(told) <= set(COMMANDS)


def test_the_contributing_page_leads_somewhere():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    for path, anchor in re.findall(r"\]\(([\w./-]+)(?:#([\w-]+))?\)", text):
        assert (ROOT / path).is_file(), path
        headings = re.findall(r"^#+ (.*)$", (ROOT / path).read_text(), re.MULTILINE)
        assert not anchor or anchor in [heading.lower().replace(" ", "-") for heading in headings], anchor
    named = re.findall(r"`((?:energylens|tests|docs)/[\w./-]*)`", text)
    for line in re.findall(r"^    python -m pytest (.*)$", text, re.MULTILINE):
        named += [word for word in shlex.split(line, comments=True) if "/" in word]
    assert len(named) > 10 and not [path for path in named if not (ROOT / path).exists()]


def test_the_style_has_ten_lines():
    style = (ROOT / "CONTRIBUTING.md").read_text().partition("## Style, in ten lines")[2]
    assert re.findall(r"^(\d+)\. ", style, re.MULTILINE) == [str(number) for number in range(1, 11)]


def test_types_are_declared_and_the_metadata_says_what_is_so():
    assert (ROOT / "energylens" / "py.typed").is_file()
    assert "Typing :: Typed" in PROJECT["classifiers"]
    assert "urls" not in PROJECT  # none is known
    least = PROJECT["requires-python"].removeprefix(">=")
    assert f"Programming Language :: Python :: {least}" in PROJECT["classifiers"]
    assert metadata.version("energylens") == PROJECT["version"]
