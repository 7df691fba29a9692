"""What need not be computed: the steps after a sample has reached its goal, or after its iterates have come back.

Where a step is a function of the iterate alone, an iterate that was there before makes all later ones known: with
``x_t = x_s``, s < t, and the period ``p = t - s``,

    x_{t+k} = x_{t + k mod p}

so that of k steps left ``k mod p`` are made and the last iterate is the same, bit for bit (arXiv 2503.19347). Sign
steps of one length in a box do come back, on robust networks within tens of steps.

To find it each sample's iterate is compared with ONE saved iterate, pixel by pixel and with no hash: memory stays at
one batch more. The saved iterate is renewed when it is WINDOW steps or a quarter of the steps so far old: short cycles,
the usual, are found soon after they begin, and one of any period in the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from energylens.attacks.result import counts

WINDOW = 8  # steps; periods are 1, 2, 4 or 6 as a rule
# of a batch, how many wait before they leave it: so that few batch sizes occur, as some libraries prepare themselves
# for each, at the price of a step too many on an eighth of the samples
WAITING = 1 / 8
LOOK_EVERY = 8  # steps, on a GPU: it stands still while it is asked who waits


@dataclass
class Fate:
    """What became of each of N samples in a run of the loop.

    Attributes:
        x_adv: their last iterates, (N, C, H, W).
        steps: (N,) int64, the iterations each took part in, computed or read off a cycle.
        passes: (N,) int64, the forward-backward passes that each needed, whoever else was in the batch: the few more
            that it makes while it waits to leave that are not counted.
        cycled: (N,) int64, the step at which the iterate had been there before, 0 where none had.
        period: (N,) int64, how many steps earlier, 0 where it did not come back.
    """

    x_adv: Tensor
    steps: Tensor
    passes: Tensor
    cycled: Tensor
    period: Tensor

    @classmethod
    def of_full_run(cls, x_adv: Tensor, steps: int) -> Fate:
        """That of samples which made every step.

        Args:
            x_adv: their last iterates, (N, C, H, W).
            steps: of the run.

        Returns:
            The fate of these N.
        """
        return cls(x_adv, counts(steps, x_adv), counts(steps, x_adv), counts(0, x_adv), counts(0, x_adv))

    @classmethod
    def of(cls, x_adv: Tensor, run: int, steps: Tensor, cycled: Tensor, period: Tensor) -> Fate:
        """That of samples of which some needed fewer.

        Args:
            x_adv: their last iterates, (N, C, H, W).
            run: the steps of the run.
            steps: (N,) int64, those each took part in.
            cycled: (N,) int64, as the fate tells it.
            period: (N,) int64, as the fate tells it.

        Returns:
            Their fate. A sample that stops makes a pass to see that it has reached its goal.
        """
        rest = (run - cycled) % period.clamp_min(1)
        passes = torch.where(period > 0, cycled + rest, (steps + 1).clamp_max(run))
        return cls(x_adv, steps, passes, cycled, period)

    def completed(self, paths: Tensor) -> Tensor:
        """What was seen of each iterate, with that of the iterates which were not computed, read off the cycle.

        Args:
            paths: (N, steps, M), M values of each iterate.

        Returns:
            The same, (N, steps, M); NaN where a sample had stopped.
        """
        at = torch.arange(paths.shape[1], device=paths.device).expand(len(paths), -1)
        cycled, period = self.cycled[:, None], self.period[:, None]
        first = cycled - period
        known = torch.where((period > 0) & (at >= cycled), first + (at - first) % period.clamp_min(1), at)
        seen = paths.gather(1, known[:, :, None].expand_as(paths))
        return seen.masked_fill((at >= self.steps[:, None])[:, :, None], torch.nan)


class Shortcuts:
    """Who of a batch needs no further step. Samples that need none wait, unmoved, until enough of them leave together.

    Args:
        x_adv: the first iterates, (N, C, H, W).
        steps: of the run.
        repeats: given an image, (1, C, H, W), whether the model gives the same answer twice; asked once, when an
            iterate comes back. None: no cycles are looked for.

    Attributes:
        rows: (n,) int64, which of the N samples are in the batch.
    """

    def __init__(self, x_adv: Tensor, steps: int, repeats: Callable[[Tensor], bool] | None) -> None:
        self.rows = torch.arange(len(x_adv), device=x_adv.device)
        self._run, self._fate = steps, Fate.of_full_run(x_adv.clone(), steps)
        self._left, self._steps = counts(steps, x_adv), counts(steps, x_adv)
        self._cycled, self._period = counts(0, x_adv), counts(0, x_adv)
        self._repeats, self._asked = repeats, False
        self._saved, self._saved_at = x_adv if repeats else None, 0
        self._look_every = 1 if x_adv.device.type == "cpu" else LOOK_EVERY

    @property
    def going(self) -> Tensor:
        """(n,) bool, who of the batch still moves."""
        return self._left > 0

    def stop(self, reached: Tensor, step: int) -> None:
        """Let those wait that have reached their goal.

        Args:
            reached: (n,) bool.
            step: the iterations made so far.
        """
        now = reached & self.going
        self._steps = torch.where(now, step, self._steps)
        self._left = torch.where(now, 0, self._left)

    def move(self, x_adv: Tensor, moved: Tensor, step: int) -> Tensor:
        """Move those that do not wait, and see whose iterate has come back.

        Args:
            x_adv: the iterates, (n, C, H, W).
            moved: where the step leads, (n, C, H, W).
            step: the iterations made with this one.

        Returns:
            The next iterates, (n, C, H, W).
        """
        going = self.going
        x_adv = torch.where(going.view(-1, *[1] * (x_adv.dim() - 1)), moved, x_adv)
        self._left = self._left - going.long()
        if self._saved is not None:
            period = step - self._saved_at
            back = going & (self._period == 0) & (x_adv == self._saved).flatten(1).all(dim=1)
            self._cycled = torch.where(back, step, self._cycled)
            self._period = torch.where(back, period, self._period)
            if period >= max(WINDOW, step // 4):
                self._saved, self._saved_at = x_adv, step
        return x_adv

    def staying(self, x_adv: Tensor, step: int) -> Tensor | None:
        """Let those leave the batch that wait, once they are enough.

        Args:
            x_adv: the iterates, (n, C, H, W).
            step: the iterations made so far.

        Returns:
            Positions in the batch of those that stay, (M,) int64; None where nobody leaves.
        """
        if step % self._look_every:
            return None
        self._cut(x_adv)
        stay = self.going.nonzero().squeeze(1)
        waiting = len(x_adv) - len(stay)
        if waiting == 0 or (len(stay) and waiting < WAITING * len(x_adv)):
            return None
        self._note(x_adv)
        self.rows = self.rows[stay]
        self._left, self._steps = self._left[stay], self._steps[stay]
        self._cycled, self._period = self._cycled[stay], self._period[stay]
        if self._saved is not None:
            self._saved = self._saved[stay]
        return stay

    def finish(self, x_adv: Tensor) -> Fate:
        """The fate of all samples.

        Args:
            x_adv: the iterates of those still in the batch, (n, C, H, W).

        Returns:
            That of the N samples.
        """
        self._note(x_adv)
        fate = self._fate
        return Fate.of(fate.x_adv, self._run, fate.steps, fate.cycled, fate.period)

    def _cut(self, x_adv: Tensor) -> None:
        """Cut the steps that a cycle makes known, if the model is one that repeats itself."""
        back = self._period > 0
        if self._repeats and not self._asked and bool(back.any()):
            self._asked = True
            if not self._repeats(x_adv[back][:1]):
                self._saved, self._cycled, self._period = None, counts(0, x_adv), counts(0, x_adv)
                return
        self._left = torch.where(back, self._left % self._period.clamp_min(1), self._left)

    def _note(self, x_adv: Tensor) -> None:
        """Keep what is known of those in the batch."""
        rows, fate = self.rows, self._fate
        fate.x_adv[rows], fate.steps[rows] = x_adv, self._steps
        fate.cycled[rows], fate.period[rows] = self._cycled, self._period
