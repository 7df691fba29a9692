"""Weights that the rest of the tool loads by path, and the state that a run goes on from."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from energylens.files import is_there, reading, whole_file

BEST, LAST, STATE = "best.safetensors", "last.safetensors", "state.pt"


def save_weights(path: Path, state: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """The weights, and beside them the JSON that ``load_model(path)`` reads.

    Args:
        path: of the safetensors file; the JSON has its name with the suffix ``.json``.
        state: a network's ``state_dict``, on any device.
        about: what the JSON says of them, such as the architecture and the epoch.
    """
    with whole_file(path) as temporary:
        save_file({name: value.detach().cpu().contiguous() for name, value in state.items()}, temporary)
    with whole_file(path.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(about, indent=2) + "\n")


def copy_weights(source: Path, target: Path) -> None:
    """One checkpoint under another name, its JSON too.

    Args:
        source: path of the checkpoint, which stays.
        target: path of the copy; what is there is replaced.
    """
    for suffix in (".safetensors", ".json"):
        with whole_file(target.with_suffix(suffix)) as temporary:
            shutil.copyfile(source.with_suffix(suffix), temporary)


def save_state(folder: Path, state: Mapping[str, Any]) -> None:
    """Keep what a run needs to go on.

    Args:
        folder: of the run; an earlier state in it is replaced.
        state: tensors, numbers and words only.
    """
    written = io.BytesIO()
    torch.save(dict(state), written)  # to memory: of a full disk it says nothing but "unexpected pos"
    with whole_file(folder / STATE) as temporary:
        temporary.write_bytes(written.getbuffer())


def load_state(folder: Path) -> dict[str, Any] | None:
    """What ``save_state`` left.

    Args:
        folder: of the run.

    Returns:
        The state with its tensors on the CPU; None where the run has not finished an epoch.

    Raises:
        RunError: for a file that cannot be read.
    """
    path = folder / STATE
    if not is_there(path):
        return None
    with reading(path, "--overwrite starts this run anew", (Exception,)):  # the reader can raise anything
        return dict(torch.load(path, map_location="cpu", weights_only=True))
