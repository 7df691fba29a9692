"""The attacks, as a table: a row names the function that runs and the settings that make it this attack."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, nn

from energylens.attacks.ascent import Ascent, ascend
from energylens.attacks.auto_pgd import AutoPGD, auto_pgd
from energylens.attacks.autoattack import AutoAttackSettings, run_autoattack
from energylens.attacks.carlini_wagner import CarliniWagner, CarliniWagnerLinf, carlini_wagner, carlini_wagner_linf
from energylens.attacks.diff_pgd import DiffPGD, diff_pgd
from energylens.attacks.fast_minimum_norm import FastMinimumNorm, fast_minimum_norm
from energylens.attacks.result import AttackResult, counts
from energylens.attacks.settings import BALL, BLOCK, NoAttack, Settings
from energylens.errors import InputError, did_you_mean
from energylens.settings import declared


@dataclass(frozen=True)
class AttackRow:
    """One attack of the table. What it can do is told by its settings (``settings.Settings``) and here.

    Args:
        name: what users call it.
        label: what a figure calls it.
        run: ``run(model, x, y, *, noise, settings, target, clean_logits) -> AttackResult``.
        defaults: its settings, those of users at their defaults; eps is nan.
        summary: what it does, in a line.
        source: where it comes from.
        aliases: other names.
        revision: raised by a change of what it computes, so that rows recorded before are not taken for its own.
        keeps_images: its images are kept with its record: they are too expensive to make twice.
        versions: the rows that a setting ``version`` names.
        sealed: known by this name with these very settings: users choose no more than the block.
        follows_gradient: its images come from gradients.
        outdoes: the rows that it must not do worse than.
    """

    name: str
    label: str
    run: Callable[..., AttackResult]
    defaults: Settings
    summary: str
    source: str
    aliases: tuple[str, ...] = ()
    revision: int = 1
    keeps_images: bool = False
    versions: Mapping[str, str] = field(default_factory=dict)
    sealed: bool = False
    follows_gradient: bool = True
    outdoes: tuple[str, ...] = ()

    @property
    def norms(self) -> tuple[str, ...]:
        """The norms it can work in."""
        return self.defaults.norms

    def free_settings(self) -> dict[str, str]:
        """The settings a user may change beside eps and norm.

        Returns:
            Their defaults as text, by name.
        """
        shown = {
            one.name: one.shown(self.defaults)
            for one in declared(type(self.defaults))
            if one.name not in {*self.defaults.fixed, *BALL} and (one.name == BLOCK or not self.sealed)
        }
        if self.versions:
            shown["version"] = next(version for version, row in self.versions.items() if row == self.name)
        return shown


_ANY = math.nan  # stands for eps in the rows' defaults until a radius is given
_AUTOATTACK, _FAB, _SQUARE = (f"arXiv {number}; pyautoattack" for number in ("2003.01690", "1907.02044", "1912.00049"))

ATTACKS: list[AttackRow] = [
    AttackRow("fgsm", "FGSM", ascend, Ascent(_ANY), "one step of eps from x", "arXiv 1412.6572"),
    AttackRow("rs-fgsm", "RS-FGSM", ascend, Ascent(_ANY, start="uniform", relative_step=1.25),
        "one step of 1.25 eps from a random start, clipped to eps", "arXiv 2001.03994"),
    AttackRow("n-fgsm", "N-FGSM", ascend, Ascent(_ANY, start="uniform", start_scale=2.0, clip=False),
        "one step of eps from noise of 2 eps, not clipped: up to 3 eps away", "arXiv 2202.01181"),
    # PGD, TRADES-KL, HE-PGD: eps/4 is the 2/255 at 8/255 of arXiv 2407.06315, as a share of any eps ours [R]; 20 steps
    # are ours [R], not tuned. Starts: uniform 1706.06083, .001 N(0, 1) 1901.08573; HE-PGD's, that of PGD, ours [R]
    AttackRow("pgd", "PGD", ascend, Ascent(_ANY, start="uniform", steps=20, relative_step=0.25),
        "ascent of the cross-entropy (or loss=margin, dlr) from a random start", "arXiv 1706.06083",
        outdoes=("fgsm", "rs-fgsm")),
    AttackRow("trades", "TRADES-KL", ascend,
        Ascent(_ANY, start="gaussian", start_scale=0.001, steps=20, relative_step=0.25, loss="kl"),
        "ascent of KL(p(.|x) || p(.|x')) from x + .001 N(0, 1)", "arXiv 1901.08573", aliases=("trades-kl",)),
    AttackRow("he-pgd", "HE-PGD", ascend,
        Ascent(_ANY, start="uniform", steps=20, relative_step=0.25, loss="high-energy"),
        "PGD on cross-entropy + gamma E(x'): made to leave no trace in E(x)", "arXiv 2304.04033"),
    AttackRow("apgd", "APGD", auto_pgd, AutoPGD(_ANY),
        "PGD with momentum that adapts its step, on loss=ce, dlr, dlr-targeted, margin or pma", "arXiv 2003.01690",
        outdoes=("fgsm",)),
    # the loss is the paper's; its step sizes and stages are not: APGD's are ours [R]
    AttackRow("pma", "PMA", auto_pgd, AutoPGD(_ANY, loss="pma"),
        "APGD on the margin of the probabilities; the loss is the paper's, APGD's step sizes are ours [R]",
        "arXiv 2411.15210"),
    AttackRow("diff-pgd", "Diff-PGD", diff_pgd, DiffPGD(_ANY),
        "PGD through a diffusion model's purifier R, gradient straight through it (or form=full); settings for other "
        "data than ImageNet are our reconstruction", "arXiv 2305.16494", keeps_images=True),
    AttackRow("cw", "C&W", carlini_wagner, CarliniWagner(),
        "smallest L2 perturbation at a fixed c: the energy papers' setting", "arXiv 1608.04644; torchattacks",
        aliases=("cw-l2",)),
    # c, searches, rate and early stop: Carlini's l2_attack.py; steps ours [R], his are 10,000
    AttackRow("cw-search", "C&W search", carlini_wagner,
        CarliniWagner(c=1e-3, steps=1000, search_steps=9, stop_ratio=0.9999),
        "smallest L2 perturbation with a binary search over c", "arXiv 1608.04644", outdoes=("cw",)),
    AttackRow("cw-linf", "C&W Linf", carlini_wagner_linf, CarliniWagnerLinf(),
        "small Linf perturbation in 50 steps: the Linf form of cw", "arXiv 1608.04644"),
    # c, steps, shrink: ours [R], for fewer passes; Carlini's li_attack.py has c 1e-5, 1,000 steps for each c, shrink .9
    AttackRow("cw-linf-search", "C&W Linf search", carlini_wagner_linf,
        CarliniWagnerLinf(c=1e-3, steps=1000, shrink=0.97),
        "smallest Linf perturbation, raising c until it stays", "arXiv 1608.04644"),
    # steps: ours [R]; the paper has up to 1,000
    AttackRow("fmn", "FMN", fast_minimum_norm, FastMinimumNorm(),
        "small Linf perturbation in a few steps, by a radius that shrinks and grows", "arXiv 2102.12827",
        aliases=("fmn-linf",)),
    AttackRow("fmn-l2", "FMN L2", fast_minimum_norm, FastMinimumNorm(norm="l2"),
        "small L2 perturbation in a few steps", "arXiv 2102.12827"),
    AttackRow("apgd-ce", "APGD-CE", run_autoattack, AutoAttackSettings(_ANY, ("apgd-ce",)),
        "PGD that adapts its step, on the cross-entropy", _AUTOATTACK),
    AttackRow("apgd-t", "APGD-T", run_autoattack, AutoAttackSettings(_ANY, ("apgd-t",)),
        "the same on the targeted DLR loss, class after class", _AUTOATTACK),
    AttackRow("apgd-dlr", "APGD-DLR", run_autoattack, AutoAttackSettings(_ANY, ("apgd-dlr",)),
        "the same on the DLR loss", _AUTOATTACK),
    AttackRow("fab", "FAB", run_autoattack, AutoAttackSettings(_ANY, ("fab",)),
        "a small perturbation, by projections on the decision boundary", _FAB),
    AttackRow("fab-t", "FAB-T", run_autoattack, AutoAttackSettings(_ANY, ("fab-t",)),
        "the same towards class after class", _FAB),
    AttackRow("square", "Square", run_autoattack, AutoAttackSettings(_ANY, ("square",)),
        "random search without gradients", _SQUARE, follows_gradient=False),
    AttackRow("autoattack", "AutoAttack", run_autoattack, AutoAttackSettings(_ANY),
        "the standard ensemble: APGD-CE, APGD-T, FAB-T, Square on what is still robust", _AUTOATTACK,
        sealed=True, keeps_images=True,
        versions={"standard": "autoattack", "plus": "autoattack-plus", "rand": "autoattack-rand"}),
    AttackRow("autoattack-plus", "AutoAttack+", run_autoattack,
        AutoAttackSettings(_ANY, ("apgd-ce", "apgd-dlr", "fab", "square", "apgd-t", "fab-t"), restarts=5),
        "the plus version: six attacks, 5 restarts", _AUTOATTACK, sealed=True, keeps_images=True),
    AttackRow("autoattack-rand", "AutoAttack rand", run_autoattack,
        AutoAttackSettings(_ANY, ("apgd-ce", "apgd-dlr"), restarts=1, eot=20),
        "the version for randomised models: gradients averaged over 20 draws", _AUTOATTACK,
        sealed=True, keeps_images=True),
    AttackRow("apgd-ensemble", "APGD ensemble", run_autoattack, AutoAttackSettings(_ANY, ("apgd-ce", "apgd-t")),
        "a shortcut, NOT AutoAttack: its first two attacks alone", _AUTOATTACK, sealed=True, keeps_images=True),
]  # fmt: skip


def _leave(model: nn.Module, x: Tensor, y: Tensor, *, clean_logits: Tensor | None, **_: Any) -> AttackResult:
    return AttackResult(x, steps=counts(0, x), forwards=counts(1, x), backwards=counts(0, x), logits=clean_logits)


#: the natural row of every record; no user asks for it
NO_ATTACK = AttackRow("natural", "natural", _leave, NoAttack(), "the images as they are", "", follows_gradient=False)


def register(row: AttackRow) -> AttackRow:
    """Add an attack of your own to the table: from now on this process knows it by its name.

    ``ATTACKS.remove(row)`` takes it out again.

    Args:
        row: the attack.

    Returns:
        The same row.

    Raises:
        InputError: where its name or an alias is taken.
    """
    taken = {NO_ATTACK.name, *_by_name()}
    if twice := taken & {name.lower() for name in (row.name, *row.aliases)}:
        raise InputError(f"there is an attack {min(twice)} already: give yours another name")
    ATTACKS.append(row)
    return row


def find_row(name: str) -> AttackRow:
    """The row of this name or alias, in capitals or not.

    Args:
        name: or alias of an attack, such as ``pgd``.

    Returns:
        The row of ATTACKS.

    Raises:
        InputError: for a name that there is not; it lists the attacks.
    """
    known = _by_name()
    if name.lower() in known:
        return known[name.lower()]
    hint = did_you_mean(name.lower(), known, most=3)
    raise InputError(f"unknown attack {name!r}: {hint}the attacks are {', '.join(row.name for row in ATTACKS)}")


def _by_name() -> dict[str, AttackRow]:
    """The rows by name and alias in small letters."""
    return {name.lower(): row for row in ATTACKS for name in (row.name, *row.aliases)}


def ascent_of(name: str, **own: Any) -> Ascent:
    """The settings of this row, one that ``ascend`` runs, with one's own in their place; eps is nan until it is given.

    Args:
        name: or alias of a row whose settings are an Ascent.
        own: settings by name, in place of the row's.

    Returns:
        The settings, as ``ascend`` takes them.

    Example:
        >>> ascent_of("rs-fgsm", eps=0.1).step
        0.125
    """
    defaults = find_row(name).defaults
    assert isinstance(defaults, Ascent)
    return replace(defaults, **own)
