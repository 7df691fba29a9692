"""A user's own weights file -> a module: the architecture from `arch` or from the JSON beside the file."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from energylens.errors import InputError
from energylens.models.architectures import ARCHITECTURES, architecture, normalized
from energylens.models.card import ModelCard
from energylens.models.checkpoints import check_file, fit, read_checkpoint, state_of

SUFFIXES = (".safetensors", ".pt", ".pth", ".th", ".ckpt")


def load_weights_file(
    path: Path,
    *,
    arch: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    num_classes: int | None = None,
    trust_pickle: bool = False,
) -> tuple[nn.Module, ModelCard]:
    """The architecture filled with the file's weights, behind its normalisation.

    What is not given is read from `path` with the suffix .json: {"arch", "num_classes", "in_channels", "width", "mean",
    "std", "dataset", "threat_model", "eps", "measured": {"clean", "autoattack"}} (in %), all optional but the first;
    sizes told by neither are read off the weights' shapes.
    Raises InputError for a file that is no checkpoint, no known architecture, or weights that do not fit it.
    """
    check_file(path)  # before the missing JSON is complained about
    about = _json_beside(path)
    arch = arch or about.get("arch")
    if arch is None:
        raise InputError(
            f"{path} does not say its architecture and {path.with_suffix('.json').name} is not beside it: "
            f"name one with --arch: {', '.join(ARCHITECTURES)}"
        )
    row = architecture(arch)
    state = state_of(read_checkpoint(path, trust_pickle=trust_pickle), where=str(path))
    told = {key: about[key] for key in ("num_classes", "in_channels", "width") if key in about}
    asked = {} if num_classes is None else {"num_classes": num_classes}
    module = row.build(**(row.settings_of(state) | told | asked))
    fit(module, state, where=str(path), into=arch)
    if mean is None and std is None:
        mean, std = about.get("mean"), about.get("std")
    measured = about.get("measured", {})
    card = ModelCard(
        name=str(path),
        source="file",
        dataset=about.get("dataset"),
        threat_model=about.get("threat_model"),
        eps=about.get("eps"),
        architecture=arch,
        clean=measured.get("clean"),
        autoattack=measured.get("autoattack"),
        origin=str(path),
    )
    return normalized(module, mean, std), card


def _json_beside(path: Path) -> dict[str, Any]:
    beside = path.with_suffix(".json")
    if not beside.is_file():
        return {}
    try:
        about = json.loads(beside.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{beside} is not valid JSON ({error}): mend it, or remove it and pass --arch") from error
    if not isinstance(about, dict):
        raise InputError(f'{beside} holds a {type(about).__name__}, expected an object with at least "arch"')
    return about
