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
from energylens.attacks.result import PassCounter
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
from energylens.records.identity import Witness, own_folder, own_identity
from energylens.records.manifest import shared_identity, software
from energylens.records.run_folder import RunFolder, holding, open_run, run_path
from energylens.records.shards import RANKS, Ranks, joined_ranks
from energylens.records.store import Memory, Store
from energylens.settings import check_number, declared

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

    Args:
        model: a name that ``load_model`` knows, or a module from float images in [0, 1] to logits.
        data: what it was trained on, a name, Samples or a pair (x, y); by default the model's own data set, whose train
            split is used.
        n: how many images; the i-th is of class i modulo the number of classes.
        classes: names or labels, all by default.
        seed: of all noise; an image depends on it and on its index, not on n or the batch size.
        batch_size: images at once; changes speed and memory only.
        device: ``auto`` or a torch device.
        data_root: where data sets lie.
        out: where to keep the images; those found there are not made again.
        overwrite: make again what is already in ``out``.
        backend: what computes the network, ``plain`` or ``fused`` (``attacks/backends.py``), the same to rounding.
            ``kernels`` is its earlier name.
        shard: ``"ranks"``: every process of torchrun or accelerate launch makes a share, in one out, and returns all of
            them.
        listener: called after every batch, and now and then within one.
        **options: the fields of ``GenerationSettings``, and what ``load_model`` takes.

    Returns:
        The images, a row of energies each, and where they are kept.

    Raises:
        InputError: for a request that cannot be met.
        RunError: where a chain runs into NaN, or disk or model fail.
    """
    backend = options.pop("kernels", backend)  # its earlier name
    own = {one.name for one in declared(GenerationSettings)} & options.keys()
    settings = GenerationSettings(**{name: options.pop(name) for name in own})
    _check_numbers(n, seed, batch_size, backend)
    ranks = _ranks(shard, out)
    module = the_module(model, data, device, options)
    train = whole_split(data, current_card(module), module, split="train", root=data_root)
    labels = _labels(classes, train)
    material = Material(module, train, **settings.of_starts)
    check_starts(settings.start, material, labels)
    if out is not None and (channels := train.image_shape[0]) not in (1, 3):
        raise InputError(f"images of {channels} channels cannot be kept as PNG, only of 1 or 3: leave out out")
    size = BATCH_SIZES.get(device_of(module).type, BATCH_SIZES["cpu"]) if batch_size is None else batch_size
    folder = None if out is None else Path(out)
    overwrite = overwrite and ranks.speaks
    job = _Job(settings, module, current_card(module), train, labels, material, n, seed, folder, overwrite, ranks)
    with frozen(module, seed):
        plan = _plan(job, backend)
        store = _compute(plan, size, listener)
        return _collect(plan, store)


@dataclass(frozen=True)
class _Job:
    """A request whose names are resolved.

    Attributes:
        train: the training images.
        labels: the classes in turn.
        out: where images are kept, None for memory.
        overwrite: whether those that are there are made again.
    """

    settings: GenerationSettings
    module: nn.Module
    card: ModelCard
    train: Samples
    labels: Tensor
    material: Material
    n: int
    seed: int
    out: Path | None
    overwrite: bool
    ranks: Ranks

    @property
    def name(self) -> str:
        """What the folder of its images is called."""
        return f"generate-{self.settings.start}"

    @property
    def manifest(self) -> dict[str, Any]:
        """What the images are of; its ``identity`` is all that they depend on."""
        own: dict[str, Any] = {"settings": self.settings.told(), "classes": self.labels.tolist()}
        if (revision := STARTS[self.settings.start].revision) > 1:  # the first one was not told
            own["revision"] = revision
        identity = {**shared_identity(self.module, self.train, self.seed), "generation": own}
        return {"identity": identity, "model": asdict(self.card), **software()}


@dataclass(frozen=True)
class _Plan:
    """A job, what its images are made by, and where they are kept.

    Attributes:
        network: the model on its backend.
        note: what was noted of the backend.
        material: what starts are made of.
        reference: (K,) the classes' training losses.
    """

    job: _Job
    network: nn.Module
    note: str | None
    material: Material
    reference: Tensor
    store: Store
    witness: Witness

    def make(self, indices: Sequence[int]) -> tuple[pd.DataFrame, Tensor]:
        """The rows and the images (N, C, H, W) of these indices."""
        job, material, noise = self.job, self.material, Noise(self.job.seed, tuple(indices))
        y = job.labels[torch.tensor(indices) % len(job.labels)].to(device_of(job.module))
        start = draw_starts(job.settings.start, material, y, noise)
        chain = sample(self.network, start, y, noise, self.reference[y], **job.settings.of_chains)
        return measure(indices, y, chain, nearest(chain.images, job.train, material.resident)), chain.images


def _plan(job: _Job, backend: str) -> _Plan:
    """What is there already, and what computes the chains. The model is held as ``frozen`` holds it."""
    settings, module, train, material = job.settings, job.module, job.train, job.material
    check_fit(module, job.card, train)
    witness = Witness(module, train)
    reference = torch.full((len(train.classes),), torch.nan, device=device_of(module))
    if settings.needs_reference:
        reference = reference_energies(module, train, settings.loss, job.labels, witness.known_as)
    with job.ranks.first_goes_first():  # it makes, or empties, the folder
        store = _store(job, witness)
    networks = networks_of(module, backend, train.batch(0, PROBED)[0].to(device_of(module)))
    if settings.features != "pixels":  # else nothing that the model says of them is remembered
        material = replace(material, known_as=witness.known_as)
    return _Plan(job, networks.on[networks.quickest], networks.note, material, reference, store, witness)


def _compute(plan: _Plan, size: int, listener: Listener | None) -> Store:
    """Make this process's images, while no other process does the same; returns where all of them are."""
    job, store = plan.job, plan.store
    with ExitStack() as stack:
        if isinstance(store, RunFolder):
            stack.enter_context(holding(store.path, str(job.ranks.shard) if job.ranks.rank else "whole"))
        _fill(plan, job.ranks.shard.positions(job.n), size, listener)
        if job.out is not None and isinstance(store, Memory):  # of a model that is not steady
            store = Memory.joined(job.ranks.gather(store))
            if job.ranks.speaks:
                store = _settled(store, job)
        job.ranks.wait()  # until everybody's images are there
        if isinstance(store, RunFolder) and job.ranks.speaks:
            export(store.path, *_in_order(store), job.train.classes, job.n)
    return store


def _in_order(store: Store, n: int | None = None) -> tuple[pd.DataFrame, Tensor]:
    """The rows of a store, of all indices or those below n, and their images, by index."""
    rows = store.rows().sort_values("index", ignore_index=True)
    rows = rows if n is None else rows[rows["index"] < n].reset_index(drop=True)
    return rows, store.images(rows["index"].tolist())["images"]


def _collect(plan: _Plan, store: Store) -> Generated:
    """The first n images, with what they are of."""
    job = plan.job
    rows, images = _in_order(store, job.n)
    notes = (plan.note, None if job.out is None else plan.witness.note())
    return Generated(
        job.card.title, job.train.title, job.train.classes, job.settings.told(), job.seed, rows, images,
        tuple(plan.reference.tolist()), store.path if isinstance(store, RunFolder) else None, store.seconds(),
        tuple(filter(None, notes)),
    )  # fmt: skip


def _check_numbers(n: int, seed: int, batch_size: int | None, backend: str) -> None:
    """Refuse numbers that cannot be run with, and a backend whose energies are rounded."""
    check_number("n", n, above=0)
    check_number("batch size", 1 if batch_size is None else batch_size, above=0)
    check_number("seed", seed)
    if backend not in CHAINS_SUPPORT:
        raise InputError(
            f"backend {backend!r} is not for chains, whose energies are kept and must be float32: give one of "
            f"{', '.join(CHAINS_SUPPORT)}"
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
    numbers = {str(label): label for label in range(len(train.classes))}
    known = numbers | {name: label for label, name in enumerate(train.classes)}  # a class called 7 before the eighth
    asked = tuple(dict.fromkeys(map(str, classes)))
    if strange := [word for word in asked if word not in known]:
        raise InputError(f"{train.title} has no class {strange[0]!r}: it has {_some(train.classes)}")
    return torch.tensor([known[word] for word in asked])


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(f"{label} {name}" if str(label) != name else name for label, name in enumerate(names[:10]))
    return shown if len(names) <= 10 else f"{shown} and {len(names) - 10} more"


def _store(job: _Job, witness: Witness) -> Store:
    """Where the images are kept: this model's folder, or memory, also where they must be whole before they are kept."""
    card, manifest, out = job.card, job.manifest, job.out
    if out is None:
        return Memory(manifest)

    def own(common: Mapping[str, Any]) -> dict[str, Any]:
        return {**manifest, "identity": dict(common), **witness.told()}

    def places(common: Mapping[str, Any]) -> list[Path]:
        return [run_path(out, card.folder_name(common["model"]), job.name, own(common), card.short_name)]

    knows = witness.recognises if job.overwrite else partial(_made_by, witness)
    former = witness.samples.former_digest
    told = own(own_identity(manifest["identity"], former, places, knows, overwrite=job.overwrite))
    if not witness.steady:
        return Memory(told)
    return own_folder(_open(job, told, overwrite=job.overwrite), witness)


def _open(job: _Job, manifest: Mapping[str, Any], *, overwrite: bool) -> RunFolder:
    assert job.out is not None, "only what is kept has a folder"
    model = job.card.folder_name(manifest["identity"]["model"])
    return open_run(job.out, model, job.name, manifest, overwrite=overwrite, formerly=job.card.short_name)


def _made_by(witness: Witness, folder: RunFolder) -> bool:
    """Whether a folder's images are the model's: by what its manifest keeps, and by the energies of some of them."""

    @torch.no_grad()
    def logits_of(indices: Sequence[int]) -> Tensor:
        images = folder.images(indices)["images"].to(device_of(witness.model))
        logits: Tensor = witness.model(images).float().cpu()
        return logits

    return witness.knows(folder, ("marginal", "joint"), logits_of)


def _settled(store: Store, job: _Job) -> RunFolder:
    """The folder that the images of a model that is not steady are kept in, in place of those of its last run."""
    rows = store.rows()
    folder = _open(job, store.manifest, overwrite=True)
    folder.write(rows, store.seconds(), store.images(rows["index"].tolist()))
    return folder


def _fill(plan: _Plan, indices: Sequence[int], size: int, listener: Listener | None) -> None:
    """Make what is missing of these, a batch at a time."""
    there = set(plan.store.rows()["index"])
    missing = [index for index in indices if index not in there]
    settings, spoke = plan.job.settings, time.monotonic()
    passes = settings.steps + 1

    def say(done: float) -> None:
        nonlocal spoke
        spoke = time.monotonic()
        if listener:
            listener(Progress(f"from {settings.start}", int(done), len(missing) * passes))

    for at in range(0, len(missing), size):
        began, batch = time.perf_counter(), missing[at : at + size]
        before, whole = at * passes, len(batch) * passes

        def within(work: float, before: int = before, whole: int = whole) -> None:
            if time.monotonic() - spoke >= WITHIN:
                say(before + min(work, whole))

        try:
            with PassCounter(plan.network, within):
                rows, images = plan.make(batch)
        except torch.OutOfMemoryError as error:
            raise RunError(
                f"out of memory with {len(batch)} images at once: take a smaller --batch-size; what is finished is kept"
            ) from error
        plan.store.write(rows, time.perf_counter() - began, {"images": images.cpu()})
        say(before + whole)
