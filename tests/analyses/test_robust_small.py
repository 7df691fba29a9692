"""The network that is shipped for CIFAR-10 is a run's best weights in half precision, judged as they are shipped."""

import json

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

import energylens as el
from analyses.robust_small import KEPT, energies_apart, halved, main
from energylens.training.loop import train
from energylens.training.recipes import settings_of


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    small = {"epochs": 2, "eval_samples": 32, "eval_steps": 2, "final_steps": 0, "method": "fgsm"}
    return train(settings_of("digits", **small), out=tmp_path_factory.mktemp("runs"), device="cpu").folder


def test_weights_are_halved_and_the_statistics_of_batch_norm_are_not():
    torch.manual_seed(0)
    norm = torch.nn.BatchNorm2d(3)
    norm.running_var.fill_(1e-9)  # half precision has no such number
    kept = halved(norm.state_dict())
    assert kept["weight"].dtype is kept["bias"].dtype is torch.float16
    assert kept["num_batches_tracked"].dtype is torch.int64
    assert all(torch.equal(kept[name], getattr(norm, name)) for name in KEPT)


def test_what_is_written_is_half_as_large_and_judged_as_it_is_shipped(run, tmp_path):
    done = CliRunner().invoke(main, [str(run), "--dest", str(tmp_path), "--n", "20", "--autoattack", "0"])
    assert done.exit_code == 0, done.output
    weights = tmp_path / "cifar10-robust-small.safetensors"
    assert weights.stat().st_size < 0.6 * (run / "best.safetensors").stat().st_size
    about = json.loads(weights.with_suffix(".json").read_text())
    x, y = el.load_data("digits", n=20).batch(0, 20)
    clean = 100 * (el.load_model(weights)(x).argmax(1) == y).double().mean().item()
    assert about["measured"]["clean"] == pytest.approx(clean)
    assert about["measured"]["pgd-50-10_images"] == 20
    assert "--method fgsm" in about["command"] and "--epochs 2" in about["command"]
    assert 0 < about["energies_apart"] <= 0.01


def test_energies_that_changed_are_told(run, tmp_path):
    state = load_file(run / "best.safetensors")
    name = next(name for name, value in state.items() if value.dim() == 2)
    save_file(state | {name: state[name] * 1.5}, tmp_path / "other.safetensors")
    (tmp_path / "other.json").write_text((run / "best.json").read_text())
    x = el.load_data("digits", n=8).images
    assert energies_apart(run / "best.safetensors", run / "best.safetensors", x) == 0
    assert energies_apart(run / "best.safetensors", tmp_path / "other.safetensors", x) > 0.01
