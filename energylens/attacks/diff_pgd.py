"""Diff-PGD (arXiv 2305.16494): PGD on what a diffusion model makes of the image, f(R(x')).

So the perturbation looks natural. R(x) is the purifier of ``diffusion/purifier.py``, under fresh noise at every call.

Its forms are the ascent loop with R in front of the classifier, as in the authors' code:

    fast    d_0 = 0,  x_d = R(x + d_i),  d_{i+1} = P(d_i + step_size * steepest(grad_{x_d} CE(f(x_d), y)))
            x' = clamp(x + d_n, 0, 1):  the gradient passes straight through R, [0, 1] is kept to at the end alone
    full    PGD from a random start with the gradient through f and R, in [0, 1] at every step

The authors' settings are for ImageNet (eps 16/255, step 2/255, 10 steps, t = 3 of 50). Those for other data sets are
our reconstruction: the same with the data set's usual eps and a quarter of it as the step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count

import torch
from torch import Tensor

from energylens.attacks.ascent import Ascent, Model, Narrowing, ascend
from energylens.attacks.norms import NORMS
from energylens.attacks.result import AttackResult
from energylens.attacks.settings import Length, NormName, Settings, norm_of, radius, until
from energylens.diffusion.diffuser import Diffuser
from energylens.diffusion.loading import default_diffuser, load_diffuser
from energylens.diffusion.purifier import purify
from energylens.errors import InputError
from energylens.noise import NoiseSource
from energylens.settings import setting


@dataclass(frozen=True)
class Form:
    """One row.

    Attributes:
        start: of the ascent.
        straight: the gradient passes R as if it were the identity.
        boxed: in [0, 1] at every step, not at the end alone.
    """

    start: str
    straight: bool
    boxed: bool


FORMS = {
    "fast": Form("zero", straight=True, boxed=False),
    "full": Form("uniform", straight=False, boxed=True),
}


@dataclass(frozen=True)
class DiffPGD(Settings):
    """Settings of Diff-PGD (arXiv 2305.16494).

    Its steps count for no amount: it asks for images that look natural besides a wrong label. It is not traceable:
    its loop sees the energies of R(x'), not of x'.

    Attributes:
        eps: radius, in units of [0, 1].
        norm: a row of NORMS.
        steps: of the ascent.
        relative_step: the length of a step as a share of eps, where step_size is None.
        step_size: the length of a step, in units of [0, 1].
        form: a row of FORMS.
        t: the purifier noises to index t of the timesteps respaced to ddim_steps.
        ddim_steps: timesteps after respacing.
        labels: the class to flee, the ``predicted`` one, as the authors do, or the ``true`` one.
        diffusion: what ``load_diffuser`` knows, None for the data set's own.
        until: the ``end`` of its steps, or the first iterate whose R(x') reaches the goal, ``broken``.
    """

    eps: Length = radius()
    norm: NormName = norm_of(NORMS)
    steps: int = setting(10, "gradient steps", above=0)
    relative_step: float = 0.25
    step_size: Length | None = setting(None, "length of a step", above=0, standard="{relative_step:g} eps")
    form: str = setting("fast", "how the gradient passes the purifier", choices=FORMS)
    t: int = setting(3, "the purifier noises to index t of the timesteps respaced to ddim_steps")
    ddim_steps: int = setting(50, "timesteps after respacing", above=0)
    labels: str = setting("predicted", "the class to flee", choices=("predicted", "true"))
    diffusion: str | None = setting(None, "name, folder or hub id of a diffusion model; the standard is the data set's")
    until: str = until()

    targetable = True
    seeks_error = False

    @property
    def loop(self) -> Ascent:
        """The ascent it runs."""
        start = FORMS[self.form].start
        return Ascent(self.eps, self.norm, self.steps, self.relative_step, self.step_size, start, until=self.until)

    @property
    def passes(self) -> int:
        """Passes a sample makes at most, through the classifier and, t + 1 for each, the diffusion model."""
        return (self.steps + 1) * (self.t + 2)

    def check(self) -> None:
        """Refuse settings that cannot be run.

        Raises:
            InputError: for the first of them.
        """
        super().check()
        if self.t >= self.ddim_steps:
            raise InputError(
                f"t={self.t} needs more than {self.t} ddim_steps, {self.ddim_steps} came: lower t or raise ddim_steps"
            )

    def diffuser(
        self, asked: str | None, dataset: str | None, image_shape: Sequence[int], device: torch.device
    ) -> Diffuser:
        """The diffusion model of its own settings, else the one asked for, else the data set's.

        Args:
            asked: the name in the call, None for none.
            dataset: the name of the data, None where it has none.
            image_shape: (C, H, W).
            device: where it is to lie.

        Returns:
            The model, frozen, on that device.

        Raises:
            InputError: where none is known or fits.
        """
        diffuser = load_diffuser(self.diffusion or asked or default_diffuser(dataset), device)
        diffuser.check_fit(tuple(image_shape))
        diffuser.check_schedule(self.ddim_steps)
        return diffuser


@torch.no_grad()
def diff_pgd(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    noise: NoiseSource,
    settings: DiffPGD,
    diffuser: Diffuser,
    target: Tensor | None = None,
    clean_logits: Tensor | None = None,
) -> AttackResult:
    """Run the attack on a batch.

    Args:
        model: from images in [0, 1] to logits (N, K), held in eval mode.
        x: (N, C, H, W) in [0, 1].
        y: (N,) labels.
        noise: what the start and the purifier are drawn from.
        settings: of the attack.
        diffuser: what R is made of.
        target: (N,) labels to move towards, or None.
        clean_logits: (N, K) logits of x where they are known (saves the forward that predicts the labels).

    Returns:
        The result, with R(x_adv) as ``purified``. Passes are the classifier's.
    """
    form = FORMS[settings.form]
    asks = settings.labels == "predicted" and target is None
    if asks:
        y = (model(x) if clean_logits is None else clean_logits).argmax(dim=1)
    seen = _Purified(model, diffuser, noise, settings, count())
    result = ascend(seen, x, y, noise=noise, settings=settings.loop, target=target, boxed=form.boxed, cycles=False)
    forwards = result.forwards + int(asks and clean_logits is None)
    return replace(result, forwards=forwards, purified=seen.purified(result.x_adv))


@dataclass(frozen=True)
class _Purified(Narrowing):
    """f(R(x)) of a batch, under fresh noise at every call, with the gradient as the form has it."""

    model: Model
    diffuser: Diffuser
    noise: NoiseSource
    settings: DiffPGD
    calls: Iterator[int]

    def __call__(self, x: Tensor) -> Tensor:
        if not FORMS[self.settings.form].straight:
            return self.model(self.purified(x))
        with torch.no_grad():
            fixed = self.purified(x)
        return self.model(fixed + (x - x.detach()))  # adds zeros, whose gradient is the identity

    def take(self, rows: Tensor) -> _Purified:
        return replace(self, noise=self.noise.take(rows))

    def purified(self, x: Tensor) -> Tensor:
        """R(x) under noise that belongs to the sample and the call."""
        drawn = self.noise.normal(f"purify/{next(self.calls)}", x)
        return purify(self.diffuser, x, drawn, t=self.settings.t, ddim_steps=self.settings.ddim_steps)
