"""The zoo is a table of rows, and a name is found in it. Imports nothing heavy."""

import csv
import difflib
import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from fractions import Fraction
from importlib.resources import files
from pathlib import Path
from typing import Any

from energylens.errors import InputError, RunError, some
from energylens.models.description import description_beside
from energylens.models.threat_models import plain

_SHOWN = 8  # candidates named in a message
_NUMBERS = ("eps", "clean", "autoattack", "corruptions")  # columns of robustbench.csv
WEIGHTS = Path(__file__).parent / "weights"  # of the shipped models


@dataclass(frozen=True)
class ZooRow:
    """One model: its name, which source loads it, and what was published about it.

    Attributes:
        name: in full, as the source has it.
        source: `energylens` (shipped), `pyautoattack` (an example in its wheel) or `robustbench`.
        dataset: the data set that it was trained on.
        threat_model: `Linf`, `L2`, `corruptions`, or None for a natural model of no benchmark.
        eps: the radius of the threat model, in units of images in [0, 1].
        architecture: its name; for a row of our own sources one of ARCHITECTURES.
        clean: accuracy on the test images in %, published, or measured for our own.
        autoattack: the same under AutoAttack.
        corruptions: the same on corrupted images.
        extra_data: whether more was trained on than the data set.
        citation: venue and year.
        link: address of the paper.
        preprocessing: resize and crop, in RobustBench's words (`Res256Crop224`).
    """

    name: str
    source: str
    dataset: str
    threat_model: str | None = None
    eps: float | None = None
    architecture: str | None = None
    clean: float | None = None
    autoattack: float | None = None
    corruptions: float | None = None
    extra_data: bool = False
    citation: str | None = None
    link: str | None = None
    preprocessing: str | None = None

    @property
    def label(self) -> str:
        """`dataset/threat model/name`, unique in the zoo."""
        return "/".join(filter(None, (self.dataset, self.threat_model, self.name)))


#: In the wheel of another package.
_EXAMPLE = ZooRow(
    "autoattack-resnet18",
    "pyautoattack",
    "cifar10",
    architecture="resnet18",
    clean=94.4,  # measured: the package does not state it
    citation="ICML 2020",
    link="https://github.com/fra31/auto-attack",
)


@functools.cache
def rows() -> tuple[ZooRow, ...]:
    """Every model of the zoo: the shipped ones and the example, then RobustBench's from `robustbench.csv`.

    These stand in RobustBench's own order, in which the benchmark that is meant where a name stands in several comes
    first: cifar10, cifar100, imagenet, and of each Linf, L2, corruptions.

    Returns:
        The rows.

    Raises:
        RunError: the shipped weights are missing from this installation.
    """
    text = files("energylens.models").joinpath("robustbench.csv").read_text(encoding="utf-8")
    table = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    if not (own := sorted(WEIGHTS.glob("*.safetensors"))):
        raise RunError(f"{WEIGHTS} holds no weights of ours: reinstall energylens to get them")
    return *map(_shipped, own), _EXAMPLE, *map(_of_robustbench, table)


def find_models(pattern: str | None = None) -> list[ZooRow]:
    """The rows whose name or label fits a pattern; all of them for None.

    Args:
        pattern: a part of `dataset/threat model/name`, or a shell wildcard on the name or the whole label; case is
            ignored. None for all.

    Returns:
        The rows in the order of the zoo; none where nothing fits.

    Example:
        >>> [row.name for row in find_models("carmon")]
        ['Carmon2019Unlabeled']
        >>> [row.dataset for row in find_models("*/l2/standard")]
        ['cifar10']
    """
    wanted = (pattern or "*").lower()
    if not any(sign in wanted for sign in "*?["):
        wanted = f"*{wanted}*"
    return [row for row in rows() if any(fnmatchcase(text.lower(), wanted) for text in (row.name, row.label))]


def resolve(name: str, *, dataset: str | None = None, threat_model: str | None = None) -> ZooRow:
    """The row that a name means: exact, or an unambiguous prefix (`Carmon2019`); case is ignored.

    Where several benchmarks have the name, cifar10 is taken first, then cifar100, then imagenet, and Linf before L2
    before corruptions, as in RobustBench.

    Args:
        name: as a user writes it.
        dataset: only rows of this data set.
        threat_model: only rows of this threat model.

    Returns:
        The row.

    Raises:
        InputError: with the candidates of an ambiguous prefix, the benchmarks that have the name, or close matches.

    Example:
        >>> resolve("Rice2020").label, resolve("Rice2020", threat_model="L2").label
        ('cifar10/Linf/Rice2020Overfitting', 'cifar10/L2/Rice2020Overfitting')
    """
    benchmark = [row for row in rows() if _is(row.dataset, dataset) and _is(row.threat_model, threat_model)]
    fitting = _named(name, benchmark)
    if not fitting and (elsewhere := _named(name, rows())):
        asked, labels = " ".join(filter(None, (dataset, threat_model))), [row.label for row in elsewhere]
        raise InputError(f"{name!r} is not in the zoo for {asked}, but as {some(labels, _SHOWN)}")
    if not fitting:
        close = difflib.get_close_matches(name.lower(), [row.name.lower() for row in rows()], n=3)
        meant = dict.fromkeys(row.name for row in rows() if row.name.lower() in close)
        hint = f" Did you mean {' or '.join(meant)}?" if meant else ""
        raise InputError(f"unknown model {name!r}.{hint} `energylens models` lists them")
    names = list(dict.fromkeys(row.name for row in fitting))
    if len(names) > 1:
        raise InputError(f"{name!r} is the beginning of {len(names)} names: {some(names, _SHOWN)}. Write one in full")
    return fitting[0]  # the rows stand in the order of preference


def shipped_weights(row: ZooRow) -> Path:
    """Where the weights of a row of source `energylens` lie.

    Args:
        row: of the zoo, of source ``energylens``.

    Returns:
        The path of a safetensors file.
    """
    return WEIGHTS / f"{row.name}.safetensors"


def _of_robustbench(line: Mapping[str, str]) -> ZooRow:
    """A line of `robustbench.csv`; an empty cell says nothing."""
    told: dict[str, Any] = {name: text for name, text in line.items() if text}
    numbers = {name: float(Fraction(told[name])) for name in _NUMBERS if name in told}
    told |= numbers | {"extra_data": told["extra_data"] == "true"}
    return ZooRow(told.pop("model"), "robustbench", citation=told.pop("venue", None), **told)


def _shipped(weights: Path) -> ZooRow:
    """The row of a model of ours, from the JSON beside its weights."""
    about = description_beside(weights)
    facts = (about.dataset or "", about.threat_model, about.eps, about.arch)
    return ZooRow(weights.stem, "energylens", *facts, **vars(about.measured))


def _named(name: str, among: Iterable[ZooRow]) -> list[ZooRow]:
    """The rows of that name, else those whose name begins so."""
    wanted = name.lower()
    rows_by_start = [row for row in among if wanted and row.name.lower().startswith(wanted)]
    return [row for row in rows_by_start if row.name.lower() == wanted] or rows_by_start


def _is(have: str | None, wanted: str | None) -> bool:
    return wanted is None or (have is not None and plain(have) == plain(wanted))
