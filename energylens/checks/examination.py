"""The examination: every check of the table on one model and a few images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from energylens.attacks.radius import usual_radius
from energylens.checks.doctor import CHECKS, LEAST_SAMPLES, Check, Seen
from energylens.checks.finding import Diagnosis, Finding, fault
from energylens.checks.model_under_test import FALLBACK_EPS, NO_TRAINING, ModelUnderTest
from energylens.data import DATA_SETS, Samples, lies_here, load_data
from energylens.errors import InputError, RunError, first_line
from energylens.inputs import Choice, Data, device_of, the_module, the_samples
from energylens.isolation import frozen
from energylens.models import ModelCard, card_of
from energylens.noise import Noise
from energylens.progress import Listener, Progress
from energylens.records.record import Record

DEFAULT_SAMPLES = 64
GIVES_UP = "the model does not support what this check and every attack ask of it"


def examine(
    model: str | Path | nn.Module,
    data: Data = None,
    *,
    n: int | None = None,
    choose: str = "first",
    split: str = "test",
    seed: int = 0,
    device: str = "auto",
    data_root: str | Path | None = None,
    listener: Listener | None = None,
    **model_options: Any,
) -> Diagnosis:
    """Look for what would make a model's energies and accuracies worthless, before anyone trusts them.

    Test images of a data set by name are compared with as many of its training split, where that lies on the disk:
    nothing is downloaded for it. An image costs about 17 forwards, 14 forward-backward passes and at most 50 queries of
    Square, a training image 2 forwards and 10 forward-backward passes.

    Args:
        model: as in ``profile``; it is left as it was.
        data: as in ``profile``.
        n: how many images of data given by name, 64 by default; fewer than 48 are refused, however they are given.
        choose: as in ``profile``, like split, seed, device and data_root.
        split: which part of the data set.
        seed: of the noise and of the choice of images.
        device: ``auto`` or a torch device.
        data_root: where data sets lie.
        listener: called after every check.
        **model_options: of ``load_model``, for a model given by name.

    Returns:
        The finding of every check.

    Raises:
        InputError: for a request that cannot be met.

    Example:
        >>> examine("digits-standard").healthy
        True
    """
    tested = model_under_test(model, data, Choice(n, choose, split, seed, data_root), device, **model_options)
    with frozen(tested.model, seed):
        findings = _findings(tested, CHECKS, listener)
    return Diagnosis(tested.card.name, tested.samples.title, len(tested.samples), tested.eps, findings)


def model_under_test(
    model: str | Path | nn.Module, data: Data, choice: Choice, device: str = "auto", **model_options: Any
) -> ModelUnderTest:
    """What ``examine`` looks at, and the training images beside it.

    Hold the model in eval mode (``isolation.frozen``) while it is asked.

    Args:
        model: as in ``profile``.
        data: as in ``profile``.
        choice: which samples; n None is 64 of a data set by name, and at most 64 of a user's own.
        device: ``auto`` or a torch device.
        **model_options: of ``load_model``, for a model given by name.

    Returns:
        The model beside its samples and, where they can be had, training images, or why not.

    Raises:
        InputError: for a request that cannot be met.
    """
    module = the_module(model, data, device, model_options)
    card = card_of(module)
    if choice.n is None and not isinstance(data, Samples | tuple | list):
        own: Any = getattr(data, "dataset", data)  # of a DataLoader; a data set by name has enough
        few = not isinstance(own, str) and hasattr(own, "__len__")
        choice = replace(choice, n=min(DEFAULT_SAMPLES, len(own)) if few else DEFAULT_SAMPLES)
    samples = the_samples(data, card, module, choice)
    if len(samples) < LEAST_SAMPLES:
        raise InputError(
            f"{len(samples)} images came, at least {LEAST_SAMPLES} were expected: on fewer a fault is overlooked; "
            f"give n (--n) of {LEAST_SAMPLES} or more, or as many images of your own"
        )
    in_train = tuple(name for name, part in module.named_modules() if part.training)
    eps = usual_radius(card, samples.name, "linf") or FALLBACK_EPS
    found = _training_images(samples, card, choice)
    training = found if isinstance(found, str) else _under_test(module, card, found, choice.seed, eps=eps)
    return _under_test(module, card, samples, choice.seed, in_train=in_train, eps=eps, training=training)


def remarks(module: nn.Module, card: ModelCard, record: Record) -> tuple[str, ...]:
    """What the doctor would say of how a model reads a record's natural samples and their labels, a sentence each.

    Only checks that may fail by what the rows of the first 64 samples say ask the model: 1 forward of these samples,
    and 4 more where some are wrong. There is no remark on what a model does not support, nor on what a violated
    consistency check of the record explains.

    Args:
        module: held in eval mode (see ``isolation.frozen``).
        card: the model's.
        record: of ``profile``, with its consistency checks.

    Returns:
        A sentence a check that fails.
    """
    samples, rows = record.first(DEFAULT_SAMPLES), record.attacks[0].rows[:DEFAULT_SAMPLES]
    right, energies = rows["pred_clean"] == rows["label"], rows["marginal_clean"]
    seen = Seen(len(rows), int(right.sum()), energies.min(), energies.max(), len(samples.classes))
    said = {check.rule for check in record.checks if not check.holds}
    checks = [check for check in CHECKS if check.noted and check.noted(seen) and said.isdisjoint(check.explained_by)]
    if not checks:
        return ()
    findings = _findings(_under_test(module, card, samples, record.seed), checks)
    return tuple(
        f"The doctor's check {finding.check!r} fails: {finding.measured}: {finding.meaning}. "
        f"What to do: {finding.remedy}."
        for finding in findings
        if finding.verdict == "fail" and finding.meaning != GIVES_UP
    )


def _under_test(module: nn.Module, card: ModelCard, samples: Samples, seed: int, **more: Any) -> ModelUnderTest:
    """The model and its images on its device. more: in_train, eps and training of ``ModelUnderTest``."""
    x, y = (tensor.to(device_of(module)) for tensor in samples.batch(0, len(samples)))
    return ModelUnderTest(module, card, samples, x, y, Noise(seed, tuple(samples.indices.tolist())), **more)


def _training_images(samples: Samples, card: ModelCard, choice: Choice) -> Samples | str:
    """As many images of the training split as there are samples, chosen alike, or why there are none."""
    name = samples.name
    if samples.split == "train":
        return "these are the training images: examine the test split"
    if samples.split != "test" or name not in DATA_SETS:
        return f"{NO_TRAINING}: give the data set by its name"
    if not lies_here(name, "train", choice.root):
        return f"{NO_TRAINING}: the training split of {name} does not lie on the disk"
    try:
        return load_data(
            name, n=len(samples), choose=choice.choose, split="train", seed=choice.seed, root=choice.root,
            classes=samples.kept, preprocessing=card.preprocessing,
        )  # fmt: skip
    except (InputError, RunError) as error:
        return f"{NO_TRAINING}: {first_line(error)}"


def _findings(tested: ModelUnderTest, checks: Sequence[Check], listener: Listener | None = None) -> tuple[Finding, ...]:
    findings: list[Finding] = []
    blamed: dict[str, str] = {}  # a check without a result, and the check whose failure is to blame
    for check in checks:
        blame = next((blamed[name] for name in check.after if name in blamed), None)
        blame = blame or next((name for name in check.explained_by if blamed.get(name) == name), None)
        finding = _looked(check, tested) if blame is None else Finding("skipped", f"mend {blame} first")
        if finding.verdict in ("fail", "skipped"):
            blamed[check.name] = blame or check.name
        findings.append(replace(finding, check=check.name))
        if listener:
            listener(Progress(check.name, len(findings), len(checks), unit="checks"))
    return tuple(findings)


def _looked(check: Check, tested: ModelUnderTest) -> Finding:
    """The check's finding; what it raises is one as well."""
    try:
        return check.look(tested)
    except Exception as error:  # whatever a user's network raises at images, batches and gradients
        return fault(
            f"{type(error).__name__}: {first_line(error)}",
            GIVES_UP,
            "call it on a batch of these images yourself, and mend what raises",
        )
