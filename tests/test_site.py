"""The site builds strictly and without a network, no link in it is dead, and its search finds what is there."""

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import energylens as el
from energylens.attacks.registry import ATTACKS
from energylens.cli import COMMANDS
from energylens.data.catalog import DATA_SETS
from energylens.models.zoo import find_models
from energylens.settings import declared
from energylens.training.settings import TrainSettings

ROOT = Path(__file__).resolve().parents[1]
NEEDED = ("mkdocs", "material", "mkdocstrings_handlers.python")


def missing():
    try:
        return [name for name in NEEDED if find_spec(name) is None]
    except ModuleNotFoundError:
        return ["mkdocstrings"]


pytestmark = pytest.mark.skipif(bool(missing()), reason="the site needs pip install 'energylens[docs]'")


class Page(HTMLParser):
    """A page's links, what it loads, its anchors and its words."""

    def __init__(self, text):
        super().__init__()
        self.links, self.loads, self.anchors, self.words = [], [], set(), []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        told = dict(attrs)
        if tag == "a" and told.get("href"):
            self.links.append(told["href"])
        elif tag in ("img", "script", "link") and told.get("rel") not in ("canonical", "prev", "next"):
            self.loads += [told[name] for name in ("src", "href") if told.get(name)]
        self.anchors |= {told[name] for name in ("id", "name") if told.get(name)}

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the built site."""
    out = tmp_path_factory.mktemp("site")
    offline = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", out],
        cwd=ROOT, env={**os.environ, **offline}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return out


@pytest.fixture(scope="module")
def pages(site):
    return {path: Page(path.read_text()) for path in site.rglob("*.html")}


def text_of(site, place):
    return " ".join("".join(Page((site / place / "index.html").read_text()).words).split())


def test_every_page_of_docs_is_built(site):
    for page in ROOT.glob("docs/**/*.md"):
        place = page.relative_to(ROOT / "docs").with_suffix("").as_posix().removesuffix("index")
        assert (site / place / "index.html").is_file(), place


def test_nothing_is_loaded_from_elsewhere(site, pages):
    for path, page in pages.items():
        for to in page.loads:
            parts = urlsplit(to)
            assert parts.scheme in ("", "data"), f"{path.relative_to(site)} loads {to}"
            if not parts.scheme and path.name != "404.html":
                assert (path.parent / unquote(parts.path)).resolve().is_file(), f"{path.relative_to(site)}: {to}"
    for style in site.rglob("*.css"):
        assert not re.findall(r"@import|url\(\s*['\"]?https?:", style.read_text()), style


def test_no_link_is_dead(site, pages):
    for path, page in pages.items():
        for to in page.links:
            parts = urlsplit(to)
            if parts.scheme or path.name == "404.html":
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            assert target.is_file(), f"{path.relative_to(site)} links to {to}"
            anchor = unquote(parts.fragment)
            assert not anchor or target not in pages or anchor in pages[target].anchors, (
                f"{path.relative_to(site)} links to {to}"
            )


def test_the_reference_has_every_row_and_every_name(site):
    reference = {name: text_of(site, f"reference/{name}") for name in (
        "attacks", "models", "data-sets", "command-line", "settings")}  # fmt: skip
    rows = {
        "attacks": [row.name for row in ATTACKS],
        "models": [row.name for row in find_models(None)],
        "data-sets": list(DATA_SETS),
        "command-line": [f"energylens {name} [OPTIONS]" for name in COMMANDS] + ["--on-alarm", "--save-images"],
        "settings": [one.option for one in declared(TrainSettings)] + ["stop_ratio", "--retained-variance"],
    }
    assert {name: [row for row in found if row not in reference[name]] for name, found in rows.items()} == {
        name: [] for name in rows
    }
    assert "--norm [linf|l2|l1]" in reference["command-line"]  # no backslash of the table in it, and one cell
    anchors = Page((site / "reference" / "python" / "index.html").read_text()).anchors
    documented = {anchor.rpartition(".")[2] for anchor in anchors if anchor.startswith("energylens.")}
    assert not set(el.__all__) - documented


@pytest.mark.parametrize(
    "word", ["EnergyWatch", "restarts", "Carmon2019Unlabeled", "delta_energy_regularizer", "DuckDB", "torchrun"]
)
def test_the_search_finds(site, word):
    index = json.loads((site / "search" / "search_index.json").read_text())
    assert any(word in entry["title"] + entry["text"] for entry in index["docs"])
