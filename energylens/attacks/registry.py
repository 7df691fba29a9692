"""The attacks, as a table: a row names the function that runs and the settings that make it this attack."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from energylens.attacks.ascent import Ascent, ascend
from energylens.attacks.autoattack import Package, run_package
from energylens.attacks.carlini_wagner import CarliniWagner, carlini_wagner
from energylens.attacks.carlini_wagner_linf import CarliniWagnerLinf, carlini_wagner_linf
from energylens.attacks.diff_pgd import DiffPGD, diff_pgd
from energylens.attacks.result import AttackResult
from energylens.attacks.settings import Settings
from energylens.errors import InputError


@dataclass(frozen=True)
class AttackRow:
    """One row. ``fixed`` names settings that this attack has no use for; a change of what it computes raises its
    ``revision``, so that rows recorded before are not taken for its own. The images of a row that ``keeps_images`` are
    kept with its record: they are too expensive to make twice. ``versions``: the rows that a setting ``version`` names.

    What ``strength.py`` asks: ``follows_gradient``, whether its images come from gradients; ``wanders``, it asks for
    more than a wrong label, so that more steps promise nothing; ``outdoes``, the rows it must not do worse than.
    """

    name: str
    label: str
    run: Callable[..., AttackResult]
    defaults: Settings
    summary: str
    source: str
    norms: tuple[str, ...] = ("linf", "l2")
    fixed: frozenset[str] = frozenset()
    aliases: tuple[str, ...] = ()
    revision: int = 1
    keeps_images: bool = False
    versions: Mapping[str, str] = field(default_factory=dict)
    follows_gradient: bool = True
    wanders: bool = False
    outdoes: tuple[str, ...] = ()

    def free_settings(self) -> dict[str, str]:
        """The settings a user may change beside eps and norm, each with its default as text."""
        names = [f.name for f in fields(self.defaults) if f.name not in self.fixed | self.defaults.recipe]
        values = {name: getattr(self.defaults, name) for name in names}
        shown = {name: "standard" if value is None else str(value) for name, value in values.items()}
        if (relative := getattr(self.defaults, "relative_step", None)) is not None:
            shown["step_size"] = f"{relative:g} eps"
        if self.versions:
            shown["version"] = next(version for version, row in self.versions.items() if row == self.name)
        return {name: value for name, value in shown.items() if name not in ("eps", "norm")}


_ANY = math.nan  # stands for eps in the rows' defaults until a radius is given
_ONE_STEP = frozenset({"steps", "loss", "gamma"})
_PACKAGE_NORMS = ("linf", "l2", "l1")
_APGD = frozenset({"queries", "targets"})
_ENSEMBLE = _APGD | {"steps", "restarts", "eot"}

ATTACKS: tuple[AttackRow, ...] = (
    AttackRow(
        "fgsm", "FGSM", ascend, Ascent(_ANY), "one step of eps from x", "arXiv 1412.6572",
        fixed=_ONE_STEP | {"restarts"},
    ),
    AttackRow(
        "rs-fgsm", "RS-FGSM", ascend, Ascent(_ANY, start="uniform", relative_step=1.25),
        "one step of 1.25 eps from a random start, clipped to eps", "arXiv 2001.03994", fixed=_ONE_STEP,
    ),
    AttackRow(
        "n-fgsm", "N-FGSM", ascend, Ascent(_ANY, start="uniform", start_scale=2.0, clip=False),
        "one step of eps from noise of 2 eps, not clipped: up to 3 eps away", "arXiv 2202.01181", fixed=_ONE_STEP,
    ),
    # PGD, TRADES-KL, HE-PGD: eps/4 is the 2/255 at 8/255 of arXiv 2407.06315, as a share of any eps ours [R]; 20 steps
    # are ours [R], not tuned. Starts: uniform 1706.06083, .001 N(0, 1) 1901.08573; HE-PGD's, that of PGD, ours [R]
    AttackRow(
        "pgd", "PGD", ascend, Ascent(_ANY, start="uniform", steps=20, relative_step=0.25),
        "ascent of the cross-entropy (or loss=margin, dlr) from a random start", "arXiv 1706.06083",
        fixed=frozenset({"gamma"}), outdoes=("fgsm", "rs-fgsm"),
    ),
    AttackRow(
        "trades", "TRADES-KL", ascend,
        Ascent(_ANY, start="gaussian", start_scale=0.001, steps=20, relative_step=0.25, loss="kl"),
        "ascent of KL(p(.|x) || p(.|x')) from x + .001 N(0, 1)", "arXiv 1901.08573",
        fixed=frozenset({"loss", "gamma"}), aliases=("trades-kl",), wanders=True,
    ),
    AttackRow(
        "he-pgd", "HE-PGD", ascend,
        Ascent(_ANY, start="uniform", steps=20, relative_step=0.25, loss="high-energy"),
        "PGD on cross-entropy + gamma E(x'): made to leave no trace in E(x)", "arXiv 2304.04033",
        fixed=frozenset({"loss"}), wanders=True,
    ),
    AttackRow(
        "diff-pgd", "Diff-PGD", diff_pgd, DiffPGD(_ANY),
        "PGD through a diffusion model's purifier R, gradient straight through it (or form=full); settings for other "
        "data than ImageNet are our reconstruction", "arXiv 2305.16494",
        keeps_images=True, wanders=True,
    ),
    AttackRow(
        "cw", "C&W", carlini_wagner, CarliniWagner(),
        "smallest L2 perturbation at a fixed c: the energy papers' setting", "arXiv 1608.04644; torchattacks",
        norms=("l2",), fixed=frozenset({"search_steps"}), aliases=("cw-l2",),
    ),
    # c, searches, rate and early stop: Carlini's l2_attack.py; steps ours [R], his are 10,000
    AttackRow(
        "cw-search", "C&W search", carlini_wagner,
        CarliniWagner(c=1e-3, steps=1000, search_steps=9, stop_ratio=0.9999),
        "smallest L2 perturbation with a binary search over c", "arXiv 1608.04644",
        norms=("l2",), outdoes=("cw",),
    ),
    AttackRow(
        "cw-linf", "C&W Linf", carlini_wagner_linf, CarliniWagnerLinf(),
        "small Linf perturbation in 50 steps: the brother of cw", "arXiv 1608.04644", norms=("linf",),
    ),
    # c, steps, shrink: ours [R], for fewer passes; Carlini's li_attack.py has c 1e-5, 1,000 steps for each c, shrink .9
    AttackRow(
        "cw-linf-search", "C&W Linf search", carlini_wagner_linf,
        CarliniWagnerLinf(c=1e-3, steps=1000, shrink=0.97),
        "smallest Linf perturbation, raising c until it stays", "arXiv 1608.04644", norms=("linf",),
    ),
    AttackRow(
        "apgd-ce", "APGD-CE", run_package, Package(_ANY, ("apgd-ce",)),
        "PGD that adapts its step, on the cross-entropy", "arXiv 2003.01690; pyautoattack",
        norms=_PACKAGE_NORMS, fixed=_APGD,
    ),
    AttackRow(
        "apgd-t", "APGD-T", run_package, Package(_ANY, ("apgd-t",)),
        "the same on the targeted DLR loss, class after class", "arXiv 2003.01690; pyautoattack",
        norms=_PACKAGE_NORMS, fixed=frozenset({"queries", "restarts"}),
    ),
    AttackRow(
        "apgd-dlr", "APGD-DLR", run_package, Package(_ANY, ("apgd-dlr",)),
        "the same on the DLR loss", "arXiv 2003.01690; pyautoattack", norms=_PACKAGE_NORMS, fixed=_APGD,
    ),
    AttackRow(
        "fab", "FAB", run_package, Package(_ANY, ("fab",)),
        "a small perturbation, by projections on the decision boundary", "arXiv 1907.02044; pyautoattack",
        norms=_PACKAGE_NORMS, fixed=frozenset({"queries", "eot", "targets"}),
    ),
    AttackRow(
        "fab-t", "FAB-T", run_package, Package(_ANY, ("fab-t",)),
        "the same towards class after class", "arXiv 1907.02044; pyautoattack",
        norms=_PACKAGE_NORMS, fixed=frozenset({"queries", "eot", "restarts"}),
    ),
    AttackRow(
        "square", "Square", run_package, Package(_ANY, ("square",)),
        "random search without gradients", "arXiv 1912.00049; pyautoattack",
        norms=_PACKAGE_NORMS, fixed=_ENSEMBLE - {"queries"}, follows_gradient=False,
    ),
    AttackRow(
        "autoattack", "AutoAttack", run_package, Package(_ANY, ("apgd-ce", "apgd-t", "fab-t", "square")),
        "the standard ensemble: APGD-CE, APGD-T, FAB-T, Square on what still stands", "arXiv 2003.01690; pyautoattack",
        norms=_PACKAGE_NORMS, fixed=_ENSEMBLE, keeps_images=True,
        versions={"standard": "autoattack", "plus": "autoattack-plus", "rand": "autoattack-rand"},
    ),
    AttackRow(
        "autoattack-plus", "AutoAttack+", run_package,
        Package(_ANY, ("apgd-ce", "apgd-dlr", "fab", "square", "apgd-t", "fab-t"), restarts=5),
        "the plus version: six attacks, 5 restarts", "arXiv 2003.01690; pyautoattack",
        norms=_PACKAGE_NORMS, fixed=_ENSEMBLE, keeps_images=True,
    ),
    AttackRow(
        "autoattack-rand", "AutoAttack rand", run_package,
        Package(_ANY, ("apgd-ce", "apgd-dlr"), restarts=1, eot=20),
        "the version for randomised models: gradients averaged over 20 draws", "arXiv 2003.01690; pyautoattack",
        norms=_PACKAGE_NORMS, fixed=_ENSEMBLE, keeps_images=True,
    ),
    AttackRow(
        "apgd-ensemble", "APGD ensemble", run_package, Package(_ANY, ("apgd-ce", "apgd-t")),
        "a shortcut, NOT AutoAttack: its first two attacks alone", "arXiv 2003.01690; pyautoattack",
        norms=_PACKAGE_NORMS, fixed=_ENSEMBLE, keeps_images=True,
    ),
)  # fmt: skip


def find_row(name: str) -> AttackRow:
    """The row of this name or alias."""
    known = {alias: row for row in ATTACKS for alias in (row.name, *row.aliases)}
    if name.lower() in known:
        return known[name.lower()]
    close = difflib.get_close_matches(name.lower(), known, n=3)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    raise InputError(f"unknown attack {name!r}: {hint}the attacks are {', '.join(row.name for row in ATTACKS)}")


def ascent_of(name: str, **own: Any) -> Ascent:
    """The settings of this row, one that ``ascend`` runs, with one's own in their place; eps is nan until it is given.

    >>> ascent_of("rs-fgsm", eps=0.1).step
    0.125
    """
    defaults = find_row(name).defaults
    assert isinstance(defaults, Ascent)
    return replace(defaults, **own)
