"""The page: well-formed, self-contained, escaped, and every number in it the record's."""

import base64
import io
import json
import re
import shlex
import shutil
import sys
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import energylens as el
from energylens.cli import main
from energylens.models.zoo import resolve, shipped_weights
from energylens.report.profile import natural_samples, repeat
from energylens.statistics import accuracy_interval
from energylens.tables.profile_runs import find_runs, read_records

VOID = {"meta", "img", "br", "hr", "link", "input"}
LOADING = {"src", "srcset", "poster", "data", "xlink:href"}  # attributes that fetch


class Reader(HTMLParser):
    """Checks that tags close in the order they open; keeps the attributes, the tables' rows and the text."""

    def __init__(self):
        super().__init__()
        self.open, self.attributes, self.rows, self.text, self.ids = [], [], [], "", []

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, name, value) for name, value in attrs]
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> at {self.getpos()}"

    def handle_data(self, data):
        if self.open and self.open[-1] in ("style", "script"):
            return
        self.text += data
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


def read(page):
    reader = Reader()
    reader.feed(page)
    assert not reader.open
    reader.rows = [[" ".join(cell.split()) for cell in row] for row in reader.rows]
    reader.text = " ".join(reader.text.split())
    return reader


def numbers(text):
    return [float(found) for found in re.findall(r"[-+]?\d+(?:\.\d+)?", text.replace("−", "-"))]


def test_the_page_is_whole_and_needs_nothing_else(profiled, trained, report):
    status, page, _ = report(profiled[0], trained("a"), trained("b", seed=1))
    assert status == 0
    reader = read(page)
    assert len(reader.ids) == len(set(reader.ids))
    for tag, name, value in reader.attributes:
        if name in LOADING:
            assert value.startswith("data:image/png;base64,"), (tag, name, value[:60])
        if name == "href":
            assert value.startswith("#run-") or (tag == "a" and value.startswith("https://arxiv.org/")), value
    assert not re.search(r"url\(|@import|fetch\(|XMLHttp|<link", page)


def test_the_same_runs_give_the_same_page(profiled, report):
    assert report(profiled[0])[1] == report(profiled[0])[1]


def test_every_number_of_the_table_is_the_records(profiled, report):
    folder, record = profiled
    rows = read(report(folder)[1]).rows
    labels = [attack.label for attack in record.attacks]
    table = {row[0]: row for row in rows if row and row[0] in labels}
    assert list(table) == labels
    for summary, label in zip(record.as_numbers(), labels, strict=True):
        accuracy, low, high = numbers(table[label][1].replace("–", " "))
        assert accuracy == pytest.approx(100 * summary["accuracy"], abs=0.051)
        interval = accuracy_interval(round(60 * summary["accuracy"]), 60)
        assert (low, high) == pytest.approx(tuple(100 * end for end in interval), abs=0.051)
        if label == "natural":
            continue
        shown = [numbers(cell) for cell in table[label][2:]]
        names = ("marginal_mean", "joint_mean", "delta_marginal_mean", "delta_joint_mean")
        assert shown[0] == pytest.approx([100 * summary["accuracy_uint8"]], abs=0.051)
        assert np.ravel(shown[1:5]) == pytest.approx([summary[name] for name in names], abs=0.0051)
        assert shown[5] == pytest.approx([100 * summary["abnormal_share"]], abs=0.051)
        assert shown[6] == pytest.approx([summary["auroc"]] if summary["auroc"] is not None else [], abs=0.0051)
        assert shown[7] == pytest.approx([summary["forwards"], summary["backwards"]], abs=0.51)
        assert shown[8] == pytest.approx([summary["seconds"]], abs=0.051)


def test_the_bins_under_the_pointer_hold_every_image(profiled, report):
    page = report(profiled[0])[1]
    bins = re.findall(r"<title>E\(x\) .*?\nnatural (\d+)\nadversarial (\d+)</title>", page)
    assert np.array(bins, dtype=int).sum(axis=0).tolist() == [4 * 60, 4 * 60]  # of four attacks


def test_the_most_abnormal_samples_lead_and_show_their_images(profiled, report):
    folder, record = profiled
    page = report(folder, "--samples", 3)[1]
    rows = pd.concat(attack.rows.assign(attack=attack.name) for attack in record.attacks[1:])
    lowered = (rows["cross_entropy_clean"] - rows["cross_entropy_adv"])[rows["abnormal"]]
    first = rows[rows["abnormal"]].iloc[int(lowered.argmax())]
    cards = page.split("<figure>")[1:]
    assert len(cards) == 3 and f"#{first['index']}" in cards[0]
    assert f"+{lowered.max():.2f}" in cards[0]
    shown = [base64.b64decode(code) for code in re.findall(r"base64,([^\"]+)", cards[0])]
    natural, adversarial, _ = (np.asarray(Image.open(io.BytesIO(png))) / 255 for png in shown)
    attack = record[first["attack"]]
    at = attack.rows["index"].tolist().index(first["index"])
    assert natural == pytest.approx(el.load_data("digits", n=60).images[first["index"], 0].numpy(), abs=0.003)
    assert adversarial == pytest.approx(attack.images()["x_adv"][at, 0].numpy(), abs=0.003)


@pytest.fixture
def repeats(report, monkeypatch, tmp_path):
    """``repeats(folder)``: type the command that its page prints; whether it made the same runs."""

    def typed(folder):
        words = shlex.split(read(report(folder)[1]).text.partition("To repeat it ")[2].partition(" Settings,")[0])
        assert words[:2] == ["energylens", "profile"]
        monkeypatch.setattr(sys, "argv", [*words, "--out", str(tmp_path / "again")])
        monkeypatch.setattr("energylens.cli.profile._draw_images", lambda *_, **__: None)
        main()
        made = {path.parent.name for path in (tmp_path / "again").rglob("manifest.json")}
        return made == {path.parent.name for path in folder.rglob("manifest.json")}

    return typed


def test_the_printed_command_makes_the_same_runs(profiled, repeats):
    assert repeats(profiled[0])


def test_a_checkpoint_is_repeated_with_the_normalisation_it_was_given(repeats, report, tmp_path):
    weights = shutil.copy(shipped_weights(resolve("digits-standard")), tmp_path / "mine.safetensors")  # no JSON beside
    own = {"arch": "digits-cnn", "mean": [0.1], "std": [0.9], "dataset": "digits"}
    record = el.profile(str(weights), attacks="fgsm", n=10, out=tmp_path / "runs", ladder=False, **own)
    assert repeats(record.folder)
    for path in record.folder.rglob("manifest.json"):  # as versions before wrote it
        manifest = json.loads(path.read_text())
        del manifest["model"]["mean"], manifest["model"]["std"]
        path.write_text(json.dumps(manifest))
    assert "kept no --mean and --std: add them" in report(record.folder)[1]


def test_chosen_samples_are_told_in_the_command(tmp_path, report):
    for choose in ("random", "balanced"):
        record = el.profile(
            "digits-standard", "digits", "fgsm", n=20, choose=choose, seed=3, out=tmp_path / choose, ladder=False
        )
        assert f"--n 20 --choose {choose}" in read(report(record.folder)[1]).text


def test_hostile_names_are_text(profiled, report, tmp_path):
    evil = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    copy = shutil.copytree(profiled[0], tmp_path / "copy")
    for path in copy.rglob("manifest.json"):
        manifest = json.loads(path.read_text())
        manifest["model"] |= {"name": evil, "source": "robustbench", "clean": 99.0, "architecture": evil}
        manifest["machine"] = evil
        path.write_text(json.dumps(manifest))
    _, page, _ = report(copy)
    assert "alert(1)" in page and "<script>alert" not in page and "<img src=x" not in page
    read(page)


def test_published_numbers_stand_beside_ours(profiled, report, tmp_path):
    copy = shutil.copytree(profiled[0], tmp_path / "copy")
    for path in copy.rglob("manifest.json"):
        manifest = json.loads(path.read_text())
        manifest["model"] |= {"source": "robustbench", "clean": 30.0, "dataset": "digits"}
        path.write_text(json.dumps(manifest))
    assert "RobustBench publishes 30.00 %, OUTSIDE that." in read(report(copy)[1]).text


def test_without_the_data_the_page_says_so_and_has_no_pictures(profiled, report, tmp_path):
    copy = shutil.copytree(profiled[0], tmp_path / "copy")
    for path in copy.rglob("manifest.json"):
        manifest = json.loads(path.read_text())
        manifest["identity"]["dataset"]["digest"] = "another"
        path.write_text(json.dumps(manifest))
    status, page, _ = report(copy)
    assert status == 0 and "No pictures: the digits that lies here is not the one that was attacked" in page
    assert "base64" not in page and page.count("<figure>") == 8


def test_a_single_run_has_its_natural_rows(profiled, report):
    folder, record = profiled
    reader = read(report(next(folder.glob("fgsm-*")))[1])
    rows = {row[0]: row for row in reader.rows if row}
    natural = record.as_numbers()[0]
    assert numbers(rows["natural"][1])[0] == pytest.approx(100 * natural["accuracy"], abs=0.051)
    assert "PGD" not in rows and "steps 5" not in reader.text


def test_a_record_is_of_the_samples_that_all_attacks_hold(tmp_path):
    for n, attacks in ((20, ["fgsm", "pgd,steps=2"]), (30, ["fgsm"])):
        el.profile("digits-standard", "digits", attacks, n=n, eps="0.1", out=tmp_path, ladder=False)
    el.profile("digits-standard", "digits", ["fgsm"], n=20, eps="0.3", out=tmp_path, ladder=False)
    (record,) = read_records(find_runs([tmp_path])[0])
    assert [attack.name for attack in record.attacks] == [
        "natural",
        "fgsm,eps=0.1",
        "fgsm,eps=0.3",
        "pgd,steps=2,eps=0.1",
    ]
    assert {len(attack.rows) for attack in record.attacks} == {20}
    assert record.notes == (
        "Shown are the 20 samples that all attacks hold; on disk there are more (fgsm,eps=0.1 30).",
    )


def test_a_training_says_what_became_of_it(trained, report):
    reader = read(report(trained("a", pgd=(0.01, 0.3, 0.4, 0.1), alarms=("", "", "", "co")))[1])
    assert (
        "After 4 epochs of fgsm on digits, PGD-10 test accuracy is 10.0 %; at best, in epoch 3, it was 40.0 %, a gap "
        "of 30.0 points. Clean accuracy was 90.0 % then and is 90.0 % now. It collapsed (catastrophic overfitting): "
        "PGD accuracy was under half of its best by epoch 4. The watch raised CO in epoch 4."
    ) in reader.text
    low, high = accuracy_interval(20, 200)
    assert ["last epoch 4", f"10.0 {100 * low:.1f}–{100 * high:.1f}", "50.0", "90.0", "−0.125", "−0.500", "25.0"] in (
        reader.rows
    )
    assert "energylens train --dataset digits" in reader.text


def test_a_dip_before_the_best_epoch_is_no_collapse(trained, report):
    text = read(report(trained("a", pgd=(0.02, 0.005, 0.4, 0.39), alarms=("",) * 4))[1]).text
    assert "It stayed healthy" in text and "The watch stayed silent" in text


def test_seeds_are_one_section_and_reconstructions_are_called_so(trained, report):
    folders = [trained(f"s{seed}", pgd=(0.3, 0.4, last), seed=seed) for seed, last in enumerate((0.1, 0.2))]
    reader = read(report(*folders, trained("der", reg=("der",)))[1])
    assert "2 sections" in reader.text
    assert "2 seeds of fgsm on digits: PGD-10 test accuracy was 40.0 ± 0.0 % at best and 15.0 ± 7.1 % at the end" in (
        reader.text
    )
    assert "1 of 2 collapsed. 1 of 2 stayed healthy. The watch raised an alarm in 2 of 2." in reader.text
    assert re.search(r"Der \(weight 3\): arXiv 2505.22486, .* explainer states it; the weight is ours", reader.text)


def test_mistakes_get_one_clear_line(profiled, trained, report, tmp_path):
    empty, damaged, started = tmp_path / "empty", tmp_path / "damaged", trained("started")
    shutil.copytree(next(profiled[0].glob("fgsm-*")), empty)
    shutil.copytree(empty, damaged)
    for part in empty.glob("part-*"):
        part.unlink()
    for part in damaged.glob("part-*"):
        part.write_bytes(b"PAR1 cut off")
    (started / "history.parquet").unlink()
    broken = trained("broken")
    (broken / "manifest.json").write_text("{")
    for folder, status, message in (
        (tmp_path / "nowhere", 2, "holds no run: give a folder"),
        (empty, 2, "holds no finished rows yet"),
        (next(profiled[0].glob("natural-*")), 2, "holds natural rows only"),
        (damaged, 1, "is damaged"),
        (started, 2, "no finished epoch yet"),
        (broken, 1, "is damaged"),
    ):
        came, page, err = report(folder)
        assert (came, page) == (status, "") and message in err and len(err.splitlines()) == 1, (message, err)
    assert report()[0] == 2


def test_a_page_that_cannot_be_written_says_so(profiled, report, tmp_path):
    (tmp_path / "file").write_text("")
    status, _, err = report(profiled[0], "--out", tmp_path / "file" / "page.html")
    assert status == 1 and "cannot write the page to" in err and len(err.splitlines()) == 1


def test_a_preprocessing_of_ones_own_is_repeated_and_is_another_record(tmp_path):
    """Two ways to prepare the pictures in one folder: no row is shared, the report finds its images."""
    records = [
        el.profile("digits-pgd", "digits", ["fgsm"], n=8, out=tmp_path, **how)
        for how in ({}, {"preprocessing": "resize=10,crop=8"})
    ]
    commands = [repeat(record)[0] for record in records]
    assert ["--preprocessing Res10Crop8" in command for command in commands] == [False, True]
    energies = [record["natural"].rows["marginal_clean"].to_numpy() for record in records]
    assert not np.allclose(*energies)
    for record, expected in zip(records, energies, strict=True):
        images = natural_samples(record).subset(range(8)).images
        np.testing.assert_allclose(el.marginal_energy(el.load_model("digits-pgd")(images)), expected, rtol=1e-4)


def test_overfitting_is_told_in_the_doctors_words(one_step_only, report, tmp_path):
    """Of the training, not of the attacks: these are not to be distrusted for it."""
    el.profile(one_step_only, "digits", ["fgsm", "pgd"], n=64, out=tmp_path / "runs")
    text = read(report(tmp_path / "runs")[1]).text
    assert "Catastrophic overfitting. The model is robust to the single-step attack" in text
    assert "are robust to fgsm and broken by many steps" in text and "--reg der" in text
    assert "do not trust these attacks" not in text


def test_two_splits_of_one_model_tell_robust_overfitting(report, tmp_path):
    for split in ("test", "train"):
        el.profile("digits-pgd", attacks=["fgsm", "pgd"], n=60, split=split, out=tmp_path / "runs", ladder=False)
    text = read(report(tmp_path / "runs")[1]).text
    assert len(re.findall(r"on training and [\d.]+ % on test images", text)) == 1  # in the test images' section
    assert "robust overfitting, no" in text


@pytest.mark.parametrize(("judged", "split"), [(True, "validation"), (False, "training")])
def test_the_page_says_which_split_chose_the_best_epoch(report, trained, judged, split):
    folders = [trained(f"seed {seed}", seed=seed) for seed in (0, 1)]
    for folder in folders:
        history = pd.read_parquet(folder / "history.parquet")
        history.assign(val_pgd=history["test_pgd"] if judged else float("nan")).to_parquet(
            folder / "history.parquet", index=False
        )
    for some in (folders[:1], folders):
        _, page, _ = report(*some)
        assert page.count(f"chosen on the {split} images") == 2  # in the text, and under the table
