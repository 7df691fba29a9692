"""A folder of pictures to score: read a batch at a time, all of one size."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from energylens.data.pictures import decoded
from energylens.errors import InputError, tell
from energylens.files import check_readable, entries, is_there, reading
from energylens.generation.generated import PICTURES, REQUEST
from energylens.records.run_folder import MANIFEST

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
REMADE = "make it anew (`energylens generate` again, if it made it) or take it out"
CHANNELS = {1: "L", 3: "RGB"}


@dataclass(frozen=True)
class Pictures:
    """The pictures of a folder.

    Attributes:
        paths: sorted by name.
        size: (H, W) of every one.
        manifest: of a generation, else empty.
        more: how many that the folder's last request did not ask for are left out.
    """

    folder: Path
    paths: tuple[Path, ...]
    size: tuple[int, int]
    manifest: dict[str, Any]
    more: int = 0

    def __len__(self) -> int:
        return len(self.paths)

    def batch(self, start: int, stop: int, channels: int) -> Tensor:
        """Some of the pictures, decoded.

        Args:
            start: position of the first.
            stop: position behind the last; one beyond the end is cut to it.
            channels: 1 for grey, 3 for RGB; pictures are converted.

        Returns:
            The pictures, (B, channels, H, W) uint8.

        Raises:
            RunError: for one that does not decode.
        """
        return torch.stack([_decoded(path, CHANNELS[channels]) for path in self.paths[start:stop]])


def read_pictures(folder: Path) -> Pictures:
    """The pictures of a folder that `energylens generate` made, or of any other.

    These are the pictures in ``folder/images``, as `energylens generate` keeps them, those that it was asked for last;
    or, without it, all in the folder itself; or, where it has none, all in the folders below it, such as one a class.

    Hidden files and folders are passed over with a Note.

    Args:
        folder: made by `energylens generate` or by any other program.

    Returns:
        Where the pictures are and their size; ``batch`` decodes them.

    Raises:
        InputError: for a folder that is not there or empty, or holds pictures of several sizes.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder: give one with pictures, or one that `energylens generate` made")
    inside = folder / PICTURES if (folder / PICTURES).is_dir() else folder
    paths = _visible(entries(inside), inside) or _visible(_below(inside), inside)
    if not paths:
        raise InputError(f"{inside} holds no picture ({', '.join(SUFFIXES)}): nothing to score")
    sizes = {path: _size(path) for path in paths}
    first = sizes[paths[0]]
    for path, size in sizes.items():
        if size != first:
            raise InputError(
                f"{folder} holds pictures of several sizes, {paths[0].name} {first} and {path.name} {size} (height, "
                "width): score one size at a time"
            )
    manifest = _manifest(folder / MANIFEST)
    asked = _asked_for(folder / REQUEST, paths) if manifest else paths
    return Pictures(folder, tuple(asked), first, manifest, len(paths) - len(asked))


def _below(folder: Path, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """Every file in this folder and those below it, through links too, but not back up (above: where it came from)."""
    if (real := folder.resolve()) in above:
        return
    for at in entries(folder):
        if at.is_dir():
            yield from _below(at, above | {real})
        else:
            yield at


def _visible(found: Iterable[Path], folder: Path) -> list[Path]:
    """Those that are pictures, by path, without what editors and file managers hide there (._x.png)."""
    pictures = sorted(path for path in found if path.suffix.lower() in SUFFIXES and path.is_file())
    hidden = [path for path in pictures if any(part.startswith(".") for part in path.relative_to(folder).parts)]
    if hidden:
        more = f" and {len(hidden) - 1} more" if len(hidden) > 1 else ""
        tell(f"{folder}: passed over {hidden[0].name}{more} (hidden)")
    return [path for path in pictures if path not in set(hidden)]


def _size(path: Path) -> tuple[int, int]:
    with reading(path, REMADE), Image.open(path) as picture:  # only its head is read
        return picture.height, picture.width


def _decoded(path: Path, mode: str) -> Tensor:
    with reading(path, REMADE):
        pixels = np.atleast_3d(np.asarray(decoded(path, mode)))
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)


def _asked_for(request: Path, paths: Sequence[Path]) -> Sequence[Path]:
    """Of a generation's pictures those that its last request names; all where an earlier version kept none."""
    if not request.is_file():
        return paths
    with reading(request, "run the `energylens generate` that made it again", (ValueError, LookupError, TypeError)):
        n = int(json.loads(request.read_text())["n"])
    return [path for path in paths if path.name < f"{n:06d}"]  # <index>-<class>.png


def _manifest(path: Path) -> dict[str, Any]:
    """What a generation says of itself; nothing where the folder is another's."""
    if not is_there(path):
        return {}
    check_readable(path)
    try:
        manifest = json.loads(path.read_text())
        return dict(manifest) if "generation" in manifest["identity"] else {}
    except (ValueError, LookupError, TypeError):
        return {}
