"""Data sets that are folders of image files: one sub-folder a class, or a list of annotations beside the images."""

from collections.abc import Callable
from pathlib import Path

import torch

from energylens.data.catalog import DataSet, Request
from energylens.data.sources import Files
from energylens.errors import RunError
from energylens.preprocessing import preprocessing_named

_SPLIT_FOLDERS = {"train": "train", "test": "val"}  # the test labels of both were never published: val is the test set
_SUFFIXES = {".jpeg", ".jpg", ".png"}

Entry = tuple[str, str]  # a file's path relative to the data set's folder, its wnid


def load_imagenet(request: Request) -> Files:
    """imagenet/val/<wnid>/*.JPEG; the labels are the positions of the 1,000 sorted wnids."""
    return _load(request, _by_folder)


def load_tinyimagenet(request: Request) -> Files:
    """tiny-imagenet-200 as published (val/images and val_annotations.txt) or with val sorted into val/<wnid>.

    The labels are the positions of the 200 sorted wnids.
    """
    return _load(request, _by_annotations_or_folder)


def _load(request: Request, list_split: Callable[[Path, str], tuple[set[str], list[Entry]]]) -> Files:
    row, split = request.data_set, _SPLIT_FOLDERS[request.split]
    folder = next((at for at in (request.root / row.folder, request.root) if (at / split).is_dir()), None)
    if folder is None:
        raise RunError(_failure(request, "found neither there nor in the data root itself"))
    found, entries = list_split(folder, split)
    if len(found) != row.num_classes:  # fewer folders would shift every label behind the first gap
        raise RunError(_failure(request, f"found {len(found)} classes in {folder / split}, expected {row.num_classes}"))
    if not entries:
        raise RunError(_failure(request, f"found no image in {folder / split}"))
    wnids = sorted(found)
    label = {wnid: position for position, wnid in enumerate(wnids)}
    return Files(
        classes=_class_names(folder, wnids),
        labels=torch.tensor([label[wnid] for _, wnid in entries]),
        folder=folder,
        paths=tuple(path for path, _ in entries),
        transform=preprocessing_named(request.preprocessing).transform(),
        preprocessing=request.preprocessing,
    )


def _by_folder(folder: Path, split: str) -> tuple[set[str], list[Entry]]:
    """split/<wnid>/**: every sub-folder is a class, also an empty one."""
    wnids = sorted(at.name for at in (folder / split).iterdir() if at.is_dir())
    images = (
        (image.relative_to(folder).as_posix(), wnid)
        for wnid in wnids
        for image in sorted((folder / split / wnid).rglob("*"))
    )
    return set(wnids), [(path, wnid) for path, wnid in images if Path(path).suffix.lower() in _SUFFIXES]


def _by_annotations_or_folder(folder: Path, split: str) -> tuple[set[str], list[Entry]]:
    """split/images/<file> labelled by split/<split>_annotations.txt, tab-separated; else as `_by_folder`."""
    images, annotations = folder / split / "images", folder / split / f"{split}_annotations.txt"
    if not (images.is_dir() and annotations.is_file()):
        return _by_folder(folder, split)
    rows = [line.split("\t") for line in annotations.read_text().splitlines() if "\t" in line]
    return {row[1] for row in rows}, [(f"{split}/images/{row[0]}", row[1]) for row in rows]


def _class_names(folder: Path, wnids: list[str]) -> tuple[str, ...]:
    """The words of words.txt (wnid, tab, words) where it is there, else the wnids."""
    listing = folder / "words.txt"
    if not listing.is_file():
        return tuple(wnids)
    words = dict(line.split("\t", 1) for line in listing.read_text().splitlines() if "\t" in line)
    return tuple(words.get(wnid, wnid) for wnid in wnids)


def _failure(request: Request, fault: str) -> str:
    row: DataSet = request.data_set
    looked_for = " and ".join(file.path for file in row.files_of(request.split))
    first = f"{row.before_fetch}, then run" if row.before_fetch else "run"
    return (
        f"{row.name} ({request.split}) could not be read. Looked in {request.root / row.folder} for {looked_for}; "
        f"{fault}. To fetch it, {first}: {row.fetch_command(request.root)} "
        "or point --data-root (ENERGYLENS_DATA) to a folder that has it."
    )
