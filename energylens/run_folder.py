"""A record on disk: ``runs/<model>/<attack>-<fingerprint>/`` with ``manifest.json`` and ``part-*.parquet``.

The fingerprint is that of everything a row depends on (model, data, attack, seed), so the folder can only ever hold
rows that belong together, and the same command again does only what is missing. Every file is written under a
temporary name and renamed when it is whole: a killed run leaves whole parts or none.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from energylens.errors import InputError, RunError
from energylens.record import empty_rows
from energylens.whole_file import whole_file

MANIFEST = "manifest.json"
LONGEST = 120  # characters of a name that a folder or a file is given
SECONDS = b"energylens.seconds"  # in a part's Parquet metadata: what its rows took to compute


def fingerprint(identity: Mapping[str, Any]) -> str:
    """Twelve hex digits of the sha256 of the settings that a row depends on."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]


def safe_name(text: str) -> str:
    """The text with everything but letters, digits, ``.``, ``_`` and ``-`` made into ``-``; a long one cut, with its
    digest in place of the rest.

    >>> safe_name("timm:resnet18"), safe_name("../x y"), len(safe_name("x" * 999))
    ('timm-resnet18', 'x-y', 120)
    """
    name = re.sub(r"[^\w.]+", "-", text).strip("-.") or "model"
    if len(name) <= LONGEST:
        return name
    return f"{name[: LONGEST - 9]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def model_folder(out: Path, model: str) -> Path:
    """Where everything about a model is kept."""
    return out / safe_name(model)


@dataclass(frozen=True)
class RunFolder:
    """The folder of one attack on one model and data set. Make it with ``open_run``."""

    path: Path
    manifest: Mapping[str, Any]

    def parts(self) -> list[Path]:
        """The finished parts, in order of their samples."""
        return sorted(self.path.glob("part-*.parquet"))

    def rows(self) -> pd.DataFrame:
        """Every finished row, one a sample, in order of index."""
        tables = [_read_part(part).to_pandas() for part in self.parts()]
        if not tables:
            return empty_rows()
        table: pd.DataFrame = pd.concat(tables, ignore_index=True)
        return table.drop_duplicates("index").sort_values("index", ignore_index=True)

    def seconds(self) -> float:
        """What the finished rows took to compute."""
        return sum(float(_read_schema(part).metadata.get(SECONDS, b"0")) for part in self.parts())

    def write(self, rows: pd.DataFrame, seconds: float) -> None:
        """Add a block of rows as one part; it is there whole, or not at all."""
        indices = rows["index"].to_numpy()
        block = hashlib.sha256(indices.tobytes()).hexdigest()[:8]
        table = pa.Table.from_pandas(rows, preserve_index=False)
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), SECONDS: repr(seconds).encode()})
        part = self.path / f"part-{int(indices.min()):08d}-{block}.parquet"
        with _writing(self.path), whole_file(part) as temporary:
            pq.write_table(table, temporary)


def open_run(out: Path, model: str, attack: str, manifest: Mapping[str, Any], *, overwrite: bool = False) -> RunFolder:
    """The run folder for these settings, made if it is not there.

    manifest["identity"] is what the rows depend on. Raises InputError where the folder holds rows of other settings,
    RunError where it cannot be written or read.
    """
    path = model_folder(out, model) / f"{safe_name(attack)}-{fingerprint(manifest['identity'])}"
    with _writing(path):
        if overwrite and path.exists():
            shutil.rmtree(path)
        path.mkdir(parents=True, exist_ok=True)
        if not (path / MANIFEST).exists():
            with whole_file(path / MANIFEST) as temporary:
                temporary.write_text(json.dumps(manifest, indent=2) + "\n")
    found = _read_manifest(path / MANIFEST)
    _check_same(found["identity"], json.loads(json.dumps(manifest["identity"])), path)
    return RunFolder(path, found)


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_text())
        if "identity" not in manifest:
            raise ValueError("it has no identity")
    except (OSError, ValueError) as error:
        raise RunError(f"{path} is not readable ({error}): --overwrite starts this run anew") from error
    return dict(manifest)


def _check_same(found: Mapping[str, Any], asked: Mapping[str, Any], path: Path) -> None:
    """Refuse to mix rows of different settings."""
    different = _first_difference(found, asked)
    if different:
        name, there, here = different
        raise InputError(
            f"{path} holds rows of other settings: {name} is {there!r} there and {here!r} here. "
            "Give another --out, or --overwrite to start this run anew"
        )


def _first_difference(found: Any, asked: Any, name: str = "") -> tuple[str, Any, Any] | None:
    """Where two trees of settings part: the dotted name and both values, or None."""
    if not (isinstance(found, Mapping) and isinstance(asked, Mapping)):
        return None if found == asked else (name, found, asked)
    for key in sorted(found.keys() | asked.keys()):
        different = _first_difference(found.get(key), asked.get(key), f"{name}.{key}".lstrip("."))
        if different:
            return different
    return None


def _read_part(path: Path) -> pa.Table:
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise RunError(_unreadable(path, error)) from error


def _read_schema(path: Path) -> pa.Schema:
    try:
        return pq.read_schema(path)
    except (OSError, pa.ArrowException) as error:
        raise RunError(_unreadable(path, error)) from error


def _unreadable(path: Path, error: Exception) -> str:
    return f"{path} is damaged ({error}): delete this file and run the same command again, the rest is kept"


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Say in one line that a folder cannot be written."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise RunError(f"cannot write to {path} ({reason}): finished blocks are kept; give another --out") from error
