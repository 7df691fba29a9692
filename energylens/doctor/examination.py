"""The examination: every check of the table on one model and a few images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from energylens.attacks.frozen import frozen
from energylens.attacks.noise import Noise
from energylens.attacks.radius import usual_radius
from energylens.data import Samples
from energylens.doctor.checks import CHECKS, Check
from energylens.doctor.finding import Diagnosis, Finding, first_line
from energylens.doctor.patient import Patient
from energylens.errors import InputError
from energylens.models import card_of
from energylens.subject import Data, device_of, the_module, the_samples

DEFAULT_SAMPLES = 64
LEAST_SAMPLES = 48  # digits normalised twice lose a fifth of their accuracy: at 32 the sign test is not sure of it
FALLBACK_EPS = 8 / 255  # for images of which no usual radius is known


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
    **model_options: Any,
) -> Diagnosis:
    """Look for what would make a model's energies and accuracies worthless, before anyone trusts them.

    model, data, choose, split, seed, device, data_root: as in ``profile``; the model is left as it was. n: how many
    images of data given by name, 64 by default; fewer than 48 are refused, however they are given. Costs about 15
    forwards, 23 forward-backward passes and at most 50 queries of Square an image. Raises InputError for a request that
    cannot be met.
    """
    module = the_module(model, data, device, model_options)
    card = card_of(module)
    if n is None and not isinstance(data, Samples | tuple | list):
        n = DEFAULT_SAMPLES
    samples = the_samples(data, card, module, n=n, choose=choose, split=split, seed=seed, root=data_root)
    if len(samples) < LEAST_SAMPLES:
        raise InputError(
            f"{len(samples)} images came, at least {LEAST_SAMPLES} were expected: on fewer a sick model looks healthy; "
            f"give n (--n) of {LEAST_SAMPLES} or more, or as many images of your own"
        )
    in_train = tuple(name for name, part in module.named_modules() if part.training)
    eps = usual_radius(card, samples.name, "linf") or FALLBACK_EPS
    x, y = (tensor.to(device_of(module)) for tensor in samples.batch(0, len(samples)))
    with frozen(module, seed):
        patient = Patient(module, card, samples, x, y, in_train, eps, Noise(seed, tuple(samples.indices.tolist())))
        findings = _findings(patient)
    return Diagnosis(card.name, samples.title, len(samples), eps, findings)


def _findings(patient: Patient) -> tuple[Finding, ...]:
    findings: list[Finding] = []
    sick: dict[str, str] = {}  # a check without a result, and the check whose failure is to blame
    for check in CHECKS:
        blame = next((sick[name] for name in check.after if name in sick), None)
        finding = _looked(check, patient) if blame is None else Finding("skipped", f"mend {blame} first")
        if finding.verdict in ("fail", "skipped"):
            sick[check.name] = blame or check.name
        findings.append(replace(finding, check=check.name))
    return tuple(findings)


def _looked(check: Check, patient: Patient) -> Finding:
    """The check's finding; what it raises is one as well."""
    try:
        return check.look(patient)
    except Exception as error:  # whatever a user's network raises at images, batches and gradients
        return Finding(
            "fail",
            f"{type(error).__name__}: {first_line(error)}",
            "the model does not bear what this check and every attack ask of it",
            "call it on a batch of these images yourself, and mend what raises",
        )
