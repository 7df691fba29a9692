"""Two models never share a folder, a picture or a heading, whatever their files are called."""

import re
import shutil

import pytest
import torch
from torch import nn

import energylens as el
from energylens.models import ModelCard, card_of, module_digest
from energylens.models.loading import load_model
from energylens.models.zoo import find_models, resolve, shipped_weights
from energylens.records.run_folder import safe_name


def put(row, folder):
    """A shipped model's weights as a training run leaves them."""
    folder.mkdir(parents=True)
    for suffix in (".safetensors", ".json"):
        shutil.copy(shipped_weights(resolve(row)).with_suffix(suffix), folder / f"best{suffix}")
    return folder / "best.safetensors"


@pytest.fixture
def two(tmp_path):
    return [put(row, tmp_path / "runs/train" / run) for row, run in (("digits-standard", "a-1"), ("digits-pgd", "b-2"))]


def test_two_trainings_have_pictures_and_sections_of_their_own(two, run, tmp_path):
    options = ("--attack", "fgsm", "--n", 8, "--save-images", "--out", "out")
    drawn = []
    for weights in two:
        status, out, _ = run("histogram", "--model", weights, *options)
        assert status == 0
        drawn += re.findall(r"\S+\.csv", out)
        assert run("profile", "--model", weights, *options)[0] == 0
    assert len(set(drawn)) == 2
    for name in ("landscape-fgsm.png", "images-fgsm.png"):
        folders = sorted(file.parent.name for file in (tmp_path / "out").rglob(name))
        assert [re.sub(r"-\w{8}$", "", folder) for folder in folders] == [
            "a-1-best.safetensors",
            "b-2-best.safetensors",
        ]
    assert run("report", "out")[0] == 0
    headings = re.findall(r"<h[12][^>]*>([^<]* on digits)<", (tmp_path / "report.html").read_text())
    assert sorted(headings) == ["a-1/best.safetensors on digits", "b-2/best.safetensors on digits"]


def test_a_file_has_one_folder_however_its_path_is_typed(two, run, tmp_path, monkeypatch):
    monkeypatch.chdir(two[0].parent)
    for name in ("best.safetensors", "../a-1/best.safetensors", two[0]):
        el.profile(str(name), attacks=["fgsm"], n=4, out=tmp_path / "out", ladder=False)
    assert len(list((tmp_path / "out").iterdir())) == 1


def test_what_lies_under_the_earlier_name_is_found_and_not_drawn_over(two, tmp_path):
    def profile():
        return el.profile(str(two[0]), attacks=["fgsm"], n=4, out=tmp_path / "out", ladder=False)

    earlier = tmp_path / "out/best.safetensors"  # where versions before kept it
    profile().folder.rename(earlier)
    again = profile()
    assert not again.folder.exists() and again.folder != earlier  # nothing was computed; its pictures go there
    assert {path.name.rpartition("-")[0] for path in earlier.iterdir()} == {"natural", "fgsm"}


def test_modules_of_one_class_are_told_apart(tmp_path, run):
    x, y = torch.rand(4, 1, 8, 8), torch.arange(4)
    for seed in (0, 1):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        el.profile(model, (x, y), ["fgsm"], eps=0.1, out=tmp_path / "out", ladder=False)
    assert len(list((tmp_path / "out").iterdir())) == 2
    assert run("report", tmp_path / "out")[0] == 0
    headings = re.findall(r"Sequential on tensors, model \w{8}(?=<)", (tmp_path / "report.html").read_text())
    assert len(set(headings)) == 2


def test_records_of_one_model_are_told_apart(tmp_path, run):
    for seed in (0, 1):
        el.profile("digits-standard", attacks=["fgsm"], n=4, seed=seed, out=tmp_path / "out", ladder=False)
    assert run("report", tmp_path / "out")[0] == 0
    page = (tmp_path / "report.html").read_text()
    assert all(f"digits-standard on digits, seed {seed}<" in page for seed in (0, 1))


def test_every_row_of_the_zoo_has_a_folder_of_its_own():
    cards = [
        ModelCard(row.name, row.source, dataset=row.dataset, threat_model=row.threat_model) for row in find_models()
    ]
    folders = [safe_name(card.folder_name("0" * 64)) for card in cards]
    assert len(set(folders)) == len(folders)
    assert {"digits-standard", "Carmon2019Unlabeled", "cifar10-L2-Rice2020Overfitting"} < set(folders)


def test_a_loaded_model_that_was_trained_on_is_another():
    model = load_model("digits-standard")
    el.profile(model, n=4, attacks=["fgsm"], ladder=False)
    with torch.no_grad():
        next(model.parameters()).add_(0.1)
    record = el.profile(model, n=4, attacks=["fgsm"], ladder=False)
    assert record.attacks[0].manifest["model"]["source"] == "module"
    assert card_of(model).source == "energylens"  # the module's own card is left alone
    assert module_digest(model)[:8] in ModelCard("digits-standard", "module").folder_name(module_digest(model))
