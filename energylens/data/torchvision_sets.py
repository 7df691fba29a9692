"""The data sets torchvision reads and fetches, in torchvision's own layouts below the data root."""

import gzip
import hashlib
import socket
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from energylens.data.catalog import DataFile, Request
from energylens.data.sources import Memory
from energylens.errors import RunError
from energylens.files import check_readable

_SILENCE = 20.0  # seconds a server may say nothing before a download counts as failed


def load_mnist(request: Request) -> Memory:
    """28x28 grey digits; the train split has 60,000, the test split 10,000.

    From the idx files as published, packed by gzip or not, in MNIST/raw or MNIST below the root or the root itself.

    Args:
        request: its split and root are used.

    Returns:
        The split, held in memory.

    Raises:
        RunError: where the files are neither there nor to be had.
    """
    from torchvision.datasets import MNIST

    def read(download: bool) -> tuple[torch.Tensor, torch.Tensor]:
        if download:
            MNIST(request.root, train=request.split == "train", download=True)
        images, labels = (_original(request, file) for file in request.data_set.files_of(request.split))
        return images[16:].reshape(-1, 1, 28, 28), labels[8:].long()  # behind the headers of idx files

    pixels, labels = _open(request, read)
    return Memory(tuple("0123456789"), labels, pixels)


def _original(request: Request, file: DataFile) -> torch.Tensor:
    """The bytes of the file, unpacked, (n,) uint8; RuntimeError unless they are the original ones."""
    path = _path_of(request, file)
    if path is None or not _is_whole(path, file.md5):
        raise RuntimeError(f"{file.path} is not the original one")
    return torch.frombuffer(bytearray(_content(path)), dtype=torch.uint8)


def load_cifar(request: Request) -> Memory:
    """32x32 colour images of 10 or 100 (fine) classes; the train split has 50,000, the test split 10,000.

    Args:
        request: its data set, split and root are used.

    Returns:
        The split, held in memory.

    Raises:
        RunError: where the files are neither there nor to be had.
    """
    from torchvision import datasets

    kind = getattr(datasets, request.data_set.name.upper())
    found = _open(request, lambda download: kind(request.root, train=request.split == "train", download=download))
    pixels = torch.from_numpy(found.data).permute(0, 3, 1, 2).contiguous()
    return Memory(tuple(found.classes), torch.tensor(found.targets), pixels)


def load_svhn(request: Request) -> Memory:
    """32x32 colour house numbers; the train split has 73,257, the test split 26,032.

    Args:
        request: its split and root are used.

    Returns:
        The split, held in memory.

    Raises:
        RunError: where the files are neither there nor to be had.
    """
    from torchvision.datasets import SVHN

    found = _open(request, lambda download: SVHN(request.root, split=request.split, download=download))
    pixels = torch.from_numpy(found.data).contiguous()
    return Memory(tuple("0123456789"), torch.from_numpy(found.labels).long(), pixels)


def _open(request: Request, read: Callable[[bool], Any]) -> Any:
    """read(False) for what is on the disk; failing that read(True), which downloads; failing both a RunError."""
    try:
        return read(False)
    except Exception:  # torchvision raises whatever its parsers met: RuntimeError, AssertionError, EOFError, ...
        try:
            with _downloading(request.root / request.data_set.folder):
                return read(True)
        except Exception as error:
            raise _unread(request, error) from error


@contextmanager
def _downloading(folder: Path) -> Iterator[None]:
    """A timeout for torchvision, which opens its URLs without one; and no new folder is left behind empty."""
    made = [at for at in (folder, *folder.parents) if not at.exists()]
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SILENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(timeout)
        for at in made:  # the innermost first
            with suppress(OSError):  # not there, or not empty
                at.rmdir()


def _unread(request: Request, error: Exception) -> RunError:
    """What was looked for, what was wrong with it, and why the download failed."""
    paths = {file: _path_of(request, file) for file in request.data_set.files_of(request.split)}
    missing = [file.path for file, path in paths.items() if path is None]
    corrupt = [path.name for file, path in paths.items() if path is not None and not _is_whole(path, file.md5)]
    faults = {"missing": missing, "corrupt (wrong md5; delete before fetching anew)": corrupt}
    told = "; ".join(f"{fault}: {', '.join(names)}" for fault, names in faults.items() if names)
    cause = f"{type(error).__name__}: {' '.join(str(error).split())}"  # torchvision's may run over several lines
    return request.unread(
        ", ".join(map(str, request.data_set.places(request.root))),
        f"{told or 'all files are whole'}. A download was tried and failed: {cause}",
        "Fetch it by",
    )


def _path_of(request: Request, file: DataFile) -> Path | None:
    """Where the file lies, by any of its names; None for nowhere."""
    folders = request.data_set.places(request.root)
    return next((at for folder in folders for name in (file.path, *file.also) if (at := folder / name).is_file()), None)


def _is_whole(path: Path, md5: str | None) -> bool:
    """Whether the file has this checksum; RunError where it may not be read, for that is no damage."""
    check_readable(path)
    try:
        return hashlib.md5(_content(path), usedforsecurity=False).hexdigest() == md5
    except (OSError, EOFError, zlib.error):
        return False


def _content(path: Path) -> bytes:
    """The bytes of a file, of a packed one what it holds."""
    packed = path.read_bytes()
    return gzip.decompress(packed) if path.suffix == ".gz" else packed
