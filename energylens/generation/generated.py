"""What a generation is: one row an image, the images, and the folder that both are kept in."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from energylens.data import Samples
from energylens.energy import joint_energy, marginal_energy
from energylens.files import sweep, whole_file
from energylens.generation.sampler import Chain
from energylens.records.run_folder import safe_name, writing

PICTURES = "images"  # the folder of PNGs
TENSORS = "images.safetensors"
REQUEST = "request.json"  # how many images were asked for last: the folder may hold more
PATH_COLUMNS = ("marginal_path", "joint_path")  # lists of float32: E(x), E(x, y) from the start to the image

COLUMNS: dict[str, str] = {
    "index": "int64",  # the image's number
    "label": "int64",  # the class it was made for
    "pred": "int64",
    "steps": "int64",  # taken before it stopped
    "marginal": "float32",  # E(x), nats
    "joint": "float32",  # E(x, y) at the label, nats
    "nearest": "int64",  # index of the nearest training image in its split
    "nearest_l2": "float32",  # and how far it is, images in [0, 1]
}


@torch.no_grad()
def measure(indices: Iterable[int], y: Tensor, chain: Chain, nearest: tuple[Tensor, Tensor]) -> pd.DataFrame:
    """The rows of one batch, in the schema of COLUMNS, with PATH_COLUMNS.

    Args:
        indices: of the N images.
        y: (N,) the classes they were made for.
        chain: where they come from.
        nearest: of each the index of the nearest training image and its L2 distance, (N,) each.

    Returns:
        One row an image; the paths are arrays of steps + 1 energies, in nats.
    """
    columns = {
        "index": torch.tensor(list(indices)),
        "label": y,
        "pred": chain.logits.argmax(dim=1),
        "steps": chain.steps,
        "marginal": marginal_energy(chain.logits),
        "joint": joint_energy(chain.logits, y),
        "nearest": nearest[0],
        "nearest_l2": nearest[1],
    }
    table = pd.DataFrame({name: values.cpu().numpy() for name, values in columns.items()}).astype(COLUMNS)
    paths = [path[: steps + 1] for path, steps in zip(chain.energies.cpu().numpy(), chain.steps.tolist(), strict=True)]
    return table.assign(**{name: [path[:, energy] for path in paths] for energy, name in enumerate(PATH_COLUMNS)})


@dataclass(frozen=True)
class Generated:
    """Images out of a classifier.

    Attributes:
        model: in words.
        dataset: in words.
        classes: their names.
        settings: of the generation, by name, those that count.
        seed: of all noise.
        rows: one an image, in order of index, in the schema of COLUMNS with PATH_COLUMNS.
        images: (N, C, H, W) float32 in [0, 1], in the same order.
        reference: the mean loss of each class's training images, nats, NaN where nobody asked.
        folder: where they are kept, None for in memory only.
        seconds: what all of them took.
        notes: what a reader should know.
    """

    model: str
    dataset: str
    classes: tuple[str, ...]
    settings: dict[str, Any]
    seed: int
    rows: pd.DataFrame = field(repr=False)
    images: Tensor = field(repr=False)
    reference: tuple[float, ...] = field(repr=False)
    folder: Path | None = None
    seconds: float = 0.0
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def labels(self) -> Tensor:
        """The classes the images were made for, (N,) int64."""
        return torch.tensor(self.rows["label"].to_numpy())

    def summary(self) -> pd.DataFrame:
        """What ``as_numbers`` tells, as a table.

        Returns:
            A row a class, then one of all; NaN for a reference that nobody asked for.
        """
        return pd.DataFrame(self.as_numbers()).astype({"reference": "float64"})

    def __str__(self) -> str:
        """What the images are and the summary."""
        return "\n".join([self.title, self.summary().to_string(index=False, float_format="%.2f"), *self.notes])

    @property
    def title(self) -> str:
        """``100 images of digits out of digits-pgd, seed 0, 2.1 s``."""
        return f"{len(self)} images of {self.dataset} out of {self.model}, seed {self.seed}, {self.seconds:.1f} s"

    def as_numbers(self) -> list[dict[str, Any]]:
        """Means and medians of the images, as JSON holds them.

        Returns:
            A row a class, then one of all. The keys are class, n, as_class (share of images that the model takes for
            it), steps, marginal, joint (means, nats), reference (None where nobody asked), nearest_l2 (median).
        """
        groups = [(self.classes[int(str(label))], rows) for label, rows in self.rows.groupby("label")]
        return [self._summed(name, rows) for name, rows in [*groups, ("all", self.rows)]]

    def _summed(self, name: str, rows: pd.DataFrame) -> dict[str, Any]:
        reference = float(np.mean([self.reference[label] for label in rows["label"]]))
        return {
            "class": name,
            "n": len(rows),
            "as_class": float((rows["pred"] == rows["label"]).mean()),
            **{column: float(rows[column].astype("float64").mean()) for column in ("steps", "marginal", "joint")},
            "reference": None if np.isnan(reference) else reference,
            "nearest_l2": float(rows["nearest_l2"].median()),
        }


def export(folder: Path, rows: pd.DataFrame, images: Tensor, classes: tuple[str, ...], n: int) -> None:
    """Write images as pictures and as they are, and how many of them were asked for.

    Pictures are ``images/<index>-<class>.png``, 8 bits; as they are, the images go into images.safetensors. For who
    holds the folder. Every file is whole or not there.

    Args:
        folder: where to.
        rows: of the images.
        images: (N, C, H, W) in [0, 1].
        classes: names by label.
        n: how many were asked for.

    Raises:
        RunError: where the folder cannot be written.
    """
    with writing(folder):
        (folder / PICTURES).mkdir(exist_ok=True)
        sweep(folder, TENSORS + ".*", REQUEST + ".*")
        sweep(folder / PICTURES, "*.png.*")
        for index, label, image in zip(rows["index"], rows["label"], images, strict=True):
            with whole_file(folder / PICTURES / f"{index:06d}-{safe_name(classes[label])}.png") as temporary:
                as_picture(image).save(temporary, format="PNG")
        tensors = {"images": images.contiguous(), "labels": torch.tensor(rows["label"].to_numpy())}
        with whole_file(folder / TENSORS) as temporary:
            save_file(tensors, temporary)
        with whole_file(folder / REQUEST) as temporary:
            temporary.write_text(json.dumps({"n": n}) + "\n")


def as_picture(image: Tensor) -> Image.Image:
    """An 8-bit picture.

    Args:
        image: (C, H, W) in [0, 1], C 1 or 3.

    Returns:
        Grey for one channel, RGB for three.
    """
    pixels = to_bytes(image).permute(1, 2, 0).numpy()
    return Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels)


def to_bytes(images: Tensor) -> Tensor:
    """Images rounded to 8 bits.

    Args:
        images: of any shape, in [0, 1].

    Returns:
        uint8 in the same shape, on the CPU.
    """
    return (images.cpu() * 255).round().to(torch.uint8)


def byte_batches(samples: Samples, size: int) -> Iterator[Tensor]:
    """The samples' images in 8 bits, so many at a time.

    Args:
        samples: N images in [0, 1].
        size: images in a batch, 1 or more.

    Returns:
        The batches in order, (B, C, H, W) uint8 on the CPU; the last may be smaller.
    """
    return (to_bytes(samples.batch(at, at + size)[0]) for at in range(0, len(samples), size))
