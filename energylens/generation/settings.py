"""The settings of a generation: one frozen dataclass, which is part of the manifest.

``energylens generate --help`` reads this module: what needs torch is imported where it is used.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from energylens.errors import InputError
from energylens.settings import check_ranges, check_words, setting

ROWS = "energylens.generation."


@dataclass(frozen=True)
class GenerationSettings:
    """What an image depends on besides model, training images, seed and its index.

    The chains are momentum SGLD, arXiv 2407.06315, eq. 7.

    Defaults: noise is the paper's code's. Steps 50, step size .002, momentum .8, retained variance .95, spread 1, 20
    neighbours and tolerance .25 are ours [R], chosen on the digits; by what is not on record. 50 is also the most of
    the paper's steps, .8 the momentum of its L2 ResNet-50, .95 the default that its code means; spread 1 and .95 are
    also the pair of the least Frechet distance in the recorded spread.csv, seed 0.
    """

    start: str = setting(
        "local-pca", "Where chains begin: {names}.", choices=f"{ROWS}starts:STARTS", metavar="NAME", group="Starts"
    )
    loss: str = setting(
        "joint", "What chains descend: {names}.", choices=f"{ROWS}sampler:LOSSES", metavar="NAME", group="Chains"
    )
    steps: int = setting(50, "Steps of a chain, 0 for the starts as they are.", metavar="K")
    step_size: float = setting(0.002, "Size eta of a step along the gradient.", metavar="ETA", above=0)
    momentum: float = setting(0.8, "Share zeta of the last step in the next, below 1.", metavar="ZETA")
    noise: float = setting(0.001, "Standard deviation of the noise of a step.", metavar="SD")
    retained_variance: float = setting(
        0.95, "Share of the variance that the principal components hold, or how many, from 2 on.", metavar="V", above=0,
        group="Starts",
    )  # fmt: skip
    spread: float = setting(1.0, "Spread of the starts about their mean, in standard deviations.", metavar="S")
    neighbours: int = setting(20, "Images of a local PCA, the anchor among them.", metavar="K", above=0)
    features: str = setting(
        "pixels", "What neighbours are near in: {names}.", choices=f"{ROWS}starts:FEATURES", metavar="NAME"
    )
    guidance: str = setting(
        "none", "{names}, which descends the squared distance to the class's mean training loss.",
        choices=f"{ROWS}sampler:GUIDANCES", metavar="RULE", group="Guidance",
    )  # fmt: skip
    stop: str = setting(
        "none", "{names}, which ends a chain once that squared distance is below the tolerance.",
        choices=f"{ROWS}sampler:STOPS", metavar="RULE",
    )  # fmt: skip
    tolerance: float = setting(0.25, "Tolerance of the stop, in nats squared.", metavar="T", above=0)

    def __post_init__(self) -> None:
        check_words(self, str)
        check_ranges(self, spelled=lambda name: name.replace("_", " "))
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
        """The settings that count for these starts and rules.

        Returns:
            Their values by name.
        """
        from energylens.generation.starts import STARTS

        row = STARTS[self.start]
        heeded = {
            "spread": row.spreads, "retained_variance": row.retains, "neighbours": row.local, "features": row.local,
            "tolerance": self.stop != "none",
        }  # fmt: skip
        return {name: value for name, value in asdict(self).items() if heeded.get(name, True)}

    @property
    def of_chains(self) -> dict[str, Any]:
        """What ``sampler.sample`` takes of them."""
        taken = ("loss", "steps", "step_size", "momentum", "guidance", "stop", "tolerance")
        return {"noise_std": self.noise, **{name: getattr(self, name) for name in taken}}

    @property
    def of_starts(self) -> dict[str, Any]:
        """What ``starts.Material`` takes of them."""
        taken = ("spread", "retained", "neighbours", "features")
        return {name: getattr(self, name) for name in taken}

    @property
    def retained(self) -> float | int:
        """The retained variance as ``principal_components`` takes it: a share, or an int for so many components."""
        return int(self.retained_variance) if self.retained_variance > 1 else self.retained_variance
