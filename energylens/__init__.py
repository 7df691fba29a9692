"""energylens: look at image classifiers through their energies, E(x, y) = -f(x)[y] and E(x) = -logsumexp f(x).

    import energylens as el

    record = el.profile("digits-pgd", attacks=["fgsm", "pgd", "cw"], n=100)
    record.frame()

Names arrive when they are first used: importing energylens computes nothing and imports no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from energylens.attacks.perform import attack
    from energylens.attacks.result import AttackedBatch
    from energylens.attacks.spec import Attack
    from energylens.checks import Diagnosis, examine
    from energylens.data import Samples, load_data
    from energylens.energy import (
        abnormal,
        cross_entropy,
        delta_energy,
        joint_energy,
        kl_divergence,
        kl_terms,
        marginal_energy,
    )
    from energylens.errors import InputError, Note, RunError
    from energylens.generation.generate import generate
    from energylens.generation.score import score
    from energylens.models import load_model
    from energylens.profiling import profile
    from energylens.records.record import Record
    from energylens.training.der import delta_energy_regularizer
    from energylens.training.linearity import aaer, elle, energy_linearity, gradalign
    from energylens.training.methods import weat_weight

__all__ = [
    "Attack",
    "AttackedBatch",
    "Diagnosis",
    "InputError",
    "Note",
    "Record",
    "RunError",
    "Samples",
    "aaer",
    "abnormal",
    "attack",
    "cross_entropy",
    "delta_energy",
    "delta_energy_regularizer",
    "elle",
    "energy_linearity",
    "examine",
    "generate",
    "gradalign",
    "joint_energy",
    "kl_divergence",
    "kl_terms",
    "load_data",
    "load_model",
    "marginal_energy",
    "profile",
    "score",
    "weat_weight",
]

_HOMES = {
    "Attack": "energylens.attacks.spec",
    "AttackedBatch": "energylens.attacks.result",
    "Diagnosis": "energylens.checks",
    "InputError": "energylens.errors",
    "Note": "energylens.errors",
    "Record": "energylens.records.record",
    "RunError": "energylens.errors",
    "Samples": "energylens.data",
    "aaer": "energylens.training.linearity",
    "attack": "energylens.attacks.perform",
    "delta_energy_regularizer": "energylens.training.der",
    "elle": "energylens.training.linearity",
    "energy_linearity": "energylens.training.linearity",
    "examine": "energylens.checks",
    "generate": "energylens.generation.generate",
    "gradalign": "energylens.training.linearity",
    "load_data": "energylens.data",
    "load_model": "energylens.models",
    "profile": "energylens.profiling",
    "score": "energylens.generation.score",
    "weat_weight": "energylens.training.methods",
}


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES.get(name, "energylens.energy")), name)
