"""What a profile looks at: a model and samples, from names or as they are, and whether they fit each other."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from energylens.data import DATA_SETS, Samples, data_set, load_data
from energylens.data.own import Items, own_samples, with_classes
from energylens.errors import InputError, first_line
from energylens.models import ModelCard, current_card, find_models, load_model
from energylens.models.usable import check_usable, logits_of
from energylens.models.usable import device_of as device_of  # both are taken from here by those above
from energylens.models.usable import float_logits as float_logits
from energylens.records.manifest import Subject
from energylens.records.shards import launched_ranks

DEFAULT_SAMPLES = 256

Data = str | Samples | tuple[Any, Any] | Items | None


@dataclass(frozen=True)
class Choice:
    """Which samples of a data set; see ``load_data``. n: None for the usual number."""

    n: int | None = None
    choose: str = "first"
    split: str = "test"
    seed: int = 0
    root: str | Path | None = None


def the_module(model: str | Path | nn.Module, data: Data, device: str, options: Mapping[str, Any]) -> nn.Module:
    """The module itself, used where it lies, or the one of this name, loaded onto the device.

    Args:
        model: a name or path that ``load_model`` knows, or a module.
        data: where it is a name, it tells which of a name's models is meant.
        device: ``auto`` or a torch device.
        options: of ``load_model``, for a model given by name.

    Returns:
        The module; one of the user's own is left as it is.

    Raises:
        InputError: for a model that cannot be had or used, on this device.
    """
    benchmark = data_set(data).name if isinstance(data, str) else None
    if isinstance(model, str | Path):
        # the data set tells which of a name's models is meant, where it is one that models are listed for
        known = {"dataset": benchmark} if benchmark in {row.dataset for row in find_models()} else {}
        check_reading(options)
        return load_model(model, device=the_device(device), **{**known, **options})
    if not isinstance(model, nn.Module):
        raise InputError(f"a model is a name or a torch.nn.Module, not a {type(model).__name__}")
    check_usable(model, f"the model ({type(model).__name__})")
    if options:
        raise InputError(f"{', '.join(options)}: not for a model given as a module, only for one given by name")
    if device != "auto" and the_device(device).type != device_of(model).type:
        raise InputError(f"the model lies on {device_of(model)}, not on {device}: move it there first")
    return model


def subject_of(
    model: str | Path | nn.Module, data: Data, choice: Choice, device: str, options: Mapping[str, Any]
) -> Subject:
    """The model and the samples of a request; the seed of the choice is that of the noise, too.

    Args:
        model: a name, path or module, as in ``the_module``.
        data: as in ``the_samples``.
        choice: which samples.
        device: ``auto`` or a torch device.
        options: of ``load_model``.

    Returns:
        The module with its card, the chosen samples and the seed.

    Raises:
        InputError: for a model or data that cannot be had.
    """
    module = the_module(model, data, device, options)
    card = current_card(module)
    return Subject(module, card, the_samples(data, card, module, choice), choice.seed)


def check_reading(options: Mapping[str, Any]) -> None:
    """Refuse arguments that ``load_model`` does not have.

    Args:
        options: by name.

    Raises:
        InputError: for one that it does not have.
    """
    unknown = [name for name in options if name not in inspect.signature(load_model).parameters]
    if unknown:
        raise InputError(f"unknown argument {unknown[0]!r}: neither this function nor load_model has it")


def the_device(name: str) -> torch.device:
    """The device of this name; ``auto`` is the GPU where there is one, each process of a launcher its own.

    Args:
        name: as torch writes it, or ``auto``.

    Returns:
        The device.

    Raises:
        InputError: for one that cannot be used here.
    """
    if name == "auto":
        if not torch.cuda.is_available():
            return torch.device("cpu")
        return torch.device("cuda", launched_ranks().local % torch.cuda.device_count())
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {name!r} cannot be used here ({first_line(error)}): try cpu") from error
    return device


def the_samples(data: Data, card: ModelCard, model: nn.Module, choice: Choice) -> Samples:
    """The samples themselves, or some of the data set of this name, by default of the model's own.

    What ``whole_split`` says of classes holds here too.

    Args:
        data: a name, Samples, a pair (x, y), a Dataset or DataLoader, or None.
        card: the model's.
        model: any module.
        choice: which samples; n None is DEFAULT_SAMPLES of a data set by name, and all of a user's own.

    Returns:
        The chosen samples; by default all of a split that has fewer than DEFAULT_SAMPLES.

    Raises:
        InputError: for data that cannot be had, or n with samples that are chosen already.
    """
    if isinstance(data, Samples | tuple | list) and choice.n is not None:
        raise InputError(
            "n goes with a data set given by name, a Dataset or a DataLoader: choose among your own samples yourself"
        )
    limit = choice.n if choice.choose == "first" else None
    everything = whole_split(data, card, model, split=choice.split, root=choice.root, limit=limit)
    if choice.n is None and not (data is None or isinstance(data, str)):
        return everything
    size = min(DEFAULT_SAMPLES, len(everything)) if choice.n is None else choice.n
    return everything.choose(size, choice.choose, choice.seed)


def whole_split(
    data: Data, card: ModelCard, model: nn.Module, *, split: str, root: str | Path | None, limit: int | None = None
) -> Samples:
    """The samples themselves, or all of a split of the data set of this name, by default of the model's own.

    Of the model's own data set only the classes that it was trained on, numbered as its logits are. A user's own images
    (``own_samples``) have as many classes as the model.

    Args:
        data: a name, Samples, a pair (x, y), a Dataset or DataLoader, or None.
        card: the model's.
        model: any module.
        split: ``train`` or ``test``, of a data set by name.
        root: where data sets lie.
        limit: the first so many items of a user's Dataset or DataLoader.

    Returns:
        All of them, in the order of the data; Samples as they came.

    Raises:
        InputError: for data that cannot be had.
    """
    if isinstance(data, Samples):
        return data
    if data is not None and not isinstance(data, str):
        samples = own_samples(data, limit=limit)
        classes = logits_of(model, samples.batch(0, 1)[0], samples.title).shape[1]
        return with_classes(samples, classes)
    name = data or card.dataset
    if name is None:
        raise InputError(f"model {card.name} does not say which data set it was trained on: name one with --dataset")
    labels = card.labels if name == card.dataset else None
    return load_data(name, classes=labels, split=split, data_root=root, preprocessing=card.preprocessing)


def check_fit(model: nn.Module, card: ModelCard, samples: Samples) -> None:
    """One image through the model before anything is written: does it take this shape, give these classes?

    Args:
        model: any module; it is left as it was.
        card: the model's.
        samples: what it is to be asked about.

    Raises:
        InputError: where they do not fit.
    """
    made_for = DATA_SETS.get(card.dataset or "")
    if made_for is not None and made_for.image_shape[0] != samples.image_shape[0]:
        # the normalisation of many networks would broadcast one channel to three without a word
        raise InputError(
            f"{card.name} was made for {made_for.name}'s {made_for.image_shape[0]} channels, {samples.title} has "
            f"{samples.image_shape[0]}: choose the data set it was trained on"
        )
    logits, classes = logits_of(model, samples.batch(0, 1)[0], samples.title), len(samples.classes)
    if logits.shape[1] != classes:
        raise InputError(
            f"the model gives {logits.shape[1]} logits, {samples.title} has {classes} classes: "
            "choose the data set it was trained on"
        )
