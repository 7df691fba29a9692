"""One attack's part of a profile: where its rows are kept, which are missing, and what becomes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from energylens.attacks.battery import NATURAL, ConfiguredAttack
from energylens.errors import RunError
from energylens.models import ModelCard
from energylens.records.identity import Witness, own_folder, own_identity
from energylens.records.manifest import made_elsewhere
from energylens.records.record import AttackRecord
from energylens.records.run_folder import RunFolder, open_run, run_path
from energylens.records.shards import Ranks
from energylens.records.store import Images, Memory, Store

IMAGES, TRAJECTORY = "images", "trajectory"  # what rows can hold beside the usual columns


def also_kept(attack: ConfiguredAttack, *, trajectory: bool, images: bool) -> tuple[str, ...]:
    """What the rows of this attack hold beside the usual columns."""
    kept = {
        IMAGES: attack is not NATURAL and (images or attack.row.keeps_images),
        TRAJECTORY: trajectory and attack.settings.traceable,
    }
    return tuple(name for name, wanted in kept.items() if wanted)


def own_common(
    battery: Sequence[ConfiguredAttack],
    manifests: Callable[[Mapping[str, Any]], list[dict[str, Any]]],
    common: Mapping[str, Any],
    card: ModelCard,
    witness: Witness,
    out: Path,
    overwrite: bool,
) -> dict[str, Any]:
    """What the manifests of a battery share, with the number of the model: see ``own_identity``.

    manifests: one an attack, out of what they share.
    """

    def places(candidate: Mapping[str, Any]) -> list[Path]:
        model = card.folder_name(candidate["model"])
        return [
            run_path(out, model, attack.row.name, manifest, card.short_name)
            for attack, manifest in zip(battery, manifests(candidate), strict=True)
        ]

    knows = witness.recognises if overwrite else witness.knows
    return own_identity(common, witness.samples.former_digest, places, knows, overwrite=overwrite)


def open_attack_run(
    attack: ConfiguredAttack,
    card: ModelCard,
    manifest: Mapping[str, Any],
    also: tuple[str, ...],
    out: str | Path | None,
    overwrite: bool,
    witness: Witness | None,
) -> AttackRun:
    """The run with the rows that are there. A callable's, and those of a model that is not steady, stay in memory
    until they are whole: see ``settle``. Raises RunError where another model has just begun the same folder."""
    if out is None or witness is None:
        return AttackRun(attack, Memory(manifest), also)
    manifest = {**manifest, **witness.told()}
    if not (attack.reusable and witness.steady):
        return AttackRun(attack, Memory(manifest), also, reusable=False)
    folder = _open(attack, card, manifest, out, overwrite=overwrite)
    return AttackRun(attack, own_folder(folder, witness), also)


def _open(
    attack: ConfiguredAttack, card: ModelCard, manifest: Mapping[str, Any], out: str | Path, *, overwrite: bool
) -> RunFolder:
    name = card.folder_name(manifest["identity"]["model"])
    return open_run(Path(out), name, attack.row.name, manifest, overwrite=overwrite, formerly=card.short_name)


@dataclass
class AttackRun:
    """One attack of the battery and the rows it has so far. reusable: whether rows on disk can be told to be its."""

    attack: ConfiguredAttack
    store: Store
    also: tuple[str, ...]
    reusable: bool = True
    done: set[int] = field(init=False)

    def __post_init__(self) -> None:
        self._look()

    def _look(self) -> None:
        self.done = set(self.store.rows()["index"].tolist())

    def missing(self, indices: Sequence[int]) -> list[int]:
        """Positions in ``indices`` whose rows are not there yet."""
        return [position for position, index in enumerate(indices) if index not in self.done]

    @contextmanager
    def claimed(self, share: str, indices: Sequence[int]) -> Iterator[None]:
        """Hold the share against other processes while rows of these samples are missing.

        The natural rows, which every profile of the model needs, are held together: two that meet there do a little
        work twice.
        """
        if not self.missing(indices):
            yield
            return
        with self.store.claimed(share, alone=self.attack is not NATURAL):
            self._look()  # what another process has finished before it let go
            yield

    def write(self, rows: pd.DataFrame, seconds: float, images: Images | None) -> None:
        """Keep a block of rows."""
        self.store.write(rows, seconds, images if IMAGES in self.also else None)
        self.done.update(rows["index"].tolist())

    def settle(self, ranks: Ranks, card: ModelCard, out: str | Path | None) -> None:
        """Bring rows that waited in memory until they were whole to where they are kept, in place of those of the last
        run: of a callable nobody can tell whether it has changed, of a randomised model every run is another draw."""
        if self.reusable or out is None:
            return
        self.store = Memory.joined(ranks.gather(self.store))
        if ranks.rank == 0:
            rows = self.store.rows()
            images = self.store.images(rows["index"].tolist()) if IMAGES in self.also else None
            folder = _open(self.attack, card, self.store.manifest, out, overwrite=True)
            folder.write(rows, self.store.seconds(), images)

    def note(self) -> str | None:
        """What a reader should know of rows that were there already; None where there is nothing to say."""
        other = made_elsewhere(self.store.manifest) if self.done else None
        return (
            other
            and f"rows of {self.attack.name} found in the folder were made with {other}: --overwrite makes them anew"
        )

    def record(self, wanted: Sequence[int]) -> AttackRecord:
        """The rows of these samples, in order, with their share of the seconds."""
        stored = self.store.rows()
        rows = stored[stored["index"].isin(wanted)].sort_values("index", ignore_index=True)
        if len(rows) < len(wanted):
            raise RunError(
                f"{len(wanted) - len(rows)} of {len(wanted)} rows of {self.attack.name} are missing: do all processes "
                "write to the same --out? The same command again does what is missing"
            )
        seconds = self.store.seconds() * len(rows) / len(stored)
        indices = rows["index"].tolist()
        load = (lambda: self.store.images(indices)) if IMAGES in self.also else None
        return AttackRecord(self.attack.name, self.attack.label, rows, self.store.manifest, seconds, load)
