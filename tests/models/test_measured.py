"""What image processors do to pictures is found out by trying them, or refused: plain stand-ins and the real ones."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image
from torch import Tensor, nn
from torchvision import models, transforms
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms import functional as F

from energylens.data.preprocessing import Preprocessing
from energylens.models.elsewhere import _of_config, _of_torchvision
from energylens.models.measured import Pixels, UnlikeError, measured
from energylens.models.robustbench import import_robustbench

BICUBIC = InterpolationMode.BICUBIC
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(scope="module")
def photos() -> list[Image.Image]:
    """Two real photographs, lying and standing, and a small piece of one."""
    china, flower = (Image.fromarray(load_sample_image(name)) for name in ("china.jpg", "flower.jpg"))
    return [china, flower.crop((100, 0, 400, 427)), china.resize((32, 32))]


def given(pixels: Pixels, photo: Image.Image) -> Tensor:
    """What the network is given of the photograph."""
    image = pixels.preprocessing.transform()(photo)
    return pixels.before(nn.Identity())(image[None])[0]


def processor(*steps: Any, scale: float = 1 / 255) -> Callable[[Image.Image], Tensor]:
    """PIL image -> the steps on it -> (3, H, W) float32, times scale -> the steps that come after "tensor"."""
    at = steps.index("tensor")

    def prepare(picture: Image.Image) -> Tensor:
        for step in steps[:at]:
            picture = step(picture)
        x = F.pil_to_tensor(picture).float() * scale
        for step in steps[at + 1 :]:
            x = step(x)
        return x

    return prepare


def floored(side: int) -> Callable[[Image.Image], Image.Image]:
    """transformers' central crop."""

    def crop(picture: Image.Image) -> Image.Image:
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        return picture.crop((left, top, left + side, top + side))

    return crop


RESIZE = transforms.Resize((96, 96))
NORMALIZE = transforms.Normalize(MEAN, STD)
SAME = Preprocessing((96, 96), 96)
EFFICIENTNET = ((0.485, 0.456, 0.406), (0.47853944, 0.4732864, 0.47434163))
FOLLOWED = {
    "ViT": (processor(RESIZE, "tensor", transforms.Normalize([0.5] * 3, [0.5] * 3)), SAME, (0.5,) * 3, (0.5,) * 3),
    "do_normalize=false": (processor(RESIZE, "tensor"), SAME, (0.0,) * 3, (1.0,) * 3),
    "rescale_factor=1/127.5": (
        processor(RESIZE, "tensor", transforms.Normalize(MEAN, STD), scale=1 / 127.5),
        SAME, tuple(m / 2 for m in MEAN), tuple(s / 2 for s in STD),
    ),
    "do_rescale=false": (processor(RESIZE, "tensor", scale=1.0), SAME, (0.0,) * 3, (1 / 255,) * 3),
    "include_top": (
        processor(
            RESIZE, "tensor", transforms.Normalize(*EFFICIENTNET), transforms.Normalize([0.0] * 3, EFFICIENTNET[1])
        ),
        SAME, EFFICIENTNET[0], tuple(s * s for s in EFFICIENTNET[1]),
    ),
    "ConvNeXt of 384 pixels": (
        processor(transforms.Resize((384, 384), BICUBIC), "tensor", NORMALIZE),
        Preprocessing((384, 384), 384, "bicubic"), MEAN, STD,
    ),
    "ConvNeXt of 96 pixels": (
        processor(transforms.Resize(109, BICUBIC), floored(96), "tensor", NORMALIZE),
        Preprocessing(109, 96, "bicubic", "floor"), MEAN, STD,
    ),
    "ConvNeXt of 64 pixels": (
        processor(transforms.Resize(73, BICUBIC), floored(64), "tensor", NORMALIZE),
        Preprocessing(73, 64, "bicubic", "floor"), MEAN, STD,
    ),
    "nearest, cropped": (
        processor(transforms.Resize(73, InterpolationMode.NEAREST), floored(64), "tensor", NORMALIZE),
        Preprocessing(73, 64, "nearest", "floor"), MEAN, STD,
    ),
    "Lanczos, cropped": (
        processor(transforms.Resize(64, InterpolationMode.LANCZOS), transforms.CenterCrop(56), "tensor", NORMALIZE),
        Preprocessing(64, 56, "lanczos"), MEAN, STD,
    ),
    "DeiT": (
        processor(transforms.Resize((110, 110), BICUBIC), floored(96), "tensor", NORMALIZE),
        Preprocessing((110, 110), 96, "bicubic"), MEAN, STD,
    ),
    "lying": (
        processor(transforms.Resize((96, 128)), "tensor", NORMALIZE),
        Preprocessing((96, 128), (96, 128)), MEAN, STD,
    ),
    "shorter side alone": (processor(transforms.Resize(96), "tensor", NORMALIZE), Preprocessing(96), MEAN, STD),
    "crop alone": (
        processor(transforms.CenterCrop(64), "tensor", NORMALIZE), Preprocessing(None, 64), MEAN, STD
    ),
    "torchvision's resize of tensors": (
        lambda picture: NORMALIZE(v2.functional.resize(F.pil_to_tensor(picture), [96, 96], BICUBIC) / 255),
        Preprocessing((96, 96), 96, "bicubic", by="torchvision"), MEAN, STD,
    ),
    "nothing": (processor("tensor", NORMALIZE), Preprocessing(), MEAN, STD),
    "nearest": (
        processor(transforms.Resize((96, 96), InterpolationMode.NEAREST), "tensor", NORMALIZE),
        Preprocessing((96, 96), 96, "nearest"), MEAN, STD,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FOLLOWED)
def test_what_is_done_is_found(name: str, photos: list[Image.Image]) -> None:
    prepare, preprocessing, mean, std = FOLLOWED[name]
    found = measured(prepare)
    assert found.preprocessing == preprocessing and found.order == (0, 1, 2)
    assert found.mean == pytest.approx(mean, rel=1e-6) and found.std == pytest.approx(std, rel=1e-6)
    for photo in photos:
        torch.testing.assert_close(given(found, photo), prepare(photo), rtol=1e-5, atol=1e-5)


def test_the_range_of_efficientnet_is_that_of_two_divisions() -> None:
    found = measured(FOLLOWED["include_top"][0])
    ends = found.before(nn.Identity())(torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 3, 1, 1))
    assert ends[:, 0].flatten().tolist() == pytest.approx([-2.12, 2.25], abs=0.01)


def test_mobilevit_sees_blue_first(photos: list[Image.Image]) -> None:
    prepare = processor(transforms.Resize(110, BICUBIC), floored(96), "tensor", lambda x: x.flip(0))
    found = measured(prepare)
    assert (found.order, found.mean, found.std) == ((2, 1, 0), (0.0,) * 3, (1.0,) * 3)
    torch.testing.assert_close(given(found, photos[0]), prepare(photos[0]))


def longest(side: int, most: int) -> Callable[[Image.Image], Image.Image]:
    """The shorter side to so many pixels, unless the longer gets more than `most`."""

    def resize(picture: Image.Image) -> Image.Image:
        scale = min(side / min(picture.size), most / max(picture.size))
        return picture.resize((int(picture.width * scale), int(picture.height * scale)), Image.Resampling.BILINEAR)

    return resize


def upright(picture: Image.Image) -> Image.Image:
    return picture.transpose(Image.Transpose.TRANSPOSE)


REFUSED = {
    "a bound on the longer side": (processor(longest(96, 160), "tensor"), "1400x1050 -> 128x96.* is not a resize"),
    "filled up on the right": (
        processor(transforms.Resize(60), transforms.CenterCrop(60), "tensor", lambda x: F.pad(x, [0, 0, 36, 36])),
        "a ramp does not stay one",
    ),
    "cropped before it is resized": (processor(transforms.CenterCrop(40), RESIZE, "tensor"), "is not a resize"),
    "turned": (processor(upright, RESIZE, "tensor"), "a ramp does not stay one"),
    "grey": (processor(transforms.Grayscale(3), RESIZE, "tensor"), "mixes the colour channels"),
    "standardised one by one": (processor(RESIZE, "tensor", lambda x: x - x.mean()), "mixes the colour channels"),
    "squared": (processor(RESIZE, "tensor", torch.square), "no normalisation"),
    "inverted": (processor(RESIZE, "tensor", lambda x: 1 - x), "inverts"),
    "pieces in a row": (
        processor(RESIZE, "tensor", lambda x: x.reshape(3, 6, 16, 96).transpose(1, 2).reshape(3, 16, 576)),
        "a ramp does not stay one",
    ),
    "patches": (processor(RESIZE, "tensor", lambda x: x.reshape(36, -1)), r"array of shape \(36, 768\)"),
    "an error of its own": (processor(RESIZE, "tensor", lambda x: x @ x[:1, :2]), "fails on a picture of 480x360"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_expressed_is_refused(name: str) -> None:
    prepare, told = REFUSED[name]
    with pytest.raises(UnlikeError, match=told):
        measured(prepare)


def test_torchvision_is_followed_to_the_bit(photos: list[Image.Image]) -> None:
    hows = {repr(how): how for name in models.list_models(module=models) for how in _transforms_of(name)}
    assert len(hows) > 20
    for how in hows.values():
        assert torch.equal(given(_of_torchvision(how), photos[0]), how(photos[0])), how


def _transforms_of(name: str) -> list[Any]:
    return [weights.transforms() for weights in models.get_model_weights(name)]


def test_timm_is_followed_to_the_bit(photos: list[Image.Image]) -> None:
    import_robustbench()
    import timm
    from timm.data import create_transform, resolve_data_config

    configs: dict[str, dict[str, Any]] = {}
    for name in timm.list_pretrained():
        cfg = timm.get_pretrained_cfg(name).to_dict()
        resolved = resolve_data_config({}, pretrained_cfg=cfg)
        geometry = {key: value for key, value in resolved.items() if key not in ("mean", "std")}
        assert (_of_config(name, cfg).mean, _of_config(name, cfg).std) == (resolved["mean"], resolved["std"])
        configs.setdefault(str(geometry), cfg)
    assert len(configs) > 50
    for cfg in configs.values():
        wanted = create_transform(**resolve_data_config({}, pretrained_cfg=cfg), is_training=False)
        torch.testing.assert_close(given(_of_config("", cfg), photos[2]), wanted(photos[2]), rtol=0, atol=1e-6)


CLASSIFIERS = (
    "BeitImageProcessor", "BitImageProcessor", "CLIPImageProcessor", "ConvNextImageProcessor", "DeiTImageProcessor",
    "EfficientNetImageProcessor", "LevitImageProcessor", "MobileNetV1ImageProcessor", "MobileNetV2ImageProcessor",
    "MobileViTImageProcessor", "PoolFormerImageProcessor", "PvtImageProcessor", "SegformerImageProcessor",
    "SiglipImageProcessor", "ViTImageProcessor",
)  # fmt: skip


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_the_image_processors_of_transformers_are_followed(
    name: str, photos: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "HF_HUB_OFFLINE", "1")
    transformers = pytest.importorskip("transformers", reason="pip install 'energylens[transformers]'")
    one = getattr(transformers, name)()
    found = measured(lambda picture: one(images=picture, return_tensors="pt")["pixel_values"][0])
    for photo in photos:
        wanted = one(images=photo, return_tensors="pt")["pixel_values"][0]
        difference = (given(found, photo) - wanted).abs() * torch.tensor(found.std).view(3, 1, 1) * 255
        assert difference.max() < 1.01 and difference.mean() < 0.05  # levels: Segformer's rounds elsewhere


def test_an_image_processor_of_transformers_that_cannot_be_followed() -> None:
    transformers = pytest.importorskip("transformers", reason="pip install 'energylens[transformers]'")
    one = transformers.PerceiverImageProcessor()
    with pytest.raises(UnlikeError, match="is not a resize and a central crop alone"):
        measured(lambda picture: one(images=picture, return_tensors="pt")["pixel_values"][0])
