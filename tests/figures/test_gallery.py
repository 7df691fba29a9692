"""The gallery holds what was drawn, smaller, with the command of each."""

import json
import re

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from figures.catalog import EXHIBITS
from figures.gallery import COLOURS, WIDEST, main


@pytest.fixture
def drawn(tmp_path):
    """A folder as ``energylens figures`` leaves it: a wide picture, a small one and a table."""
    folder = tmp_path / "drawn"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (50, 2200, 4), dtype=np.uint8)
    Image.fromarray(noise, "RGBA").save(folder / "plane.png")
    Image.fromarray(noise[:, :300]).save(folder / "landscape.png")
    (folder / "robustness.md").write_text("| model |\n| --- |\n")
    for name in ("plane", "landscape", "robustness"):
        about = {"shows": f"what {name} asks", "source": "arXiv", "caption": "n = 3"}
        (folder / f"{name}.json").write_text(json.dumps(about | {"command": f"energylens figures {name}"}))
    return folder


def test_the_page_has_what_is_there_in_the_catalogs_order(drawn, tmp_path):
    gallery = tmp_path / "docs" / "gallery"
    done = CliRunner().invoke(main, [str(drawn), str(gallery)], catch_exceptions=False)
    assert done.output.endswith(f"gallery.md: 3 of {len(EXHIBITS)} figures\n")
    page = (tmp_path / "docs" / "gallery.md").read_text()
    assert re.findall("^## (.*)", page, re.MULTILINE) == ["landscape", "plane", "robustness"]
    assert f"**what plane asks** (arXiv). {EXHIBITS['plane'].seen}" in " ".join(page.split())
    assert "*Drawn of: n = 3*\n\n    energylens figures plane\n" in page
    assert "| model |\n| --- |" in page
    assert [to for to in re.findall(r"\]\((.*)\)", page) if not (tmp_path / "docs" / to).is_file()] == []
    sizes = {}
    for path in gallery.iterdir():
        with Image.open(path) as picture:
            sizes[path.name] = picture.size
            assert len(picture.getcolors()) <= COLOURS
    assert sizes == {"plane.png": (WIDEST, 23), "landscape.png": (300, 50)}


def test_a_folder_without_figures_is_refused(tmp_path):
    done = CliRunner().invoke(main, [str(tmp_path), str(tmp_path / "gallery")])
    assert done.exit_code == 2 and "holds no figure: `energylens figures all` draws" in done.output
    assert not (tmp_path / "gallery").exists()


@pytest.mark.parametrize("name", EXHIBITS)
def test_every_figure_says_what_is_to_be_seen_in_it(name):
    assert EXHIBITS[name].seen.endswith(".") and "\n" not in EXHIBITS[name].seen
