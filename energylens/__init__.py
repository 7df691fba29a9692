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
    from energylens.data import Samples, load_data
    from energylens.doctor import Diagnosis, examine
    from energylens.energy import (
        abnormal,
        cross_entropy,
        delta_energy,
        joint_energy,
        kl_divergence,
        kl_terms,
        marginal_energy,
    )
    from energylens.errors import InputError, RunError
    from energylens.generation.generate import generate
    from energylens.generation.score import score
    from energylens.models import load_model
    from energylens.profiling import profile
    from energylens.record import Record

__all__ = [
    "Diagnosis",
    "InputError",
    "Record",
    "RunError",
    "Samples",
    "abnormal",
    "attack",
    "cross_entropy",
    "delta_energy",
    "examine",
    "generate",
    "joint_energy",
    "kl_divergence",
    "kl_terms",
    "load_data",
    "load_model",
    "marginal_energy",
    "profile",
    "score",
]

_HOMES = {
    "Diagnosis": "energylens.doctor",
    "InputError": "energylens.errors",
    "Record": "energylens.record",
    "RunError": "energylens.errors",
    "Samples": "energylens.data",
    "attack": "energylens.attacks.perform",
    "examine": "energylens.doctor",
    "generate": "energylens.generation.generate",
    "load_data": "energylens.data",
    "load_model": "energylens.models",
    "profile": "energylens.profiling",
    "score": "energylens.generation.score",
}


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES.get(name, "energylens.energy")), name)
