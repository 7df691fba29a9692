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
    from energylens.curves import Curve, curve
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
    "Curve",
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
    "curve",
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

_HOMES = {  # module -> what it gives
    "attacks.perform": ("attack",),
    "attacks.result": ("AttackedBatch",),
    "attacks.spec": ("Attack",),
    "checks": ("Diagnosis", "examine"),
    "curves": ("Curve", "curve"),
    "data": ("Samples", "load_data"),
    "errors": ("InputError", "Note", "RunError"),
    "generation.generate": ("generate",),
    "generation.score": ("score",),
    "models": ("load_model",),
    "profiling": ("profile",),
    "records.record": ("Record",),
    "training.der": ("delta_energy_regularizer",),
    "training.linearity": ("aaer", "elle", "energy_linearity", "gradalign"),
    "training.methods": ("weat_weight",),
}


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    if name == "metrics":  # a module of its own: it needs an extra
        return import_module("energylens.metrics")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = next((module for module, names in _HOMES.items() if name in names), "energy")
    return getattr(import_module(f"energylens.{home}"), name)
