"""What is made when the site is built, so that nothing is written twice: tables of rows, options, pages from elsewhere.

A hook of mkdocs (see ``mkdocs.yml``). A page asks for a table by ``<!-- generated: NAME -->``. Its links may lead to
any file of the repository, as they do where the repository is browsed.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

from energylens.attacks.registry import ATTACKS
from energylens.cli import COMMANDS, root
from energylens.cli.help import Command
from energylens.cli.tables import cells_of
from energylens.figures.catalog import FIGURES
from energylens.generation.settings import GenerationSettings
from energylens.models.zoo import find_models
from energylens.settings import as_markdown, declared
from energylens.training.settings import TrainSettings

REPOSITORY = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((REPOSITORY / "examples").glob("*.ipynb"))
#: pages that lie outside docs/, by their place in the site
ELSEWHERE = {
    "results/claims.md": REPOSITORY / "RESULTS.md",
    "results/benchmarks.md": REPOSITORY / "benchmarks" / "README.md",
    "contributing/index.md": REPOSITORY / "CONTRIBUTING.md",
    "contributing/changelog.md": REPOSITORY / "CHANGELOG.md",
    **{f"notebooks/{notebook.stem}.md": notebook for notebook in NOTEBOOKS},
}
SHOWN_AS_CODE = {".py": "python", ".txt": "text", ".md": "markdown", ".cff": "yaml"}
MARK = re.compile(r"^<!-- generated: (.+) -->$", re.MULTILINE)
WIDE = re.compile("─{100}")  # the rule of a printed table that the column of text does not hold
LINK = re.compile(r"^```.*?^```|`(?:[^`\n]|\n(?!\n))*`|\]\(([^)\s#]+)(#[^)\s]*)?\)", re.DOTALL | re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from outside docs/ and every file of the repository that a page links to."""
    for place, path in ELSEWHERE.items():
        text = _notebook(path) if path.suffix == ".ipynb" else path.read_text()
        files.append(File.generated(config, place, content=text))
    for page in [file for file in files if file.src_uri.endswith(".md")]:
        for path in _linked(page.content_string, _origin(page.src_uri)):
            place = _place(path)
            if place and place not in files.src_uris:
                files.append(_copy(config, place, path))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fill in the tables that the page asks for, and turn its links to the repository into links within the site."""
    here = page.file.src_uri
    if WIDE.search(markdown) and markdown.count("\n## ") < 4:  # a short page needs no contents beside a wide table
        page.meta["hide"] = ["toc"]
    text = MARK.sub(lambda mark: GENERATED[mark[1]](), markdown)

    def turned(link: re.Match[str]) -> str:
        path = _target(link[1], _origin(here)) if link[1] else None
        place = path and _place(path)
        return f"]({os.path.relpath(place, Path(here).parent)}{link[2] or ''})" if place else link[0]

    return LINK.sub(turned, text)


def _origin(place: str) -> Path:
    """The file that a page of the site was made of."""
    return ELSEWHERE.get(place, REPOSITORY / "docs" / place)


def _target(link: str, origin: Path) -> Path | None:
    """The file of the repository that a link leads to; None for other links."""
    if urlsplit(link).scheme:
        return None
    path = Path(os.path.normpath(origin.parent / link))
    return path if path.is_relative_to(REPOSITORY) and path.is_file() else None


def _linked(text: str, origin: Path) -> Iterable[Path]:
    """The files of the repository that a text links to."""
    found = (_target(link[1], origin) for link in LINK.finditer(text) if link[1])
    return {path for path in found if path}


def _place(path: Path) -> str:
    """Where a file of the repository stands in the site."""
    known = {origin: place for place, origin in ELSEWHERE.items()}
    if path in known:
        return known[path]
    if path == REPOSITORY / "README.md":
        return "index.md"
    if path.is_relative_to(REPOSITORY / "docs"):
        return path.relative_to(REPOSITORY / "docs").as_posix()
    place = f"repository/{path.relative_to(REPOSITORY).as_posix()}"
    return f"{place}.md" if path.suffix in SHOWN_AS_CODE else place


def _copy(config: MkDocsConfig, place: str, path: Path) -> File:
    """A file of the repository as a file of the site; source is shown on a page."""
    if not (language := SHOWN_AS_CODE.get(path.suffix)):
        return File.generated(config, place, abs_src_path=str(path))
    title = path.relative_to(REPOSITORY).as_posix()
    text = f"# {title}\n\n````{language}\n{path.read_text()}````\n"
    return File.generated(config, place, content=text, inclusion=InclusionLevel.NOT_IN_NAV)


def _notebook(path: Path) -> str:
    """A notebook as a page: its text, its code, and what it printed and drew."""
    parts = []
    for cell in json.loads(path.read_text())["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"````python\n{source}\n````")
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                image = "".join(data["image/png"]).replace("\n", "")
                parts.append(f"![drawn by the cell above](data:image/png;base64,{image})")
            elif text := output.get("text") or data.get("text/plain"):
                parts.append(f"````text\n{''.join(text).rstrip()}\n````")
    return "\n\n".join(parts) + "\n"


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [headings, ["---"] * len(headings), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    """A text in a cell, where a line ends and a bar parts nothing."""
    parts = " ".join(str(text).split()).split("`")  # the odd ones are code, where a backslash would be shown
    return "`".join(part if at % 2 else part.replace("|", "\\|") for at, part in enumerate(parts)) or " "


def _listing(command: str, rows: Sequence[Any]) -> str:
    """The rows under the columns of the command that lists them; of a long table those in which rows differ."""
    columns = import_module(f"energylens.cli.{command}").COLUMNS
    cells = cells_of(columns, rows)
    kept = [at for at in range(len(columns)) if len(rows) < 5 or len({row[at] for row in cells}) > 1]
    return _table([columns[at].heading for at in kept], [[row[at] for at in kept] for row in cells])


def _data_sets() -> str:
    from energylens.data.catalog import DATA_SETS

    return _listing("datasets", list(DATA_SETS.values()))


def _models(data_set: str) -> Callable[[], str]:
    rows = [row for row in find_models(None) if (row.source, row.dataset) == ("robustbench", data_set)]
    return lambda: _listing("models", rows)


def _attack_settings() -> str:
    """A section for every kind of attack: its settings, and the attacks that have them."""
    parts = []
    for kind in dict.fromkeys(type(row.defaults) for row in ATTACKS):
        names = ", ".join(f"`{row.name}`" for row in ATTACKS if type(row.defaults) is kind)
        rows = [
            [f"`{one.name}`", one.written(one.default) or "-", ", ".join(one.plain) or one.allowed or "-", one.text()]
            for one in declared(kind)
        ]
        if rows:
            parts.append(f"### {names}\n\n{_table(['setting', 'default', 'values', 'what it sets'], rows)}")
    return "\n\n".join(parts)


def _commands() -> str:
    """A section for every command: what it does, how it is called, its options in their groups."""
    parts = []
    outer = click.Context(root, info_name="energylens")
    for name in COMMANDS:
        command = root.get_command(outer, name)
        assert isinstance(command, Command)
        context = click.Context(command, info_name=name, parent=outer)
        parts.append(f"## {name}\n\n{_prose(command.help or '')}")
        parts.append(f"```text\n{command.get_usage(context).removeprefix('Usage: ')}\n```")
        if command.examples:
            parts.append("```text\n" + "\n".join(command.examples) + "\n```")
        for heading, options in command.grouped(context).items() if command.first else [("", command.params)]:
            records = [record for one in options if (record := one.get_help_record(context))]
            rows = [[f"`{words.replace('  ', ' ')}`", text] for words, text in records]
            if rows:
                parts.append(_table([heading or "Options", " "], rows))
    return "\n\n".join(parts)


def _prose(text: str) -> str:
    """The paragraphs of a help text, without the marks that click reads."""
    return "\n\n".join(" ".join(part.replace("\b", "").split()) for part in text.split("\n\n"))


def _figures() -> str:
    return _table(
        ["figure", "what it answers", "source"], [[f"`{name}`", row.about, row.source] for name, row in FIGURES.items()]
    )


GENERATED: dict[str, Callable[[], str]] = {
    "settings of training": cache(lambda: as_markdown(TrainSettings)),
    "settings of generation": cache(lambda: as_markdown(GenerationSettings)),
    "settings of attacks": cache(_attack_settings),
    "attacks": lambda: _listing("attacks", ATTACKS),
    "data sets": _data_sets,
    "our models": lambda: _listing("models", [row for row in find_models(None) if row.source != "robustbench"]),
    "models of CIFAR-10": _models("cifar10"),
    "models of CIFAR-100": _models("cifar100"),
    "models of ImageNet": _models("imagenet"),
    "commands": _commands,
    "figures": _figures,
}
