"""README and docs hang together: every page is led to, every link leads somewhere, every command shown exists."""

import re
import shlex
from pathlib import Path

import click
import pytest

from energylens.cli import COMMANDS, root

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted(ROOT.glob("docs/**/*.md"))]
LINK = re.compile(r"(?<!`)\[[^\]]*\]\(([^)\s]+)\)")
FENCED = re.compile(r"^```.*?^```\n?", re.DOTALL | re.MULTILINE)
ADDED = {"energylens train --restarts 2"}  # with an option that the reader adds
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def links(page):
    """(file, anchor) of every link to a file of the repository, outside code."""
    for target in LINK.findall(FENCED.sub("", page.read_text())):
        if "://" not in target:
            path, _, anchor = target.partition("#")
            yield ((page.parent / path).resolve() if path else page), anchor


def anchors(page):
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", FENCED.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(page):
    """The words of every energylens command of a page, and whether a sentence only mentions it."""
    text = page.read_text().replace("\\\n", " ")
    lines = re.findall(r"^(?:    |\$ )(?:.*-- )?energylens (.*)$", text, re.MULTILINE)
    spans = [" ".join(span.split()) for span in re.findall(r"(?<!`)`energylens ([^`]+)`", text)]
    mentioned = [(span, True) for span in spans if span.split()[0] in COMMANDS]
    for line, mention in [*((line, False) for line in lines), *mentioned]:
        words = shlex.split(line, comments=True)
        yield words[: words.index(">")] if ">" in words else words, mention


def test_the_front_page_is_two_screens_and_every_page_two_clicks_away():
    assert len(README.read_text().splitlines()) <= 220
    once = {path for path, _ in links(README) if path in PAGES}
    twice = {path for page in once for path, _ in links(page)}
    assert set(PAGES) - {README} <= once | twice


@each_page
def test_every_link_leads_somewhere(page):
    for path, anchor in links(page):
        assert path.exists(), f"{page.name} links to {path}"
        assert not anchor or anchor in anchors(path), f"{page.name} links to {path.name}#{anchor}"


@each_page
def test_every_command_shown_and_each_of_its_options_exist(page):
    for (name, *words), mention in commands(page):
        if name in ("--version", "--help") or " ".join(["energylens", name, *words]) in ADDED:
            continue  # of no command: tests/cli/test_version.py has it
        command = root.get_command(click.Context(root), name)
        assert command is not None, f"{page.name}: energylens {name}"
        context = click.Context(command, info_name=name, help_option_names=["-h", "--help"])
        words += ["-"] * mention  # for an option that is mentioned without its value
        values, _, given = command.make_parser(context).parse_args(words)
        for option in given:
            if isinstance(option, click.Option) and isinstance(option.type, click.Choice):
                option.type_cast_value(context, values[option.name])


@each_page
def test_every_module_and_every_file_named_exists(page):
    text = page.read_text()
    modules = set(re.findall(r"python -m ((?:energylens|analyses|benchmarks|tests)(?:\.\w+)*)", text))
    paths = set(re.findall(r"`((?:energylens|analyses|benchmarks|tests|examples|docs)/[\w./-]+)`", text))
    places = [(ROOT / path,) for path in paths]
    places += [
        (at.with_suffix(".py"), at / "__main__.py") for at in (ROOT / name.replace(".", "/") for name in modules)
    ]
    assert not [files[0] for files in places if not any(file.exists() for file in files)]
