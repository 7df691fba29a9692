"""Consistency checks: what must hold among the accuracies of one record, whatever the model, if its attacks work.

    stronger   an attack that must not do worse than another (``strength.py``) breaks as many samples
    eps        the same attack with a larger radius breaks as many
    huge-eps   PGD with a radius that spans the whole image range breaks about all
    noise      PGD breaks as many as uniform noise in its ball

And what must not hold, if the model is to be as robust as its accuracies say (``overfitting.py``):

    catastrophic overfitting   many samples are robust to a single step and broken by many steps
    robust overfitting         many more training images are robust than test images

The first two and the last two need the records alone. The others ask the model about the first PROBED samples.
Accuracies are compared sample by sample: a check is violated where an exact one-sided test says at LEVEL that the
difference is not chance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import permutations

import torch
from torch import Tensor, nn

from energylens.attacks.ascent import Ascent, ascend
from energylens.attacks.norms import NORMS
from energylens.checks.overfitting import CATASTROPHIC, ROBUST, Failure, Gap, OneStep, one_step_only
from energylens.checks.strength import Contender, contender, is_larger, is_stronger
from energylens.inputs import device_of
from energylens.noise import Noise
from energylens.records.record import AttackRecord, ConsistencyCheck, Record
from energylens.statistics import LEVEL, binomial_tail, paired_sign_test

PROBED = 64
ANYWHERE = Ascent(eps=1.0, steps=20, relative_step=0.25)  # from x itself: a model without gradients stays right
ADVICE = "Run `energylens doctor` on the model, and believe autoattack rather than gradient attacks."


_RULES = (
    Failure("stronger", "the stronger attack is misled or badly set", ADVICE),
    Failure("eps", "the attack loses its way in the larger ball", ADVICE),
    Failure("huge-eps", "no gradient leads to images that the attack is free to choose: gradients are masked", ADVICE),
    Failure("noise", "the gradient leads nowhere: gradients are masked", ADVICE),
    *(replace(one, remedy=f"What to do: {one.remedy}.") for one in (CATASTROPHIC, ROBUST)),
)
#: by name, what a violation usually means, and what to do then
RULES = {rule.name: rule for rule in _RULES}
_PAIRED: dict[str, Callable[[Contender, Contender], bool]] = {"stronger": is_stronger, "eps": is_larger}


def check_consistency(record: Record, model: nn.Module, batch_size: int) -> tuple[ConsistencyCheck, ...]:
    """Every check of a record of several attacks.

    Those that ask the model are made where an attack follows gradients. They cost 21 forwards and 20 backwards of
    PROBED samples, and a forward more for each PGD.

    Args:
        record: of ``profile``.
        model: held in eval mode (see ``isolation.frozen``).
        batch_size: changes speed and memory only.

    Returns:
        The checks, held or not; none for fewer than two attacks.
    """
    if len(record.attacks) < 3:  # natural and one attack
        return ()
    checks = check_rows(record)
    if any(one.row.follows_gradient for _, one in _contenders(record)):
        probe = _Probe(record, model, batch_size)
        checks += (probe.huge_eps(), *probe.noise())
    return checks


def check_rows(record: Record) -> tuple[ConsistencyCheck, ...]:
    """The checks that need the rows of the record alone, and no model.

    Args:
        record: of ``profile``.

    Returns:
        A check for each pair of attacks that a rule compares, and one where the evidence for CO is asked for.
    """
    paired = tuple(
        _paired(rule, weaker.name, stronger.name, _right(weaker), _right(stronger))
        for (weaker, less), (stronger, more) in permutations(_contenders(record), 2)
        for rule, applies in _PAIRED.items()
        if applies(more, less)
    )
    return (*paired, *_catastrophic(record))


def _catastrophic(record: Record) -> tuple[ConsistencyCheck, ...]:
    """The strongest evidence for catastrophic overfitting among pairs of a single-step and a many-step attack."""
    right = _right(record.attacks[0])
    single = [(weaker, its) for weaker, its in _contenders(record) if its.settings.single_step]
    found: list[tuple[OneStep, AttackRecord]] = []
    for attack, many in _contenders(record):
        under = {weaker.name: _right(weaker)[right] for weaker, its in single if is_stronger(many, its)}
        if many.outdoes_noise and under:
            found.append((one_step_only(under, _right(attack)[right]), attack))
    if not found:
        return ()
    evidence, stronger = max(found, key=lambda pair: pair[0].count)
    names = (CATASTROPHIC.name, evidence.attack, stronger.name)
    one, many_steps = (_share(_right(attack)[right]) for attack in (record[evidence.attack], stronger))
    return (ConsistencyCheck(*names, one, many_steps, evidence.n, evidence.p, not evidence.found, str(evidence)),)


def robust_overfitting(test: Record, train: Record) -> tuple[ConsistencyCheck, ...]:
    """The strongest evidence for robust overfitting among attacks of many steps that both records hold.

    Args:
        test: the record of a model on the test split of its data set.
        train: that of the same model on the training split.

    Returns:
        One check, or none where no such attack is in both.
    """
    found = []
    for attack, many in _contenders(test):
        own = attack.manifest["identity"]["attack"]
        twin = next((one for one in train.attacks if one.manifest["identity"]["attack"] == own), None)
        if many.outdoes_noise and twin is not None:
            found.append((Gap(_count(twin), _count(attack), _delta(twin), _delta(attack)), attack.name))
    if not found:
        return ()
    gap, name = max(found, key=lambda pair: pair[0].value)
    (learnt, of), (new, n) = gap.train, gap.test
    names = (ROBUST.name, f"{name} on training images", f"{name} on test images")
    return (ConsistencyCheck(*names, learnt / of, new / n, n, math.nan, holds=not gap.found, evidence=str(gap)),)


def _count(attack: AttackRecord) -> tuple[int, int]:
    """How many samples are right, and how many there are."""
    return int(_right(attack).sum()), len(attack.rows)


def _delta(attack: AttackRecord) -> float:
    """Mean dE(x), in nats."""
    return float((attack.rows["marginal_clean"] - attack.rows["marginal_adv"]).mean())


def sentence(check: ConsistencyCheck) -> str:
    """A violated check, in words.

    Args:
        check: one that does not hold.

    Returns:
        What was found, what it means and what to do.
    """
    rule = RULES[check.rule]
    told = check.evidence or (
        f"{check.stronger} leaves {100 * check.accuracy_stronger:.1f} % right, {check.weaker} "
        f"{100 * check.accuracy_weaker:.1f} % (n = {check.n}, p = {check.p:.1g})"
    )
    return f"Consistency check {check.rule} VIOLATED: {told}: {rule.meaning}. {rule.remedy}"


def _contenders(record: Record) -> Iterator[tuple[AttackRecord, Contender]]:
    """The attacks of which it is known what they do."""
    for attack in record.attacks:
        if one := contender(attack.manifest["identity"]["attack"]):
            yield attack, one


def _right(attack: AttackRecord, n: int | None = None) -> Tensor:
    """Mask of the (first n) samples that are right."""
    rows = attack.rows[:n]
    return torch.tensor((rows["pred_adv"] == rows["label"]).to_numpy())


def _paired(rule: str, weaker: str, stronger: str, right_weaker: Tensor, right_stronger: Tensor) -> ConsistencyCheck:
    """Are significantly more samples right under the stronger alone than under the weaker alone?"""
    p, shares = paired_sign_test(right_weaker, right_stronger), (_share(right_weaker), _share(right_stronger))
    return ConsistencyCheck(rule, weaker, stronger, *shares, len(right_weaker), p, holds=p >= LEVEL)


def _share(right: Tensor) -> float:
    """How many are right, in [0, 1]; 0 of none."""
    return int(right.sum()) / len(right) if len(right) else 0.0


class _Probe:
    """The model and the record's first PROBED samples, on its device."""

    def __init__(self, record: Record, model: nn.Module, batch_size: int) -> None:
        samples = record.first(PROBED)
        self.record, self.model, self.batch_size, self.classes = record, model, batch_size, len(samples.classes)
        self.x, self.y = (tensor.to(device_of(model)) for tensor in samples.batch(0, len(samples)))
        self.drawn = Noise(record.seed, tuple(samples.indices.tolist()))

    def huge_eps(self) -> ConsistencyCheck:
        """PGD anywhere in [0, 1], whatever the record's norm.

        A ball of any norm that spans the images holds all of them, and steps along the sign of the gradient work best
        there. It may leave half of what guessing would get right.
        """
        right = self._right(lambda x, y, noise: ascend(self.model, x, y, noise=noise, settings=ANYWHERE).x_adv)
        allowed = 0.5 / self.classes
        p = binomial_tail(int(right.sum()), len(right), allowed)
        return ConsistencyCheck(
            "huge-eps", "half of chance", "pgd,eps=1", allowed, _share(right), len(right), p, holds=p >= LEVEL
        )

    def noise(self) -> Iterator[ConsistencyCheck]:
        """Each PGD of the record against uniform noise in its ball."""
        for attack, one in _contenders(self.record):
            if one.eps is not None and one.outdoes_noise:
                noisy = self._right_under_noise(one.settings.norm, one.eps)
                yield _paired("noise", f"noise of {one.eps:.3g}", attack.name, noisy, _right(attack, PROBED))

    def _right_under_noise(self, norm: str, eps: float) -> Tensor:
        # "ladder" keys the noise: another key would be another draw, and other results
        return self._right(lambda x, y, noise: x + eps * NORMS[norm].uniform(noise, "ladder", x))

    @torch.no_grad()
    def _right(self, images: Callable[[Tensor, Tensor, Noise], Tensor]) -> Tensor:
        """Mask of the samples that are right on what is made of them, a batch at a time."""
        right = []
        for rows in torch.split(torch.arange(len(self.x), device=self.x.device), self.batch_size):
            x, y = self.x[rows], self.y[rows]
            right.append(self.model(images(x, y, self.drawn.take(rows)).clamp(0, 1)).argmax(dim=1) == y)
        return torch.cat(right).cpu()
