"""The gallery: what `energylens figures` drew, a picture a figure, as a page that a repository can hold.

    energylens figures all
    python -m analyses.gallery figures-drawn/demo

writes ``docs/results/gallery.md`` and, into ``figures``, its pictures. What each draws goes as CSV to
``analyses/results/gallery``, with its command, seeds and machine beside it as JSON; a figure of a recorded study tells
that study's file. Figures that were not drawn this time stay as they are.
"""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from textwrap import fill

import click
import pandas as pd
from PIL import Image

from energylens.figures.catalog import FIGURES
from energylens.files import whole_file
from energylens.tables.origin import record_table

WIDEST = 1000  # pixels
COLOURS = 256  # of a picture's palette: with fewer, lines of two series came to one colour
PAGE, PICTURES = Path("docs", "results", "gallery.md"), Path("figures")
UP = "../.."  # from the page to the checkout
RECORDS, RECORDED = Path("analyses", "results", "gallery"), Path("energylens", "figures", "recorded")
STUDIES = {  # of what is drawn that was recorded before
    "published": "claims", "co": "co-epochs", "ro": "ro-epochs", "aae": "co-falls", "energy-forms": "energy-forms-runs",
}  # fmt: skip
filled = partial(fill, width=120, break_on_hyphens=False)
HEAD = """# Gallery

What `energylens figures` drew: each figure with the question it answers, how to read it, what it was drawn of, and the
command that draws it again. This page is made by `python -m analyses.gallery`.
"""


@click.command()
@click.argument("drawn", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("checkout", type=click.Path(file_okay=False, path_type=Path), default=Path(__file__).parents[1])
def main(drawn: Path, checkout: Path) -> None:
    """Make CHECKOUT's gallery, by default this one's, out of DRAWN, a folder that `energylens figures` has filled."""
    new = [name for name in FIGURES if (drawn / f"{name}.json").is_file()]
    if not new:
        raise click.BadParameter(f"{drawn} holds no figure: `energylens figures all` draws into figures-drawn/demo")
    page = checkout / PAGE
    for folder in (page.parent, checkout / PICTURES):
        folder.mkdir(parents=True, exist_ok=True)
    parts = {**former(page), **{name: entry(name, drawn, checkout) for name in new}}
    names = [name for name in FIGURES if name in parts]
    with whole_file(page) as temporary:
        temporary.write_text("\n".join([HEAD, *(parts[name] for name in names)]))
    click.echo(f"{page}: {len(names)} of {len(FIGURES)} figures, {len(new)} of them new")


def former(page: Path) -> dict[str, str]:
    """The parts of a page that is there, by figure.

    Args:
        page: a Markdown file, which need not exist.

    Returns:
        Figure -> its part; empty where there is no page.
    """
    text = page.read_text() if page.is_file() else ""
    parts = re.split(r"^(?=## )", text, flags=re.MULTILINE)[1:]
    return {part.splitlines()[0].removeprefix("## "): part.rstrip("\n") + "\n" for part in parts}


def keep(name: str, drawn: Path, checkout: Path) -> str:
    """Record what a figure draws.

    Args:
        name: of the figure.
        drawn: the folder that it was drawn into.
        checkout: whose records these are.

    Returns:
        The line that tells where it is, its seeds and its command.
    """
    about = json.loads((drawn / f"{name}.json").read_text())
    if not (study := STUDIES.get(name)):
        csv = checkout / RECORDS / f"{name}.csv"
        table = pd.read_csv(drawn / f"{name}.csv", keep_default_na=False, na_values=[""])
        record_table(table, csv, {key: value for key, value in about.items() if key != "runs"})
    else:
        csv = checkout / RECORDED / f"{study}.csv"
        about = json.loads(csv.with_suffix(".json").read_text())
    link = f"{UP}/{csv.relative_to(checkout)}"
    seeds = ", ".join(map(str, about["seed"]))
    return f"Recorded: [{csv.name}]({link}), seed{'s' * (len(about['seed']) > 1)} {seeds}: `{about['command']}`."


def entry(name: str, drawn: Path, checkout: Path) -> str:
    """A figure's part of the page, in Markdown; its picture goes to PICTURES, a table stands in the page.

    Args:
        name: the figure's.
        drawn: the folder that ``energylens figures`` filled.
        checkout: the root of the repository.

    Returns:
        The part, from its heading on.
    """
    about = json.loads((drawn / f"{name}.json").read_text())
    if (drawn / f"{name}.png").is_file():
        shrink(drawn / f"{name}.png", checkout / PICTURES / f"{name}.png")
        shown = f"![{about['shows']}]({UP}/{PICTURES}/{name}.png)\n"
    else:
        shown = (drawn / f"{name}.md").read_text()
    head = f"**{about['shows']}** ({about['source']}). {FIGURES[name].seen}"
    foot = f"*Drawn of: {about['caption']}*"
    told = filled(keep(name, drawn, checkout), break_long_words=False)
    return f"## {name}\n\n{filled(head)}\n\n{shown}\n{filled(foot)}\n\n{told}\n\n    {about['command']}\n"


def shrink(picture: Path, to: Path) -> None:
    """Write a PNG of at most WIDEST pixels across and COLOURS colours.

    Args:
        picture: the PNG to read.
        to: the file to write.
    """
    with Image.open(picture) as image:
        image.thumbnail((WIDEST, image.height), Image.Resampling.BOX)  # adds no ringing, so that it packs well
        with whole_file(to) as temporary:
            image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(temporary, "PNG", optimize=True)


if __name__ == "__main__":
    main()
