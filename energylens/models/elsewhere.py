"""Models that other packages hold: timm, torchvision, the Hugging Face hub.

Each comes with the normalisation its weights were trained with as its first layer, so that the input is an image in
[0, 1], and with the resize and crop of its pictures on its card.
"""

import contextlib
import difflib
import importlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from energylens.data.preprocessing import Preprocessing
from energylens.errors import InputError, RunError, first_line
from energylens.models.card import ModelCard
from energylens.models.measured import Pixels, UnlikeError, measured
from energylens.models.robustbench import import_robustbench

_USUAL_STEPS = ("do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb")


def load_timm(name: str, pixels: Pixels | None = None) -> tuple[nn.Module, ModelCard]:
    """The timm model of that name with its pretrained weights from the Hugging Face hub, as safetensors only.

    Args:
        name: as timm has it.
        pixels: what the user says of its input; None for what timm's configuration says.

    Returns:
        The model, from images in [0, 1] to logits, and its card.

    Raises:
        InputError: for a name that timm does not know or has no weights there for.
        RunError: if they cannot be had.
    """
    timm = _timm()
    if not timm.is_model(name):
        raise InputError(f"timm has no model {name!r}{_like(name, timm.list_models())}: timm.list_models() lists them")
    config = timm.get_pretrained_cfg(name)
    if config is None or not config.hf_hub_id:
        tags = timm.list_pretrained(f"{name.split('.')[0]}*")
        raise InputError(f"timm has no pretrained weights for {name!r}{_like(name, tags)}")
    model = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=_timm_file(config.hf_hub_id))
    card = ModelCard(f"timm:{name}", "timm", architecture=name, origin=_page(config.hf_hub_id))
    return _of_timm(model, card, pixels)


def load_torchvision(name: str, pixels: Pixels | None = None) -> tuple[nn.Module, ModelCard]:
    """The torchvision classifier of that name with its best ImageNet weights.

    Args:
        name: as torchvision has it.
        pixels: what the user says of its input; None for what the weights say.

    Returns:
        The model, from images in [0, 1] to logits, and its card.

    Raises:
        InputError: for a name that torchvision does not know.
        RunError: if the weights cannot be had.
    """
    from torchvision import models

    if name not in (known := models.list_models(module=models)):
        raise InputError(f"torchvision has no classifier {name!r}{_like(name, known)}: one of {', '.join(known)}")
    weights = models.get_model_weights(name).DEFAULT
    with _reaching(weights.url):
        model = models.get_model(name, weights=weights)
    clean = weights.meta.get("_metrics", {}).get("ImageNet-1K", {}).get("acc@1")
    card = ModelCard(
        f"torchvision:{name}", "torchvision", "imagenet", architecture=name, clean=clean, origin=weights.url
    )
    return _behind(pixels or _of_torchvision(weights.transforms()), model, card)


def load_hub(repo: str, pixels: Pixels | None = None) -> tuple[nn.Module, ModelCard]:
    """A classifier of the Hugging Face hub: through timm if the repository is timm's, else through transformers.

    Args:
        repo: `owner/name`.
        pixels: what the user says of its input; None for what timm's configuration says or the image processor does.

    Returns:
        The model, from images in [0, 1] to logits, and its card.

    Raises:
        InputError: for a repository that is neither, if transformers is not installed, or for an image processor that
            cannot be followed.
        RunError: if the hub cannot be reached.
    """
    config = json.loads(Path(_from_hub(repo, "config.json")).read_text(encoding="utf-8"))
    loader = _hub_timm if "architecture" in config else _hub_transformers
    return loader(repo, config, pixels)


class Logits(nn.Module):
    """A transformers classifier as a plain module: pixel values in, logits out."""

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, x: Tensor) -> Tensor:
        """The classifier's logits.

        Args:
            x: normalised images, (N, C, H, W).

        Returns:
            Logits, (N, K).
        """
        logits: Tensor = self.classifier(pixel_values=x).logits
        return logits


def _hub_timm(repo: str, config: dict[str, Any], pixels: Pixels | None) -> tuple[nn.Module, ModelCard]:
    timm = _timm()
    name = config["architecture"]
    if not timm.is_model(name):
        raise InputError(f"hf:{repo} is a timm model of architecture {name!r}, which this timm does not know")
    cfg = config.get("pretrained_cfg", {}) | _timm_file(repo)
    classes = config.get("num_classes", cfg.get("num_classes", 1000))
    model = timm.create_model(name, pretrained=True, pretrained_cfg=cfg, num_classes=classes)
    return _of_timm(model, ModelCard(f"hf:{repo}", "hf", architecture=name, origin=_page(repo)), pixels)


def _hub_transformers(repo: str, config: dict[str, Any], pixels: Pixels | None) -> tuple[nn.Module, ModelCard]:
    try:
        transformers = importlib.import_module("transformers")
    except ImportError as error:
        raise InputError(
            f"hf:{repo} needs transformers, which is not installed: pip install 'energylens[transformers]'"
        ) from error
    with _reaching(_page(repo)):
        classifier = transformers.AutoModelForImageClassification.from_pretrained(repo, use_safetensors=True)
    architecture = next(iter(config.get("architectures", [])), None)
    card = ModelCard(f"hf:{repo}", "hf", architecture=architecture, origin=_page(repo))
    pixels = pixels or _of_processor(repo, transformers.AutoImageProcessor.from_pretrained)
    return _behind(pixels, Logits(classifier), card)


def _of_processor(repo: str, load: Callable[[str], Any]) -> Pixels:
    """What the repository's image processor does; InputError where it has none, or one that cannot be followed."""
    advice = "say it yourself: --preprocessing resize=256,crop=224 --mean M,M,M --std S,S,S"
    try:
        processor = load(repo)
    except (OSError, ValueError, ImportError) as error:  # its weights are here: it is not the network
        reason = " ".join(str(error).split())
        raise InputError(f"hf:{repo} does not say how its pictures are prepared ({reason}): {advice}") from error

    def prepare(picture: Any) -> Any:
        made = processor(images=picture, return_tensors="pt")
        if "pixel_values" not in made:
            raise UnlikeError(f"it gives {', '.join(made)}, not pixel_values")
        if len(made["pixel_values"]) != 1:
            raise UnlikeError(f"it makes {len(made['pixel_values'])} images of one picture")
        return made["pixel_values"][0]

    try:
        return measured(prepare)
    except UnlikeError as reason:
        kind = ", ".join([type(processor).__name__, *_unusual_steps(processor)])
        raise InputError(
            f"the image processor of hf:{repo}, {kind}, cannot be followed: {reason}; {advice}"
        ) from reason


def _unusual_steps(processor: Any) -> list[str]:
    """What an image processor says that it does, beside what most do: `do_pad` for example."""
    unusual = {name for name in dir(processor) if name.startswith("do_")}.difference(_USUAL_STEPS)
    return sorted(name for name in unusual if getattr(processor, name) is True)


def _of_torchvision(how: Any) -> Pixels:
    """What ``weights.transforms()`` does."""
    preprocessing = Preprocessing(how.resize_size[0], how.crop_size[0], how.interpolation.value)
    return Pixels(preprocessing, tuple(how.mean), tuple(how.std))


def _timm_file(repo: str) -> dict[str, Any]:
    """What makes timm load a hub repository's safetensors from a local file.

    timm 1.0.9, which robustbench pins, does not find a current huggingface_hub, and reads a pickle with its code. A
    `custom_load` is for the formats of the original authors, not for safetensors.
    """
    return {"file": _from_hub(repo, "model.safetensors"), "custom_load": False}


def _of_timm(model: nn.Module, card: ModelCard, pixels: Pixels | None) -> tuple[nn.Module, ModelCard]:
    cfg: Any = model.pretrained_cfg
    card = replace(card, dataset="imagenet" if cfg["num_classes"] == 1000 else None)
    return _behind(pixels or _of_config(card.name, cfg), model, card)


def _behind(pixels: Pixels, model: nn.Module, card: ModelCard) -> tuple[nn.Module, ModelCard]:
    """The model that takes images in [0, 1], and its card that tells how pictures become these."""
    return pixels.before(model), replace(card, preprocessing=pixels.preprocessing.name)


def _of_config(name: str, cfg: Any) -> Pixels:
    """What timm's ``create_transform(**resolve_data_config(cfg))`` does; InputError where that cannot be expressed."""
    *_, height, width = cfg["input_size"]
    if cfg["crop_mode"] not in ("center", "squash") or height != width:
        raise InputError(
            f"{name} wants pictures of {height}x{width} pixels with crop mode {cfg['crop_mode']!r}; only squares, "
            "cropped 'center' or 'squash', can be followed: say it yourself with --preprocessing, --mean and --std"
        )
    resize = int(height / cfg["crop_pct"])
    side = (resize, resize) if cfg["crop_mode"] == "squash" else resize
    return Pixels(Preprocessing(side, height, cfg["interpolation"]), tuple(cfg["mean"]), tuple(cfg["std"]))


def _timm() -> Any:
    import_robustbench()  # timm comes with it, and is imported in silence there
    return importlib.import_module("timm")


def _from_hub(repo: str, file: str) -> str:
    """The local path of one file of a hub repository, downloaded at need."""
    import huggingface_hub
    from huggingface_hub.errors import HFValidationError

    with _reaching(f"{_page(repo)}/{file}"):
        try:
            path: str = huggingface_hub.hf_hub_download(repo, file)
        except HFValidationError as error:
            raise InputError(f"{repo!r} is not a repository of the Hugging Face hub: write hf:owner/name") from error
    return path


def _page(repo: str) -> str:
    return f"https://huggingface.co/{repo}"


@contextlib.contextmanager
def _reaching(what: str) -> Iterator[None]:
    """A network failure within this context is a RunError that says what could not be reached."""
    try:
        yield
    except OSError as error:  # urllib, requests and huggingface_hub raise kinds of it
        reason = first_line(error)
        raise RunError(f"could not reach {what} ({reason}): check the name and the network, then try again") from error


def _like(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=3)
    return f" (did you mean {', '.join(close)}?)" if close else ""
