"""What is in files, told by their sha256 and remembered, so that 50,000 images are not read anew for every request.

A hash is remembered beside the file's size, mtime, ctime (both in nanoseconds), inode and device. Whoever changes a
file and sets its size and mtime back still changes its ctime, which no program can set, and a file that is put in its
place has another inode. What was changed so shortly before it was hashed that a coarse clock might hide another change
is not remembered. The remembered hashes lie in ``~/.cache/energylens/contents`` (``$XDG_CACHE_HOME`` in place of
``~/.cache``), one file a data folder; deleting them costs time alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from energylens.files import whole_file

SETTLED_NS = 3_000_000_000  # file systems tell times as coarsely as by two seconds (FAT)
READERS = 8  # files read at a time: hashlib and the disk work without Python's lock

State = list[int]  # size, mtime, ctime, inode, device


def file_hashes(folder: Path, paths: Sequence[str]) -> list[str]:
    """sha256, in hex, of each file's bytes, in their order.

    Args:
        folder: where the files lie.
        paths: of the files, relative to the folder.

    Returns:
        64 hexadecimal digits a file; those of a file that has not changed are remembered.

    Raises:
        OSError: which names the file, for one that cannot be read.
    """
    memory = _memory_of(folder)
    known = _read(memory)
    changed = [path for path in paths if path not in known or known[path][0] != _state(folder / path)]
    with ThreadPoolExecutor(READERS) as pool:
        read = dict(zip(changed, pool.map(lambda path: _hashed(folder / path), changed), strict=True))
    settled = {path: (state, sha) for path, (state, sha) in read.items() if state is not None}
    if settled:
        _write(memory, known | settled)
    return [read[path][1] if path in read else known[path][1] for path in paths]


def _hashed(file: Path) -> tuple[State | None, str]:
    """The state to remember the file by, None where it may hide a change, and its hash."""
    now, state = time.time_ns(), _state(file)
    with file.open("rb") as stream:
        sha = hashlib.file_digest(stream, "sha256").hexdigest()
    _, mtime, ctime, *_ = state
    return state if max(mtime, ctime) < now - SETTLED_NS and _state(file) == state else None, sha


def _state(file: Path) -> State:
    found = file.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev]


def _memory_of(folder: Path) -> Path:
    """Where the hashes of this folder's files are remembered."""
    name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    try:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    except RuntimeError:  # nobody's home: nothing is remembered
        caches = Path(os.devnull)
    return caches / "energylens" / "contents" / f"{name}.json"


def _read(memory: Path) -> dict[str, tuple[State, str]]:
    """What is remembered; nothing where the file is missing or damaged."""
    try:
        return {path: (list(state), str(sha)) for path, (state, sha) in json.loads(memory.read_text()).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _write(memory: Path, entries: dict[str, tuple[State, str]]) -> None:
    with suppress(OSError):  # a home that cannot be written costs the next request time, no more
        memory.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(memory) as temporary:
            temporary.write_text(json.dumps(entries))
