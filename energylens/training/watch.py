"""Early warning of catastrophic (CO) and robust overfitting (RO), from the logits that a training step has anyway.

    watch = EnergyWatch()
    watch.update(logits_clean, logits_adv, y)     # every batch
    alarm = watch.step()                          # every few batches, or every epoch

The two failures part in the energies of the training samples (arXiv 2505.22486): at CO the share of abnormal
adversarial examples (AAE, dE(x, y) > dE(x)) rises sharply, and dE(x) mostly upwards; at RO the share stays where it was
and dE(x) = E(x) - E(x*) runs to strongly negative values. A collapse under a regulariser that keeps abnormal examples
away has no such trace: there the accuracy under FGSM leaves that under PGD behind, which ``judge_gap`` hears where
somebody evaluates both. The rules and their thresholds are ours [R], chosen on measured runs, those of the energies on
63 of co-small and ro-small; the gap's .1 was set later, after one collapse of FGSM + DER on CIFAR-10 at 16/255.
``analyses/early_warning.py`` judges them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite, sqrt
from statistics import median
from typing import Any

import torch
from torch import Tensor

from energylens.energy import abnormal, delta_energy, marginal_energy
from energylens.isolation import widest_float

Reduce = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class WatchSettings:
    """When to call.

    A window is what came between two calls of ``step``; usual is the median over the run's windows that raised no
    suspicion, thinned to at most ``memory`` of them, evenly over the run.

    Attributes:
        rise: CO is called where the AAE share lies so far above the usual, in [0, 1], and by so many ``sigmas``.
        sigmas: standard deviations, of a share of the window's samples or of a difference of two such shares.
        fall: RO is called where dE(x) lies so many times below the usual, and under ``floor``; a steady fall is at
            twice its own median, so that more than that is running away.
        floor: in nats.
        gap: CO is called, too, where the accuracy under FGSM minus that under PGD lies so far above its median over
            earlier evaluations, in [0, 1], and by so many ``sigmas``.
        settle: windows before the first call, and evaluations before the first call by ``gap``.
        memory: the most windows that usual is of.
    """

    rise: float = 0.05
    sigmas: float = 4.0
    fall: float = 3.0
    floor: float = -0.3
    gap: float = 0.1
    settle: int = 2
    memory: int = 100


@dataclass(frozen=True)
class Alarm:
    """What the watch calls.

    Attributes:
        kind: "co" or "ro".
        reason: one line.
        step: batches seen so far.
        numbers: delta_marginal (nats) and abnormal_share of the window, its samples, usual_delta_marginal and
            usual_abnormal_share, which they were held against; of an evaluation fgsm, pgd, usual_gap and samples.
    """

    kind: str
    reason: str
    step: int
    numbers: Mapping[str, float]


class EnergyWatch:
    """Follows mean dE(x) and the AAE share of training samples, and says once when a failure begins.

    It says so again only after a window that was as usual.

    Memory is flat, sums are float64 where the device has it, and a GPU is waited for in ``step`` only.

    >>> watch = EnergyWatch()
    >>> clean, y = torch.tensor([[2.0, 0.0]]), torch.tensor([0])
    >>> for scale in (0.5, 0.5, 0.5, 1.5):         # the attack lowers the label's logit; at last it raises it
    ...     watch.update(clean, clean * scale, y)
    ...     alarm = watch.step()
    >>> alarm.kind, alarm.step
    ('co', 4)
    """

    def __init__(self, settings: WatchSettings | None = None) -> None:
        self.settings = settings or WatchSettings()
        self._sums = torch.zeros(3, dtype=torch.float64)  # samples, their dE(x), the abnormal among them
        self._batches = 0
        self._usual: list[tuple[float, float]] = []  # (dE(x), AAE share) of every _stride-th calm window
        self._calm, self._stride = 0, 1
        self._raised = ""
        self._gaps: list[float] = []  # of every calm evaluation
        self._gap_raised = False

    @torch.no_grad()
    def update(self, logits_clean: Tensor, logits_adv: Tensor, y: Tensor) -> None:
        """Take in a batch of training images.

        Args:
            logits_clean: of the natural images, (N, K).
            logits_adv: of the adversarial images, (N, K), on the same device.
            y: labels, (N,), integers in [0, K).
        """
        clean, adv = logits_clean.float(), logits_adv.float()
        delta = delta_energy(marginal_energy(clean), marginal_energy(adv))
        seen = torch.stack([torch.ones_like(delta), delta, abnormal(clean, adv, y).to(delta)])
        kind = widest_float(delta.device)
        self._sums = self._sums.to(delta.device, kind) + seen.to(kind).sum(dim=1)
        self._batches += 1

    def step(self, reduce: Reduce | None = None) -> Alarm | None:
        """Judge what came since the last call; None where nothing is wrong, nothing new, or nothing came.

        Args:
            reduce: sums a tensor over processes, as ``accelerator.reduce`` does; all then come to the same answer.

        Returns:
            The alarm, once for each failure; else None.
        """
        samples, delta, share = (reduce(self._sums) if reduce else self._sums).tolist()
        self._sums = torch.zeros_like(self._sums)
        if not samples or not isfinite(delta):
            return None
        return self.judge(delta / samples, share / samples, samples)

    def judge(self, delta: float, share: float, samples: float) -> Alarm | None:
        """The same for a window whose means are known.

        Args:
            delta: mean dE(x) = E(x) - E(x*) of the window, in nats.
            share: of abnormal adversarial examples in it, in [0, 1].
            samples: how many the window has.

        Returns:
            The alarm, once for each failure; else None.
        """
        if len(self._usual) < self.settings.settle:
            self._remember((delta, share))
            return None
        usual_delta, usual_share = (median(column) for column in zip(*self._usual, strict=True))
        numbers = {
            "delta_marginal": delta,
            "abnormal_share": share,
            "usual_delta_marginal": usual_delta,
            "usual_abnormal_share": usual_share,
            "samples": samples,
        }
        kind = next((kind for kind, rule in RULES.items() if rule.broken(numbers, self.settings)), "")
        if not kind:
            self._remember((delta, share))
        new, self._raised = kind != self._raised, kind
        return Alarm(kind, RULES[kind].reason.format(**numbers), self._batches, numbers) if kind and new else None

    def judge_gap(self, fgsm: float, pgd: float, samples: int) -> Alarm | None:
        """Judge an evaluation of the same samples under FGSM and under PGD.

        Args:
            fgsm: accuracy under FGSM, in [0, 1].
            pgd: accuracy under PGD, in [0, 1].
            samples: how many were evaluated.

        Returns:
            The alarm; None where the gap is as usual, nothing new, or not a number.
        """
        gap = fgsm - pgd
        if not isfinite(gap):
            return None
        if len(self._gaps) < self.settings.settle:
            self._gaps.append(gap)
            return None
        usual = median(self._gaps)
        # two accuracies of the same samples differ by less than independent ones would
        chance = self.settings.sigmas * sqrt((fgsm * (1 - fgsm) + pgd * (1 - pgd)) / samples)
        broken, new = gap > usual + max(self.settings.gap, chance), not self._gap_raised
        self._gap_raised = broken
        if not broken:
            self._gaps.append(gap)
        numbers = {"fgsm": fgsm, "pgd": pgd, "usual_gap": usual, "samples": float(samples)}
        return Alarm("co", GAP_REASON.format(**numbers), self._batches, numbers) if broken and new else None

    def _remember(self, window: tuple[float, float]) -> None:
        """Take a calm window into what is usual; where that is full, every second one goes."""
        if self._calm % self._stride == 0:
            self._usual.append(window)
        self._calm += 1
        if len(self._usual) > self.settings.memory:
            self._usual, self._stride = self._usual[::2], 2 * self._stride

    def state_dict(self) -> dict[str, Any]:
        """What the watch has seen, for ``torch.save``, JSON and accelerate's checkpoints.

        Returns:
            Numbers and lists, by name.
        """
        return {
            "sums": self._sums.tolist(),
            "batches": self._batches,
            "usual": [list(window) for window in self._usual],
            "calm": self._calm,
            "stride": self._stride,
            "raised": self._raised,
            "gaps": list(self._gaps),
            "gap_raised": self._gap_raised,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what ``state_dict`` left.

        Args:
            state: as ``state_dict`` gave it.
        """
        self._sums = torch.tensor(state["sums"], dtype=torch.float64)
        self._batches = state["batches"]
        self._usual = [(delta, share) for delta, share in state["usual"]]
        self._calm, self._stride, self._raised = state["calm"], state["stride"], state["raised"]
        self._gaps, self._gap_raised = list(state["gaps"]), state["gap_raised"]


@dataclass(frozen=True)
class Rule:
    """When a window breaks it, and what is said then."""

    broken: Callable[[Mapping[str, float], WatchSettings], bool]
    reason: str


def _abnormal_rises(now: Mapping[str, float], settings: WatchSettings) -> bool:
    usual = now["usual_abnormal_share"]
    # TRADES attacks the divergence, not the loss: its usual share is near .47, and one sigma of 128 samples 4 points
    chance = settings.sigmas * sqrt(usual * (1 - usual) / now["samples"])
    return now["abnormal_share"] > usual + max(settings.rise, chance)


def _delta_falls(now: Mapping[str, float], settings: WatchSettings) -> bool:
    return now["delta_marginal"] < min(settings.floor, settings.fall * now["usual_delta_marginal"])


GAP_REASON = (
    "catastrophic overfitting: {fgsm:.1%} of training images are right under FGSM, {pgd:.1%} under PGD (the usual gap "
    "was {usual_gap:+.1%})"
)
RULES = {  # the first that is broken counts: at CO dE(x) may run either way
    "co": Rule(
        _abnormal_rises,
        "catastrophic overfitting: the AAE share is {abnormal_share:.1%}, usual was {usual_abnormal_share:.1%} "
        "(dE(x) {delta_marginal:+.3f}, usual {usual_delta_marginal:+.3f})",
    ),
    "ro": Rule(
        _delta_falls,
        "robust overfitting: dE(x) is {delta_marginal:+.3f}, usual was {usual_delta_marginal:+.3f} "
        "(AAE share {abnormal_share:.1%})",
    ),
}
