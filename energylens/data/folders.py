"""Data sets that are folders of image files: one sub-folder a class, or a list of annotations beside the images.

Labels come from the list of all classes, so that neither a folder too many nor one too few moves a label.
"""

import importlib.util
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from energylens.data.catalog import Request
from energylens.data.preprocessing import preprocessing_named
from energylens.data.sources import Files
from energylens.errors import RunError, some, tell

_SPLIT_FOLDERS = {"train": "train", "test": "val"}  # the test labels of both were never published: val is the test set
_SUFFIXES = {".jpeg", ".jpg", ".png"}
_CLASS_LISTS = ("wnids.txt", "LOC_synset_mapping.txt")  # a line begins with a class: Stanford's, Kaggle's
_WNID = re.compile(r"n\d{8}")  # WordNet's name of a class
_NAMED = 5  # so many of what was passed over are named, the rest is counted


@dataclass(frozen=True)
class Listing:
    """What a split's folder holds.

    Attributes:
        found: the classes that it has a place for.
        entries: (path relative to the data set's folder, class) of every image.
        hidden: what was passed over because it is hidden, relative to the split's folder.
        strangers: what was passed over because no class of the data set is called so.
    """

    found: frozenset[str]
    entries: tuple[tuple[str, str], ...]
    hidden: tuple[str, ...] = ()
    strangers: tuple[str, ...] = ()


def load_folders(request: Request) -> Files:
    """A split of ImageNet or Tiny ImageNet, as published or with the images sorted into <split>/<wnid>.

    The labels are the positions of the data set's sorted wnids. What was passed over and what is missing is a Note.

    Args:
        request: of a data set in folders, its split and the root.

    Returns:
        The split, whose pictures are read when they are asked for.

    Raises:
        RunError: where the folder, a class's place or every image is missing.
    """
    row, split = request.data_set, _SPLIT_FOLDERS[request.split]
    folder = next((at for at in row.places(request.root) if (at / split).is_dir()), None)
    if folder is None:
        raise _unread(request, "found neither there nor in the data root itself")
    known = _known_classes(folder, row.num_classes)
    listing = _listing(folder, split, known)
    wnids = sorted(listing.found) if known is None else known
    strangers = some(listing.strangers, _NAMED)
    if len(wnids) != row.num_classes:  # without a list, fewer folders would shift every label behind the first gap
        others = f" (beside {strangers})" if strangers else ""
        fault = f"found {len(wnids)} classes in {folder / split}{others}, expected {row.num_classes}"
        raise _unread(request, fault)
    if not listing.entries:
        others = f"; {strangers} there is no class" if strangers else ""
        raise _unread(request, f"found no image of a class in {folder / split}{others}")
    if note := _note(listing, wnids):
        tell(f"{row.name} ({request.split}), {folder / split}: {note}")
    label = {wnid: position for position, wnid in enumerate(wnids)}
    return Files(
        _class_names(folder, wnids),
        torch.tensor([label[wnid] for _, wnid in listing.entries]),
        folder,
        paths=tuple(path for path, _ in listing.entries),
        transform=preprocessing_named(request.preprocessing).transform(),
        preprocessing=request.preprocessing,
    )


def _known_classes(folder: Path, number: int) -> list[str] | None:
    """All classes of the data set, sorted, from the first list of so many; None where there is none.

    The lists are a file's, the training folder's, and ImageNet's published one, in this order.
    """
    training = [at.name for at in _folders(folder / "train") if not _is_hidden(at.name)]
    lists = (*(_first_words(folder / file) for file in _CLASS_LISTS), training, _imagenet_classes())
    return next((sorted(set(wnids)) for wnids in lists if len(set(wnids)) == number), None)


def _first_words(file: Path) -> list[str]:
    return [line.split()[0] for line in file.read_text().splitlines() if line.strip()] if file.is_file() else []


def _imagenet_classes() -> list[str]:
    """The 1,000 wnids of ILSVRC 2012, which robustbench lists for its own reading of ImageNet."""
    package = importlib.util.find_spec("robustbench")  # only to locate it: importing it is slow
    if package is None or package.origin is None:
        return []
    listing = Path(package.origin).parent / "helper_files" / "imagenet_class_to_id_map.json"
    return list(json.loads(listing.read_text())) if listing.is_file() else []


def _folders(folder: Path) -> list[Path]:
    return sorted(at for at in folder.iterdir() if at.is_dir()) if folder.is_dir() else []


def _is_hidden(path: str) -> bool:
    """Whether the path leads through a name with a dot first, as of editors, macOS (._x) and Jupyter."""
    return any(part.startswith(".") for part in Path(path).parts)


def _by_folder(folder: Path, split: str, known: Sequence[str] | None) -> Listing:
    """split/<wnid>/**: every sub-folder that is called like a class, also an empty one.

    Where the classes are known, it must be called like one of them.
    """
    names = [at.name for at in _folders(folder / split)]
    visible = [name for name in names if not _is_hidden(name)]
    wnids = [name for name in visible if (_WNID.fullmatch(name) if known is None else name in known)]
    images = [
        (path.relative_to(folder / split).as_posix(), wnid)
        for wnid in wnids
        for path in sorted((folder / split / wnid).rglob("*"))
        if path.suffix.lower() in _SUFFIXES
    ]
    return Listing(
        frozenset(wnids),
        tuple((f"{split}/{path}", wnid) for path, wnid in images if not _is_hidden(path)),
        hidden=(*(name for name in names if _is_hidden(name)), *(path for path, _ in images if _is_hidden(path))),
        strangers=tuple(name for name in visible if name not in wnids and any((folder / split / name).iterdir())),
    )


def _listing(folder: Path, split: str, known: Sequence[str] | None) -> Listing:
    """split/images/<file> labelled by split/<split>_annotations.txt, tab-separated; else as `_by_folder`.

    Folders are read, too, where the images were sorted into classes and left images/ empty and the annotations behind.
    """
    images, annotations = folder / split / "images", folder / split / f"{split}_annotations.txt"
    unsorted = images.is_dir() and any(at.suffix.lower() in _SUFFIXES for at in images.iterdir())
    if not (unsorted and annotations.is_file()):
        return _by_folder(folder, split, known)
    rows = [line.split("\t") for line in annotations.read_text().splitlines() if "\t" in line]
    labelled = [(row[0], row[1]) for row in rows if known is None or row[1] in known]
    return Listing(
        frozenset(wnid for _, wnid in labelled),
        tuple((f"{split}/images/{name}", wnid) for name, wnid in labelled),
        strangers=tuple(sorted({row[1] for row in rows} - {wnid for _, wnid in labelled})),
    )


def _note(listing: Listing, wnids: Sequence[str]) -> str:
    """What was passed over and what is missing, in sentences; nothing where all is as it should be."""
    missing = [wnid for wnid in wnids if wnid not in listing.found]
    told = {
        "passed over {} (hidden)": listing.hidden,
        "passed over {} (no class of the data set)": listing.strangers,
        "nothing there for {}; the other classes keep their labels": missing,
    }
    return "; ".join(sentence.format(some(names, _NAMED)) for sentence, names in told.items() if names)


def _class_names(folder: Path, wnids: list[str]) -> tuple[str, ...]:
    """The words of words.txt (wnid, tab, words) where it is there, else the wnids."""
    listing = folder / "words.txt"
    if not listing.is_file():
        return tuple(wnids)
    words = dict(line.split("\t", 1) for line in listing.read_text().splitlines() if "\t" in line)
    return tuple(words.get(wnid, wnid) for wnid in wnids)


def _unread(request: Request, fault: str) -> RunError:
    row = request.data_set
    files = " and ".join(file.path for file in row.files_of(request.split))
    first = f"{row.before_fetch}, then run" if row.before_fetch else "run"
    return request.unread(f"{request.root / row.folder} for {files}", fault, f"To fetch it, {first}")
