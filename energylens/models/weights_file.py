"""A user's own weights file -> a module: the architecture from `arch` or from the JSON beside the file."""

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from energylens.errors import InputError
from energylens.models.architectures import ARCHITECTURES, architecture, normalized
from energylens.models.card import ModelCard
from energylens.models.checkpoints import check_file, fit, read_checkpoint, state_of
from energylens.models.description import description_beside

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
    "std", "dataset", "labels" (those of the data set that the logits are for), "threat_model", "eps" (a number or
    "8/255"), "measured": {"clean", "autoattack"}} (in %), all optional but the first; sizes told by neither are read
    off the weights' shapes.
    Raises InputError for a file that is no checkpoint, no known architecture, a field of the wrong type, or weights
    that do not fit.
    """
    check_file(path)  # before the missing JSON is complained about
    about = description_beside(path)
    arch = arch or about.arch
    if arch is None:
        raise InputError(
            f"{path} does not say its architecture and {path.with_suffix('.json').name} is not beside it: "
            f"name one with --arch: {', '.join(ARCHITECTURES)}"
        )
    row = architecture(arch)
    state = state_of(read_checkpoint(path, trust_pickle=trust_pickle), where=str(path))
    asked = {
        "num_classes": about.num_classes if num_classes is None else num_classes,
        "in_channels": about.in_channels,
        "width": about.width,
    }
    told = {size: value for size, value in asked.items() if value is not None}
    module = row.build(**(row.settings_of(state) | told))
    fit(module, state, where=str(path), into=arch)
    if mean is None and std is None:
        mean, std = about.mean, about.std
    card = ModelCard(
        name=str(path),
        source="file",
        dataset=about.dataset,
        labels=about.labels,
        threat_model=about.threat_model,
        eps=about.eps,
        architecture=arch,
        clean=about.clean,
        autoattack=about.autoattack,
        origin=str(path.parent.resolve() / path.name),
    )
    return normalized(module, mean, std), card
