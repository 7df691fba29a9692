"""The data sets torchvision reads and fetches, in torchvision's own layouts below the data root."""

import hashlib
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from energylens.data.catalog import Request
from energylens.data.sources import Memory
from energylens.errors import RunError

_SILENCE = 20.0  # seconds a server may say nothing before a download counts as failed


def load_mnist(request: Request) -> Memory:
    """28x28 grey digits; the train split has 60,000, the test split 10,000."""
    from torchvision.datasets import MNIST

    def read(download: bool) -> Any:
        found = MNIST(request.root, train=request.split == "train", download=download)
        if any(_faults(request).values()):  # torchvision checks the archives it unpacks, not what lies unpacked
            raise RuntimeError("the unpacked files are not the original ones")
        return found

    found = _open(request, read)
    return Memory(tuple("0123456789"), found.targets.long(), found.data.unsqueeze(1))


def load_cifar10(request: Request) -> Memory:
    """32x32 colour images of 10 classes; the train split has 50,000, the test split 10,000."""
    from torchvision.datasets import CIFAR10

    return _cifar(request, CIFAR10)


def load_cifar100(request: Request) -> Memory:
    """32x32 colour images of 100 (fine) classes; the train split has 50,000, the test split 10,000."""
    from torchvision.datasets import CIFAR100

    return _cifar(request, CIFAR100)


def load_svhn(request: Request) -> Memory:
    """32x32 colour house numbers; the train split has 73,257, the test split 26,032."""
    from torchvision.datasets import SVHN

    found = _open(request, lambda download: SVHN(request.root, split=request.split, download=download))
    pixels = torch.from_numpy(found.data).contiguous()
    return Memory(tuple("0123456789"), torch.from_numpy(found.labels).long(), pixels)


def _cifar(request: Request, kind: Any) -> Memory:
    found = _open(request, lambda download: kind(request.root, train=request.split == "train", download=download))
    pixels = torch.from_numpy(found.data).permute(0, 3, 1, 2).contiguous()
    return Memory(tuple(found.classes), torch.tensor(found.targets), pixels)


def _open(request: Request, read: Callable[[bool], Any]) -> Any:
    """read(False) for what is on the disk; failing that read(True), which downloads; failing both a RunError."""
    try:
        return read(False)
    except Exception:  # torchvision raises whatever its parsers met: RuntimeError, AssertionError, EOFError, ...
        try:
            with _impatient_sockets():
                return read(True)
        except Exception as error:
            raise RunError(_failure(request, error)) from error


@contextmanager
def _impatient_sockets() -> Iterator[None]:
    """torchvision opens its URLs without a timeout: bound them through the default, and put that back."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SILENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _failure(request: Request, error: Exception) -> str:
    """What was looked for, what was wrong with it, and the command that mends it."""
    row = request.data_set
    faults = [f"{fault}: {', '.join(paths)}" for fault, paths in _faults(request).items() if paths]
    cause = " ".join(str(error).split())  # torchvision's may run over several lines
    return (
        f"{row.name} ({request.split}) could not be read. "
        f"Looked in {request.root / row.folder}; {'; '.join(faults) or 'all files are whole'}. "
        f"A download was tried and failed: {type(error).__name__}: {cause}. "
        f"Fetch it by: {row.fetch_command(request.root)} "
        "or point --data-root (ENERGYLENS_DATA) to a folder that has it."
    )


def _faults(request: Request) -> dict[str, list[str]]:
    """What is wrong with the files of the request -> the files it is wrong with."""
    folder = request.root / request.data_set.folder
    files = request.data_set.files_of(request.split)
    there = [file for file in files if (folder / file.path).is_file()]
    return {
        "missing": [file.path for file in files if file not in there],
        "corrupt (wrong md5; delete before fetching anew)": [
            file.path for file in there if not _is_whole(folder / file.path, file.md5)
        ],
    }


def _is_whole(path: Path, md5: str | None) -> bool:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == md5
    except OSError:
        return False
