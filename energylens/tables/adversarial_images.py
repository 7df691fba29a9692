"""What does an attack do to an image? A few samples before and after, with what the model makes of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from energylens.errors import InputError
from energylens.records.record import AttackRecord, Record

PIXELS = ("natural", "adversarial", "difference")  # columns that hold images, (C, H, W) each


def adversarial_images(record: Record, attack: AttackRecord, count: int = 8) -> pd.DataFrame:
    """A few samples of one attack, evenly spaced among those that it broke (among all where it broke too few).

    Args:
        record: that the attack is part of.
        attack: whose images were kept.
        count: how many samples.

    Returns:
        One row a sample: index, linf, marginal_clean and marginal_adv (nats), label and pred_clean and pred_adv (class
        names), and the images themselves, (C, H, W) float in [0, 1]: natural, adversarial and the amplified difference.
        ``attrs`` hold the attack, the gain and a caption.

    Raises:
        InputError: the images were not kept.
    """
    if record.samples is None:
        raise InputError("this record does not know its natural images: profile again")
    rows = attack.rows
    fallen = np.flatnonzero((rows["success"] & (rows["pred_clean"] == rows["label"])).to_numpy())
    among = fallen if len(fallen) >= min(count, len(rows)) else np.arange(len(rows))
    chosen = among[np.linspace(0, len(among) - 1, min(count, len(among))).astype(int)]
    everything = record.samples.indices.tolist()
    positions = [everything.index(index) for index in rows["index"].iloc[chosen]]
    x = record.samples.subset(positions).images
    x_adv = attack.images()["x_adv"][torch.from_numpy(chosen)]
    difference, gain = amplified(x, x_adv)
    names = np.asarray(record.samples.classes, dtype=object)
    table: pd.DataFrame = rows.iloc[chosen][["index", "linf", "marginal_clean", "marginal_adv"]].reset_index(drop=True)
    for column in ("label", "pred_clean", "pred_adv"):
        table[column] = names[rows[column].iloc[chosen]]
    for column, images in zip(PIXELS, (x, x_adv, difference), strict=True):
        table[column] = list(images.numpy())
    threat = f"eps {attack.manifest['eps']['text']} {record.norm}" if attack.manifest["eps"] else "no eps"
    caption = f"{record.model_title} on {record.dataset}, {threat}, seed {record.seed}"
    table.attrs = {"attack": attack.label, "gain": gain, "caption": caption}
    return table


def amplified(x: Tensor, x_adv: Tensor) -> tuple[Tensor, float]:
    """What an attack added to images, as an image that shows it.

    Args:
        x: natural images, (..., C, H, W) in [0, 1].
        x_adv: what became of them, of the same shape.

    Returns:
        ``1/2 + gain (x_adv - x)``, of the same shape, and the gain, with which the largest difference fills [0, 1].

    >>> difference, gain = amplified(torch.zeros(1, 1, 2), torch.tensor([[[0.0, 0.25]]]))
    >>> difference.flatten().tolist(), gain
    ([0.5, 1.0], 2.0)
    """
    largest = float((x_adv - x).abs().max())
    gain = 0.5 / largest if largest else 1.0
    return 0.5 + gain * (x_adv - x), gain
