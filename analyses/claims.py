"""Is RESULTS.md true? Every claim of a paper that can be tested here, and every number of ours without such a claim.

    python -m analyses.claims                       # measures what is of demo scale again and compares
    python -m analyses.claims --write               # and writes RESULTS.md anew
    python -m analyses.claims --write --recorded    # only the lines that are read out of analyses/results/

The threshold of a claim is the paper's statement, never a measurement of ours: a sign, an order, a number. A claim that
does not meet it is written as not reproduced. Lines marked as recorded come out of ``analyses/results/``; they take
hours and are read, not measured again.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
import pandas as pd
import torch

from analyses.shown import MODES, SHOWN
from analyses.shown import RESULTS as SHOWN_RESULTS
from energylens.cli.program import run_program
from energylens.figures.run_cache import RunCache
from energylens.figures.studies import RECORDS, command_beside, recorded
from energylens.plots.tables import markdown
from energylens.tables.origin import machine, origin, record_table
from energylens.training.methods import weat_weight

RESULTS = Path(__file__).parents[1] / "RESULTS.md"
CSV = RECORDS / "claims.csv"
RESULTS_OF_STUDIES = Path(__file__).parent / "results"
DRAWN = RESULTS_OF_STUDIES / "gallery"
COMMAND = "python -m analyses.claims --write"
HEADINGS = ("claim", "command", "seed", "ours", "paper", "threshold", "verdict")
PLAIN = ("number", "command", "seed", "ours")
HOLDS, FAILS = "as published", "not reproduced"
DATA, NETWORK = "other data", "other network"  # than the paper's
#: of the studies: where the numbers beside ours are from
PUBLIC_RUNS = {
    "co": "arXiv 2001.03994, 2007.02617: PreActResNet-18, PGD-50-10",
    "ro": "arXiv 2002.11569: public logs, and an independent replication",
}
EXPLAINER = "its first author's explainer of arXiv 2505.22486"
ITS_FIGURE = "arXiv 2407.06315: read off a figure"
PREFACE = """# Results

Written by `python -m analyses.claims --write` ({machine});
`python -m analyses.claims` measures what is not marked as recorded again and compares.

## Claims of the papers

The threshold is what the paper says: a sign, an order or a number, never a measurement of ours. What does not meet it
is written as not reproduced. "Other data" means that the paper's number is of CIFAR-10 and a larger network, "other
network" that it is of CIFAR-10 and a WRN-28-10, so that only sign and order are compared. DER's formula is its
author's, its gamma, beta and switches are ours; the rules by which samples are left out are our reconstruction. What
counts as a collapse (PGD accuracy under half of its best) and as robust overfitting (its mean over five epochs 3 points
under its best) is ours [R]. Of the lines of the last dE(x): the recipe was chosen so that PGD overfits; one seed.

"""
NUMBERS = """
## Numbers of ours

No paper says what these should be; nothing is claimed of them but that the command gives them.

"""


@dataclass(frozen=True)
class Claim:
    """One line.

    A claim of a paper has paper, provenance, threshold, holds and other. A number of ours has none of them.

    Attributes:
        measure: of a run cache, a number.
        digits: how many are shown after the point.
        slack: how far a new measurement may lie from what RESULTS.md says (a recorded number not at all).
        recorded: whether it is read and not measured.
        paper: the paper's number or statement.
        provenance: where that is from.
        threshold: in words, what of it is asked of ours.
        holds: whether the run cache's number meets it.
        other: what else the paper's is of.
    """

    what: str
    command: str
    measure: Callable[[RunCache], float]
    digits: int = 1
    slack: float = 0.05
    unit: str = "%"
    seed: str = "0"
    recorded: bool = False
    paper: str = ""
    provenance: str = ""
    threshold: str = ""
    holds: Callable[[float, RunCache], bool] | None = None
    other: str = DATA

    def told(self, value: float) -> str:
        """The number as RESULTS.md shows it.

        Args:
            value: as measured.

        Returns:
            The number with its unit.
        """
        return f"{value:.{self.digits}f} {self.unit}".strip() + (", recorded" if self.recorded else "")

    def verdict(self, value: float, cache: RunCache) -> str:
        """Whether the paper's statement holds of this number, in words; "" for a number of ours.

        Args:
            value: as measured.
            cache: where the runs come from that a statement may look at.

        Returns:
            The words.
        """
        if self.holds is None:
            return ""
        return "; ".join(filter(None, (HOLDS if self.holds(value, cache) else FAILS, self.other)))


def _accuracy(model: str, attack: str, n: int, cache: RunCache) -> float:
    """Accuracy under an attack, %; natural accuracy for the attack "natural"."""
    natural = attack == "natural"
    record = cache.profile(model, attacks="fgsm" if natural else attack, n=n)
    return 100 * float(record.as_numbers()[not natural]["accuracy"])


def _summarised(model: str, attack: str, n: int, column: str, cache: RunCache) -> float:
    """A column of the attack's summary."""
    return float(cache.profile(model, attacks=attack, n=n).as_numbers()[1][column])


def _weight(energy: float, cache: RunCache) -> float:
    """WEAT's weight at this E(x)."""
    return float(weat_weight(torch.tensor([[-energy, -math.inf]], dtype=torch.float64)))


@functools.cache
def _drawn(name: str) -> pd.DataFrame:
    """What a figure of the gallery draws, as recorded."""
    return pd.read_csv(DRAWN / f"{name}.csv", keep_default_na=False, na_values=[""])


def _last_delta(method: str, cache: RunCache) -> float:
    """dE(x) of the training samples in the last epoch, nats."""
    table = _drawn("phases" if method == "PGD" else "weat")
    return float(table.loc[table["method"] == method, "delta_marginal"].iloc[-1])


def _without(rule: str, quantity: str, column: str, cache: RunCache) -> float:
    """A column of ``samples_matter`` for the networks trained without a rule's samples."""
    table = _drawn("samples-matter")
    return float(table[(table["rule"] == rule) & (table["quantity"] == quantity)][column].iloc[0])


def _worse_than_random(rule: str, value: float, cache: RunCache) -> bool:
    """Whether all of the 95 % interval of the PGD accuracy lost beside random is above 0."""
    return value > _without(rule, "PGD", "worse_half", cache)


@functools.cache
def _watched() -> pd.Series[Any]:
    """How the trainer's rule did, at the thresholds that it has, on runs that had no part in these."""
    table = pd.read_csv(RESULTS_OF_STUDIES / "early-warning-usual.csv")
    return table[(table["rule"] == "energies or gap") & (table["method"] == "all")].iloc[0]


def _heard(column: str, cache: RunCache) -> float:
    """A count of it."""
    return float(_watched()[column])


@functools.cache
def _study(name: str) -> pd.DataFrame:
    """The runs of a recorded study, a row a run."""
    return recorded(name, "runs")


def _recorded(name: str, arm: str, column: str, cache: RunCache) -> float:
    """The mean over the seeds of a recorded study."""
    runs = _study(name)
    return float(runs.loc[runs["arm"] == arm, column].mean())


def _collapsed(arm: str) -> tuple[int, int]:
    """How many seeds of an arm of the CO study collapsed, and of how many."""
    failed = _study("co").set_index("arm").loc[[arm], "failed"]
    return int((failed == "co").sum()), len(failed)


def _negative(value: float, cache: RunCache) -> bool:
    return value < 0


def _positive(value: float, cache: RunCache) -> bool:
    return value > 0


def _equals(paper: str, value: float, cache: RunCache) -> bool:
    """Whether the number is the paper's to the paper's last digit."""
    return abs(value - float(paper)) <= 0.5 * 0.1 ** len(paper.partition(".")[2])


def _nearer_to_zero(others: tuple[str, ...], value: float, cache: RunCache) -> bool:
    """Whether the last |dE(x)| is below that of all these methods."""
    return abs(value) < min(abs(_last_delta(method, cache)) for method in others)


def _of_landscape() -> list[Claim]:
    """On which side of the data the paper's attacks lie, on CIFAR-10 and on the digits."""
    natural, _ = MODES["natural"]
    sides: dict[str, dict[str, Any]] = {}
    for attack, (mode, _) in MODES.items():
        left = float(mode) < float(natural)
        sides[attack] = {
            "paper": f"{mode} against {natural}", "provenance": ITS_FIGURE, "holds": _positive if left else _negative,
            "threshold": "above 0: left of the data" if left else "below 0: right of the data",
        }  # fmt: skip
    flat = {
        "paper": "flat, where PGD falls", "provenance": "arXiv 2304.04033: a figure", "holds": _nearer_than_pgd,
        "threshold": "nearer to 0 than PGD's",
    }  # fmt: skip
    command = SHOWN["eight-attacks"].command("eight-attacks")
    eight = [
        Claim(
            f"natural ResNet-20, CIFAR-10: mean dE(x) of {attack}", command, partial(_of_eight, attack), 1, 0, "nats",
            recorded=True, other=NETWORK, **side,
        )
        for attack, side in sides.items()
        if attack != "natural"
    ]  # fmt: skip
    return eight + [
        Claim(
            f"digits-standard: mean dE(x) of {attack}", _command("digits-standard", attack, 256),
            partial(_moved, attack), 2, 0.005, "nats", **side,
        )
        for attack, side in {**{name: sides[name] for name in ("pgd", "trades", "cw")}, "he-pgd": flat}.items()
    ]  # fmt: skip


def _moved(attack: str, cache: RunCache) -> float:
    """Mean dE(x) of digits-standard under an attack, nats."""
    return _summarised("digits-standard", attack, 256, "delta_marginal_mean", cache)


def _nearer_than_pgd(value: float, cache: RunCache) -> bool:
    """Whether a mean |dE(x)| is below that of PGD."""
    return abs(value) < abs(_moved("pgd", cache))


def _of_eight(attack: str, cache: RunCache) -> float:
    """Mean dE(x) under an attack in the recorded table of eight."""
    table = pd.read_csv(SHOWN_RESULTS / "eight-attacks.csv").set_index("attack")["marginal_mean"]
    named = {str(name).partition(",")[0]: float(value) for name, value in table.items()}
    return named["natural"] - named[attack]


def _of_weights() -> list[Claim]:
    """WEAT's weights."""
    return [
        Claim(
            f"WEAT's weight at E(x) = {energy:g}", "energylens figures weat-weight", partial(_weight, energy), 4, 0, "",
            paper=paper, provenance="arXiv 2407.06315: its formula", threshold="equal to its last digit",
            holds=partial(_equals, paper), other="",
        )
        for energy, paper in ((0.0, "1.4427"), (-3.87, ".257"), (-11.47, ".0872"))
    ]  # fmt: skip


def _of_curves() -> list[Claim]:
    """Where dE(x) ends under methods of training, and in which order."""

    def claim(method: str, paper: str, threshold: str, holds: Callable[[float, RunCache], bool]) -> Claim:
        return Claim(
            f"last dE(x) of {method}{'' if 'below 0' in threshold else ', beside others'}",
            "energylens figures phases weat", partial(_last_delta, method), 3, 0, "nats", recorded=True, paper=paper,
            provenance="arXiv 2407.06315: read off figures", threshold=threshold, holds=holds,
        )  # fmt: skip

    methods = ("TRADES", "MAIL-TRADES", "WEAT_nat")
    return [
        claim("PGD", "-.74", "below 0", _negative),
        claim("TRADES", "-.06; -.044", "below 0", _negative),
        claim("PGD", "-.74; TRADES -.06", "below TRADES'", lambda value, cache: value < _last_delta("TRADES", cache)),
        claim("MAIL-TRADES", "-.032", "nearer to 0 than TRADES", partial(_nearer_to_zero, methods[:1])),
        claim("WEAT_nat", "-.022", "nearer to 0 than TRADES and MAIL-TRADES", partial(_nearer_to_zero, methods[:2])),
        claim("WEAT_adv", "-.005", "nearest to 0 of all four", partial(_nearer_to_zero, methods[:3])),
    ]


def _of_generation() -> list[Claim]:
    """What makes good images."""
    finding = "arXiv 2407.06315: its finding, in words"
    return [
        Claim(
            f"generated from {start}: Frechet distance, PGD-trained less TRADES-trained",
            "energylens figures losses", partial(_losses_apart, start), 0, 0, "", recorded=True,
            paper="CE-trained nets are better", provenance=finding, threshold="below 0", holds=_negative,
        )
        for start in ("noise", "pca")
    ] + [
        Claim(
            f"generated from {start} over its spread: rank correlation of precision and recall",
            "energylens figures quality", partial(_traded, start), 2, 0, "", recorded=True,
            paper="quality and variability trade off", provenance=finding, threshold="below 0", holds=_negative,
        )
        for start in ("gaussian", "pca", "local-pca")
    ]  # fmt: skip


def _losses_apart(start: str, cache: RunCache) -> float:
    """How much nearer to the training images the PGD-trained model's images lie than the TRADES-trained one's."""
    told = _drawn("losses").drop_duplicates("panel").set_index("panel")["frechet"].to_dict()
    return float(told[f"PGD, from {start}"] - told[f"TRADES, from {start}"])


def _traded(start: str, cache: RunCache) -> float:
    """Spearman's correlation of precision and recall over the spreads of a start."""
    table = _drawn("quality")
    over = table[(table["start"] == start) & (table["varied"] == "spread")]
    return float(over["precision"].rank().corr(over["recall"].rank()))


def _of_omission() -> list[Claim]:
    """What PGD training loses without some samples, where that was recorded."""
    return [] if not (DRAWN / "samples-matter.csv").is_file() else [
        Claim(
            f"PGD training on digits without 10 % {rule}: PGD accuracy lost beside random",
            "energylens figures samples-matter", partial(_without, rule, "PGD", "worse"), 1, 0, "points",
            "0, 1, 2, 3", True, paper="harms robustness",
            provenance="arXiv 2407.06315: secondary note; its selection is not known to us",
            threshold="above 0 with 95 %", holds=partial(_worse_than_random, rule),
        )
        for rule in ("high-energy", "misclassified")
    ]  # fmt: skip


def _of_early_warning() -> list[Claim]:
    """What the watch heard in the runs of the studies."""
    runs = _watched()
    return [
        Claim(
            f"early warning of {runs['runs']} runs that its thresholds are not from: {what}",
            "python -m analyses.early_warning table --usual --judged-on all",
            partial(_heard, column), digits, 0, unit, "3, 4, 5", True,
        )
        for what, column, digits, unit in (
            ("collapses called", "co_called", 0, f"of {runs['co']}"),
            ("collapses called before the evaluation that showed them", "co_early", 0, f"of {runs['co']}"),
            ("runs of robust overfitting called", "ro_called", 0, f"of {runs['ro']}"),
            ("robust overfitting called before the evaluation that showed it", "ro_early", 0, f"of {runs['ro']}"),
            ("false alarms", "false_per_100", 1, "in 100 healthy epochs"),
        )
    ]  # fmt: skip


def _of_studies() -> list[Claim]:
    """Which ways of fast training collapse, and what robust overfitting costs."""
    (judge,) = _study("co")["judge"].unique()
    ends = {  # arm -> what its paper says of the end at 8/255, whether it collapses, where that is from
        "FGSM": ("0 (8/255)", True, PUBLIC_RUNS["co"]),
        "RS-FGSM": ("~45 (8/255)", False, PUBLIC_RUNS["co"]),
        "N-FGSM": ("47.4 to 49.5 (8/255)", False, "arXiv 2202.01181: secondary note"),
        "FGSM + GradAlign": ("~47.6 (8/255)", False, PUBLIC_RUNS["co"]),
        "FGSM + DER": ("holds collapse off", False, EXPLAINER),
    }
    collapses = {
        arm: {
            "paper": paper, "provenance": source, "holds": partial(_all_or_none, arm, falls),
            "threshold": f"{'every' if falls else 'no'} seed falls below half of its best",
        }
        for arm, (paper, falls, source) in ends.items()
    }  # fmt: skip
    losses: dict[str, dict[str, Any]] = {
        "PGD": {
            "paper": "7.9 to 8.6", "provenance": PUBLIC_RUNS["ro"], "threshold": "7.9 or more",
            "holds": lambda value, cache: value >= 7.9,
        },
        "PGD + DER": {
            "paper": "holds the loss off", "provenance": EXPLAINER, "holds": _loses_less,
            "threshold": "less than PGD alone, in every seed",
        },
    }  # fmt: skip
    fast, slow = "fast training of co-small at eps 28/255", "robust overfitting of ro-small"
    return [
        *_of_study("co", f"{fast}, {{}}: {judge} at the end", "last_pgd", "%", collapses),
        *_of_study("ro", f"{slow}, {{}}: lost after the best epoch", "lost", "points", losses),
    ]


def _of_study(name: str, told: str, column: str, unit: str, papers: Mapping[str, Mapping[str, Any]]) -> list[Claim]:
    """Every arm's recorded mean over the seeds. papers: what is claimed of an arm."""
    seeds = ", ".join(str(seed) for seed in sorted(_study(name)["seed"].unique()))
    command = command_beside(RECORDS / f"{name}-runs.csv")
    return [
        Claim(
            told.format(arm), command, partial(_recorded, name, arm, column), 1, 0, unit, seeds, True,
            **papers.get(arm, {}),
        )
        for arm in _study(name)["arm"].unique()
    ]  # fmt: skip


def _all_or_none(arm: str, falls: bool, value: float, cache: RunCache) -> bool:
    """Whether every seed collapsed, or none did."""
    fallen, n = _collapsed(arm)
    return fallen == (n if falls else 0)


def _loses_less(value: float, cache: RunCache) -> bool:
    """Whether PGD with DER loses less than PGD, seed by seed."""
    lost = _study("ro").pivot(index="seed", columns="arm", values="lost")
    return bool((lost["PGD + DER"] < lost["PGD"]).all())


def _command(model: str, attack: str, n: int) -> str:
    return f"energylens profile --model {model} --attack {attack} --n {n}"


def _of_accuracy() -> list[Claim]:
    """Accuracies of the shipped models."""
    standard, robust, strong = "digits-standard", "digits-pgd", "pgd,steps=50,restarts=10"
    natural = [
        Claim(f"{model}: natural accuracy", _command(model, "fgsm", 500), partial(_accuracy, model, "natural", 500))
        for model in (standard, robust)
    ]
    return natural + [
        Claim(f"{model}: {attack}", _command(model, attack, n), partial(_accuracy, model, attack, n))
        for model, attack, n in ((standard, strong, 500), (robust, strong, 500), (robust, "autoattack", 200))
    ]


def all_claims() -> list[Claim]:
    """The lines of RESULTS.md, in its order: the papers' claims first, then our own numbers.

    Returns:
        The lines.
    """
    lines = [*_of_landscape(), *_of_weights(), *_of_curves(), *_of_generation(), *_of_omission(), *_of_studies()]
    lines += [*_of_early_warning(), *_of_accuracy()]
    return sorted(lines, key=lambda claim: claim.holds is None)


def measured(claims: Sequence[Claim], cache: RunCache) -> pd.DataFrame:
    """The lines of RESULTS.md, each measured now or read where it was recorded.

    Args:
        claims: the lines, in their order.
        cache: where runs come from and are kept.

    Returns:
        A row a line, its columns HEADINGS, all text.
    """
    rows = []
    for claim in claims:
        cache.tell(claim.what)
        value = claim.measure(cache)
        ours, verdict = claim.told(value), claim.verdict(value, cache)
        rows.append((claim.what, f"`{claim.command}`", claim.seed, ours, claim.paper, claim.threshold, verdict))
    return pd.DataFrame(rows, columns=list(HEADINGS))


def page(table: pd.DataFrame) -> str:
    """RESULTS.md out of what ``measured`` gives: claims, then numbers.

    Args:
        table: as ``measured`` gives it.

    Returns:
        The page, Markdown.
    """
    numbers = table[table["threshold"] == ""]
    claims = table.drop(numbers.index)
    plain = numbers[["claim", *PLAIN[1:]]].rename(columns={"claim": "number"})
    seeds = _seeds(table)
    shown = f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
    told = f"\nRecorded: [{CSV.name}](energylens/figures/recorded/{CSV.name}), {shown}: `{COMMAND}`.\n"
    return PREFACE.format(machine=machine()) + markdown(claims) + told + NUMBERS + markdown(plain) + told


def _seeds(table: pd.DataFrame) -> list[int]:
    """Every seed that a line is of."""
    return sorted({int(seed) for seeds in table["seed"] for seed in seeds.split(",")})


def write(table: pd.DataFrame) -> None:
    """Write RESULTS.md, and beside the other records its lines as CSV.

    Args:
        table: as ``measured`` gives it.
    """
    RESULTS.write_text(page(table))
    provenance = {claim.what: claim.provenance for claim in all_claims()}
    table = table.assign(provenance=table["claim"].map(provenance))
    record_table(table, CSV, origin(COMMAND, _seeds(table), shows="each line's own command and seeds are in it"))


def written() -> dict[str, dict[str, str]]:
    """The lines of RESULTS.md, by claim: a cell a heading.

    Returns:
        By claim, by heading; no line that is not there.
    """
    found: dict[str, dict[str, str]] = {}
    headings: Sequence[str] = ()
    for line in RESULTS.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")] if line.startswith("|") else []
        if tuple(cells) in (HEADINGS, PLAIN):
            headings = ("claim", *cells[1:])
        elif cells and set(line) - set("|- "):
            found[cells[0]] = dict(zip(headings, cells, strict=True))
    return found


def untrue(claims: Sequence[Claim], cache: RunCache) -> list[str]:
    """What RESULTS.md says otherwise than it is measured now, a sentence each; recorded numbers must be the same.

    Args:
        claims: the lines.
        cache: where runs come from and are kept.

    Returns:
        The faults; none where all is as it was.
    """
    said, faults = written(), []
    for claim in claims:
        cache.tell(claim.what)
        if claim.what not in said:
            faults.append(f"{claim.what}: not in {RESULTS.name}")
            continue
        line, value = said[claim.what], claim.measure(cache)
        ours, verdict = float(line["ours"].split()[0].rstrip(",")), claim.verdict(value, cache)
        slack = (0.0 if claim.recorded else claim.slack) + 0.501 * 0.1**claim.digits  # half a last digit, and rounding
        if abs(value - ours) > slack:
            faults.append(f"{claim.what}: {RESULTS.name} says {ours:g}, measured {claim.told(value)}")
        elif line.get("verdict", "") != verdict:
            faults.append(f"{claim.what}: {claim.told(value)} is {verdict!r}, not {line.get('verdict', '')!r}")
    return faults


def kept(claims: Sequence[Claim], cache: RunCache) -> pd.DataFrame:
    """What ``measured`` gives of the recorded lines, and of the others what RESULTS.md says.

    Args:
        claims: the lines, in their order.
        cache: where runs come from and are kept.

    Returns:
        A row a line, as ``measured`` gives it.
    """
    said = written()
    fresh = measured([claim for claim in claims if claim.recorded or claim.what not in said], cache)
    new = {row["claim"]: row for row in fresh.to_dict("records")}
    return pd.DataFrame([new.get(claim.what) or said[claim.what] for claim in claims]).fillna("")


@click.command()
@click.option("--write", "anew", is_flag=True, help="Write RESULTS.md anew.")
@click.option("--recorded", "only_recorded", is_flag=True, help="Leave the lines as they are that are not recorded.")
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs"), help="Where runs are kept.")
def main(anew: bool, only_recorded: bool, runs: Path) -> None:
    """Compare RESULTS.md with what is measured now."""
    cache, claims = RunCache(runs=runs, tell=partial(click.echo, err=True)), all_claims()
    if anew:
        write(kept(claims, cache) if only_recorded else measured(claims, cache))
        return
    chosen = [claim for claim in claims if claim.recorded or not only_recorded]
    if faults := untrue(chosen, cache):
        raise click.ClickException("\n".join(faults))
    click.echo(f"{RESULTS.name} is true: {len(chosen)} lines")


if __name__ == "__main__":
    run_program(main)
