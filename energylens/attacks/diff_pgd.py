"""Diff-PGD (arXiv 2305.16494): PGD on what a diffusion model makes of the image, f(R(x')), so that the perturbation
looks natural. R(x) is the purifier of ``diffusion/purifier.py``, under fresh noise at every call.

Its forms are the ascent loop with R in front of the classifier, as in the authors' code:

    fast    d_0 = 0,  x_d = R(x + d_i),  d_{i+1} = P(d_i + step_size * steepest(grad_{x_d} CE(f(x_d), y)))
            x' = clamp(x + d_n, 0, 1):  the gradient passes straight through R, [0, 1] is kept to at the end alone
    full    PGD from a random start with the gradient through f and R, in [0, 1] at every step

The authors' settings are for ImageNet (eps 16/255, step 2/255, 10 steps, t = 3 of 50). Those for other data sets are
our reconstruction: the same with the data set's usual eps and a quarter of it as the step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import count
from typing import ClassVar

import torch
from torch import Tensor, nn

from energylens.attacks.ascent import Ascent, ascend
from energylens.attacks.kernels import FUSED
from energylens.attacks.result import AttackResult
from energylens.attacks.settings import check_numbers, setting
from energylens.diffusion.diffuser import Diffuser
from energylens.diffusion.purifier import purify
from energylens.errors import InputError
from energylens.noise import NoiseSource


class _Unboxed(Ascent):
    """The loop whose images may leave [0, 1] on the way."""

    boxed: ClassVar[bool] = False


@dataclass(frozen=True)
class Form:
    """One row. loop, start: of the ascent. straight: the gradient passes R as if it were the identity."""

    loop: type[Ascent]
    start: str
    straight: bool


FORMS = {
    "fast": Form(_Unboxed, "zero", straight=True),
    "full": Form(Ascent, "uniform", straight=False),
}
LABELS = ("predicted", "true")


@dataclass(frozen=True)
class DiffPGD:
    """Settings. eps and step_size are in units of [0, 1]; ``step_size`` None means relative_step * eps.

    labels: the authors flee the prediction. diffusion: what ``load_diffuser`` knows, None for the data set's own.
    """

    eps: float
    norm: str = "linf"
    steps: int = setting(10, "gradient steps")
    relative_step: float = 0.25
    step_size: float | None = setting(None, "length of a step")
    form: str = setting("fast", f"how the gradient passes the purifier: {', '.join(FORMS)}")
    t: int = setting(3, "the purifier noises to index t of the timesteps respaced to ddim_steps")
    ddim_steps: int = setting(50, "timesteps after respacing")
    labels: str = setting("predicted", f"the class to flee: {', '.join(LABELS)}")
    diffusion: str | None = setting(None, "name, folder or hub id of a diffusion model; the standard is the data set's")

    recipe: ClassVar[frozenset[str]] = frozenset({"relative_step"})
    bounded: ClassVar[bool] = True
    traceable: ClassVar[bool] = False  # its loop sees the energies of R(x'), not of x'
    quickest: ClassVar[str] = FUSED
    targetable: ClassVar[bool] = True
    tells: ClassVar[bool] = False
    min_classes: ClassVar[int] = 2
    block: ClassVar[None] = None

    @property
    def loop(self) -> Ascent:
        """The ascent it runs."""
        form = FORMS[self.form]
        return form.loop(self.eps, self.norm, self.steps, self.relative_step, self.step_size, form.start)

    @property
    def passes(self) -> int:
        """Passes a sample makes at most, through the classifier and, t + 1 for each, the diffusion model."""
        return (self.steps + 1) * (self.t + 2)

    def check(self) -> None:
        """Refuse settings that cannot be run."""
        for name, known in (("form", FORMS), ("labels", LABELS)):
            if getattr(self, name) not in known:
                raise InputError(f"unknown {name} {getattr(self, name)!r}: give one of {', '.join(known)}")
        self.loop.check()
        check_numbers(asdict(self), positive=("ddim_steps",))
        if self.t >= self.ddim_steps:
            raise InputError(
                f"t={self.t} needs more than {self.t} ddim_steps, {self.ddim_steps} came: lower t or raise ddim_steps"
            )


@torch.no_grad()
def diff_pgd(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    noise: NoiseSource,
    settings: DiffPGD,
    diffuser: Diffuser,
    target: Tensor | None = None,
    clean_logits: Tensor | None = None,
) -> AttackResult:
    """Run the attack on a batch; the result has R(x_adv) as ``purified``. Passes are the classifier's.

    x: (N, C, H, W) in [0, 1]; y: (N,) labels; target: (N,) labels to move towards, or None; clean_logits: (N, K)
    logits of x where they are known (saves the forward that predicts the labels).
    """
    asks = settings.labels == "predicted" and target is None
    if asks:
        y = (model(x) if clean_logits is None else clean_logits).argmax(dim=1)
    purifier = _Purifier(diffuser, noise, settings)
    seen = nn.Sequential(purifier, model)
    result = ascend(seen, x, y, noise=noise, settings=settings.loop, target=target)
    return replace(
        result, forwards=result.forwards + int(asks and clean_logits is None), purified=purifier.look(result.x_adv)
    )


class _Purifier(nn.Module):
    """R(x) as the loop sees it: noise that belongs to the sample and the call, a gradient as the form has it."""

    def __init__(self, diffuser: Diffuser, noise: NoiseSource, settings: DiffPGD) -> None:
        super().__init__()
        self._diffuser, self._noise, self._settings = diffuser, noise, settings
        self._calls: Iterator[int] = count()

    def forward(self, x: Tensor) -> Tensor:
        """R(x), (N, C, H, W) in [0, 1]."""
        if not FORMS[self._settings.form].straight:
            return self.look(x)
        with torch.no_grad():
            purified = self.look(x)
        return purified + (x - x.detach())  # adds zeros, whose gradient is the identity

    def look(self, x: Tensor) -> Tensor:
        """R(x) with its own gradient, under noise of its own."""
        noise = self._noise.normal(f"purify/{next(self._calls)}", x)
        return purify(self._diffuser, x, noise, t=self._settings.t, ddim_steps=self._settings.ddim_steps)
