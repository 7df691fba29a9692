"""A user's own weights file -> a module: the architecture from `arch` or from the JSON beside the file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from energylens.errors import InputError
from energylens.models.architectures import ARCHITECTURES, Architecture, architecture, normalized
from energylens.models.card import ModelCard
from energylens.models.checkpoints import (
    Found,
    Normalisation,
    fit,
    network_part,
    normalisation_in,
    read_checkpoint,
    tell_taken,
    weights_in,
)
from energylens.models.description import Description, description_beside
from energylens.models.usable import check_usable
from energylens.models.users_network import OWN_ROAD, Maker, make, maker_of

SUFFIXES = (".safetensors", ".pt", ".pth", ".th", ".ckpt")
_SHELLS = (nn.DataParallel, nn.parallel.DistributedDataParallel, torch.optim.swa_utils.AveragedModel)
_ALIKE = 1e-3  # how far apart two people write the same mean: 0.4914 and 0.491


@dataclass(frozen=True)
class Given:
    """What the user says of a network and its weights; None for what the file, or the JSON beside it, tells.

    Attributes:
        arch: a row of ARCHITECTURES, a class or factory of the user's, or its address `package.module:name`.
        arch_args: arguments of the architecture by name.
        weights_key: which of several sets of weights, see `weights_in`.
        mean: one float a channel, for a network that does not normalise itself.
        std: the same.
        num_classes: logits of an architecture of ours.
        trust_pickle: let the file run the code it carries.
    """

    arch: str | Maker | None = None
    arch_args: Mapping[str, Any] | None = None
    weights_key: str | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    num_classes: int | None = None
    trust_pickle: bool = False


def load_weights_file(path: Path, given: Given) -> tuple[nn.Module, ModelCard]:
    """The architecture filled with the file's weights, behind its normalisation; or the module that the file holds.

    What is not given is read from `path` with the suffix .json: {"arch", "num_classes", "in_channels", "width", "mean",
    "std", "dataset", "labels" (those of the data set that the logits are for), "threat_model", "eps" (a number or
    "8/255"), "measured": {"clean", "autoattack"}} (in %), all optional but the first; sizes told by neither are read
    off the weights' shapes.

    Args:
        path: of the weights file.
        given: what the user says of it.

    Returns:
        The model, from images in [0, 1] to logits, and its card.

    Raises:
        InputError: for a file that is no checkpoint, no known architecture, a field of the wrong type, or weights that
            do not fit.
        RunError: where a file may not be read.
    """
    held = read_checkpoint(path, trust_pickle=given.trust_pickle)
    about = description_beside(path)
    arch = given.arch or _described(about, path)
    if arch is None and given.arch_args:
        raise InputError(f"arch_args (--arch-arg) {', '.join(given.arch_args)} came without arch: give --arch too")
    checkpoint = _Checkpoint(path, weights_in(held, where=str(path), key=given.weights_key))
    own = None
    if arch is None:
        module = checkpoint.module()
        name = type(module).__name__
    elif isinstance(arch, str) and ":" not in arch:
        name, row = arch, architecture(arch, f"; or {OWN_ROAD}")
        module, own = checkpoint.into_ours(name, row, _sizes(row, name, given, about))
    elif given.num_classes is not None:
        raise InputError(f"num_classes={given.num_classes} goes with an architecture of ours: give it in arch_args")
    else:
        maker, name = maker_of(arch)
        module, own = checkpoint.into(make(maker, given.arch_args or {}, name), name)
    check_usable(module, str(path))
    told = {fact: getattr(about, fact) for fact in ("dataset", "labels", "threat_model", "eps")} | vars(about.measured)
    key, whole = checkpoint.found.key or None, True if arch is None else None
    origin = str(path.parent.resolve() / path.name)
    card = ModelCard(str(path), "file", architecture=name, weights_key=key, whole=whole, origin=origin, **told)
    return normalized(module, *_normalisation(own, given, about, path)), card


def _described(about: Description, path: Path) -> str | None:
    """The architecture that the JSON names; InputError for code, which a file beside weights cannot have run."""
    if about.arch is not None and ":" in about.arch:
        raise InputError(
            f"{path.with_suffix('.json')} names code, {about.arch}, which a file beside weights cannot have run: "
            f"give it yourself with --arch {about.arch}"
        )
    return about.arch


@dataclass(frozen=True)
class _Checkpoint:
    """A set of weights and the file it comes from."""

    path: Path
    found: Found

    def module(self) -> nn.Module:
        """The whole module that the file holds; InputError where it holds weights alone."""
        if not isinstance(self.found.weights, nn.Module):
            raise InputError(
                f"{self.path} does not say its architecture and {self.path.with_suffix('.json').name} is not beside "
                f"it: name one with --arch. The weights {self._fitting()}; or {OWN_ROAD}"
            )
        return _unwrapped(self.found.weights)

    def into_ours(self, name: str, row: Architecture, sizes: dict[str, int]) -> tuple[nn.Module, Normalisation | None]:
        """An architecture of ours filled with the weights, its sizes read off them where not given."""
        ends = (row.stem, row.head)
        state, _ = network_part(self.found.state, ends)
        module = row.build(**(row.settings_of(state) | sizes))
        return module, self._fill(module, ends, name, lambda: self._other_than(name, sizes))

    def into(self, module: nn.Module, name: str) -> tuple[nn.Module, Normalisation | None]:
        """The user's own network filled with the weights."""
        check_usable(module, name, lazy=True)
        mend = "Give the class, and with --arch-arg (arch_args) the arguments, that these weights were trained with"
        return module, self._fill(module, tuple(module.state_dict()), name, lambda: mend)

    def _fill(
        self, module: nn.Module, names: Sequence[str], into: str, mend: Callable[[], str]
    ) -> Normalisation | None:
        """Copy the weights; what a normalising layer among those that the network has no place for says.

        names: of the network's tensors, as many as tell where in the file it stands.
        """
        own = module.state_dict()
        state, places = network_part(self.found.state, names)
        normalisation = normalisation_in({key: value for key, value in state.items() if key not in own})
        taken = frozenset() if normalisation is None else normalisation.keys
        kept = {key: value for key, value in state.items() if key not in taken}
        fit(module, kept, where=str(self.path), into=into, mend=mend)
        if len(places) > 1:
            tell_taken(str(self.path), "networks", [place.rstrip(".") or "the bare one" for place in places])
        return normalisation

    def _other_than(self, name: str, sizes: Mapping[str, int]) -> str:
        """What else could be asked for where the weights do not fit this architecture of ours in these sizes."""
        if sizes and _fits(ARCHITECTURES[name], self.found.state):
            return f"They fit {name} without {', '.join(sizes)}: the sizes are read off the file"
        return f"The weights {self._fitting()}; or {OWN_ROAD}"

    def _fitting(self) -> str:
        """Which of our architectures these weights fit, in words."""
        names = [name for name, row in ARCHITECTURES.items() if _fits(row, self.found.state)]
        return f"fit {' and '.join(names)}" if names else f"fit none of {', '.join(ARCHITECTURES)}"


def _fits(row: Architecture, state: Mapping[str, Tensor]) -> bool:
    """Whether all of a row's tensors are there, in shape."""
    part, _ = network_part(state, (row.stem, row.head))
    told = row.settings_of(part)
    if not told or min(told.values()) < 1:
        return False
    with torch.device("meta"):
        own = row.build(**told).state_dict()
    return all(
        key in part and part[key].shape == value.shape
        for key, value in own.items()
        if not key.endswith("num_batches_tracked")
    )


def _sizes(row: Architecture, name: str, given: Given, about: Description) -> dict[str, int]:
    """The arguments of a row's `build` that the user or the JSON gives."""
    arguments = given.arch_args or {}
    unknown = [argument for argument in arguments if argument not in row.sizes()]
    if unknown:
        raise InputError(f"{name} has no argument {unknown[0]!r}: it has {', '.join(row.sizes())}")
    sources = (vars(about), {"num_classes": given.num_classes}, arguments)  # the later ones override
    told = {size: value for source in sources for size, value in source.items() if value is not None}
    return {size: told[size] for size in row.sizes() if size in told}


def _normalisation(
    own: Normalisation | None, given: Given, about: Description, path: Path
) -> tuple[Sequence[float] | None, Sequence[float] | None]:
    """The user's mean and std, else the JSON's, else those of the file's own layer; InputError where they differ."""
    mean, std = (about.mean, about.std) if given.mean is None and given.std is None else (given.mean, given.std)
    if own is None:
        return mean, std
    if not (_alike(mean, own.mean) and _alike(std, own.std)):
        its_mean, its_std = ([round(value, 4) for value in values] for values in (own.mean, own.std))
        raise InputError(
            f"{path} holds a normalising layer of mean {its_mean} and std {its_std}, another than the mean {mean} and "
            f"std {std} given: leave --mean and --std out"
        )
    return own.mean, own.std


def _alike(given: Sequence[float] | None, its: Sequence[float]) -> bool:
    """Whether what was given, if anything was, is what the layer has."""
    return given is None or (len(given) == len(its) and np.allclose(given, its, rtol=0, atol=_ALIKE))


def _unwrapped(module: nn.Module) -> nn.Module:
    """The network itself inside DataParallel, DistributedDataParallel, SWA's AveragedModel or torch.compile's."""
    held = "_orig_mod" if hasattr(module, "_orig_mod") else "module"
    if held == "module" and not isinstance(module, _SHELLS):
        return module
    return _unwrapped(module.get_submodule(held))
