"""The gallery holds what was drawn, smaller, with the command of each."""

import json
import re

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from analyses.gallery import COLOURS, WIDEST, main
from energylens.figures.catalog import FIGURES


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
        about = {"shows": f"what {name} asks", "source": "arXiv", "caption": "n = 3", "seed": [0, 1], "runs": ["r"]}
        about |= {"command": f"energylens figures {name}", "machine": "one"}
        (folder / f"{name}.json").write_text(json.dumps(about))
        (folder / f"{name}.csv").write_text("model,value\na,0.12345678\n")
    return folder


def test_the_page_has_what_is_there_in_the_catalogs_order(drawn, tmp_path):
    done = CliRunner().invoke(main, [str(drawn), str(tmp_path)], catch_exceptions=False)
    assert done.output.endswith(f"gallery.md: 3 of {len(FIGURES)} figures, 3 of them new\n")
    page = (tmp_path / "docs" / "results" / "gallery.md").read_text()
    assert re.findall("^## (.*)", page, re.MULTILINE) == ["landscape", "plane", "robustness"]
    assert f"**what plane asks** (arXiv). {FIGURES['plane'].seen}" in " ".join(page.split())
    record = "Recorded: [plane.csv](../../analyses/results/gallery/plane.csv), seeds 0, 1: `energylens figures plane`."
    assert f"*Drawn of: n = 3*\n\n{record}\n\n    energylens figures plane\n" in page
    csv = tmp_path / "analyses" / "results" / "gallery" / "plane.csv"
    assert csv.read_text() == "model,value\na,0.123457\n"
    told = json.loads(csv.with_suffix(".json").read_text())
    assert (told["seed"], told["machine"], "runs" in told) == ([0, 1], "one", False)
    assert "| model |\n| --- |" in page
    assert [to for to in re.findall(r"\]\((.*)\)", page) if not (tmp_path / "docs" / "results" / to).is_file()] == []
    sizes = {}
    for path in (tmp_path / "figures").iterdir():
        with Image.open(path) as picture:
            sizes[path.name] = picture.size
            assert len(picture.getcolors()) <= COLOURS
    assert sizes == {"plane.png": (WIDEST, 23), "landscape.png": (300, 50)}


def test_figures_that_were_not_drawn_this_time_stay(drawn, tmp_path):
    page = tmp_path / "docs" / "results" / "gallery.md"
    CliRunner().invoke(main, [str(drawn), str(tmp_path)], catch_exceptions=False)
    before = page.read_text()
    for path in (*drawn.glob("landscape.*"), *drawn.glob("robustness.*")):
        path.unlink()
    about = json.loads((drawn / "plane.json").read_text()) | {"caption": "n = 4"}
    (drawn / "plane.json").write_text(json.dumps(about))
    done = CliRunner().invoke(main, [str(drawn), str(tmp_path)], catch_exceptions=False)
    assert done.output.endswith(f"3 of {len(FIGURES)} figures, 1 of them new\n")
    head, plane, tail = before.partition("## plane")
    assert page.read_text() == head + plane + tail.replace("n = 3", "n = 4", 1)


def test_a_figure_of_a_recorded_study_tells_the_studys_file(drawn, tmp_path):
    for path in [*drawn.glob("plane.*")]:
        path.rename(path.with_stem("co"))
    results = tmp_path / "energylens" / "figures" / "recorded"
    results.mkdir(parents=True)
    told = {"command": "python -m analyses.overfitting co", "seed": [0, 1, 2], "machine": "one"}
    (results / "co-epochs.json").write_text(json.dumps(told))
    CliRunner().invoke(main, [str(drawn), str(tmp_path)], catch_exceptions=False)
    link = "[co-epochs.csv](../../energylens/figures/recorded/co-epochs.csv)"
    assert f"Recorded: {link}, seeds 0, 1, 2: `python -m analyses.overfitting co`." in " ".join(
        (tmp_path / "docs" / "results" / "gallery.md").read_text().split()
    )
    assert not (tmp_path / "analyses" / "results" / "gallery" / "co.csv").exists()


def test_a_folder_without_figures_is_refused(tmp_path):
    done = CliRunner().invoke(main, [str(tmp_path), str(tmp_path)])
    assert done.exit_code == 2 and "holds no figure: `energylens figures all` draws" in done.output
    assert not (tmp_path / "figures").exists()


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_says_what_is_to_be_seen_in_it(name):
    assert FIGURES[name].seen.endswith(".") and "\n" not in FIGURES[name].seen
