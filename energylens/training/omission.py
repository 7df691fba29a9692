"""Which samples matter? Training images left out by what a reference model makes of them (arXiv 2407.06315).

The paper finds that leaving out rightly classified samples of high energy, E(x) > -3.87, harms robustness as much as
leaving out misclassified ones, and that those of low energy, E(x) <= -11.47, overfit (a secondary note). Its selection
was not available: ours is OUR RECONSTRUCTION [R]. The reference model looks at the natural images, and every rule
leaves out the same share of them, the first by its score, so that what is left is of one size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Generator, Tensor, nn

from energylens.energy import marginal_energy
from energylens.errors import InputError
from energylens.inputs import check_fit, device_of, float_logits
from energylens.isolation import frozen
from energylens.models import card_of, find_models, load_model, module_digest
from energylens.noise import key

if TYPE_CHECKING:
    from energylens.data import Samples

BATCH = 500  # training images at once
NEVER = -torch.inf


@dataclass(frozen=True)
class Seen:
    """What the reference model makes of n natural images.

    Attributes:
        energy: E(x), (n,) nats.
        right: (n,) bool, classified rightly.
        chance: (n,) in [0, 1), of the run's seed.
    """

    energy: Tensor
    right: Tensor
    chance: Tensor


@dataclass(frozen=True)
class Rule:
    """Which images are left out.

    Attributes:
        score: (n,), the highest are left out, NEVER for who may not be.
        whom: who may be, in words.
        judged: whether a reference model is asked.
    """

    score: Callable[[Seen], Tensor]
    whom: str = "known"
    judged: bool = True


RULES: dict[str, Rule] = {
    "high-energy": Rule(lambda seen: seen.energy.where(seen.right, NEVER), "rightly classified"),
    "misclassified": Rule(lambda seen: seen.chance.where(~seen.right, NEVER), "misclassified"),
    "low-energy": Rule(lambda seen: -seen.energy),
    "random": Rule(lambda seen: seen.chance, judged=False),
}


@dataclass(frozen=True)
class Omission:
    """positions: of the images left out, ascending; by: ``module_digest`` of the model that told, None for chance."""

    positions: Tensor
    by: str | None

    def told(self) -> dict[str, Any]:
        """By whom, how many are left out, and a sha256 of which.

        Returns:
            Values that JSON holds.
        """
        return {
            "by": self.by,
            "n": len(self.positions),
            "digest": hashlib.sha256(self.positions.numpy().tobytes()).hexdigest(),
        }


def omission(
    samples: Samples, learnt: Tensor, omit: str, *, share: float, by: str | None, seed: int, device: torch.device
) -> Omission:
    """Which of the training images are left out.

    Args:
        samples: all training images.
        learnt: positions of those to learn from, (M,) int64, in any order.
        omit: a row of RULES.
        share: how many of those to learn from are left out.
        by: the model that the rule asks, as ``load_model`` takes it.
        seed: of the rule's chance.
        device: where the model looks at the images.

    Returns:
        Their positions, and how they were found.

    Raises:
        InputError: for a model of other classes, and where the rule finds too few.
    """
    rule, positions = RULES[omit], learnt.sort().values
    chance = torch.rand(len(positions), generator=Generator().manual_seed(key(seed, "omission", 0)))
    digest, seen = None, Seen(torch.full_like(chance, torch.nan), torch.zeros_like(chance, dtype=torch.bool), chance)
    if rule.judged:
        candidates = samples.subset(positions)
        model = _reference(candidates, by or "", device)
        digest, seen = module_digest(model), Seen(*_judged(model, candidates), chance)
    scores = rule.score(seen)
    wanted, found = round(share * len(positions)), int((scores > NEVER).sum())
    if found < wanted:
        raise InputError(
            f"--omit {omit}: {found} of {len(positions)} training images are {rule.whom} by "
            f"{by}, --omit-share {share:g} asks for {wanted}: give a smaller share or "
            "another --omit-by"
        )
    first = scores.argsort(descending=True, stable=True)[:wanted]
    return Omission(positions[first].sort().values, digest)


def _reference(samples: Samples, name: str, device: torch.device) -> nn.Module:
    """The model that is asked; InputError where it knows other classes than the samples are of."""
    # a name of the zoo may stand for models of several data sets; any other model says itself what it is of
    dataset = samples.name if samples.name in {row.dataset for row in find_models(name)} else None
    model = load_model(name, dataset=dataset, device=device)
    card, every = card_of(model), range(len(samples.source.classes))
    if card.dataset and (card.dataset, list(card.labels or every)) != (samples.name, list(samples.kept or every)):
        some = f" (classes {', '.join(map(str, card.labels))})" if card.labels else ""
        raise InputError(
            f"--omit-by {name} knows {card.dataset}{some}, the run learns {samples.title}: name a model of the same "
            "classes"
        )
    check_fit(model, card, samples)
    return model


def _judged(model: nn.Module, samples: Samples) -> tuple[Tensor, Tensor]:
    """E(x) (n,), and whether the prediction is right (n,)."""
    energies, rights = [], []
    with frozen(model):
        for at in range(0, len(samples), BATCH):
            x, y = samples.batch(at, at + BATCH)
            logits = float_logits(model, x.to(device_of(model)), samples.indices[at : at + BATCH].tolist()).cpu()
            energies.append(marginal_energy(logits))
            rights.append(logits.argmax(dim=1) == y)
    return torch.cat(energies), torch.cat(rights)
