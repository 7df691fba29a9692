"""Read a weights file safely: what its first bytes say, its tensors without running its code, its fit to a module."""

import os
import pickle
import re
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from energylens.errors import InputError, some, tell
from energylens.files import check_readable, is_there
from energylens.imports import current_directory_importable
from energylens.models.architectures.layers import is_of_unit_images

#: What is not a checkpoint, by its first bytes, and how to mend it.
_IMPOSTORS: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (
        re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype|html|head|body|\?xml)", re.IGNORECASE),
        "an HTML page, not weights: the server answered with a page (a quota, a login, a virus-scan notice). "
        "Open the link in a browser and save the file itself",
    ),
    (
        re.compile(rb"version https://git-lfs"),
        "a Git LFS pointer, not weights: fetch the file itself with `git lfs pull`",
    ),
    (
        re.compile(rb".{257}ustar", re.DOTALL),
        "a tar archive, which no longer can be read safely: unpack it, or re-save the weights with torch.save",
    ),
)

#: Under which key training scripts wrap their weights; the first one that leads to weights wins.
_WRAPPERS = (
    "state_dict", "model_state_dict", "model_state", "model", "net", "network", "ema", "state_dict_ema", "model_ema",
)  # fmt: skip

#: How the two buffers of a normalising layer are called, at their ends: `mean` and `std`, `new_mean` and `new_std`.
_NORMALISATION = (("mean", "std"), ("mu", "sigma"))
_CHANNELS = 4  # at most, of an image that a layer normalises

#: Keys that some public checkpoints carry for layers that their forward pass never uses.
_UNUSED = ("sub_block1.",)  # TRADES' WideResNet builds block1 a second time

#: What wrappers keep beside the network: SWA's and EMA's counters.
_COUNTERS = ("n_averaged", "num_updates", "initted", "step")

_SHOWN = 4  # keys named in a message


def _read_torch(path: Path, trust_pickle: bool) -> Any:
    importable = current_directory_importable() if trust_pickle else nullcontext()  # for the classes of whole modules
    with unpickling(trust_pickle), warnings.catch_warnings(), importable:
        warnings.simplefilter("ignore")  # torch's notes on old pickle protocols; a file that fails still raises
        return torch.load(path, map_location="cpu", weights_only=not trust_pickle)


def _read_safetensors(path: Path, trust_pickle: bool) -> Any:
    from safetensors.torch import load_file

    return load_file(path)


#: How to read a format, by its first bytes: what torch.save writes, as a zip or bare, and safetensors.
_FORMATS: tuple[tuple[re.Pattern[bytes], Callable[[Path, bool], Any]], ...] = (
    (re.compile(rb"PK\x03\x04|\x80[\x02-\x05]"), _read_torch),
    (re.compile(rb".{8}\{", re.DOTALL), _read_safetensors),
)


@contextmanager
def unpickling(trusted: bool) -> Iterator[None]:
    """Within this context `torch.load` runs pickled code only if `trusted`, whoever calls it and whatever is exported.

    Third-party loaders call `torch.load` without saying `weights_only`, and TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD in the
    environment would then switch the protection off.

    Args:
        trusted: whether the user has said so.

    Yields:
        Nothing; the environment is put back at the end.
    """
    names = ("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD")
    before = {name: os.environ.pop(name, None) for name in names}
    os.environ[names[trusted]] = "1"
    try:
        yield
    finally:
        del os.environ[names[trusted]]
        os.environ.update({name: value for name, value in before.items() if value is not None})


def check_file(path: Path) -> Callable[[Path, bool], Any]:
    """How to read the file at `path`, once its first bytes say that it is a checkpoint.

    Args:
        path: of a safetensors file, or of what torch.save writes.

    Returns:
        (path, whether pickled code may run) -> what the file holds.

    Raises:
        RunError: where it may not be read.
        InputError: for a missing or empty file, a page or a pointer saved in its place, and anything that is not a
            checkpoint.
    """
    if not (is_there(path) and path.is_file()):
        raise InputError(f"{path} is not a file: give the path of a .safetensors, .pt, .pth or .th file")
    check_readable(path)
    with path.open("rb") as file:
        head = file.read(512)
    if not head:
        raise InputError(f"{path} is empty: copy or download it again")
    for pattern, what in _IMPOSTORS:
        if pattern.match(head):
            raise InputError(f"{path} is {what}")
    for pattern, read in _FORMATS:
        if pattern.match(head):
            return read
    raise InputError(
        f"{path} is not a checkpoint (it begins with {head[:8]!r}): "
        "expected a safetensors file or what torch.save writes"
    )


def read_checkpoint(path: Path, *, trust_pickle: bool = False) -> Any:
    """What the file holds, on the CPU: tensors and plain containers; any object only with `trust_pickle`.

    Args:
        path: of a safetensors file, or of what torch.save writes.
        trust_pickle: let the file run the code it carries.

    Returns:
        A state dict, a container that holds one, or a module.

    Raises:
        RunError: where it may not be read.
        InputError: as of `check_file`, and for a file that carries code, is truncated or damaged.
    """
    read = check_file(path)
    try:
        return read(path, trust_pickle)
    except Exception as error:  # a damaged pickle can make the reader raise anything
        raise unreadable(str(path), error) from error


def unreadable(where: str, error: Exception) -> InputError:
    """The InputError that tells why torch could not read a file: code refused or not found, or damage.

    Args:
        where: the file, for the message.
        error: what the reader raised.

    Returns:
        The error, to be raised.
    """
    trust = "add --trust-pickle (trust_pickle=True) if you trust its author"
    if isinstance(error, pickle.UnpicklingError):  # what the weights-only reader raises for all but tensors
        code = re.search(r"GLOBAL ([\w.]+)", str(error))
        wish = f"asks to run {code[1].rstrip('.')}" if code else "holds more than tensors"
        return InputError(
            f"{where} is a pickle that {wish}; nothing was run. Use a file that holds tensors only, or {trust}"
        )
    reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    if "TorchScript" in reason:
        return InputError(f"{where} is a TorchScript archive, which carries its code; nothing was run: {trust}")
    if isinstance(error, ImportError | AttributeError):
        return InputError(
            f"{where} holds an object whose class is not found here ({reason}): run from the folder of its module (a "
            "class of a script or notebook cannot be found again), or save model.state_dict() and name the class "
            "with --arch my_models:MyCNN"
        )
    return InputError(f"{where} is truncated or damaged ({reason}): copy or download it again")


@dataclass(frozen=True)
class Found:
    """A set of weights in a checkpoint.

    Attributes:
        key: where it stood, `model/state_dict`; "" for weights that are all there is.
        weights: tensors by name, or the whole module that the file holds.
    """

    key: str
    weights: Mapping[str, Tensor] | nn.Module

    @property
    def state(self) -> dict[str, Tensor]:
        """Its tensors by name."""
        return dict(self.weights.state_dict() if isinstance(self.weights, nn.Module) else self.weights)


def weights_in(checkpoint: Any, *, where: str, key: str | None = None) -> Found:
    """The first set of weights in what a file holds, or the one at `key`; a Note if the file holds several.

    Args:
        checkpoint: what the file holds.
        where: the file, for messages.
        key: the name of an entry, `state_dict_ema`, of one in another, `model/ema`, or of a part of a state dict,
            `ema_model`; None for the first set.

    Returns:
        The weights, with the key at which they were found.

    Raises:
        InputError: where there are no such weights, with what was found.

    Example:
        >>> weights_in({"epoch": 3, "state_dict": {"fc.weight": torch.zeros(2, 2)}}, where="best.pt").key
        'state_dict'
    """
    entry, path = checkpoint, ""
    for name in [] if key is None else key.split("/"):
        entry, path = _entry(entry, name), f"{path}/{name}".lstrip("/")
    found = list(_sets(entry, path))
    if not found and key is not None:
        there = [one.key for one in _sets(checkpoint) if one.key]
        told = f"its sets of weights are {', '.join(there)}" if there else "it holds one set: leave --weights-key out"
        raise InputError(f"{where} has no weights under {key!r}: {told}")
    if not found:
        raise _no_weights(checkpoint, where)
    if key is None and len(found) > 1:
        tell_taken(where, "sets of weights", [one.key for one in found])
    return found[0]


def tell_taken(where: str, kind: str, names: Sequence[str]) -> None:
    """Give a Note that a file holds several of a kind, of which the first was taken.

    Args:
        where: the file.
        kind: what there are several of.
        names: of all of them.
    """
    tell(
        f"{where} holds {len(names)} {kind}, {', '.join(names)}: {names[0]} was taken; --weights-key (weights_key) "
        "takes another"
    )


def _sets(entry: Any, path: str = "", *, usual: bool = True) -> Iterator[Found]:
    """Every set of weights in an entry: those under a usual name first, then those under any other.

    usual: the entry's own name is one. Under another, tensors are a network's where a name of theirs has a dot: a
    statistic by class, or an optimizer's, is tensors by name too.
    """
    if isinstance(entry, nn.Module) or (_is_state(entry) and (usual or any("." in str(name) for name in entry))):
        yield Found(path, entry)
    elif isinstance(entry, Mapping) and not _is_state(entry):
        for name in sorted(entry, key=lambda name: _WRAPPERS.index(name) if name in _WRAPPERS else len(_WRAPPERS)):
            yield from _sets(entry[name], f"{path}/{name}".lstrip("/"), usual=name in _WRAPPERS)


def _entry(entry: Any, name: str) -> Any:
    """What stands under this name; nothing where nothing does."""
    if isinstance(entry, Mapping) and name in entry:
        return entry[name]
    part = Found("", entry).state if isinstance(entry, nn.Module) or _is_state(entry) else {}
    return {inner.removeprefix(f"{name}."): value for inner, value in part.items() if inner.startswith(f"{name}.")}


def _no_weights(checkpoint: Any, where: str) -> InputError:
    held = type(checkpoint).__name__ if checkpoint else f"an empty {type(checkpoint).__name__}"
    if isinstance(checkpoint, Mapping) and checkpoint:
        held = f"the keys {some(list(map(str, checkpoint)), _SHOWN)}"
        entries = [checkpoint, *(value for value in checkpoint.values() if isinstance(value, Mapping))]
        if any(str(name).endswith("_packed_params") for entry in entries for name in entry):
            return InputError(f"{where} holds the weights of a quantised network: give those of its float32 original")
    return InputError(
        f"{where} holds no weights but {held}: expected tensors by name, bare or under a key such as "
        f"{', '.join(_WRAPPERS[:5])}"
    )


def network_part(state: Mapping[str, Tensor], own: Collection[str]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The state dict under the names that a network itself would give its tensors, and where in the file it stood.

    What wrappers have put before the names (`module.`, `1.`, `module.attacker.model.`) is taken off; what stands beside
    the network keeps its full name.

    Args:
        state: tensors by name.
        own: names that the network would give, some or all.

    Returns:
        The tensors by the network's names; the places: the one that was taken, then those where the network stands
        again with other values.

    Example:
        >>> part, places = network_part({"module.fc.weight": torch.zeros(2, 2)}, ["fc.weight"])
        >>> list(part), places
        (['fc.weight'], ('module.',))
    """
    places = {key[: -len(name)] for name in own for key in state if f".{key}".endswith(f".{name}")}
    fitting = {place: sum(place + name in state for name in own) for place in places}
    best = [place for place, count in fitting.items() if count == max(fitting.values())]
    if not best:
        return dict(state), ("",)
    place, *others = sorted(best, key=lambda place: (len(place), place))
    twins = tuple(other for other in others if fitting[other] == len(own))
    single = {key: value for key, value in state.items() if not key.startswith(twins)}
    part = {key.removeprefix(place): value for key, value in single.items() if key.startswith(place)}
    beside = {key: value for key, value in single.items() if not key.startswith(place)}
    differ = [twin for twin in twins if not all(torch.equal(state[twin + name], part[name]) for name in own)]
    return part | beside, (place, *differ)


@dataclass(frozen=True)
class Normalisation:
    """What a normalising layer in a checkpoint says.

    Attributes:
        mean: one a channel, for images in [0, 1].
        std: one a channel, in (0, 1].
        keys: the names of the tensors that say so.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    keys: frozenset[str]


def normalisation_in(state: Mapping[str, Tensor]) -> Normalisation | None:
    """The mean and std of a normalising layer among these tensors; None where there is none, or two that differ.

    Args:
        state: tensors of any shape by name.

    Returns:
        Mean and std, a number a channel, and the keys that they stand at.
    """
    short = {key: value.float().flatten().tolist() for key, value in state.items() if value.numel() <= _CHANNELS}
    found: list[Normalisation] = []
    for first, second in _NORMALISATION:
        for key in short:
            partner = key.removesuffix(first) + second
            if key.endswith(first) and partner in short and len(short[key]) == len(short[partner]):
                found.append(Normalisation(tuple(short[key]), tuple(short[partner]), frozenset({key, partner})))
    fitting = [one for one in found if is_of_unit_images(one.mean, one.std)]
    if len({(one.mean, one.std) for one in fitting}) != 1:
        return None
    return replace(fitting[0], keys=frozenset().union(*(one.keys for one in fitting)))


def fit(
    module: nn.Module,
    state: Mapping[str, Tensor],
    *,
    where: str,
    into: str,
    mend: Callable[[], str] = lambda: "copy or download it again",
) -> None:
    """Copy a state dict into a module of the same keys and shapes.

    `num_batches_tracked` may be absent: checkpoints older than PyTorch 0.4.1 lack it and eval mode does not read it.

    Args:
        module: filled in place.
        state: tensors by name.
        where: the file, for the error.
        into: the architecture, for the error.
        mend: says what the user can do about it, asked only where something is wrong.

    Raises:
        InputError: with the missing, the unexpected and the misshapen keys.
    """
    own = module.state_dict()
    given = {key: value for key, value in state.items() if key in own or not _is_unread(key)}
    missing = [key for key in own if key not in given and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in given if key not in own]
    misshapen = [
        f"{key} {tuple(value.shape)} for {tuple(own[key].shape)}"
        for key, value in given.items()
        if key in own and not is_lazy(own[key]) and value.shape != own[key].shape
    ]
    faults = {"missing": missing, "unexpected": unexpected, "of another shape": misshapen}
    told = "; ".join(f"{len(keys)} {fault} ({some(keys, _SHOWN)})" for fault, keys in faults.items() if keys)
    if told:
        raise InputError(f"{where} does not fit {into}: {told}. {mend()}")
    module.load_state_dict(given, strict=False)


def _is_unread(key: str) -> bool:
    return key.startswith(_UNUSED) or key.rpartition(".")[2] in _COUNTERS


def _is_state(found: Any) -> bool:
    return isinstance(found, Mapping) and bool(found) and all(isinstance(value, Tensor) for value in found.values())
