"""Preprocessings are read off their names: every name that a model's card may bear, and no other."""

import re

import pytest
from torchvision import models
from torchvision.transforms import InterpolationMode

from energylens.data import DATA_SETS, Preprocessing, load_data, preprocessing_named
from energylens.errors import InputError, RunError
from energylens.models import find_models
from energylens.models.elsewhere import _preprocessing as name_of
from energylens.models.robustbench import import_robustbench


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
    ],
)
def test_a_name_says_what_is_done(name: str, expected: Preprocessing) -> None:
    assert preprocessing_named(name) == expected


@pytest.mark.parametrize(
    "name",
    ["", "Res999", "res256Crop224", "CubicRes256Crop224", "Res0Crop224", "Res256Crop", "Res256Crop224 ", "Res8x9Crop8"],
)
def test_another_name_is_answered_with_the_pattern(name: str) -> None:
    told = re.escape(f"unknown preprocessing {name!r}; expected [Kind]Res<n>Crop<m>, ") + ".*Bicubic, .*Nearest"
    with pytest.raises(InputError, match=told):
        preprocessing_named(name)


@pytest.mark.parametrize("mode", InterpolationMode)
def test_every_interpolation_of_torchvision_has_a_name(mode: InterpolationMode) -> None:
    assert preprocessing_named(name_of(mode.value, 256, 224)) == Preprocessing(256, 224, mode.value)


def test_the_names_on_the_cards_of_robustbench_torchvision_and_timm_are_understood() -> None:
    for row in find_models("imagenet"):
        assert row.preprocessing and preprocessing_named(row.preprocessing)
    for name in models.list_models(module=models):
        how = models.get_model_weights(name).DEFAULT.transforms()
        told = name_of(how.interpolation.value, how.resize_size[0], how.crop_size[0])
        assert preprocessing_named(told) == Preprocessing(how.resize_size[0], how.crop_size[0], how.interpolation.value)
    import_robustbench()
    import timm

    for name in timm.list_pretrained():
        cfg = timm.get_pretrained_cfg(name)
        size = cfg.input_size[-1]
        told = name_of(cfg.interpolation, int(size / cfg.crop_pct), size, squash=cfg.crop_mode == "squash")
        assert preprocessing_named(told).crop == size


@pytest.mark.parametrize("name", DATA_SETS)
def test_data_sets_of_image_files_alone_take_one(name: str, tmp_path: object) -> None:
    assert preprocessing_named(DATA_SETS[name].preprocessing)
    if name in ("imagenet", "tinyimagenet"):
        with pytest.raises(RunError, match="could not be read"):  # the name is understood, the files are not there
            load_data(name, root=str(tmp_path), preprocessing="BicubicRes236Crop224")
    else:
        with pytest.raises(InputError, match=f"{name} has no preprocessing 'BicubicRes236Crop224'; expected None"):
            load_data(name, root=str(tmp_path), preprocessing="BicubicRes236Crop224")
