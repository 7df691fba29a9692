"""Feature spaces to score images in: Inception's, which FID and its kin are defined in, or a named classifier's."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from energylens.data.preprocessing import Preprocessing, preprocessing_named
from energylens.errors import InputError, first_line
from energylens.generation.penultimate import penultimate
from energylens.inputs import check_reading, device_of
from energylens.isolation import frozen
from energylens.models import card_of, load_model, module_digest
from energylens.models.checkpoints import read_checkpoint
from energylens.settings import check_word

WEIGHTS = "weights-inception-2015-12-05-6726825d.pth"  # as torch-fidelity calls them
NEEDED = "pip install 'energylens[scores]'"
LAYERS = ("penultimate", "logits")
#: the classifier whose features stand in for Inception's, by data set; both are there without a download
STAND_INS: Mapping[str, str] = {"digits": "digits-standard", "cifar10": "autoattack-resnet18"}

CLASS_SCORE, FRECHET, KERNEL = "class_score", "frechet_distance", "kernel_distance"
INCEPTION_NAMES = {CLASS_SCORE: "inception_score", FRECHET: "fid", KERNEL: "kid"}


@dataclass(frozen=True)
class Extractor:
    """A feature space.

    Attributes:
        name: what every output calls it.
        digest: of weights and layer.
        resize: what is done to an image's size.
        names: what the scores are called in it, where not by their general names.
        of: images (N, C, H, W), uint8 -> features (N, D) and logits (N, K), float32.
    """

    name: str
    digest: str
    resize: str
    names: Mapping[str, str]
    of: Callable[[Tensor], tuple[Tensor, Tensor]]

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features (N, D) and logits (N, K), on the CPU.

        Args:
            images: (N, C, H, W) uint8.

        Raises:
            InputError: for images that the network does not take.
        """
        try:
            features, logits = self.of(images)
        except (RuntimeError, ValueError) as error:
            raise InputError(
                f"{self.name} does not take images of shape {tuple(images.shape[1:])} "
                f"({first_line(error)}): score in another classifier's features"
            ) from error
        return features.cpu(), logits.cpu()


def extractor(
    dataset: str,
    *,
    classifier: str | None = None,
    layer: str = "penultimate",
    inception_weights: str | Path | None = None,
    device: torch.device,
    **reading: Any,
) -> Extractor:
    """The feature space asked for; by default Inception's where its weights lie in torch's cache, else a stand-in's.

    Nothing is downloaded for a default.

    Args:
        dataset: whose images are scored; it has a classifier that stands in, or none.
        classifier: a name that ``load_model`` knows; its features instead of Inception's.
        layer: of the classifier, one of LAYERS.
        inception_weights: the file of Inception's weights.
        device: where the network is to lie.
        reading: what ``load_model`` takes beside the classifier's name.

    Returns:
        The feature space, its network on that device.

    Raises:
        InputError: where neither can be had, or what is asked for does not go together.
    """
    check_reading(reading)
    if not classifier and (given := [f"--{name.replace('_', '-')}" for name, value in reading.items() if value]):
        raise InputError(f"{', '.join(given)} came without a classifier to read: name one with --classifier")
    if classifier and inception_weights:
        raise InputError("a classifier and Inception's weights were given: scores are of one feature space, leave one")
    check_word("layer", layer, LAYERS)
    cached = Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS
    if inception_weights or (not classifier and cached.is_file() and _fidelity()):
        return _inception(Path(inception_weights or cached), device)
    name = classifier or STAND_INS.get(dataset)
    if name is None:
        raise InputError(
            f"Inception's weights are not in torch's cache and no classifier stands in on {dataset}: give "
            f"--inception-weights FILE ({WEIGHTS}, from torch-fidelity's releases) or --classifier NAME"
        )
    return _classifier(load_model(name, device=device, **reading), layer)


def _classifier(model: nn.Module, layer: str) -> Extractor:
    """The features of a classifier on images in [0, 1]; pictures of another size than it takes are resized for it."""
    how = preprocessing_named(card_of(model).preprocessing or "None")

    def of(images: Tensor) -> tuple[Tensor, Tensor]:
        as_they_are = how == Preprocessing() or how.made == tuple(images.shape[2:])
        x = images.float() / 255 if as_they_are else how.images(images)
        with frozen(model):
            features, logits = penultimate(model, x.to(device_of(model)))
        return (features if layer == "penultimate" else logits), logits

    name = f"{card_of(model).short_name} {layer}"
    resize = "none" if how == Preprocessing() else how.name
    digest = " ".join([module_digest(model), layer, *([] if resize == "none" else [resize])])
    return Extractor(name, digest, resize, {}, of)


def _fidelity() -> Any:
    """torch-fidelity's Inception, or None where it is not installed."""
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError:
        return None
    return FeatureExtractorInceptionV3


def _inception(weights: Path, device: torch.device) -> Extractor:
    """The network that FID is defined in (TensorFlow's of 2015-12-05), through torch-fidelity."""
    network = _fidelity()
    if network is None:
        raise InputError(f"Inception's features need torch-fidelity, which is not installed: {NEEDED}")
    read_checkpoint(weights)  # refused here where it is no plain state dict: torch-fidelity would run its pickle
    try:
        model = network("inception", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(weights))
    except (RuntimeError, AttributeError) as error:
        raise InputError(f"{weights} does not hold Inception's weights: expected torch-fidelity's {WEIGHTS}") from error
    model = model.to(device)

    @torch.no_grad()
    def of(images: Tensor) -> tuple[Tensor, Tensor]:
        features, logits = model(images.expand(-1, 3, -1, -1).to(device))
        return features, logits

    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    resize = "299x299, bilinear as in TensorFlow 1"
    return Extractor(f"Inception ({weights.name})", digest, resize, INCEPTION_NAMES, of)
