"""``energylens generate`` and ``energylens score`` as a user meets them."""

import json
import shutil
import subprocess
import sys

import pytest

from energylens.models.zoo import resolve, shipped_weights

FAST = ("--n", 20, "--steps", 2)


@pytest.fixture(autouse=True)
def no_inception(monkeypatch, tmp_path):
    """Torch's cache is empty, whatever this machine has."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


def test_generate_then_score(run, tmp_path):
    for seed in (0, 1):
        status, out, _ = run("generate", *FAST, "--start", "pca", "--seed", seed)
        assert status == 0
    assert "20 images of digits out of digits-pgd, seed 1" in out and "retained variance 0.95" in out
    folders = sorted((tmp_path / "runs" / "digits-pgd").glob("generate-pca-*"))
    assert len(folders) == 2
    for folder in folders:
        assert len(list((folder / "images").glob("*.png"))) == 20
        assert {path.name for path in folder.glob("contact-sheet.*")} == {
            "contact-sheet.png", "contact-sheet.pdf", "contact-sheet.csv",
        }  # fmt: skip
    status, out, _ = run("score", *folders)
    assert status == 0 and "FID" not in out
    assert "Against 1297 images of digits (train), in the features of digits-standard penultimate" in out
    assert "Resize: none. uint8 pixels, float32 features" in out and "±" in out
    status, out, _ = run("score", *folders, "--json")
    told = json.loads(out)
    rows = {row["name"]: row for row in told["rows"]}
    assert set(rows) == {"pca", "real (digits test)", "uniform noise"}
    assert rows["pca"]["seeds"] == [0, 1] and set(rows["pca"]["values"]["precision"]) == {"value", "low", "high"}


def test_score_in_a_checkpoints_features_takes_what_profile_takes(run, tmp_path):
    weights = shutil.copy(shipped_weights(resolve("digits-standard")), tmp_path / "mine.safetensors")  # no JSON beside
    assert run("generate", *FAST)[0] == 0
    (folder,) = (tmp_path / "runs" / "digits-pgd").glob("generate-*")
    status, _, err = run("score", folder, "--classifier", weights)
    assert status == 2 and "name one with --arch" in err
    status, out, _ = run("score", folder, "--classifier", weights, "--arch", "digits-cnn", "--mean", 0.1, "--std", 0.9)
    assert status == 0 and "in the features of mine.safetensors penultimate" in " ".join(out.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("generate", "--class", "cat"), "digits has no class 'cat'"),
        (("generate", "--neighbours", 999), "999 neighbours were asked for"),
        (("generate", "--start", "pca", "--retained-variance", 99), "99 components were asked for"),
        (("score", "absent"), "absent is no folder"),
    ],
)
def test_bad_input_is_one_line_and_status_2(words, message, run, tmp_path):
    status, out, err = run(*words)
    assert (status, out) == (2, "") and message in err and len(err.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("command", ["generate", "score", "train"])
def test_help_imports_no_torch(command):
    code = f"import sys\nfrom energylens.cli import root\nsys.argv = ['e', '{command}', '--help']\n"
    code += "try: root()\nexcept SystemExit: pass\nassert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Usage" in done.stdout
