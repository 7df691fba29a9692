"""Read a weights file safely: what its first bytes say, its tensors without running its code, its fit to a module."""

import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from energylens.errors import InputError
from energylens.reading import check_readable, is_there

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

#: Under which key training scripts wrap their state dict; the first one present wins.
_WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "ema", "state_dict_ema")

#: What wrappers of modules put before every key: DataParallel, torch.compile, a module that holds the network.
_PREFIXES = ("module.", "_orig_mod.", "model.")

#: Keys that some public checkpoints carry for layers that their forward pass never uses.
_UNUSED = ("sub_block1.",)  # TRADES' WideResNet builds block1 a second time

_SHOWN = 4  # keys named in a message


def _read_torch(path: Path, trust_pickle: bool) -> Any:
    with unpickling(trust_pickle), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's notes on old pickle protocols; a file that fails still raises
        return torch.load(path, map_location="cpu", weights_only=not trust_pickle)


def _read_safetensors(path: Path, trust_pickle: bool) -> Any:
    from safetensors.torch import load_file

    return load_file(path)


def _zip_is_whole(path: Path) -> bool:
    return zipfile.is_zipfile(path)  # the central directory stands at the end


def _safetensors_is_whole(path: Path) -> bool:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt"):  # reads the header and compares its offsets with the file's size
            return True
    except SafetensorError:
        return False


def _unknown_until_read(path: Path) -> bool:
    return True  # a bare pickle has no table of contents


#: A format by its first bytes; a cheap test that the file is whole; how to read it.
_FORMATS: tuple[tuple[re.Pattern[bytes], Callable[[Path], bool], Callable[[Path, bool], Any]], ...] = (
    (re.compile(rb"PK\x03\x04"), _zip_is_whole, _read_torch),
    (re.compile(rb"\x80[\x02-\x05]"), _unknown_until_read, _read_torch),
    (re.compile(rb".{8}\{", re.DOTALL), _safetensors_is_whole, _read_safetensors),
)


@contextmanager
def unpickling(trusted: bool) -> Iterator[None]:
    """Within this context `torch.load` runs pickled code only if `trusted`, whoever calls it and whatever is exported.

    Third-party loaders call `torch.load` without saying `weights_only`, and TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD in the
    environment would then switch the protection off.
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
    """How to read the file at `path`, once its first bytes and its end say that it is a whole checkpoint.

    Raises RunError where it may not be read, InputError for a missing or empty file, a page or a pointer saved in its
    place, a truncated archive, and anything that is not a checkpoint.
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
    for pattern, is_whole, read in _FORMATS:
        if pattern.match(head):
            if not is_whole(path):
                raise InputError(
                    f"{path} is truncated or damaged ({path.stat().st_size} bytes, its end does not match its "
                    "beginning): copy or download it again"
                )
            return read
    raise InputError(
        f"{path} is not a checkpoint (it begins with {head[:8]!r}): "
        "expected a safetensors file or what torch.save writes"
    )


def read_checkpoint(path: Path, *, trust_pickle: bool = False) -> Any:
    """What the file holds, on the CPU: tensors and plain containers; any object only with `trust_pickle`.

    Raises InputError as `check_file` does, and for a file that carries code or breaks while being read.
    """
    read = check_file(path)
    try:
        return read(path, trust_pickle)
    except Exception as error:  # a damaged pickle can make the reader raise anything
        raise unreadable(str(path), error) from error


def unreadable(where: str, error: Exception) -> InputError:
    """The InputError that tells why torch could not read `where`: pickled code it refused, or a damaged file."""
    if isinstance(error, pickle.UnpicklingError):  # what the weights-only reader raises for all but tensors
        code = re.search(r"GLOBAL ([\w.]+)", str(error))
        wish = f"asks to run {code[1].rstrip('.')}" if code else "holds more than tensors"
        return InputError(
            f"{where} is a pickle that {wish}; nothing was run. "
            "Use a file that holds tensors only, or add --trust-pickle (trust_pickle=True) if you trust its author"
        )
    reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    return InputError(
        f"{where} could not be read, it may be truncated or damaged ({reason}): copy or download it again"
    )


def state_of(checkpoint: Any, *, where: str) -> dict[str, Tensor]:
    """The state dict inside what a file holds: wrappings opened, prefixes of wrapped modules taken off.

    Raises InputError, listing the keys found, if there is none.
    """
    found = checkpoint.state_dict() if isinstance(checkpoint, nn.Module) else checkpoint
    while not _is_state(found):
        inner = [found[key] for key in _WRAPPERS if key in found] if isinstance(found, Mapping) else []
        if not inner:
            held = f"the keys {_some(list(map(str, found)))}" if isinstance(found, Mapping) else type(found).__name__
            raise InputError(
                f"{where} holds no state dict but {held}: expected tensors by name, bare or under one of "
                f"{', '.join(_WRAPPERS)}"
            )
        found = inner[0].state_dict() if isinstance(inner[0], nn.Module) else inner[0]
    state = dict(found)
    while prefix := next((p for p in _PREFIXES if all(key.startswith(p) for key in state)), None):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def fit(module: nn.Module, state: Mapping[str, Tensor], *, where: str, into: str) -> None:
    """Copy a state dict into a module of the same keys and shapes.

    `num_batches_tracked` may be absent: checkpoints older than PyTorch 0.4.1 lack it and eval mode does not read it.
    where, into: the file and the architecture, for the message.
    Raises InputError naming the missing, the unexpected and the misshapen keys.
    """
    own = module.state_dict()
    given = {key: value for key, value in state.items() if key in own or not key.startswith(_UNUSED)}
    missing = [key for key in own if key not in given and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in given if key not in own]
    misshapen = [
        f"{key} {tuple(value.shape)} for {tuple(own[key].shape)}"
        for key, value in given.items()
        if key in own and value.shape != own[key].shape
    ]
    faults = {"missing": missing, "unexpected": unexpected, "of another shape": misshapen}
    told = "; ".join(f"{len(keys)} {fault} ({_some(keys)})" for fault, keys in faults.items() if keys)
    if told:
        raise InputError(f"{where} does not fit {into}: {told}. Name the architecture it was trained with (--arch)")
    module.load_state_dict(given, strict=False)


def _is_state(found: Any) -> bool:
    return isinstance(found, Mapping) and bool(found) and all(isinstance(value, Tensor) for value in found.values())


def _some(keys: list[str]) -> str:
    more = f", and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return ", ".join(keys[:_SHOWN]) + more
