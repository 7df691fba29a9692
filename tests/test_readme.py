"""The rows that the docs show, and what README shows in Python, do what the pages say: see also test_shown.py."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

import energylens as el
from energylens.attacks import battery, registry

ROOT = Path(__file__).parents[1]
SHOWN = {  # the Python blocks that show rows, by the heading above them: each is run by a test of this file
    "A variant of an attack": 1,
}  # fmt: skip
EXTENDING = "docs/extend/index.md"


def shown(page):
    """The Python blocks of a page by the heading above them, in order."""
    found, heading = {}, ""
    for code, title in re.findall(r"^```(.*?)^```|^#+ ([^\n]*)", page.read_text(), re.DOTALL | re.MULTILINE):
        heading = title or heading
        if code.startswith("python\n"):
            found.setdefault(heading, []).append(code.removeprefix("python\n"))
    return found


def blocks(heading, page=EXTENDING):
    """The Python blocks under a heading of a page, in order."""
    return shown(ROOT / page)[heading]


def test_every_row_that_is_shown_is_added_here():
    assert {heading: len(code) for heading, code in shown(ROOT / EXTENDING).items()} == SHOWN


def test_the_python_lines_run():
    names = {}
    exec(blocks("In Python", "README.md")[0], names)
    assert list(names["record"].frame()["attack"].unique()) == ["natural", "pgd", "pgd,steps=50", "cw", "flip"]
    assert names["x_adv"].shape == names["found"].x_adv.shape == (100, 1, 8, 8)


def test_the_rows_example_adds_an_attack(monkeypatch):
    monkeypatch.setattr(
        registry, "ATTACKS", [*registry.ATTACKS, *eval(blocks("A variant of an attack")[0], vars(registry))]
    )
    data, model = el.load_data("digits", n=10), el.load_model("digits-pgd")
    record = el.profile(model, data, ["bim", "bim,steps=3"])
    assert [attack.name for attack in record.attacks] == ["natural", "bim", "bim,steps=3"]
    assert (record["bim"].rows["forwards"] == 10).all()
    assert torch.equal(
        el.attack("bim", model, data.images, data.labels), el.attack("bim", model, data.images, data.labels, seed=1)
    )
    with pytest.raises(el.InputError, match="bim has no setting 'beta=1'"):
        battery.configure("bim,beta=1", eps=0.1)


def test_a_checkpoint_and_a_folder_of_pictures_of_ones_own_are_profiled_as_shown(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(blocks("A checkpoint of your own class", "docs/start/your-model.md")[0], names)  # saves my.pt
    monkeypatch.setitem(sys.modules, "my_models", SimpleNamespace(MyCNN=names["MyCNN"]))
    for number in range(50):
        folder = tmp_path / "pictures" / f"class-{number % 10}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((32, 32), 10 + 2 * number).convert("RGB").save(folder / f"{number}.png")
    with pytest.warns(el.Note, match="PIL pictures"):
        exec(blocks("A folder of pictures, and a checkpoint of your own", "docs/start/your-data.md")[0], names)
    assert names["record"].frame().groupby("attack").size().to_dict() == {"fgsm": 50, "natural": 50, "pgd": 50}
    assert "my.pt on ImageFolder" in capsys.readouterr().out and list(tmp_path.glob("runs/*/pgd-*/part-*.parquet"))


def test_the_query_of_duckdb_tells_models_and_runs_apart():
    """DuckDB is in no extra: its patterns are tried on the paths of a model whose folder ends as an attack's does."""
    (query,) = blocks("With DuckDB", "docs/guides/read-a-record.md")
    model, run = re.findall(r"regexp_extract\(filename, '(.*?)', 1\)", query)
    path = "runs/me-my.pt-505d6625/pgd,steps=50-0a1b2c3d/part-00000000.parquet"
    assert re.search(model, path)[1] == "me-my.pt-505d6625" and re.search(run, path)[1] == "pgd,steps=50-0a1b2c3d"


def test_the_python_lines_about_data_run():
    names = {}
    exec(blocks("Your own data", "docs/start/your-data.md")[0], names)
    assert names["x"].shape == (100, 1, 8, 8) and names["y"].dtype == torch.int64
    assert names["two"].classes == ("3", "5") and set(names["two"].labels.tolist()) == {0, 1}
