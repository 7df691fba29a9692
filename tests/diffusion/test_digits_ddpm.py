"""The training of small diffusion models, and what is said of the one that is shipped."""

import json
from dataclasses import asdict, replace

import pytest
import torch

import energylens as el
from energylens.diffusion.digits_ddpm import RECIPES, SEED, _batch, _psnr, denoising, main, train
from energylens.diffusion.loading import WEIGHTS, load_diffuser

SMALL = replace(RECIPES["digits"], channels=(8, 16), steps=3, batch_size=4)


@pytest.fixture(scope="module")
def digits():
    return el.load_data("digits", n=40, split="train")


def test_a_run_is_a_function_of_its_seed(digits):
    (first, steps), (second, _) = train(SMALL, digits), train(SMALL, digits)
    assert steps == 3 and not first.training
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)


def test_minutes_end_it_early(digits):
    assert train(replace(SMALL, steps=10**6), digits, minutes=1e-3)[1] < 1000


def test_mirrored_images_are_mirrored(digits):
    torch.manual_seed(0)
    plain = _batch(digits, SMALL)
    torch.manual_seed(0)
    mirrored = _batch(digits, replace(SMALL, flip=True))
    assert plain.min() == -1 and plain.max() == 1
    for one, other in zip(plain, mirrored, strict=True):
        assert torch.equal(one, other) or torch.equal(one.flip(-1), other)


def test_psnr_of_a_known_error():
    x = torch.full((2, 1, 8, 8), 0.5)
    assert _psnr(2 * (x + 0.1) - 1, x) == pytest.approx(20, abs=0.01)


def test_what_is_saved_is_what_is_loaded_and_told(tmp_path):
    main(tmp_path, "digits", replace(SMALL, judge=None), minutes=1)
    folder = tmp_path / "digits-ddpm"
    about = json.loads((folder / "training.json").read_text())
    assert about["recipe"]["steps"] == 3
    assert about["command"].endswith("--dataset digits --steps 3")
    assert about["measured"]["psnr"] == denoising(load_diffuser(str(folder)), el.load_data("digits", n=500).images)


def test_the_shipped_model_is_as_its_json_says():
    folder = WEIGHTS / "digits-ddpm"
    about = json.loads((folder / "training.json").read_text())
    assert about["recipe"] == json.loads(json.dumps(asdict(RECIPES["digits"])))
    assert about["seed"] == SEED
    assert sum(file.stat().st_size for file in folder.iterdir()) < 3e6
    for t, values in denoising(load_diffuser("digits-ddpm"), el.load_data("digits", n=500).images).items():
        assert values == pytest.approx(about["measured"]["psnr"][t], abs=0.02)
        assert values["denoised"] > values["noisy"] + 3
    assert about["measured"]["samples"]["sure"] > 75
