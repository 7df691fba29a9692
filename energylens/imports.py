"""Objects of the user's own code, by the address ``package.module:name``."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from energylens.errors import InputError


def object_at(address: str, expected: str) -> Any:
    """The object at ``package.module:name``; the current directory is searched too, as by ``python -m``.

    Args:
        address: ``package.module:name``.
        expected: what should be there, for the error.

    Returns:
        Whatever is there.

    Raises:
        InputError: where there is nothing, or its module cannot be imported.
    """
    module, _, name = address.partition(":")
    if module.endswith(".py"):
        dotted = module.removesuffix(".py").replace("/", ".").lstrip(".")
        raise InputError(f"{address} names a file; expected its module: {dotted}:{name}, from the folder it lies in")
    try:
        with current_directory_importable():
            return getattr(importlib.import_module(module), name)
    except Exception as error:  # the user's own code: whatever it raises
        raise InputError(
            f"{address} gave {type(error).__name__}: {error}. Expected an importable module (from the current "
            f"directory too) and in it {expected}"
        ) from error


@contextlib.contextmanager
def current_directory_importable() -> Iterator[None]:
    """The current directory goes first on the import path inside.

    Yields:
        Nothing.
    """
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)
