"""A record on disk: ``runs/<model>/<attack>-<fingerprint>/``, with a manifest, rows and images.

The folder holds ``manifest.json``, ``part-*.parquet`` and, where images are kept, ``images-*.safetensors``;
``unfinished-*.safetensors`` is a block of AutoAttack between two parts.

The fingerprint is that of everything a row depends on (model, data, attack, seed), so the folder can only ever hold
rows that belong together, and the same command again does only what is missing. Every file is written under a
temporary name and renamed when it is whole: a killed run leaves whole parts or none, and never a part without its
images.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from energylens.errors import InputError, RunError
from energylens.files import entries, reading, shown, sweep, whole_file
from energylens.records.record import CLEAN, empty_rows, with_gaps
from energylens.records.store import Images, in_order

MANIFEST = "manifest.json"
LOCK = ".lock-"
UNFINISHED = "unfinished-"
INDEX = "index"  # the tensor of the samples' indices in a file of images
LONGEST = 120  # characters of a name that a folder or a file is given
KEPT = "delete this file and run the same command again, the rest is kept"  # what mends a damaged one
SECONDS = b"energylens.seconds"  # in a part's Parquet metadata: what its rows took to compute


def fingerprint(identity: Mapping[str, Any]) -> str:
    """Twelve hex digits of the sha256 of the settings that a row depends on.

    Args:
        identity: values that JSON holds.

    Returns:
        The digits; the order of the keys does not matter.
    """
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]


def safe_name(text: str) -> str:
    """The text with everything but letters, digits, ``.``, ``_`` and ``-`` made into ``-``.

    A long one is cut, with its digest in place of the rest.

    Args:
        text: any.

    Returns:
        A name of at most LONGEST characters; "model" where nothing is left.

    Example:
        >>> safe_name("timm:resnet18"), safe_name("../x y"), len(safe_name("x" * 999))
        ('timm-resnet18', 'x-y', 120)
    """
    name = re.sub(r"[^\w.]+", "-", text).strip("-.") or "model"
    if len(name) <= LONGEST:
        return name
    return f"{name[: LONGEST - 9]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def model_folder(out: Path, model: str) -> Path:
    """Where everything about a model is kept.

    Args:
        out: the folder of all records.
        model: its name, a zoo's or a path.

    Returns:
        The folder, which need not exist.
    """
    return out / safe_name(model)


@dataclass(frozen=True)
class RunFolder:
    """The folder of one attack on one model and data set. Make it with ``open_run``."""

    path: Path
    manifest: Mapping[str, Any]
    _indices: dict[Path, frozenset[int]] = field(default_factory=dict, compare=False, repr=False)  # of parts seen

    def parts(self) -> list[Path]:
        """The finished parts, in order of their samples.

        Returns:
            Paths of ``part-*.parquet``.
        """
        return [path for path in entries(self.path) if path.match("part-*.parquet")]

    def rows(self, columns: list[str] | None = None) -> pd.DataFrame:
        """Every finished row, one a sample, in order of index; of all columns, or of these, "index" among them.

        Args:
            columns: those to read, "index" among them; None for all.

        Returns:
            One row a sample, each once; columns that an earlier version's parts lack have gaps.
        """
        tables = [_read_part(part, columns).to_pandas() for part in self.parts()]
        empty = empty_rows().reindex(columns=columns)
        # parts of an earlier version lack what it did not tell
        alike = len({tuple(one.columns) for one in tables}) < 2
        table: pd.DataFrame = pd.concat(tables, ignore_index=True) if tables else empty
        table = table if alike else with_gaps(table)
        return table.drop_duplicates("index").sort_values("index", ignore_index=True)

    def clean_energies(self) -> pd.DataFrame:
        """Index, label and clean energies of every finished row, in order of index.

        Returns:
            Columns index, label and those of CLEAN.
        """
        return self.rows(["index", "label", *CLEAN])

    def tell(self, more: Mapping[str, Any]) -> RunFolder:
        """The folder with a manifest that says this too, where an earlier version has not said it.

        What cannot be written is left as it is.

        Args:
            more: entries for the manifest; those that it has stay.

        Returns:
            A copy with the whole manifest.
        """
        manifest = {**more, **self.manifest}
        if manifest.keys() != self.manifest.keys():
            with suppress(OSError):
                _write_manifest(self.path, manifest)
        return RunFolder(self.path, manifest)

    def seconds(self) -> float:
        """What the finished rows took to compute.

        Returns:
            The sum over the parts.
        """
        return sum(map(_seconds_of, self.parts()))

    def images(self, indices: Sequence[int]) -> Images:
        """The images kept of these samples.

        Args:
            indices: of the n samples in their split.

        Returns:
            (n, C, H, W) float32 in [0, 1] each, in this order, by name.

        Raises:
            RunError: where one is not there.
        """
        wanted, there, blocks = torch.tensor(indices), list[int](), list[Images]()
        for path in (path for path in entries(self.path) if path.match("images-*.safetensors")):
            block = _read_images(path)
            index = block.pop(INDEX)
            chosen = torch.isin(index, wanted)
            there += index[chosen].tolist()
            blocks.append({name: values[chosen] for name, values in block.items()})
        if lost := set(indices) - set(there):
            raise RunError(self._lost(min(lost)))
        return in_order(indices, there, blocks)

    def _lost(self, index: int) -> str:
        """What to do about a sample whose row is there and whose image is not."""
        self._written()
        part = next(part for part, indices in self._indices.items() if index in indices)
        return (
            f"{shown(self.path)} has no image of sample {index}: put {_beside(part).name} back, or delete {part.name}, "
            "whose rows belong to it, and run the same command again; the rest is kept"
        )

    def write(self, rows: pd.DataFrame, seconds: float, images: Images | None = None) -> None:
        """Add a block of rows as one part, its images beside it; they are there whole, or not at all.

        What another process has written meanwhile is left out: no row is on the disk twice.

        Args:
            rows: n of them, in the schema of the record.
            seconds: what they took to compute.
            images: their images, (n, C, H, W) each, where they are kept.

        Raises:
            RunError: where the folder cannot be written.
        """
        with writing_alone(self.path):
            new = ~rows["index"].isin(self._written()).to_numpy()
            if new.any():
                kept = images and {
                    name: values[torch.from_numpy(new).to(values.device)] for name, values in images.items()
                }
                self._write(rows[new], seconds, kept)

    def _written(self) -> set[int]:
        """The indices of all rows on the disk; a part is read once."""
        for part in self.parts():
            if part not in self._indices:
                self._indices[part] = frozenset(_read_part(part, ["index"])["index"].to_pylist())
        return set().union(*self._indices.values())

    def _write(self, rows: pd.DataFrame, seconds: float, images: Images | None) -> None:
        indices = rows["index"].to_numpy()
        block = _block_name(indices)
        part = self.path / f"part-{block}.parquet"
        table = pa.Table.from_pandas(rows, preserve_index=False)
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), SECONDS: repr(seconds).encode()})
        if images is not None:  # first, so that no row is without its image
            with whole_file(_beside(part)) as temporary:
                tensors = {name: values.contiguous() for name, values in images.items()}
                save_file({INDEX: torch.from_numpy(indices.copy()), **tensors}, temporary)
        with whole_file(part) as temporary:
            pq.write_table(table, temporary, write_page_checksum=True)
        (self.path / f"{UNFINISHED}{block}.safetensors").unlink(missing_ok=True)

    def shelf(self, indices: Sequence[int]) -> FileShelf:
        """A file beside the parts, which goes when the block is written.

        Args:
            indices: of the block's samples, which name the file.

        Returns:
            The shelf, whose file need not exist.
        """
        return FileShelf(self.path / f"{UNFINISHED}{_block_name(np.array(indices))}.safetensors")

    def claimed(self, share: str, *, alone: bool = True) -> AbstractContextManager[None]:
        """Hold this share of the rows; see ``holding``.

        Args:
            share: its name.
            alone: whether nobody else may hold it.

        Returns:
            A context inside which it is held.
        """
        return holding(self.path, share, alone=alone, instead="share the work by --shard 1/2 and 2/2, ")


@dataclass(frozen=True)
class FileShelf:
    """A block that is not whole yet, in a file; see ``autoattack.Shelf``."""

    path: Path

    def load(self) -> dict[str, Tensor] | None:
        """What the file holds, tensors by name; None where it cannot be read: then the work is done again.

        Returns:
            The tensors as ``save`` took them, on the CPU.
        """
        try:
            return load_file(self.path)
        except (OSError, SafetensorError):
            return None

    def save(self, tensors: Mapping[str, Tensor]) -> None:
        """Write the file anew.

        Args:
            tensors: by name, of any shape, on any device.
        """
        with writing_alone(self.path.parent), whole_file(self.path) as temporary:
            save_file({name: values.contiguous() for name, values in tensors.items()}, temporary)


def _block_name(indices: np.ndarray[Any, Any]) -> str:
    """What the files of a block of samples are called by."""
    return f"{int(indices.min()):08d}-{hashlib.sha256(indices.tobytes()).hexdigest()[:8]}"


def open_run(
    out: Path,
    model: str,
    attack: str,
    manifest: Mapping[str, Any],
    *,
    overwrite: bool = False,
    formerly: str | None = None,
) -> RunFolder:
    """The run folder for these settings, made if it is not there.

    Args:
        out: the folder of all records.
        model: the name of the model's folder.
        attack: the attack's name.
        manifest: ``manifest["identity"]`` is what the rows depend on.
        overwrite: whether rows that are there are deleted.
        formerly: what an earlier version called the model's folder; a run that lies there is taken as it is.

    Returns:
        The folder with its manifest, as it lies there.

    Raises:
        InputError: where the folder holds rows of other settings.
        RunError: where it cannot be written or read, or is to be overwritten while another process fills it.
    """
    path = run_path(out, model, attack, manifest, formerly)
    return RunFolder(path, open_folder(path, manifest, overwrite=overwrite))


def run_path(out: Path, model: str, attack: str, manifest: Mapping[str, Any], formerly: str | None = None) -> Path:
    """Where the run of this manifest lies, or would lie; arguments as of ``open_run``.

    Args:
        out: the folder of all records.
        model: the name of the model's folder.
        attack: the attack's name.
        manifest: whose identity names the run.
        formerly: what an earlier version called the model's folder; None for nothing else.

    Returns:
        The path, absolute; that under the earlier name where only it exists.
    """
    out, name = out.absolute(), f"{safe_name(attack)}-{fingerprint(manifest['identity'])}"  # the caller may chdir
    path = model_folder(out, model) / name
    if formerly and not path.exists() and (earlier := model_folder(out, formerly) / name).exists():
        return earlier
    return path


def open_folder(path: Path, manifest: Mapping[str, Any], *, overwrite: bool = False) -> dict[str, Any]:
    """The manifest in this folder, which is made with this one if it is not there.

    Args:
        path: the folder.
        manifest: ``manifest["identity"]`` is what the rows depend on.
        overwrite: whether what is there is deleted.

    Returns:
        The manifest that lies there.

    Raises:
        InputError: where the folder holds rows of other settings.
        RunError: where it cannot be written or read, or is to be overwritten while another process fills it.
    """
    with writing(path):
        if overwrite and path.exists():
            _check_idle(path)
            shutil.rmtree(path)
        path.mkdir(parents=True, exist_ok=True)
        if not (path / MANIFEST).exists():
            with (path / f"{LOCK}open").open("a+") as lock:
                _lock(lock)
                if not (path / MANIFEST).exists():  # of two that begin it, the second finds the first one's
                    _write_manifest(path, manifest)
    found = read_manifest(path / MANIFEST)
    check_same(found["identity"], json.loads(json.dumps(manifest["identity"])), path)
    return found


def _write_manifest(path: Path, manifest: Mapping[str, Any]) -> None:
    with whole_file(path / MANIFEST) as temporary:
        temporary.write_text(json.dumps(manifest, indent=2) + "\n")


@contextmanager
def holding(path: Path, share: str, *, alone: bool = True, instead: str = "") -> Iterator[None]:
    """Hold this share of a folder's work against other processes that would do the same.

    A process that is killed holds nothing.

    Args:
        path: the folder.
        share: the name of the share.
        alone: whether nobody else may hold it; else it is held only against those that would start it anew.
        instead: what else than waiting mends it, for the error.

    Yields:
        Nothing, while the share is held.

    Raises:
        RunError: where another process holds it.
    """
    with writing(path):
        lock = (path / f"{LOCK}{safe_name(share)}").open("a+")
    with lock:
        _hold(lock, path, alone, instead)
        yield


def _check_idle(path: Path) -> None:
    """Refuse where another process holds a share of this folder."""
    for lock in path.glob(f"{LOCK}*"):
        with lock.open("a+") as handle:
            _hold(handle, path)


@contextmanager
def writing_alone(path: Path) -> Iterator[None]:
    """``writing`` of rows and images, one process after another; what one that was killed left half-written goes.

    Args:
        path: the folder.

    Yields:
        Nothing, while no other process writes there.
    """
    with writing(path), (path / f"{LOCK}write").open("a+") as lock:
        if _lock(lock):
            sweep(path, "part-*", "images-*", f"{UNFINISHED}*")
        yield


def _lock(file: TextIO, *, alone: bool = True, wait: bool = True) -> bool:
    """Lock the open file until it is closed; BlockingIOError where another process has and nobody is to ``wait``.

    False where there are no locks (Windows): two processes there do the same work twice, and to the same rows.
    """
    try:
        import fcntl
    except ImportError:
        return False
    fcntl.flock(file, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | (0 if wait else fcntl.LOCK_NB))
    return True


def _hold(lock: TextIO, path: Path, alone: bool = True, instead: str = "") -> None:
    """Lock the open file until it is closed, and say in it who did; RunError where another process holds it."""
    try:
        if not _lock(lock, alone=alone, wait=False):
            return
    except BlockingIOError:
        lock.seek(0)
        raise RunError(
            f"{lock.read() or 'another process'} is filling {shown(path)}: wait for it, {instead}or give another --out"
        ) from None
    with writing(path):
        lock.truncate(0)
        os.write(lock.fileno(), f"process {os.getpid()} on {socket.gethostname()}".encode())  # a buffer fails twice


def read_manifest(path: Path) -> dict[str, Any]:
    """What the file says; RunError where it may not be read or is no manifest.

    Args:
        path: of the file.

    Returns:
        Its values, ``identity`` among them.
    """
    with reading(path, "delete this file and run the command that made it again, the rest is kept"):
        manifest = json.loads(path.read_text())
        if not isinstance(manifest, dict) or "identity" not in manifest:
            raise ValueError("it has no identity")
    return manifest


def check_same(found: Mapping[str, Any], asked: Mapping[str, Any], path: Path) -> None:
    """Refuse to mix what different settings made.

    Args:
        found: the settings that lie in the folder.
        asked: those of this request.
        path: the folder.

    Raises:
        InputError: where they differ; it names the first difference.
    """
    different = _first_difference(found, asked)
    if different:
        name, there, here = different
        raise InputError(
            f"{shown(path)} holds a run of other settings: {name} is {there!r} there and {here!r} here. "
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


def _read_part(path: Path, columns: list[str] | None = None) -> pa.Table:
    with reading(path, KEPT, (pa.ArrowException,)):
        return pq.read_table(path, columns=columns, page_checksum_verification=True)


def _seconds_of(part: Path) -> float:
    with reading(part, KEPT, (pa.ArrowException,)):
        return float(pq.read_schema(part).metadata.get(SECONDS, b"0"))


def _read_images(path: Path) -> dict[str, Tensor]:
    part = path.name.replace("images-", "part-").replace(".safetensors", ".parquet")
    mend = f"delete this file and {part} and run the same command again, the rest is kept"
    with reading(path, mend, (SafetensorError,)):
        return load_file(path)


def _beside(part: Path) -> Path:
    """Where the images of a part's rows are kept."""
    return part.with_name(part.name.replace("part-", "images-", 1)).with_suffix(".safetensors")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say in one line that what is inside cannot write to a folder.

    Args:
        path: the folder.

    Yields:
        Nothing.

    Raises:
        RunError: where it cannot.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:  # the latter is how safetensors tells of a full disk
        reason = getattr(error, "strerror", None) or str(error)
        raise RunError(
            f"cannot write to {shown(path)} ({reason}): finished blocks are kept; give another --out"
        ) from error
