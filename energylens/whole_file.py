"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SAFETENSORS_OWN = ".tmp??????"  # where safetensors writes before it renames, beside the file


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary name to write to, renamed to ``path`` when the block ends well and removed when it does not.

    The file has the permissions that any new file has here (the umask's), whatever its writer gave it: safetensors
    gives 0600.
    """
    writer = f"{socket.gethostname()}-{os.getpid()}"  # processes of several machines may share the folder
    temporary = path.with_name(f".{path.name}.{writer}.tmp")
    try:
        temporary.touch()
        usual = temporary.stat().st_mode
        yield temporary
        if temporary.stat().st_mode != usual:
            temporary.chmod(usual)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def sweep(folder: Path, *names: str) -> None:
    """Remove what writers that were killed have left half-written of files of these names (wildcards).

    Only for who holds the folder against all that write such files there.
    """
    for pattern in (SAFETENSORS_OWN, *(f".{name}.tmp" for name in names)):
        for left in folder.glob(pattern):
            left.unlink(missing_ok=True)


def shown(path: Path) -> Path:
    """The path as a reader would type it: from the working directory where it lies below that."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
