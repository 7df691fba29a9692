"""One attack's part of a profile: where its rows are kept, and which are missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from energylens.attacks.battery import NATURAL, ConfiguredAttack
from energylens.errors import RunError
from energylens.models import ModelCard
from energylens.records.identity import Witness, own_folder, own_identity
from energylens.records.manifest import Subject, made_elsewhere, manifest_of, shared_identity
from energylens.records.record import AttackRecord
from energylens.records.run_folder import RunFolder, open_folder, run_path
from energylens.records.shards import Ranks, Shard
from energylens.records.store import Images, Memory, Store

IMAGES, TRAJECTORY = "images", "trajectory"  # what rows can hold beside the usual columns


@dataclass(frozen=True)
class Keeping:
    """What is kept of a record, and where.

    out: the folder of all records; None keeps the rows in memory. overwrite: whether rows found there are computed
    again. trajectory: whether the energies of every iterate are kept. images: whether the adversarial images are.
    """

    out: Path | None = None
    overwrite: bool = False
    trajectory: bool = False
    images: bool = False

    def beside(self, attack: ConfiguredAttack) -> tuple[str, ...]:
        """What the rows of this attack hold beside the usual columns.

        Args:
            attack: whose rows are kept; its row may always keep images, its settings may tell no trajectory.

        Returns:
            ``"images"`` and ``"trajectory"``, as far as they are kept.
        """
        kept = {
            IMAGES: attack.row is not NATURAL.row and (self.images or attack.row.keeps_images),
            TRAJECTORY: self.trajectory and attack.settings.traceable,
        }
        return tuple(name for name, wanted in kept.items() if wanted)


def open_runs(
    battery: Sequence[ConfiguredAttack],
    subject: Subject,
    keeping: Keeping,
    witness: Witness | None,
    *,
    ranks: Ranks,
    share: Shard | None = None,
) -> list[AttackRun]:
    """The runs of a battery, with the rows that are there already.

    Args:
        battery: the attacks.
        subject: the model and all samples of the request.
        keeping: what is kept, and where.
        witness: tells whose rows are there; None where they stay in memory.
        ranks: the processes that open the same folders; the first makes, or empties, them.
        share: the share of the samples that this process does alone, for rows that are never reused.

    Returns:
        One run an attack, in the battery's order, in memory where nothing is kept.

    Raises:
        RunError: where a folder cannot be read, or another model has just begun it.
    """

    def manifest(attack: ConfiguredAttack, common: Mapping[str, Any]) -> dict[str, Any]:
        own_share = None if _reused(attack, witness) else share
        return manifest_of(attack, subject.card, subject.samples, common, keeping.beside(attack), own_share)

    common = shared_identity(subject.model, subject.samples, subject.seed)
    if keeping.out is None or witness is None:
        return [AttackRun(attack, Memory(manifest(attack, common)), keeping.beside(attack)) for attack in battery]
    place = _Place(keeping.out, subject.card, witness)
    with ranks.first_goes_first():
        anew = keeping.overwrite and ranks.rank == 0
        common = place.numbered(battery, manifest, common, overwrite=anew)
        return [place.run(attack, manifest(attack, common), keeping, overwrite=anew) for attack in battery]


def _reused(attack: ConfiguredAttack, witness: Witness | None) -> bool:
    """Whether rows that are there already may be taken for this attack's."""
    return attack.reusable and (witness is None or witness.steady)


@dataclass(frozen=True)
class _Place:
    """Where the run folders of one model lie."""

    out: Path
    card: ModelCard
    witness: Witness

    def numbered(
        self,
        battery: Sequence[ConfiguredAttack],
        manifest: Callable[[ConfiguredAttack, Mapping[str, Any]], dict[str, Any]],
        common: Mapping[str, Any],
        *,
        overwrite: bool,
    ) -> dict[str, Any]:
        """What the manifests of a battery share, with the number of the model: see ``own_identity``.

        manifest: of an attack, out of what all share.
        """

        def places(candidate: Mapping[str, Any]) -> list[Path]:
            return [self._path(attack, manifest(attack, candidate)) for attack in battery]

        knows = self.witness.recognises if overwrite else self.witness.knows
        return own_identity(common, self.witness.samples.former_digest, places, knows, overwrite=overwrite)

    def run(
        self, attack: ConfiguredAttack, manifest: Mapping[str, Any], keeping: Keeping, *, overwrite: bool
    ) -> AttackRun:
        """The attack's run. Rows that are never reused stay in memory until they are whole: see ``settle``."""
        manifest, also = {**manifest, **self.witness.told()}, keeping.beside(attack)
        if not _reused(attack, self.witness):
            return AttackRun(attack, Memory(manifest), also, partial(self._open, attack, manifest, overwrite=True))
        return AttackRun(attack, own_folder(self._open(attack, manifest, overwrite=overwrite), self.witness), also)

    def _path(self, attack: ConfiguredAttack, manifest: Mapping[str, Any]) -> Path:
        model = self.card.folder_name(manifest["identity"]["model"])
        return run_path(self.out, model, attack.row.name, manifest, self.card.short_name)

    def _open(self, attack: ConfiguredAttack, manifest: Mapping[str, Any], *, overwrite: bool) -> RunFolder:
        path = self._path(attack, manifest)
        return RunFolder(path, open_folder(path, manifest, overwrite=overwrite))


@dataclass
class AttackRun:
    """One attack of the battery and the rows it has so far.

    also: what its rows hold beside the usual columns. final: opens the folder for rows that wait in memory until they
    are whole, because nobody can tell whether rows on disk are this attack's; None for all others.
    """

    attack: ConfiguredAttack
    store: Store
    also: tuple[str, ...]
    final: Callable[[], RunFolder] | None = None
    done: set[int] = field(init=False)

    def __post_init__(self) -> None:
        self._look()

    def _look(self) -> None:
        self.done = set(self.store.rows()["index"].tolist())

    def missing(self, indices: Sequence[int]) -> list[int]:
        """Positions in ``indices`` whose rows are not there yet.

        Args:
            indices: of samples in their split.

        Returns:
            Positions, ascending.
        """
        return [position for position, index in enumerate(indices) if index not in self.done]

    @contextmanager
    def claimed(self, share: str, indices: Sequence[int]) -> Iterator[None]:
        """Hold the share against other processes while rows of these samples are missing.

        The natural rows, which every profile of the model needs, may be held by several processes: two that meet there
        do a little work twice.

        Args:
            share: the name under which other processes would hold it.
            indices: of its samples in their split; with none missing nothing is held.

        Yields:
            Nothing, while the share is held.
        """
        if not self.missing(indices):
            yield
            return
        with self.store.claimed(share, alone=self.attack.row is not NATURAL.row):
            self._look()  # what another process has finished before it let go
            yield

    def write(self, rows: pd.DataFrame, seconds: float, images: Images | None) -> None:
        """Keep a block of rows, what they took to compute, and their images (n, C, H, W) where these are kept.

        Args:
            rows: n rows in the schema of the record.
            seconds: what they took to compute.
            images: by name, (n, C, H, W) each; left out where this run keeps none.
        """
        self.store.write(rows, seconds, images if IMAGES in self.also else None)
        self.done.update(rows["index"].tolist())

    def settle(self, ranks: Ranks) -> None:
        """Write rows that waited in memory until they were whole, in place of those of the last run.

        Nobody can tell whether a callable has changed, and every run of a randomised model is another draw.

        Args:
            ranks: the processes whose rows come together; the first writes them.
        """
        if self.final is None:
            return
        self.store = Memory.joined(ranks.gather(self.store))
        if ranks.rank == 0:
            rows = self.store.rows()
            images = self.store.images(rows["index"].tolist()) if IMAGES in self.also else None
            self.final().write(rows, self.store.seconds(), images)

    def note(self) -> str | None:
        """What a reader should know of rows that were there already; None where there is nothing to say.

        Returns:
            A sentence, or None.
        """
        other = made_elsewhere(self.store.manifest) if self.done else None
        return (
            other
            and f"rows of {self.attack.name} found in the folder were made with {other}: --overwrite makes them anew"
        )

    def record(self, wanted: Sequence[int]) -> AttackRecord:
        """The rows of these samples, in order, with their share of the seconds.

        Args:
            wanted: indices of the samples in their split.

        Returns:
            The attack's part of a record.

        Raises:
            RunError: where some are missing.
        """
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
