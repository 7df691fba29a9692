"""The weights that a run starts from where it does not start from chance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from energylens.errors import InputError
from energylens.models import find_models, load_model, weights_digest
from energylens.models.architectures import Normalize
from energylens.models.checkpoints import fit

Statistics = tuple[list[float], list[float]]


@dataclass(frozen=True)
class Initial:
    """A model's weights.

    Attributes:
        name: as the user gave it.
        state: of the network behind its normalisation.
        statistics: mean and standard deviation of each channel that it normalises by, None where it does not.
        digest: of all of its weights, which is what a run depends on.
    """

    name: str
    state: Mapping[str, Tensor]
    statistics: Statistics | None
    digest: str

    def into(self, core: nn.Module, arch: str) -> None:
        """Copy the weights into a network of this architecture.

        Args:
            core: the network.
            arch: the name of its architecture, for errors.

        Raises:
            InputError: where they do not fit it.
        """
        try:
            fit(core, self.state, where=f"--init {self.name}", into=arch)
        except InputError as error:
            raise InputError(
                f"{error}. Or leave --arch, --width and --classes to what these weights were trained with"
            ) from None


def initial_weights(init: str, *, arch: str, dataset: str, normalize: bool) -> Initial:
    """The weights of a model.

    Args:
        init: the model, a name or a weights file.
        arch: the run's architecture, which a weights file is taken to be of.
        dataset: the run's data set, which tells models of one name apart.
        normalize: whether the run normalises its images.

    Returns:
        The state dict and the description of where it is from.

    Raises:
        InputError: for a model that is not there, or that normalises its images where the run does not, and the other
            way round: it would start as another function than the model is.
    """
    known: dict[str, Any] = {}
    if Path(init).expanduser().is_file():
        known["arch"] = arch
    elif dataset in {row.dataset for row in find_models(init)}:
        known["dataset"] = dataset  # a name of the zoo may stand for models of several data sets
    model = load_model(init, **known)
    first = getattr(model, "normalize", None)
    statistics = _statistics(first) if isinstance(first, Normalize) else None
    if (statistics is not None) != normalize:
        does, option = ("normalises", "--normalize") if statistics else ("does not normalise", "--no-normalize")
        raise InputError(f"--init {init} {does} its images, the run is to do otherwise: give {option}")
    core = model.get_submodule("model") if statistics else model
    return Initial(init, core.state_dict(), statistics, weights_digest(model))


def _statistics(layer: Normalize) -> Statistics:
    """Rounded as the training images' own are."""
    mean, std = ([round(value, 6) for value in values.flatten().tolist()] for values in (layer.mean, layer.std))
    return mean, std
