"""Files that are written whole or not at all, and read or refused in one line that says why.

What may not be read, or is out of reach, is not damaged.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from energylens.errors import RunError

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


@contextmanager
def reading(path: Path, mend: str, damage: tuple[type[Exception], ...] = (ValueError,)) -> Iterator[None]:
    """RunError for whatever keeps the block from reading the file.

    Where the system refuses, the reason is its own (``check_readable``), and nothing is advised that would cost the
    file. Damaged is only what was read and fails its checksum or its format: then, and only then, ``mend`` says what
    to do about it. damage: what the block's reader raises for that, beside an OSError without a number, as pyarrow
    raises for a wrong checksum.
    """
    check_readable(path)
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            raise RunError(_refused(path, error)) from error
        raise RunError(_damaged(path, error, mend)) from error
    except damage as error:
        raise RunError(_damaged(path, error, mend)) from error


def check_readable(path: Path) -> None:
    """RunError that names the reason where a file cannot be opened: some readers say that it is not there."""
    try:
        path.open("rb").close()
    except OSError as error:
        raise RunError(_refused(path, error)) from error


def is_there(path: Path) -> bool:
    """Whether the path exists; RunError where a folder above it does not let that be seen."""
    try:
        return path.exists()
    except OSError as error:
        raise RunError(_refused(path, error)) from error


def entries(folder: Path) -> list[Path]:
    """What lies in a folder, by name; RunError where it may not be listed, of which ``Path.glob`` says nothing."""
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise RunError(_refused(folder, error)) from error


def find(folder: Path, name: str) -> Iterator[Path]:
    """Every file of this name in a folder, at any depth, through links to folders too, each folder once.

    None where there is no folder. Raises RunError where one may not be listed.
    """
    seen, waiting = set[Path](), [folder] if is_there(folder) and folder.is_dir() else []
    while waiting:
        here = waiting.pop(0)
        if (real := here.resolve()) in seen:  # a link back up
            continue
        seen.add(real)
        inside = entries(here)
        try:
            waiting = [*filter(Path.is_dir, inside), *waiting]
        except OSError as error:  # it may be listed but not entered
            raise RunError(_refused(here, error)) from error
        yield from (path for path in inside if path.name == name and path.is_file())


def _damaged(path: Path, error: Exception, mend: str) -> str:
    return f"{shown(path)} is damaged ({' '.join(str(error).split()) or type(error).__name__}): {mend}"


def _refused(path: Path, error: OSError) -> str:
    if isinstance(error, PermissionError):
        return f"no permission to read {shown(path)} ({_guarded(path)}): ask its owner to allow it (chmod)"
    return (
        f"{shown(path)} could not be read ({error.strerror or error}): see that it is within reach; nothing was changed"
    )


def _guarded(path: Path) -> str:
    """Who may do what with it, as far as that can be seen."""
    try:
        found = path.stat()
        return f"{stat.filemode(found.st_mode)}, owner {path.owner()}"
    except PermissionError:
        return "a folder above it may not be entered"
    except KeyError:  # a user without a name
        return f"{stat.filemode(found.st_mode)}, owner {found.st_uid}"
