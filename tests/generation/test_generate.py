"""Generations: what an image depends on, what is kept of it, and what is refused."""

import json

import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from torchvision.transforms.functional import pil_to_tensor

import energylens as el
from energylens.generation.generated import COLUMNS, PATH_COLUMNS
from energylens.generation.starts import STARTS
from energylens.generation.training_images import nearest, reference_energies

FAST = {"steps": 5}


@pytest.fixture(scope="module")
def robust():
    return el.load_model("digits-pgd")


@pytest.fixture(scope="module")
def train():
    return el.load_data("digits", split="train")


@pytest.mark.parametrize("start", STARTS)
def test_the_same_seed_gives_the_same_images_whatever_the_batch_size(start, robust):
    one = el.generate(robust, n=12, start=start, **FAST)
    other = el.generate(robust, n=12, start=start, batch_size=5, **FAST)
    torch.testing.assert_close(one.images, other.images, atol=1e-5, rtol=0)
    columns = list(COLUMNS)
    pd.testing.assert_frame_equal(one.rows[columns], other.rows[columns], atol=1e-4, rtol=1e-4)
    few = el.generate(robust, n=4, start=start, **FAST)
    torch.testing.assert_close(one.images[:4], few.images, atol=1e-5, rtol=0)
    assert not torch.allclose(one.images, el.generate(robust, n=12, start=start, seed=1, **FAST).images, atol=0.1)


def test_the_rows_are_what_the_model_makes_of_the_images(robust, train):
    made = el.generate(robust, n=20, **FAST)
    with torch.no_grad():
        logits = robust(made.images)
    y = torch.arange(20) % 10
    assert made.labels.tolist() == y.tolist()
    assert made.rows["pred"].tolist() == logits.argmax(dim=1).tolist()
    for name, values in {"marginal": el.marginal_energy(logits), "joint": el.joint_energy(logits, y)}.items():
        torch.testing.assert_close(torch.tensor(made.rows[name].to_numpy()), values, atol=1e-4, rtol=0)
        paths = made.rows[f"{name}_path"]
        assert [len(path) for path in paths] == [6] * 20
        assert [path[-1] for path in paths] == pytest.approx(made.rows[name].tolist(), abs=1e-4)
    everything = (made.images[7] - train.images).flatten(1).norm(dim=1)
    assert made.rows["nearest"][7] == everything.argmin() and made.rows["nearest_l2"][7] == pytest.approx(
        everything.min()
    )


def test_a_copy_of_a_training_image_is_found(train):
    index, distance = nearest(train.images[[800, 3]], train)
    assert index.tolist() == [800, 3] and distance.tolist() == [0, 0]


def test_reference_energies_are_the_means_of_the_classes(robust, train):
    found = reference_energies(robust, train, "joint", torch.tensor([4, 7]))
    with torch.no_grad():
        energies = el.joint_energy(robust(train.images), train.labels)
    for label in range(10):
        expected = energies[train.labels == label].mean() if label in (4, 7) else torch.tensor(torch.nan)
        torch.testing.assert_close(found[label], expected, equal_nan=True)


def test_a_guided_chain_ends_near_its_classes_training_energy(robust):
    made = el.generate(robust, n=20, start="gaussian", guidance="reference-energy", stop="reference-energy")
    reference = torch.tensor(made.reference)[made.labels]
    off = (torch.tensor(made.rows["joint"].to_numpy()) - reference).abs()
    stopped = torch.tensor(made.rows["steps"].to_numpy()) < 50
    assert stopped.float().mean() > 0.8 and (off[stopped] < 0.51).all()


def test_a_robust_model_stays_near_digits_and_a_natural_one_leaves_them():
    """From the same starts, by the same steps: how far from the nearest training image each comes."""
    own = {"start": "pca", "step_size": 0.02, "n": 30}
    robust, natural = (el.generate(name, **own) for name in ("digits-pgd", "digits-standard"))
    start = el.generate("digits-pgd", **own, steps=0)
    away = [made.rows["nearest_l2"].median() for made in (start, robust, natural)]
    assert away[1] < 1.6 * away[0] and away[2] > 2.2 * away[0], away


def test_classes_are_taken_in_turn_by_name_or_number(robust):
    made = el.generate(robust, n=5, classes=["7", 3], **FAST)
    assert made.labels.tolist() == [7, 3, 7, 3, 7]
    assert [row["class"] for row in made.as_numbers()] == ["3", "7", "all"]


def test_the_callers_model_and_random_state_are_left_alone():
    model = el.load_model("digits-pgd").train()
    state = torch.get_rng_state()
    el.generate(model, n=4, **FAST)
    assert model.training and torch.equal(state, torch.get_rng_state())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_folder_holds_pictures_tensors_rows_and_a_manifest(robust, tmp_path):
    made = el.generate(robust, n=12, out=tmp_path, batch_size=5, **FAST)
    assert made.folder.parent == tmp_path / "digits-pgd"
    pictures = sorted((made.folder / "images").iterdir())
    assert [picture.name for picture in pictures[:2]] == ["000000-0.png", "000001-1.png"] and len(pictures) == 12
    for picture, image in zip(pictures, made.images, strict=True):
        assert torch.equal(pil_to_tensor(Image.open(picture)), (image * 255).round().to(torch.uint8))
    tensors = load_file(made.folder / "images.safetensors")
    assert torch.equal(tensors["images"], made.images) and torch.equal(tensors["labels"], made.labels)
    rows = pd.concat(map(pd.read_parquet, made.folder.glob("part-*.parquet"))).sort_values("index")
    assert list(rows.columns) == [*COLUMNS, *PATH_COLUMNS] and rows["index"].tolist() == list(range(12))
    manifest = json.loads((made.folder / "manifest.json").read_text())
    assert manifest["identity"]["generation"]["settings"]["steps"] == 5 and manifest["versions"]["torch"]
    assert not list(made.folder.rglob("*.tmp"))


def test_only_what_is_missing_is_made(robust, tmp_path):
    first = el.generate(robust, n=6, out=tmp_path, **FAST)
    seen = []
    hook = robust.register_forward_hook(lambda module, args, out: seen.append(len(out)))
    again = el.generate(robust, n=6, out=tmp_path, **FAST)
    assert seen == [1, 4, 5, 4]  # does it fit, is it the same model, and are these its images?
    seen.clear()
    more = el.generate(robust, n=8, out=tmp_path, **FAST)
    hook.remove()
    assert seen[:4] == [1, 4, 5, 4] and max(seen[4:]) == 2
    assert torch.equal(first.images, again.images) and torch.equal(first.images, more.images[:6])
    assert len(list((first.folder / "images").iterdir())) == 8
    assert el.generate(robust, n=6, out=tmp_path, steps=4).folder != first.folder
    assert el.generate(robust, n=6, out=tmp_path, **FAST).rows["index"].tolist() == list(range(6))


def test_settings_that_a_start_does_not_heed_do_not_count(robust, tmp_path):
    folders = {
        el.generate(robust, n=2, start="noise", spread=spread, out=tmp_path, **FAST).folder for spread in (1.0, 2.0)
    }
    assert len(folders) == 1


def test_nan_leaves_nothing_half_written(tmp_path):
    robust = el.load_model("digits-pgd")

    class Bursting(nn.Module):
        calls = 0

        def forward(self, x):
            self.calls += 1
            return robust(x) * (1 if self.calls < 6 else torch.nan)  # two that ask who it is

    with pytest.raises(el.RunError, match="the chain of sample 0 runs into NaN or infinity at step 2"):
        el.generate(Bursting(), "digits", n=4, out=tmp_path)
    assert {path.name for path in tmp_path.rglob("*") if path.is_file() and not path.name.startswith(".lock")} == {
        "manifest.json"
    }


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"classes": ["11"]}, "digits has no class '11': it has 0, 1, 2"),
        ({"neighbours": 500}, r"500 neighbours were asked for, class \d has \d+ training images"),
        ({"start": "pca", "retained_variance": 100}, "100 components were asked for"),
        ({"n": 0}, "n=0 cannot be run with"),
        ({"seed": -1}, "seed=-1 cannot be run with"),
        ({"sprad": 1.0}, "unknown argument 'sprad'"),
        ({"model": "autoattack-resnet18", "data": "digits"}, "'autoattack-resnet18' is not in the zoo for digits"),
        ({"start": "void"}, "unknown start 'void'"),
    ],
)
def test_what_cannot_be_made_is_said_and_nothing_is_written(request_, message, tmp_path):
    with pytest.raises(el.InputError, match=message):
        el.generate(**{"model": "digits-pgd", "out": tmp_path, **request_})
    assert not list(tmp_path.iterdir())


def test_a_model_of_another_image_size_is_refused(tmp_path):
    small = (torch.rand(30, 1, 6, 6), torch.arange(30) % 10)
    with pytest.raises(el.InputError, match=r"does not take tensors's images of shape \(1, 6, 6\)"):
        el.generate("digits-pgd", small, n=2, out=tmp_path, neighbours=2)
    assert not list(tmp_path.iterdir())


def test_fused_chains_are_the_plain_ones_to_rounding():
    plain, fused = (el.generate(n=10, steps=5, backend=backend) for backend in ("plain", "fused"))
    torch.testing.assert_close(fused.images, plain.images, atol=1e-4, rtol=0)
    assert fused.notes == ()
    with pytest.raises(el.InputError, match="backend 'bf16' is not for chains"):
        el.generate(n=1, backend="bf16")
