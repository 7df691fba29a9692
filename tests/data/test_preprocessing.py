"""Preprocessings are read off their names: every name that a model's card may bear, and no other."""

import re
from pathlib import Path

import pytest
import torch
from torchvision import transforms
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import to_pil_image

from energylens.data import Preprocessing, load_data, preprocessing_named
from energylens.errors import InputError
from energylens.models import find_models


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Res232Crop224", Preprocessing(232, 224)),
        ("BilinearRes232Crop224", Preprocessing(232, 224)),
        ("BicubicRes236Crop224", Preprocessing(236, 224, "bicubic")),
        ("LanczosRes384Crop384", Preprocessing(384, 384, "lanczos")),
        ("Nearest-exactRes8Crop16", Preprocessing(8, 16, "nearest-exact")),
        ("BicubicRes384x384Crop384", Preprocessing((384, 384), 384, "bicubic")),
        ("Crop288", Preprocessing(crop=288)),
        ("Res224", Preprocessing((224, 224))),
        ("None", Preprocessing()),
        ("resize=236,crop=224,interpolation=bicubic", Preprocessing(236, 224, "bicubic")),
        ("resize=384x320", Preprocessing((384, 320))),
        ("crop=96x80", Preprocessing(crop=(96, 80))),
        ("interpolation=box,crop=8,resize=9,corner=floor", Preprocessing(9, 8, "box", "floor")),
        ("resize=9x9,by=torchvision", Preprocessing((9, 9), by="torchvision")),
    ],
)
def test_a_name_says_what_is_done(name: str, expected: Preprocessing) -> None:
    assert preprocessing_named(name) == expected


@pytest.mark.parametrize(
    "name",
    (
        *("", "Res999", "res256Crop224", "CubicRes256Crop224", "Res0Crop224", "Res256Crop", "Res256Crop224 "),
        *("Res8x9Crop8", "resize=0", "resize=256,resize=224", "size=256", "resize=256,interpolation=cubic"),
        *("resize=", "crop=2x", "a=b=c", "resize=256,"),
    ),
)
def test_another_name_is_answered_with_the_pattern(name: str) -> None:
    told = (
        re.escape(f"unknown preprocessing {name!r}; expected settings such as resize=256,crop=224") + ".*\\[Kind\\]Res"
    )
    with pytest.raises(InputError, match=told):
        preprocessing_named(name)


@pytest.mark.parametrize("mode", InterpolationMode)
def test_every_interpolation_of_torchvision_has_a_name(mode: InterpolationMode) -> None:
    assert preprocessing_named(Preprocessing(256, 224, mode.value).name) == Preprocessing(256, 224, mode.value)


def test_the_names_on_the_cards_of_robustbench_are_understood_and_kept() -> None:
    for row in find_models("imagenet"):
        assert row.preprocessing and preprocessing_named(row.preprocessing).name == row.preprocessing


@pytest.mark.parametrize(
    "one",
    [
        Preprocessing(9),
        Preprocessing((9, 8), 8),
        Preprocessing(9, 8, "box", "floor"),
        Preprocessing(crop=(3, 4)),
        Preprocessing(9, 8, "bilinear", "floor", "torchvision"),
    ],
)
def test_what_robustbench_has_no_word_for_has_a_text(one: Preprocessing) -> None:
    assert preprocessing_named(one.name) == one


def test_small_images_are_resized_as_their_pictures_would_be(cifar10_root: Path) -> None:
    """What a model of 224 pixels wants of CIFAR-10, held against PIL's own resize of each picture."""
    plain = load_data("cifar10", n=4, data_root=cifar10_root)
    large = load_data("cifar10", n=4, data_root=cifar10_root, preprocessing="resize=240,crop=224,interpolation=bicubic")
    steps = [transforms.Resize(240, InterpolationMode.BICUBIC), transforms.CenterCrop(224), transforms.ToTensor()]
    expected = torch.stack([transforms.Compose(steps)(to_pil_image(image)) for image in plain.images])
    assert large.image_shape == (3, 224, 224) and torch.equal(large.images, expected)
    assert torch.equal(large.labels, plain.labels) and large.classes == plain.classes
    same = load_data("cifar10", n=4, data_root=cifar10_root, preprocessing="BicubicRes240Crop224")
    assert same.digest == large.digest != plain.digest


def test_grey_images_of_another_range_are_resized_too() -> None:
    plain, large = (load_data("digits", n=3, preprocessing=how) for how in (None, "resize=16,interpolation=nearest"))
    torch.testing.assert_close(large.images[..., ::2, ::2], plain.images, atol=0.51 / 255, rtol=0)
    assert large.image_shape == (1, 16, 16)
