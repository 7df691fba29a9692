"""Is RESULTS.md true? Every measured claim with its command, our number, the paper's and the verdict.

    python -m analyses.claims                 # measures the claims of demo scale again and compares
    python -m analyses.claims --write         # and writes RESULTS.md anew

Claims marked as recorded come out of ``analyses/results/``; they take hours and are read, not measured again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import click
import pandas as pd
import torch

from analyses import generation_scores, samples_matter
from analyses.digits_runs import METHODS, trained
from analyses.lab import Lab
from analyses.overfitting import RESULTS as STUDIES
from analyses.overfitting import machine, recorded, summary
from analyses.training_runs import TrainingRun
from energylens.plots.tables import markdown
from energylens.program import run_program
from energylens.training.methods import weat_weight

RESULTS = Path(__file__).parents[1] / "RESULTS.md"
SCORES = partial(generation_scores.exhibit, classifier="digits-standard")  # whatever lies in torch's cache
HEADINGS = ("claim", "command", "seed", "ours", "paper", "verdict")
#: of the studies: where the numbers beside ours are from
PUBLIC_RUNS = {
    "co": "arXiv 2001.03994, 2007.02617: PreActResNet-18, PGD-50-10",
    "ro": "arXiv 2002.11569: public logs, and an independent replication",
}
PUBLISHED_ENDS = {"FGSM": "0 (8/255)", "RS-FGSM": "~45 (8/255)", "FGSM + GradAlign": "~47.6 (8/255)"}
PREFACE = """# Results

Every number below comes out of `python -m analyses.claims --write` ({machine});
`python -m analyses.claims` measures those that are not marked as recorded again and compares. A dash: no published
number. "Other data" means that the paper's number is of CIFAR-10 and a larger network, so that only sign and order
compare. DER's formula is its author's, its gamma, beta and switches are ours; the rules by which samples are left out
and local PCA are our reconstructions. Of the recorded studies, the rows that README marks with a star were recorded by
the version before, whose command had other arms.

"""


@dataclass(frozen=True)
class Claim:
    """One line. measure: of a lab, a number; digits: shown after the point; slack: how far a new measurement may lie
    from what RESULTS.md says (a recorded number not at all); paper, verdict: in words; holds: whether the verdict is
    true of the number; beside: the same of a lab, where the number alone does not tell; recorded: whether it is read
    and not measured; provenance: of the paper's number, where there is one."""

    what: str
    command: str
    measure: Callable[[Lab], float]
    digits: int = 1
    slack: float = 0.05
    unit: str = "%"
    paper: str = "–"
    verdict: str = "–"
    seed: str = "0"
    recorded: bool = False
    holds: Callable[[float], bool] = math.isfinite
    beside: Callable[[Lab], bool] | None = None
    provenance: str = ""

    def told(self, value: float) -> str:
        """The number as RESULTS.md shows it."""
        return f"{value:.{self.digits}f} {self.unit}".strip() + (", recorded" if self.recorded else "")


def _accuracy(model: str, attack: str, n: int, lab: Lab) -> float:
    """Accuracy under an attack, %; natural accuracy for the attack "natural"."""
    record = lab.profile(model, attacks="fgsm" if attack == "natural" else attack, n=n)
    return 100 * float(record.as_numbers()[0 if attack == "natural" else 1]["accuracy"])


def _summarised(model: str, attack: str, n: int, column: str, lab: Lab) -> float:
    """A column of the attack's summary."""
    return float(lab.profile(model, attacks=attack, n=n).as_numbers()[1][column])


def _weight(energy: float, lab: Lab) -> float:
    """WEAT's weight at this E(x)."""
    return float(weat_weight(torch.tensor([[-energy, -math.inf]], dtype=torch.float64)))


@cache
def _looked_into(
    analysis: Callable[[Lab], Any], runs: Path, root: Path | None, jobs: int, tell: Callable[[str], None]
) -> tuple[Any, Lab]:
    lab = Lab(runs=runs, root=root, jobs=jobs, tell=tell)
    return analysis(lab), lab


def _once(analysis: Callable[[Lab], Any], lab: Lab) -> Any:
    """What an analysis finds at demo scale, looked into once for all claims about it."""
    found, own = _looked_into(analysis, lab.runs, lab.root, lab.jobs, lab.tell)
    lab.used.extend(run for run in own.used if run not in lab.used)
    return found


def _side_by_side(lab: Lab) -> dict[str, TrainingRun]:
    """The runs of all methods."""
    return trained(lab, tuple(METHODS))


def _last_delta(method: str, lab: Lab) -> float:
    """dE(x) of the training samples in the last epoch, nats."""
    return float(_once(_side_by_side, lab)[method].history["delta_marginal"].iloc[-1])


def _frechet(start: str, lab: Lab) -> float:
    """Frechet distance of the images from a start without guidance, the mean over the seeds."""
    table = _once(SCORES, lab)
    chosen = table[(table["images"] == start) & (table["guidance"] == "none") & (table["score"] == "frechet_distance")]
    return float(chosen["value"].item())


def _without(rule: str, quantity: str, column: str, lab: Lab) -> float:
    """A column of ``samples_matter`` for the networks trained without a rule's samples."""
    table = _once(samples_matter.exhibit, lab)
    return float(table[(table["rule"] == rule) & (table["quantity"] == quantity)][column].iloc[0])


def _told_from_chance(rule: str, quantity: str, wanted: bool, lab: Lab) -> bool:
    """Whether the 95 % interval of what is lost beside random leaves out 0, or, where that is not wanted, holds it."""
    mean, half = (_without(rule, quantity, column, lab) for column in ("worse", "worse_half"))
    return (abs(mean) > half) == wanted


@cache
def _watched() -> pd.DataFrame:
    """What the watch heard in the studies' runs, a row a run."""
    return pd.read_csv(STUDIES / "early_warning_studies.csv").fillna({"failed": "", "alarm": ""})


def _heard(failed: str, alarm: str, early: bool, lab: Lab) -> float:
    """How many of the runs that failed so ("" for not at all) the watch called so, or called early: before the
    evaluation that showed it."""
    runs = _watched()
    called = runs[(runs["failed"] == failed) & (runs["alarm"] == alarm)]
    return float((called["lead"] > 0).sum() if early else len(called))


@cache
def _study(name: str) -> pd.DataFrame:
    return summary(recorded(name, "runs")).set_index("arm")


def _recorded(name: str, arm: str, column: str, lab: Lab) -> float:
    """The mean over the seeds of a recorded study."""
    return float(_study(name)[f"{column}_mean"].to_dict()[arm])


def _negative(value: float) -> bool:
    return value < 0


def _positive(value: float) -> bool:
    return value > 0


def _of_study(name: str, what: str, arm: str, column: str, unit: str, paper: str) -> Claim:
    """A recorded mean over the seeds, and what became of them."""
    row = {kind: int(_study(name)[kind].to_dict()[arm]) for kind in ("n", "co", "ro")}
    failures = {"collapse": row["co"], "lose 3 points or more to robust overfitting": row["ro"]}
    told = "; ".join(f"{count} of {row['n']} {kind}" for kind, count in failures.items() if count)
    command = f"python -m analyses.overfitting {name} --data-root DATA"
    measure = partial(_recorded, name, arm, column)
    return Claim(
        what, command, measure, 1, 0, unit, paper, told or f"{row['n']} of {row['n']} hold", "0, 1, 2", True,
        provenance="" if paper == "–" else PUBLIC_RUNS[name],
    )  # fmt: skip


def _of_generation() -> list[Claim]:
    """Which start's images lie nearest to the training images."""
    return [
        Claim(
            f"generated from {start}: Frechet distance (digits-standard penultimate)", "energylens figures generation",
            partial(_frechet, start), 1, 0.5, "", "–", verdict, "0, 1, 2", holds=holds,
        )
        for start, verdict, holds in (
            ("local-pca", "nearest in the mean; intervals overlap", lambda value: value < 17),
            ("pca", "next in the mean; intervals overlap", lambda value: 17 < value < 18.5),
            ("gaussian", "third in the mean; intervals overlap", lambda value: 18.5 < value < 100),
            ("noise", "far, beyond all intervals", lambda value: value > 200),
        )
    ]  # fmt: skip


def _of_omission() -> list[Claim]:
    """What PGD training loses without some samples."""
    told = {"all": "all samples", "random": "10 % left out at random"}
    lines = [
        Claim(
            f"PGD training on digits, {told[rule]}: {quantity} accuracy", "energylens figures samples-matter",
            partial(_without, rule, quantity, "mean"), 1, 2.0, "%", seed="0, 1, 2, 3",
        )
        for rule in told
        for quantity in ("natural", "PGD")
    ]  # fmt: skip
    lines += [
        Claim(
            f"PGD training on digits without 10 % {rule}: {quantity} accuracy lost beside random",
            "energylens figures samples-matter", partial(_without, rule, quantity, "worse"), 1, 2.0, "points",
            paper, verdict, "0, 1, 2, 3", holds=_positive if seen else math.isfinite,
            beside=partial(_told_from_chance, rule, quantity, seen), provenance=source,
        )
        for rule, quantity, paper, verdict, seen, source in (
            ("high-energy", "natural", "–", "above 0 with 95 %, but one of six intervals", True, ""),
            ("misclassified", "natural", "–", "above 0 with 95 %", True, ""),
            (
                "high-energy", "PGD", "harms, as without misclassified",
                "cannot be told from chance: not reproduced; other data", False,
                "arXiv 2407.06315: secondary note; its selection is not known to us",
            ),
            ("misclassified", "PGD", "–", "cannot be told from chance", False, ""),
            ("low-energy", "PGD", "–", "cannot be told from chance", False, ""),
        )
    ]  # fmt: skip
    return lines


def _of_early_warning() -> list[Claim]:
    """What the watch heard in the runs of the studies."""
    runs = _watched()["failed"].value_counts()
    return [
        Claim(
            f"early warning of the studies' {runs.sum()} runs: {what}",
            "python -m analyses.early_warning --window 10 --rise 0.05 RUN...",
            partial(_heard, failed, alarm, early), 0, 0, f"of {runs[failed]}", seed="0, 1, 2", recorded=True,
        )
        for what, failed, alarm, early in (
            ("collapses called", "co", "co", False),
            ("collapses called before the evaluation that showed them", "co", "co", True),
            ("runs that held, called wrongly", "", "co", False),
            ("runs of robust overfitting called", "ro", "ro", False),
        )
    ]  # fmt: skip


def _command(model: str, attack: str, n: int) -> str:
    return f"energylens profile --model {model} --attack {attack} --n {n}"


def all_claims() -> list[Claim]:
    """The lines of RESULTS.md, in its order."""
    standard, robust, strong = "digits-standard", "digits-pgd", "pgd,steps=50,restarts=10"
    train = "energylens figures phases weat"
    other = "sign as published; other data"
    lines = [
        Claim(f"{model}: natural accuracy", _command(model, "fgsm", 500), partial(_accuracy, model, "natural", 500))
        for model in (standard, robust)
    ]
    lines += [
        Claim(f"{model}: {attack}", _command(model, attack, n), partial(_accuracy, model, attack, n))
        for model, attack, n in ((standard, "pgd", 500), (robust, strong, 500), (robust, "autoattack", 200))
    ]
    lines += [
        Claim(
            f"{standard}: mean dE(x) of {attack}",
            _command(standard, attack, 256),
            partial(_summarised, standard, attack, 256, "delta_marginal_mean"),
            2,
            0.005,
            "nats",
            paper,
            other,
            holds=_negative,
            provenance=source,
        )
        for attack, paper, source in (
            ("cw", "about -5", "arXiv 2407.06315: read off a figure"),
            ("he-pgd", "negative", "arXiv 2304.04033: a figure"),
        )
    ]
    lines += [
        Claim(
            f"{standard}: AUROC of E(x), {attack}", _command(standard, attack, 256),
            partial(_summarised, standard, attack, 256, "auroc"), 2, 0.005, "", "–", verdict, holds=holds,
        )
        for attack, verdict, holds in (
            ("pgd", "little trace", lambda value: abs(value - 0.5) < 0.1),
            ("he-pgd", "wholly right of the data, or nearly", lambda value: value < 0.1),
        )
    ]  # fmt: skip
    lines += [
        Claim(
            f"WEAT's weight at E(x) = {energy:g}",
            "energylens figures weat-weight",
            partial(_weight, energy),
            4,
            0,
            "",
            paper,
            "as published",
            provenance="arXiv 2407.06315: its formula",
        )
        for energy, paper in ((0.0, "1.4427"), (-3.87, ".257"), (-11.47, ".0872"))
    ]
    lines += [
        Claim(
            f"last dE(x) of {method}", train, partial(_last_delta, method), 2, slack, "nats", paper, other,
            holds=_negative, provenance="arXiv 2407.06315: read off figures",
        )
        for method, paper, slack in (
            ("PGD", "-.74", 0.3), ("TRADES", "-.06; -.044", 0.02), ("MAIL-TRADES", "-.032", 0.02),
            ("WEAT_nat", "-.022", 0.02),
        )
    ]  # fmt: skip
    lines.append(
        Claim(
            "last dE(x) of WEAT_adv", train, partial(_last_delta, "WEAT_adv"), 2, 0.02, "nats", "-.005",
            "nearest to 0, as published; other data", holds=lambda value: abs(value) < 0.03,
            provenance="arXiv 2407.06315: read off figures",
        )
    )  # fmt: skip
    lines += _of_generation() + _of_omission() + _of_early_warning()
    lines += [
        _of_study(
            "co", f"fast training of co-small at eps 28/255, {arm}: PGD-10 at the end", arm, "end_pgd", "%",
            PUBLISHED_ENDS.get(arm, "–"),
        )
        for arm in _study("co").index
    ]  # fmt: skip
    lines += [
        _of_study(
            "ro", f"robust overfitting of ro-small, {arm}: lost after the best epoch", arm, "lost", "points",
            "7.9 to 8.6" if arm == "PGD" else "–",
        )
        for arm in _study("ro").index
    ]  # fmt: skip
    return lines


def measured(claims: Sequence[Claim], lab: Lab) -> pd.DataFrame:
    """The lines of RESULTS.md, each measured now or read where it was recorded."""
    rows = []
    for claim in claims:
        lab.tell(claim.what)
        cells = (
            claim.what,
            f"`{claim.command}`",
            claim.seed,
            claim.told(claim.measure(lab)),
            claim.paper,
            claim.verdict,
        )
        rows.append(dict(zip(HEADINGS, cells, strict=True)))
    return pd.DataFrame(rows)


def written() -> dict[str, float]:
    """Our numbers in RESULTS.md, by claim."""
    lines = [line.split(" | ") for line in RESULTS.read_text().splitlines() if line.startswith("| ")]
    return {cells[0].removeprefix("| "): float(cells[3].split()[0]) for cells in lines[1:] if "---" not in cells[0]}


def untrue(claims: Sequence[Claim], lab: Lab) -> list[str]:
    """What RESULTS.md says otherwise than it is measured now, a sentence each; recorded numbers must be the same."""
    said, faults = written(), []
    for claim in claims:
        lab.tell(claim.what)
        if claim.what not in said:
            faults.append(f"{claim.what}: not in {RESULTS.name}")
        elif abs((value := claim.measure(lab)) - said[claim.what]) > _slack(claim):
            faults.append(f"{claim.what}: {RESULTS.name} says {said[claim.what]:g}, measured {claim.told(value)}")
        elif not (claim.holds(value) and (claim.beside is None or claim.beside(lab))):
            faults.append(f"{claim.what}: {claim.told(value)} is not {claim.verdict!r}")
    return faults


def _slack(claim: Claim) -> float:
    return (0.0 if claim.recorded else claim.slack) + 0.501 * 0.1**claim.digits  # half a last digit, and rounding


@click.command()
@click.option("--write", is_flag=True, help="Write RESULTS.md anew.")
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs"), help="Where runs are kept.")
@click.option("--jobs", default=1, help="Training runs at a time, a thread each.")
def main(write: bool, runs: Path, jobs: int) -> None:
    """Compare RESULTS.md with what is measured now."""
    lab = Lab(runs=runs, jobs=jobs, tell=partial(click.echo, err=True))
    if write:
        table = measured(all_claims(), lab)
        RESULTS.write_text(PREFACE.format(machine=machine()) + markdown(table))
        return
    if faults := untrue(all_claims(), lab):
        raise click.ClickException("\n".join(faults))
    click.echo(f"{RESULTS.name} is true: {len(all_claims())} claims")


if __name__ == "__main__":
    run_program(main)
