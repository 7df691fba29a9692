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

    Args:
        path: the file, in a folder that is there; one of this name is replaced.

    Yields:
        The temporary name, of an empty file in the same folder.
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
    """Remove what writers that were killed have left half-written.

    Only for who holds the folder against all that write such files there.

    Args:
        folder: where they wrote; folders below it are left alone.
        *names: of the files, each with a wildcard for the writer that ``whole_file`` adds, as ``images-*``. What
            safetensors itself left always goes.
    """
    for pattern in (SAFETENSORS_OWN, *(f".{name}.tmp" for name in names)):
        for left in folder.glob(pattern):
            left.unlink(missing_ok=True)


def shown(path: Path) -> Path:
    """The path as a reader would type it.

    Args:
        path: an absolute path; a relative one stays as it is.

    Returns:
        The path from the working directory where it lies below that, else as it came.
    """
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


@contextmanager
def reading(path: Path, mend: str, damage: tuple[type[Exception], ...] = (ValueError,)) -> Iterator[None]:
    """Inside, whatever keeps the block from reading the file is told in one line.

    Where the system refuses, the reason is its own (``check_readable``), and nothing is advised that would cost the
    file. Damaged is only what was read and fails its checksum or its format.

    Args:
        path: the file.
        mend: what to do about a damaged file.
        damage: what the block's reader raises for one, beside an OSError without a number, as pyarrow raises for a
            wrong checksum.

    Yields:
        Nothing.

    Raises:
        RunError: where the file cannot be read.
    """
    check_readable(path)
    told: tuple[type[Exception], ...] = (OSError, *damage)
    try:
        yield
    except told as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise RunError(_refused(path, error)) from error
        reason = " ".join(str(error).split()) or type(error).__name__
        raise RunError(f"{shown(path)} is damaged ({reason}): {mend}") from error


@contextmanager
def _within_reach(path: Path) -> Iterator[None]:
    """RunError with the system's own reason where it refuses what the block asks of the path."""
    try:
        yield
    except OSError as error:
        raise RunError(_refused(path, error)) from error


def check_readable(path: Path) -> None:
    """Open a file and close it again: some readers say of a file that they may not open that it is not there.

    Args:
        path: the file.

    Raises:
        RunError: where it cannot be opened; it names the reason.
    """
    with _within_reach(path):
        path.open("rb").close()


def is_there(path: Path) -> bool:
    """Whether a path exists.

    Args:
        path: of a file or a folder.

    Returns:
        Whether there is something; a link to nothing does not count.

    Raises:
        RunError: where a folder above it does not let that be seen.
    """
    with _within_reach(path):
        return path.exists()


def entries(folder: Path) -> list[Path]:
    """What lies in a folder.

    Args:
        folder: one that is there.

    Returns:
        The paths of its files and folders, hidden ones too, sorted.

    Raises:
        RunError: where it may not be listed, of which ``Path.glob`` says nothing.
    """
    with _within_reach(folder):
        return sorted(folder.iterdir())


def find(folder: Path, name: str) -> Iterator[Path]:
    """Every file of this name in a folder, at any depth, through links to folders too, each folder once.

    Args:
        folder: where to begin; it need not be there.
        name: of the files, without wildcards.

    Yields:
        The files' paths, below ``folder`` as it was given; none where there is no folder.

    Raises:
        RunError: where a folder may not be listed.
    """
    seen, waiting = set[Path](), [folder] if is_there(folder) and folder.is_dir() else []
    while waiting:
        here = waiting.pop(0)
        if (real := here.resolve()) in seen:  # a link back up
            continue
        seen.add(real)
        inside = entries(here)
        with _within_reach(here):  # it may be listed but not entered
            waiting = [*filter(Path.is_dir, inside), *waiting]
        yield from (path for path in inside if path.name == name and path.is_file())


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
