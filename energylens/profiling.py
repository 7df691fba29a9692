"""The main job: a request is resolved, planned, computed and collected into a record.

resolve   names and options -> model, samples, attacks, share of the work
plan      what is on disk already, and the backends that the attacks run on
compute   the missing rows, a batch at a time
collect   the rows -> a record, and what its checks say
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from energylens.attacks.backends import PLAIN, PROBED, Networks, check_backend, networks_of, quickest_of
from energylens.attacks.battery import NATURAL, AttackSpec, ConfiguredAttack, check_distinct, configure_battery, equip
from energylens.attacks.radius import parse_radius, usual_norm, usual_radius, write_radius
from energylens.checks import remarks
from energylens.checks.consistency import check_consistency
from energylens.errors import InputError
from energylens.inputs import Choice, Data, check_fit, subject_of
from energylens.isolation import frozen
from energylens.progress import Listener
from energylens.records.attack_run import AttackRun, Keeping, open_runs
from energylens.records.filling import fill
from energylens.records.identity import Witness
from energylens.records.manifest import Subject
from energylens.records.record import Record
from energylens.records.run_folder import model_folder
from energylens.records.shards import RANKS, Ranks, Shard, joined_ranks, parse_shard
from energylens.settings import check_number

DEFAULT_MODEL = "digits-standard"
DEFAULT_BATTERY = ("fgsm", "pgd", "trades", "cw")
BATCH_SIZES = {"cpu": 64, "cuda": 512}


def profile(
    model: str | Path | nn.Module = DEFAULT_MODEL,
    data: Data = None,
    attacks: AttackSpec | Sequence[AttackSpec] = DEFAULT_BATTERY,
    *,
    n: int | None = None,
    choose: str = "first",
    split: str = "test",
    eps: str | float | None = None,
    norm: str | None = None,
    steps: int | None = None,
    target: str | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    device: str = "auto",
    data_root: str | Path | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    trajectory: bool = False,
    save_images: bool = False,
    shard: str | None = None,
    diffusion: str | None = None,
    checks: bool = True,
    ladder: bool | None = None,
    backend: str = PLAIN,
    listener: Listener | None = None,
    **model_options: Any,
) -> Record:
    """Attack a model and record the energies of every sample, natural and adversarial.

    Args:
        model: a name or path that ``load_model`` knows, or a module from float images in [0, 1] to logits. A module is
            used where it lies; its mode, its gradients and the global random state are left as they were.
        data: a name that ``load_data`` knows, Samples, a pair (x, y) of tensors or arrays, a torch Dataset or
            DataLoader (see ``own_samples``), or None for the model's own data set.
        attacks: names with settings, ``el.Attack("pgd", steps=50)`` or as text ``"pgd,steps=50"``, or callables
            ``f(model, x, y) -> x_adv``.
        n: how many samples, 256 by default. Only for data given by name, a Dataset or a DataLoader; of the last two
            all are taken by default.
        choose: which samples, as in ``load_data``.
        split: which part of the data set, as in ``load_data``.
        eps: the radius, ``"8/255"`` or a float; by default the model's own, else the data set's usual one.
        norm: the norm of the radius; by default the model's own, else Linf.
        steps: iterations of the attacks that iterate.
        target: aim at ``random``, ``least-likely``, ``second-best`` or a class number.
        seed: of the noise and of the choice of samples.
        batch_size: images at once; changes speed and memory only.
        device: ``auto`` or a torch device.
        data_root: where data sets lie.
        out: where to keep the record. Rows found there are not computed again, if the model still answers as it did
            when they were made (``records/identity.py``). None keeps the record in memory only.
        overwrite: compute again what is already in ``out``.
        trajectory: keep E(x') and E(x', y) of every iterate of the attacks that iterate, start and end included.
        save_images: keep the adversarial images, lossless, and what rounding them to 8 bits does (``pred_uint8``).
            AutoAttack's are always kept.
        shard: ``"2/8"`` does the second eighth of the samples. In one ``out`` the shares come together; out of several
            ``energylens merge`` puts them together. ``"ranks"``: every process of torchrun or accelerate launch does
            a share and returns the whole record.
        diffusion: what Diff-PGD purifies with, a name, folder or hub id that ``load_diffuser`` knows; by default the
            data set's.
        checks: with two attacks or more, check that their accuracies are consistent (``checks/consistency.py``): about
            21 forwards and 20 backwards of 64 samples. Also note what the doctor would say of how the model reads these
            images and labels (outputs that are probabilities, a missing normalisation, an accuracy at chance): at most
            5 forwards of 64 samples, and none where the rows show that all is well.
        ladder: an earlier name of ``checks``.
        backend: what computes the network during the attacks (``attacks/backends.py``): ``plain``, the model;
            ``fused``, a copy of it with folded batch norms, channels-last; ``bf16``, that under bfloat16 for the
            attacks that support it, whose names then say so. An attack's own (``"pgd,backend=bf16"``) overrides it.
            Energies are always float32. ``kernels`` is its earlier name.
        listener: called after every batch of every attack, and now and then within one that takes long.
        **model_options: of ``load_model``, for a model given by name.

    Returns:
        The natural samples and every attack, one row a sample.

    Raises:
        InputError: for a request that cannot be met.
        RunError: where disk, network or model fail.

    Example:
        >>> record = profile("digits-pgd", attacks=["fgsm", "pgd,steps=3"], n=8)
        >>> [attack.name for attack in record.attacks], len(record)
        (['natural', 'fgsm', 'pgd,steps=3'], 8)
    """
    backend = model_options.pop("kernels", backend)  # its earlier name
    request = Request(
        model, data, attacks,
        Threat(eps, norm, steps, target),
        Choice(n, choose, split, seed, data_root),
        Keeping(None if out is None else Path(out), overwrite, trajectory, save_images),
        shard, batch_size, device, diffusion, backend, listener, model_options,
    )  # fmt: skip
    job = resolve(request)
    with frozen(job.subject.model, seed):
        planned = plan(job)
        compute(planned)
    record = collect(planned)
    return checked(record, job) if (checks if ladder is None else ladder) else record


@dataclass(frozen=True)
class Threat:
    """What the attacks may do, as the user gave it: see ``profile``."""

    eps: str | float | None
    norm: str | None
    steps: int | None
    target: str | None


@dataclass(frozen=True)
class Request:
    """Everything that ``profile`` was asked."""

    model: str | Path | nn.Module
    data: Data
    attacks: AttackSpec | Sequence[AttackSpec]
    threat: Threat
    choice: Choice
    keeping: Keeping
    shard: str | None
    batch_size: int | None
    device: str
    diffusion: str | None
    backend: str
    listener: Listener | None
    model_options: Mapping[str, Any]


@dataclass(frozen=True)
class Share:
    """The samples that this process does.

    ranks: the processes that share the work. alone: the share that was asked for by its number, and that the record
    then holds; None where it holds all samples. positions: of the samples in those of the request.
    """

    ranks: Ranks
    alone: Shard | None
    positions: range

    @property
    def name(self) -> str:
        """What other processes know it by."""
        return str(self.alone or (self.ranks.shard if self.ranks.size > 1 else "whole"))


@dataclass(frozen=True)
class Job:
    """A request whose names are resolved, and whose parts fit each other.

    subject: the model and all samples. eps: the radius as text, None where none is known. battery: natural first.
    """

    request: Request
    subject: Subject
    eps: str | None
    norm: str
    battery: tuple[ConfiguredAttack, ...]
    batch_size: int
    share: Share

    @property
    def indices(self) -> list[int]:
        """The samples that this process does, by their positions in the whole split."""
        share = self.share.positions
        indices: list[int] = self.subject.samples.indices[share.start : share.stop].tolist()
        return indices


@dataclass(frozen=True)
class Plan:
    """A job, the model on the backends that its attacks run on, and the rows that are there already."""

    job: Job
    networks: Networks
    runs: Sequence[AttackRun]
    witness: Witness | None


def resolve(request: Request) -> Job:
    """Names and options -> model, samples, attacks and share.

    Args:
        request: as the caller made it.

    Returns:
        What it stands for, checked.

    Raises:
        InputError: for a request that cannot be met.
    """
    subject = subject_of(request.model, request.data, request.choice, request.device, request.model_options)
    eps, norm = _radius(request.threat, subject)
    if not 0 <= subject.seed < 2**63:
        raise InputError(f"seed {subject.seed} is not one: a whole number from 0 to 2^63 - 1 was expected")
    battery = _battery(request, subject, eps, norm)
    usual = BATCH_SIZES.get(subject.device.type, BATCH_SIZES["cpu"])
    batch_size = usual if request.batch_size is None else request.batch_size
    check_number("batch size", batch_size, above=0)
    _check_used(battery, request)
    share = _share(request, battery, len(subject.samples))
    check_fit(subject.model, subject.card, subject.samples)
    for attack in battery:
        attack.check_classes(len(subject.samples.classes))
    return Job(request, subject, eps, norm, battery, batch_size, share)


def _radius(threat: Threat, subject: Subject) -> tuple[str | None, str]:
    """The radius as text and its norm: the user's, else the model's or the data set's."""
    norm = threat.norm.lower() if threat.norm else usual_norm(subject.card)
    eps = usual_radius(subject.card, subject.samples.name, norm) if threat.eps is None else threat.eps
    text = None if eps is None else write_radius(eps)
    if text is not None:
        parse_radius(text)
    return text, norm


def _battery(request: Request, subject: Subject, eps: str | None, norm: str) -> tuple[ConfiguredAttack, ...]:
    """The natural row and the attacks, with what they need on this device."""
    threat, samples = request.threat, subject.samples
    attacks = configure_battery(request.attacks, eps=eps, norm=norm, steps=threat.steps, target=threat.target)
    return tuple(
        equip(attack, samples.name, samples.image_shape, request.diffusion, subject.device)
        for attack in (NATURAL, *attacks)
    )


def _check_used(battery: Sequence[ConfiguredAttack], request: Request) -> None:
    """Refuse what no attack of the battery can use."""
    if request.keeping.trajectory and not any(attack.settings.traceable for attack in battery):
        raise InputError(
            "no attack here tells the energies of its steps: take one that iterates (pgd, he-pgd, trades, fgsm ...), "
            "or ask for no trajectory"
        )
    if request.diffusion is not None and not any(attack.diffuser for attack in battery):
        raise InputError("no attack here uses a diffusion model: take diff-pgd, or leave --diffusion out")


def _share(request: Request, battery: Sequence[ConfiguredAttack], n: int) -> Share:
    """This process's share of n samples, cut where the blocks of every attack end."""
    asked, keeping = request.shard, request.keeping
    ranks = joined_ranks() if asked == RANKS else Ranks()
    alone = parse_shard(asked) if asked and asked != RANKS else None
    if keeping.overwrite and alone:
        raise InputError("--overwrite with --shard would delete the other shares' rows: give a fresh --out instead")
    if ranks.size > 1 and keeping.out is None:
        raise InputError("the processes of a launcher share their rows through a folder: give out (--out)")
    block = math.lcm(*(attack.settings.block or 1 for attack in battery))
    positions = (alone or ranks.shard).positions(n, block)  # of one rank: all
    if alone and not positions:
        raise InputError(f"share {alone} is empty: {n} samples have too few blocks; take fewer shares")
    return Share(ranks, alone, positions)


def plan(job: Job) -> Plan:
    """What is there already, and what the attacks run on.

    Args:
        job: its model is held as ``frozen`` holds it.

    Returns:
        The job with its networks and its runs; the witness is None where nothing is kept on disk.
    """
    subject, keeping, backend = job.subject, job.request.keeping, job.request.backend
    asked = quickest_of(attack.backend or check_backend(backend) for attack in job.battery)
    networks = networks_of(subject.model, asked, subject.samples.batch(0, PROBED)[0].to(subject.device))
    battery = tuple(attack.running_on(networks, backend, trace=keeping.trajectory) for attack in job.battery)
    check_distinct(battery[1:])
    witness = None if keeping.out is None else Witness(subject.model, subject.samples)
    runs = open_runs(battery, subject, keeping, witness, ranks=job.share.ranks, share=job.share.alone)
    return Plan(job, networks, runs, witness)


def compute(plan: Plan) -> None:
    """Every missing row of this process's samples, while no other process does the same.

    Args:
        plan: its runs take the rows; its model is held as ``frozen`` holds it.
    """
    job = plan.job
    with ExitStack() as claims:
        for run in plan.runs:
            claims.enter_context(run.claimed(job.share.name, job.indices))
        if job.share.positions:
            mine = replace(job.subject, samples=job.subject.samples.subset(job.share.positions))
            fill(plan.runs, mine, plan.networks, job.batch_size, job.request.listener)


def collect(plan: Plan) -> Record:
    """The rows of all samples, or of the share that this process does alone, as a record.

    Args:
        plan: computed; where several processes share the work, this waits for the rows of all.

    Returns:
        The record with its notes, without checks.
    """
    job, subject, out = plan.job, plan.job.subject, plan.job.request.keeping.out
    job.share.ranks.wait()  # until everybody's rows are there
    for run in plan.runs:
        run.settle(job.share.ranks)
    randomised = None if plan.witness is None else plan.witness.note()
    notes = [plan.networks.note, _half_note(plan.runs), randomised, *(run.note() for run in plan.runs)]
    wanted = subject.samples.indices.tolist() if job.share.alone is None else job.indices
    model = plan.runs[0].store.manifest["identity"]["model"]
    return Record(
        subject.card.name,
        subject.samples.title,
        job.eps,
        job.norm,
        subject.seed,
        attacks=tuple(run.record(wanted) for run in plan.runs),
        folder=None if out is None else model_folder(out.absolute(), subject.card.folder_name(model)),
        samples=subject.samples,
        notes=tuple(filter(None, notes)),
    )


def _half_note(runs: Sequence[AttackRun]) -> str | None:
    """Which attacks followed bfloat16 gradients, in words."""
    names = [run.attack.name for run in runs if run.attack.rounded]
    return f"Gradients in bfloat16, energies in float32: {', '.join(names)}." if names else None


def checked(record: Record, job: Job) -> Record:
    """The record with its consistency checks, and what the doctor remarks.

    Args:
        record: as ``collect`` returns it.
        job: whose model is asked, and in batches of what size.

    Returns:
        A copy with the checks, and with the remarks after its notes.
    """
    model = job.subject.model
    with frozen(model, record.seed):
        record = replace(record, checks=check_consistency(record, model, job.batch_size))
        return replace(record, notes=record.notes + remarks(model, job.subject.card, record))
