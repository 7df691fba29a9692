"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary name to write to, renamed to ``path`` when the block ends well and removed when it does not."""
    writer = f"{socket.gethostname()}-{os.getpid()}"  # processes of several machines may share the folder
    temporary = path.with_name(f".{path.name}.{writer}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
