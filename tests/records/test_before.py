"""Runs made by the version before (``before/README.md``) are read, continued and merged; none is computed anew."""

import hashlib
import shutil
from pathlib import Path

import pandas as pd
import pytest

import energylens as el
from energylens.tables.profile_runs import find_runs, read_records
from energylens.tables.training_runs import read_run

BEFORE = Path(__file__).with_name("before")
WHOLE = ("--model", "digits-pgd", "--attack", "fgsm", "--attack", "pgd")
KEPT = (
    "--model", "digits-standard", "--attack", "fgsm", "--attack", "pgd,steps=3,restarts=2", "--n", "8",
    "--choose", "balanced", "--eps", "0.1", "--trajectory", "--save-images",
)  # fmt: skip
SHARDED = ("--model", "digits-pgd", "--attack", "fgsm", "--attack", "pgd,steps=3", "--n", "8")
TRAINED = (
    "--arch", "preactresnet18", "--width", "1", "--optimizer", "sgd", "--per-class", "2", "--eval-samples", "16",
    "--eval-steps", "2", "--final-steps", "0", "--batch-size", "8", "--method", "fgsm", "--eps-ramp", "0",
    "--schedule", "constant",
)  # fmt: skip
THIRD_LOSS = 2.551808  # of the same training with three epochs, in one go, by the version before


@pytest.fixture
def copied(tmp_path):
    """``copied("whole")``: the run in a folder that may be written to."""
    return lambda name: Path(shutil.copytree(BEFORE / name, tmp_path / name))


def digests(folder, *patterns):
    """The contents of the files that hold results."""
    found = (path for pattern in patterns for path in folder.rglob(pattern))
    return {path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def results(folder):
    return digests(folder, "part-*.parquet", "images-*.safetensors", "manifest.json")


def read(folder):
    (record,) = read_records(find_runs([folder])[0])
    return record


def test_a_record_is_read(run):
    record = read(BEFORE / "whole")
    assert [attack.name for attack in record.attacks] == ["natural", "fgsm", "pgd"] and len(record) == 12
    printed = [(round(row["accuracy"], 3), round(row["marginal_mean"], 2)) for row in record.as_numbers()]
    assert printed == [(1.0, -5.44), (0.833, -4.12), (0.833, -4.14)]  # as the version before printed them
    assert run("report", BEFORE / "whole", BEFORE / "train")[0] == 0


@pytest.mark.parametrize(("name", "command"), [("whole", (*WHOLE, "--n", "12")), ("kept", KEPT)])
def test_the_same_command_computes_nothing_anew(name, command, copied, run):
    folder = copied(name)
    before = results(folder)
    assert run("profile", *command, "--out", folder)[0] == 0
    assert results(folder) == before


def told_then(table: pd.DataFrame) -> list[str]:
    """The columns of the version before; that made every step of a cycle, so its passes are more."""
    return [name for name in table.columns if name not in ("cycled", "forwards", "backwards")]


def test_a_record_goes_on_with_what_is_missing(copied, run):
    folder = copied("whole")
    before = results(folder)
    assert run("profile", *WHOLE, "--n", "16", "--out", folder)[0] == 0
    assert before.items() <= results(folder).items() and len(results(folder)) == len(before) + 3
    anew = el.profile("digits-pgd", attacks=["fgsm", "pgd"], n=16, ladder=False).frame()
    whole = read(folder).frame()
    assert whole["cycled"].isna().any() and whole["cycled"].notna().any()  # its earlier version did not tell
    pd.testing.assert_frame_equal(whole[told_then(anew)], anew[told_then(anew)], rtol=1e-4, atol=1e-4)


def test_images_and_trajectories_are_read():
    record = el.profile(
        "digits-standard", attacks=["fgsm", "pgd,steps=3,restarts=2"], n=8, choose="balanced", eps="0.1",
        trajectory=True, save_images=True, ladder=False,
    )  # fmt: skip
    there = read(BEFORE / "kept")
    for old, new in zip(there.attacks[1:], record.attacks[1:], strict=True):
        assert old.images()["x_adv"].sub(new.images()["x_adv"]).abs().max() < 1e-5
        assert [len(path) for path in old.rows["marginal_path"]] == [len(path) for path in new.rows["marginal_path"]]


def test_shares_are_merged(tmp_path, run):
    merged = tmp_path / "merged"
    assert run("merge", BEFORE / "shard-1", BEFORE / "shard-2", "--out", merged)[0] == 0
    before = results(merged)
    assert run("profile", *SHARDED, "--out", merged)[0] == 0
    assert results(merged) == before and len(read(merged)) == 8


def test_a_share_of_today_goes_with_one_of_the_version_before(copied, run):
    folder = copied("shard-1")
    assert run("profile", *SHARDED, "--shard", "2/2", "--out", folder)[0] == 0
    beside = pd.concat([read(BEFORE / name).frame() for name in ("shard-1", "shard-2")])
    beside = beside.sort_values(["attack", "index"], ignore_index=True)
    ours = read(folder).frame().sort_values(["attack", "index"], ignore_index=True)
    pd.testing.assert_frame_equal(ours[told_then(beside)], beside[told_then(beside)], rtol=1e-4, atol=1e-4)


def test_a_training_run_is_read_and_goes_on(copied, run):
    folder = copied("train")
    (path,) = (folder / "train").iterdir()
    before = digests(path, "*.safetensors", "history.parquet")
    assert run("train", *TRAINED, "--epochs", "2", "--out", folder)[0] == 0
    assert digests(path, "*.safetensors", "history.parquet") == before
    assert run("train", "--resume", path, "--epochs", "3")[0] == 0
    history = read_run(path).history
    assert len(history) == 3 and history["loss"].iloc[-1] == pytest.approx(THIRD_LOSS, abs=1e-4)
