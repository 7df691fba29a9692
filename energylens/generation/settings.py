"""The settings of a generation: one frozen dataclass, which is part of the manifest."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

from energylens.attacks.settings import check_numbers
from energylens.errors import InputError
from energylens.generation.sampler import GUIDANCES, LOSSES, STOPS
from energylens.generation.starts import FEATURES, STARTS


@dataclass(frozen=True)
class GenerationSettings:
    """What an image depends on besides model, training images, seed and its index.

    start: where chains begin, a row of STARTS. loss: what they descend, a row of LOSSES. steps, step_size (eta),
    momentum (zeta in [0, 1)), noise (its standard deviation a step, images in [0, 1]): of the sampler, arXiv
    2407.06315, eq. 7. retained_variance: of the principal components, a share in (0, 1], or how many, from 2 on.
    spread: of the start about its mean, in standard deviations of the training images. neighbours: of a local PCA, the
    anchor among them; features: what they are near in, ``pixels`` or ``penultimate``. guidance: ``reference-energy``
    descends (loss - mean loss of the class's training images)^2. stop: ``reference-energy`` ends a chain once that
    square is under the tolerance, in nats^2.

    Defaults: noise is the paper's code's. Steps 50, step size .002, momentum .8, retained variance .95, spread 1, 20
    neighbours and tolerance .25 are ours [R], chosen on the digits; by what is not on record. 50 is also the most of
    the paper's steps, .8 the momentum of its L2 ResNet-50, .95 the default that its code means; spread 1 and .95 are
    also the pair of the least Frechet distance in the recorded spread.csv, seed 0.
    """

    start: str = "local-pca"
    loss: str = "joint"
    steps: int = 50
    step_size: float = 0.002
    momentum: float = 0.8
    noise: float = 0.001
    retained_variance: float = 0.95
    spread: float = 1.0
    neighbours: int = 20
    features: str = "pixels"
    guidance: str = "none"
    stop: str = "none"
    tolerance: float = 0.25

    def __post_init__(self) -> None:
        tables: dict[str, Collection[str]] = {
            "start": STARTS, "loss": LOSSES, "features": FEATURES, "guidance": GUIDANCES, "stop": STOPS,
        }  # fmt: skip
        for name, known in tables.items():
            if (word := getattr(self, name)) not in known:
                raise InputError(f"{name} {word!r} is unknown: give one of {', '.join(known)}")
        numbers = {name.replace("_", " "): value for name, value in asdict(self).items()}
        check_numbers(numbers, positive=("step size", "retained variance", "neighbours", "tolerance"))
        if self.momentum >= 1:
            raise InputError(f"momentum {self.momentum:g} never comes to rest: a number in [0, 1) was expected")
        if self.retained_variance > 1 and not float(self.retained_variance).is_integer():
            raise InputError(
                f"retained variance {self.retained_variance:g} is neither a share in (0, 1] nor a number of components"
            )

    @property
    def needs_reference(self) -> bool:
        """Whether the class's training energies are asked for."""
        return (self.guidance, self.stop) != ("none", "none")

    def told(self) -> dict[str, Any]:
        """The settings that count for these starts and rules, by name."""
        idle = set() if STARTS[self.start].spreads else {"spread"}
        idle |= set() if STARTS[self.start].retains else {"retained_variance"}
        idle |= set() if STARTS[self.start].local else {"neighbours", "features"}
        idle |= set() if self.stop != "none" else {"tolerance"}
        return {name: value for name, value in asdict(self).items() if name not in idle}

    @property
    def retained(self) -> float | int:
        """The retained variance as ``principal_components`` takes it: a share, or an int for so many components."""
        return int(self.retained_variance) if self.retained_variance > 1 else self.retained_variance
