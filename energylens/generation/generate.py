"""Images out of a classifier, in its visible order: training images -> starts -> chains -> rows and pictures."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from energylens.attacks.backends import BACKENDS, PLAIN, PROBED, networks_of
from energylens.attacks.passes import PassCounter
from energylens.attacks.settings import check_numbers
from energylens.data import Samples
from energylens.errors import InputError, RunError
from energylens.generation.generated import Generated, export, measure
from energylens.generation.sampler import sample
from energylens.generation.settings import GenerationSettings
from energylens.generation.starts import STARTS, Material, check_starts, draw_starts
from energylens.generation.training_images import nearest, reference_energies
from energylens.inputs import Data, check_fit, device_of, the_module, whole_split
from energylens.isolation import frozen
from energylens.models import ModelCard, current_card
from energylens.noise import Noise
from energylens.profiling import BATCH_SIZES
from energylens.progress import WITHIN, Listener, Progress
from energylens.records.identity import Witness, checked, own_folder, own_identity, spread
from energylens.records.manifest import shared_identity, software
from energylens.records.run_folder import RunFolder, holding, open_run, run_path
from energylens.records.shards import RANKS, Ranks, joined_ranks
from energylens.records.store import Memory, Store
from energylens.settings import declared

DEFAULT_MODEL = "digits-pgd"
DEFAULT_NUMBER = 100
CHAINS_SUPPORT = tuple(name for name, backend in BACKENDS.items() if not backend.rounded)


def generate(
    model: str | Path | nn.Module = DEFAULT_MODEL,
    data: Data = None,
    *,
    n: int = DEFAULT_NUMBER,
    classes: Sequence[str | int] | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    device: str = "auto",
    data_root: str | Path | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    backend: str = PLAIN,
    shard: str | None = None,
    listener: Listener | None = None,
    **options: Any,
) -> Generated:
    """Make images that a classifier finds probable, by momentum SGLD on its energy.

    model: a name ``load_model`` knows or a module from float images in [0, 1] to logits. data: what it was trained on,
    a name, Samples or a pair (x, y); by default the model's own data set, whose train split is used. n: how many
    images; the i-th is of class i modulo the number of classes. classes: names or labels, all by default. seed: of all
    noise; an image depends on it and on its index, not on n or the batch size. out: where to keep them; images found
    there are not made again. backend: what computes the network, ``plain`` or ``fused`` (``attacks/backends.py``),
    the same to rounding. shard: ``"ranks"``: every process of torchrun or accelerate launch makes a share, in one out,
    and returns all of them. listener: called after every batch, and now and then within one. options: the fields of
    ``GenerationSettings`` and what ``load_model`` takes.

    Raises InputError for a request that cannot be met, RunError where a chain runs into NaN, or disk or model fail.
    """
    backend = options.pop("kernels", backend)  # its earlier name
    own = {one.name for one in declared(GenerationSettings)} & options.keys()
    settings = GenerationSettings(**{name: options.pop(name) for name in own})
    size = BATCH_SIZES["cpu"] if batch_size is None else batch_size
    check_numbers({"n": n, "batch size": size, "seed": seed}, positive=("n", "batch size"))
    if backend not in CHAINS_SUPPORT:
        raise InputError(
            f"backend {backend!r} is not for chains, whose energies are kept and must be float32: give one of "
            f"{', '.join(CHAINS_SUPPORT)}"
        )
    module = the_module(model, data, device, options)
    if batch_size is None:
        size = BATCH_SIZES.get(device_of(module).type, size)
    ranks = _ranks(shard, out)
    card = current_card(module)
    train = whole_split(data, card, module, split="train", root=data_root)
    labels = _labels(classes, train)
    material = Material(module, train, **settings.of_starts)
    check_starts(settings.start, material, labels)
    if out is not None and (channels := train.image_shape[0]) not in (1, 3):
        raise InputError(f"images of {channels} channels cannot be kept as PNG, only of 1 or 3: leave out out")
    with frozen(module, seed), ExitStack() as stack:
        check_fit(module, card, train)
        witness = Witness(module, train, train.digest)
        reference = torch.full((len(train.classes),), torch.nan, device=device_of(module))
        if settings.needs_reference:
            reference = reference_energies(module, train, settings.loss, labels, witness.known_as)
        manifest = _manifest(module, card, train, settings, labels, seed)
        with ranks.first_goes_first():  # it makes, or empties, the folder
            store = _store(out, card, settings, manifest, overwrite and ranks.rank == 0, witness)
        if isinstance(store, RunFolder):
            stack.enter_context(holding(store.path, str(ranks.shard) if ranks.rank else "whole"))
        networks = networks_of(module, backend, train.batch(0, PROBED)[0].to(device_of(module)))
        network = networks.on[networks.quickest]
        if settings.features != "pixels":  # else nothing that the model says of them is remembered
            material = replace(material, known_as=witness.known_as)
        maker = _Maker(settings, material, network, labels, reference, seed)
        _fill(store, maker, ranks.shard.positions(n), size, listener)
        if out is not None and isinstance(store, Memory):  # of a model that is not steady
            store = Memory.joined(ranks.gather(store))
            if ranks.rank == 0:
                store = _settled(store, Path(out), card, settings)
        ranks.wait()  # until everybody's images are there
        rows = store.rows().sort_values("index", ignore_index=True)
        if isinstance(store, RunFolder) and ranks.rank == 0:
            export(store.path, rows, store.images(rows["index"].tolist())["images"], train.classes, n)
        rows = rows[rows["index"] < n].reset_index(drop=True)
    return Generated(
        card.title,
        train.title,
        train.classes,
        settings.told(),
        seed,
        rows,
        store.images(rows["index"].tolist())["images"],
        tuple(reference.tolist()),
        folder=store.path if isinstance(store, RunFolder) else None,
        seconds=store.seconds(),
        notes=tuple(filter(None, (networks.note, None if out is None else witness.note()))),
    )


def _ranks(shard: str | None, out: str | Path | None) -> Ranks:
    """The processes that share the work; InputError for another share, and where they have nowhere to meet."""
    if shard not in (None, RANKS):
        raise InputError(f"shard {shard!r}: images are shared among the processes of a launcher only, shard={RANKS!r}")
    ranks = joined_ranks() if shard == RANKS else Ranks()
    if ranks.size > 1 and out is None:
        raise InputError("the processes of a launcher share their images through a folder: give out (--out)")
    return ranks


def _labels(classes: Sequence[str | int] | None, train: Samples) -> Tensor:
    """The labels asked for, by name or number; InputError for one that is not there."""
    if classes is None:
        return torch.arange(len(train.classes))
    names = {name: label for label, name in enumerate(train.classes)}
    numbers = {str(label): label for label in range(len(train.classes))}
    known = numbers | names  # a class called 7 is meant before the eighth
    labels = []
    for asked in dict.fromkeys(map(str, classes)):
        if asked not in known:
            raise InputError(f"{train.title} has no class {asked!r}: it has {_some(train.classes)}")
        labels.append(known[asked])
    return torch.tensor(labels)


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(f"{label} {name}" if str(label) != name else name for label, name in enumerate(names[:10]))
    return shown if len(names) <= 10 else f"{shown} and {len(names) - 10} more"


def _manifest(
    module: nn.Module, card: ModelCard, train: Samples, settings: GenerationSettings, labels: Tensor, seed: int
) -> dict[str, Any]:
    """What the images are of; its ``identity`` is all that they depend on."""
    own: dict[str, Any] = {"settings": settings.told(), "classes": labels.tolist()}
    if (revision := STARTS[settings.start].revision) > 1:  # the first one was not told
        own["revision"] = revision
    return {
        "identity": {**shared_identity(module, train, seed), "generation": own},
        "model": asdict(card),
        **software(),
    }


def _name(settings: GenerationSettings) -> str:
    return f"generate-{settings.start}"


def _store(
    out: str | Path | None,
    card: ModelCard,
    settings: GenerationSettings,
    manifest: dict[str, Any],
    overwrite: bool,
    witness: Witness,
) -> Store:
    """Where the images are kept: this model's folder, or memory, also where they must be whole before they are kept."""
    if out is None:
        return Memory(manifest)

    def own(common: Mapping[str, Any]) -> dict[str, Any]:
        return {**manifest, "identity": dict(common), **witness.told()}

    def places(common: Mapping[str, Any]) -> list[Path]:
        return [run_path(Path(out), card.folder_name(common["model"]), _name(settings), own(common), card.short_name)]

    knows = witness.recognises if overwrite else partial(_made_by, witness)
    former = witness.samples.former_digest
    told = own(own_identity(manifest["identity"], former, places, knows, overwrite=overwrite))
    if not witness.steady:
        return Memory(told)
    return own_folder(_open(Path(out), card, settings, told, overwrite=overwrite), witness)


def _open(
    out: Path, card: ModelCard, settings: GenerationSettings, manifest: Mapping[str, Any], *, overwrite: bool
) -> RunFolder:
    model = card.folder_name(manifest["identity"]["model"])
    return open_run(out, model, _name(settings), manifest, overwrite=overwrite, formerly=card.short_name)


def _made_by(witness: Witness, folder: RunFolder) -> bool:
    """Whether a folder's images are the model's: by what its manifest keeps, and by the energies of some of them."""
    if not witness.recognises(folder):
        return False
    rows = folder.rows() if witness.steady else folder.rows().head(0)
    some = rows.iloc[spread(range(len(rows)), checked(folder))]
    if not len(some):
        return True
    images = folder.images(some["index"].tolist())["images"].to(device_of(witness.model))
    with torch.no_grad():
        logits = witness.model(images).float().cpu()
    energies = torch.tensor(some[["marginal", "joint"]].to_numpy("float32"))
    return witness.gave(energies, logits, torch.tensor(some["label"].to_numpy()))


def _settled(store: Store, out: Path, card: ModelCard, settings: GenerationSettings) -> RunFolder:
    """The folder that the images of a model that is not steady are kept in, in place of those of its last run."""
    rows = store.rows()
    folder = _open(out, card, settings, store.manifest, overwrite=True)
    folder.write(rows, store.seconds(), store.images(rows["index"].tolist()))
    return folder


@dataclass(frozen=True)
class _Maker:
    """Makes the images of any indices. network: what chains look through; labels: the classes in turn; reference: (K,)
    the classes' training losses."""

    settings: GenerationSettings
    material: Material
    network: nn.Module
    labels: Tensor
    reference: Tensor
    seed: int

    def __call__(self, indices: Sequence[int]) -> tuple[pd.DataFrame, Tensor]:
        """The rows and the images (N, C, H, W) of these indices."""
        material, noise = self.material, Noise(self.seed, tuple(indices))
        y = self.labels[torch.tensor(indices) % len(self.labels)].to(device_of(material.model))
        start = draw_starts(self.settings.start, material, y, noise)
        chain = sample(self.network, start, y, noise, self.reference[y], **self.settings.of_chains)
        return measure(indices, y, chain, nearest(chain.images, material.train, material.resident)), chain.images


def _fill(store: Store, make: _Maker, indices: Sequence[int], size: int, listener: Listener | None) -> None:
    """Make what is missing of these, a batch at a time."""
    there = set(store.rows()["index"])
    missing = [index for index in indices if index not in there]
    passes, spoke = make.settings.steps + 1, time.monotonic()

    def say(done: float) -> None:
        nonlocal spoke
        spoke = time.monotonic()
        if listener:
            listener(Progress(f"from {make.settings.start}", int(done), len(missing) * passes))

    for at in range(0, len(missing), size):
        began, batch = time.perf_counter(), missing[at : at + size]
        before, whole = at * passes, len(batch) * passes

        def within(work: float, before: int = before, whole: int = whole) -> None:
            if time.monotonic() - spoke >= WITHIN:
                say(before + min(work, whole))

        try:
            with PassCounter(make.network, within):
                rows, images = make(batch)
        except torch.OutOfMemoryError as error:
            raise RunError(
                f"out of memory with {len(batch)} images at once: take a smaller --batch-size; what is finished is kept"
            ) from error
        store.write(rows, time.perf_counter() - began, {"images": images.cpu()})
        say(before + whole)
