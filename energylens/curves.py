"""Robust accuracy against the radius, and the energies of the adversarial images on the way.

Of an attack in a ball there is one record a radius, kept and gone on with as every record. A sample counts as broken
from the smallest radius at which it was: what broke it lies in every larger ball too. Of an attack that seeks the
smallest perturbation (C&W, FMN) one record tells the accuracy at all radii: a sample stands up to the size that it
needed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import nn

from energylens.attacks.battery import AttackSpec, ConfiguredAttack, configure_battery
from energylens.attacks.radius import parse_radius, write_radius
from energylens.errors import InputError
from energylens.inputs import Data
from energylens.profiling import DEFAULT_MODEL, profile
from energylens.records.record import Record
from energylens.statistics import accuracy_interval

#: where no radii are given: these shares of the usual one
SHARES = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
STEPS = 12  # from 0 to the largest of the smallest perturbations, where there is no other radius
FIXED, SMALLEST = "fixed radius", "smallest perturbation"
COLUMNS = ("model", "attack", "label", "kind", "norm", "eps", "n", "accuracy", "low", "high", "marginal", "joint")


@dataclass(frozen=True)
class Curve:
    """What ``curve`` found.

    Attributes:
        table: one row a model, attack and radius, in the order of COLUMNS: accuracy in [0, 1] with its 95 % interval
            (low, high), and the mean E(x*) (marginal) and E(x*, y) (joint) in nats of the images found at that radius,
            NaN where one perturbation a sample serves all radii. eps 0 is the natural images.
        sizes: of each attack that seeks the smallest perturbation, by (model, attack): (N,) how large it was, 0 where
            none was needed, infinite where none was found.
        records: the record of each radius, and of the smallest perturbations, in the order they were made.
    """

    table: pd.DataFrame
    sizes: dict[tuple[str, str], NDArray[np.float64]]
    records: tuple[Record, ...]

    def summary(self) -> pd.DataFrame:
        """Each curve as a few numbers.

        Returns:
            One row a model and attack: n, natural (the accuracy at eps 0), last (at the largest radius), area (the mean
            accuracy over the radii from 0 to the largest, by the trapezoid rule) and median (of the smallest
            perturbations; NaN for an attack at fixed radii, infinite where fewer than half were found).
        """
        rows = []
        for (model, attack), own in self.table.groupby(["model", "attack"], sort=False):
            sizes = self.sizes.get((str(model), str(attack)))
            rows.append({
                "model": model, "attack": attack, "n": int(own["n"].iloc[0]), "natural": own["accuracy"].iloc[0],
                "last": own["accuracy"].iloc[-1], "largest": own["eps"].iloc[-1],
                "area": float(np.trapezoid(own["accuracy"], own["eps"]) / own["eps"].iloc[-1]),
                "median": math.nan if sizes is None else float(np.median(sizes)),
            })  # fmt: skip
        return pd.DataFrame(rows)

    def __str__(self) -> str:
        return f"{self.table.attrs['caption']}\n{self.summary().to_string(index=False, float_format='%.3f')}"


def curve(
    model: str | Path | nn.Module = DEFAULT_MODEL,
    data: Data = None,
    attacks: AttackSpec | Sequence[AttackSpec] = "pgd",
    *,
    eps: Sequence[str | float] | None = None,
    norm: str | None = None,
    **options: Any,
) -> Curve:
    """Attack a model at several radii.

    Args:
        model: as ``profile`` takes it.
        data: as ``profile`` takes it.
        attacks: as ``profile`` takes them, in one norm: attacks in a ball, which are run at each radius, and attacks
            that seek the smallest perturbation.
        eps: the radii, numbers or text such as ``"8/255"``; 0, the natural images, is always there. By default SHARES
            of the radius that ``profile`` would take.
        norm: of the radii, as ``profile`` takes it.
        options: ``profile``'s others, such as n, seed, out.

    Returns:
        The curve of every attack.

    Raises:
        InputError: for radii that are none, attacks that set a radius of their own, and as ``profile``.

    Example:
        >>> found = curve("digits-pgd", attacks="fgsm", eps=["0.1", 0.2], n=8)
        >>> found.table["eps"].tolist(), len(found.records)
        ([0.0, 0.1, 0.2], 2)
    """
    battery = _battery(attacks, norm)
    more: dict[str, Any] = {"norm": norm, "checks": False, **options}
    balls = [attack for attack in battery if attack.settings.bounded]
    free = [attack for attack in battery if not attack.settings.bounded]
    asked = None if eps is None else read_radii(eps)
    found: dict[float, Record] = {}
    if balls:
        if asked is None:
            usual = profile(model, data, _names(balls), **more)
            own: float = usual.attacks[1].manifest["eps"]["value"]
            asked, found[own] = [share * own for share in SHARES], usual
        for radius in asked:
            found[radius] = found.get(radius) or profile(model, data, _names(balls), eps=write_radius(radius), **more)
    smallest = profile(model, data, _names(free), **more) if free else None
    rows: list[dict[str, Any]] = []
    sizes: dict[tuple[str, str], NDArray[np.float64]] = {}
    for attack in battery:
        if attack.settings.bounded:
            rows += _at_fixed_radii(attack.name, {radius: found[radius] for radius in asked or ()})
        else:
            assert smallest is not None
            _check_norm(attack, smallest.norm)
            size = _sizes(smallest[attack.name].rows, attack.settings.norm)
            sizes[smallest.model_title, attack.name] = size
            rows += _of_smallest(attack.name, smallest, size, asked or _spread(size))
    records = (*(found[radius] for radius in sorted(found)), *([smallest] if smallest else []))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    first = records[0]
    table.attrs["caption"] = (
        f"{first.model_title} on {first.dataset}, n = {len(first)}, {first.norm}, seed {first.seed}"
    )
    return Curve(table, sizes, records)


def read_radii(given: Sequence[str | float]) -> list[float]:
    """The radii of a curve, from the smallest to the largest, without 0.

    Args:
        given: numbers, or text such as ``"8/255"``; 0 may be among them.

    Returns:
        The radii above 0, each once, in units of [0, 1].

    Raises:
        InputError: for what is no radius, and where none is above 0.

    Example:
        >>> read_radii(["0", 0.2, "0.1", 0.2])
        [0.1, 0.2]
    """
    given = [given] if isinstance(given, str | float | int) else given
    radii = sorted({parse_radius(one) for one in given if str(one).strip() not in ("0", "0.0")})
    if not radii:
        raise InputError("a curve needs a radius above 0: give some, such as 0,2/255,4/255,8/255")
    return radii


def together(curves: Sequence[Curve]) -> Curve:
    """The curves of several models as one.

    Args:
        curves: one at least.

    Returns:
        One with all their rows, sizes and records.
    """
    table = pd.concat([one.table for one in curves], ignore_index=True)
    table.attrs["caption"] = "; ".join(dict.fromkeys(one.table.attrs["caption"] for one in curves))
    sizes = {key: size for one in curves for key, size in one.sizes.items()}
    return Curve(table, sizes, tuple(record for one in curves for record in one.records))


def _battery(attacks: AttackSpec | Sequence[AttackSpec], norm: str | None) -> tuple[ConfiguredAttack, ...]:
    """The attacks, each without a radius of its own; callables, which have no radius, are refused."""
    battery = configure_battery(attacks, eps=1.0, norm=norm or "linf")
    for attack in battery:
        if "eps" in attack.overrides:
            raise InputError(f"{attack.name} sets a radius of its own: give the radii of a curve with eps, not there")
        if not attack.reusable:
            raise InputError(f"{attack.name} is a callable, which is not told the radius: a curve cannot be made of it")
    return battery


def _names(attacks: Sequence[ConfiguredAttack]) -> list[str]:
    return [attack.name for attack in attacks]


def _check_norm(attack: ConfiguredAttack, norm: str) -> None:
    """Refuse an attack whose sizes are in another norm than the radii."""
    if attack.settings.norm != norm:
        raise InputError(
            f"{attack.name} seeks small perturbations in {attack.settings.norm}, the radii are in {norm}: give --norm "
            f"{attack.settings.norm}, or an attack in {norm}"
        )


def _row(name: str, record: Record, kind: str, eps: float, right: NDArray[np.bool_]) -> dict[str, Any]:
    """One point of a curve, without its energies."""
    low, high = accuracy_interval(int(right.sum()), len(right))
    return {
        "model": record.model_title, "attack": name, "label": record[name].label, "kind": kind, "norm": record.norm,
        "eps": eps, "n": len(right), "accuracy": float(right.mean()), "low": low, "high": high,
    }  # fmt: skip


def _natural(name: str, record: Record, kind: str) -> tuple[dict[str, Any], NDArray[np.bool_]]:
    """The point at 0, and who is classified rightly there."""
    rows = record.attacks[0].rows
    right = (rows["pred_clean"] == rows["label"]).to_numpy()
    energies = {energy: float(rows[f"{energy}_clean"].astype("float64").mean()) for energy in ("marginal", "joint")}
    return {**_row(name, record, kind, 0.0, right), **energies}, right


def _at_fixed_radii(name: str, records: Mapping[float, Record]) -> Iterator[dict[str, Any]]:
    """The points of an attack in a ball; a sample that a smaller radius broke is broken."""
    first, right = _natural(name, next(iter(records.values())), FIXED)
    yield first
    for radius, record in records.items():
        rows = record[name].rows
        right = right & (rows["pred_adv"] == rows["label"]).to_numpy()
        energies = {energy: float(rows[f"{energy}_adv"].astype("float64").mean()) for energy in ("marginal", "joint")}
        yield {**_row(name, record, FIXED, radius, right), **energies}


def _of_smallest(
    name: str, record: Record, sizes: NDArray[np.float64], radii: Sequence[float]
) -> Iterator[dict[str, Any]]:
    """The points of an attack that seeks the smallest perturbation."""
    yield _natural(name, record, SMALLEST)[0]
    for radius in radii:
        yield _row(name, record, SMALLEST, radius, sizes > radius)


def _sizes(rows: pd.DataFrame, norm: str) -> NDArray[np.float64]:
    """How large a perturbation each sample needed, (N,): 0 for none, infinite where none was found."""
    found = rows[norm].to_numpy("float64")
    broken = (rows["pred_adv"] != rows["label"]).to_numpy()
    natural = (rows["pred_clean"] != rows["label"]).to_numpy()
    return np.where(natural, 0.0, np.where(broken, found, np.inf))


def _spread(sizes: NDArray[np.float64]) -> list[float]:
    """Radii over all sizes, where none were given."""
    largest = max(sizes[np.isfinite(sizes)], default=0.0)
    if not largest:
        raise InputError("no perturbation was found that changes a prediction: give radii with eps")
    return [float(largest) * step / STEPS for step in range(1, STEPS + 1)]
