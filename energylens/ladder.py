"""The sanity ladder: what must hold among the accuracies of one record, whatever the model, if its attacks work.

    stronger   an attack that must not do worse than another (``attacks/strength.py``) fells as many samples
    eps        the same attack with a larger radius fells as many
    huge-eps   PGD with a radius that spans the whole image range fells about all
    noise      PGD fells as many as uniform noise in its ball

The first two are read off the record. The others ask the model about its first PROBED samples. Accuracies are compared
sample by sample: a rung is violated where an exact one-sided test says at LEVEL that the difference is not chance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import permutations

import torch
from torch import Tensor, nn

from energylens.attacks.ascent import Ascent, ascend
from energylens.attacks.noise import Noise
from energylens.attacks.norms import NORMS
from energylens.attacks.strength import Contender, contender, is_larger, is_stronger
from energylens.record import AttackRecord, Record, Rung
from energylens.sign_test import LEVEL, binomial_tail, sign_test
from energylens.subject import device_of

PROBED = 64
ANYWHERE = Ascent(eps=1.0, steps=20, relative_step=0.25)  # from x itself: a model without gradients stays right
MEANING = {  # rule -> what a violation usually means
    "stronger": "the stronger attack is misled or badly set",
    "eps": "the attack loses its way in the larger ball",
    "huge-eps": "no gradient leads to images that the attack is free to choose: gradients are masked",
    "noise": "the gradient leads nowhere: gradients are masked",
}
ADVICE = "Run `energylens doctor` on the model, and believe autoattack rather than gradient attacks."
_RULES: dict[str, Callable[[Contender, Contender], bool]] = {"stronger": is_stronger, "eps": is_larger}


def climb(record: Record, model: nn.Module, batch_size: int) -> tuple[Rung, ...]:
    """Every rung of a record of several attacks; those that ask the model where an attack follows gradients.

    They cost 21 forwards and 20 backwards of PROBED samples, and a forward more for each PGD. model: held in eval mode
    (see ``frozen``). batch_size: changes speed and memory only.
    """
    if len(record.attacks) < 3:  # natural and one attack
        return ()
    rungs = ladder(record)
    if any(one.follows_gradient for _, one in _contenders(record)):
        probe = _Probe(record, model, batch_size)
        rungs += (probe.huge_eps(), *probe.noise())
    return rungs


def ladder(record: Record) -> tuple[Rung, ...]:
    """The rungs that the record alone can tell, without a model."""
    return tuple(
        _paired(rule, weaker.name, stronger.name, _right(weaker), _right(stronger))
        for (weaker, less), (stronger, more) in permutations(_contenders(record), 2)
        for rule, applies in _RULES.items()
        if applies(more, less)
    )


def sentence(rung: Rung) -> str:
    """A violated rung as a reader needs it."""
    return (
        f"Sanity ladder, {rung.rule} VIOLATED: {rung.stronger} leaves {100 * rung.accuracy_stronger:.1f} % right, "
        f"{rung.weaker} {100 * rung.accuracy_weaker:.1f} % (n = {rung.n}, p = {rung.p:.1g}): "
        f"{MEANING[rung.rule]}. {ADVICE}"
    )


def _contenders(record: Record) -> Iterator[tuple[AttackRecord, Contender]]:
    """The attacks of which it is known what they do."""
    for attack in record.attacks:
        if one := contender(attack.manifest["identity"]["attack"]):
            yield attack, one


def _right(attack: AttackRecord, n: int | None = None) -> Tensor:
    """Mask of the (first n) samples that stand."""
    rows = attack.rows[:n]
    return torch.tensor((rows["pred_adv"] == rows["label"]).to_numpy())


def _paired(rule: str, weaker: str, stronger: str, right_weaker: Tensor, right_stronger: Tensor) -> Rung:
    """Do significantly more samples stand under the stronger alone than under the weaker alone?"""
    p = sign_test(int((right_stronger & ~right_weaker).sum()), int((right_weaker & ~right_stronger).sum()))
    shares = _share(right_weaker), _share(right_stronger)
    return Rung(rule, weaker, stronger, *shares, len(right_weaker), p, holds=p >= LEVEL)


def _share(right: Tensor) -> float:
    return float(right.double().mean())


class _Probe:
    """The model and the record's first PROBED samples, on its device."""

    def __init__(self, record: Record, model: nn.Module, batch_size: int) -> None:
        assert record.samples is not None  # profile's records have them
        indices = record.attacks[0].rows["index"][:PROBED].tolist()
        positions = torch.isin(record.samples.indices, torch.tensor(indices)).nonzero().flatten()
        samples = record.samples.subset(positions)
        self.record, self.model, self.batch_size, self.classes = record, model, batch_size, len(samples.classes)
        self.x, self.y = (tensor.to(device_of(model)) for tensor in samples.batch(0, len(samples)))
        self.drawn = Noise(record.seed, tuple(indices))

    def huge_eps(self) -> Rung:
        """PGD anywhere in [0, 1], whatever the record's norm: a ball of any norm that spans the images holds all of
        them, and the sign of the gradient climbs best there. It may leave half of what guessing would get right."""
        right = self._right(lambda x, y, noise: ascend(self.model, x, y, noise=noise, settings=ANYWHERE).x_adv)
        allowed = 0.5 / self.classes
        p = binomial_tail(int(right.sum()), len(right), allowed)
        return Rung("huge-eps", "half of chance", "pgd,eps=1", allowed, _share(right), len(right), p, holds=p >= LEVEL)

    def noise(self) -> Iterator[Rung]:
        """Each PGD of the record against uniform noise in its ball."""
        for attack, one in _contenders(self.record):
            if one.eps is not None and one.outdoes_noise:
                noisy = self._right_under_noise(one.settings.norm, one.eps)
                yield _paired("noise", f"noise of {one.eps:.3g}", attack.name, noisy, _right(attack, PROBED))

    def _right_under_noise(self, norm: str, eps: float) -> Tensor:
        return self._right(lambda x, y, noise: x + eps * NORMS[norm].uniform(noise, "ladder", x))

    @torch.no_grad()
    def _right(self, images: Callable[[Tensor, Tensor, Noise], Tensor]) -> Tensor:
        """Mask of the samples that are right on what is made of them, a batch at a time."""
        right = []
        for rows in torch.split(torch.arange(len(self.x), device=self.x.device), self.batch_size):
            x, y = self.x[rows], self.y[rows]
            right.append(self.model(images(x, y, self.drawn.take(rows)).clamp(0, 1)).argmax(dim=1) == y)
        return torch.cat(right).cpu()
