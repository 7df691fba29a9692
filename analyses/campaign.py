"""Fast and robust training on the whole of CIFAR-10, arm by arm, over as many sittings as it takes.

    python -m analyses.campaign cifar10 --jobs 2 --minutes 120 --data-root DATA --out DIR
    python -m analyses.campaign paper --jobs 4 --minutes 9 --data-root DATA --out DIR       # full size, for a GPU

Every arm is a run of ``energylens train`` in a process of one thread, then PGD-50 with 10 restarts and AutoAttack on
its best and its last epoch. Arms are taken in order of worth. The same command again goes on where the time ended or
the process was killed. An arm that is done is written to RESULTS;
``energylens/figures/campaign.py`` draws what is there.
"""

from __future__ import annotations

import ast
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import pandas as pd

from analyses.overfitting import check_arms
from energylens.cli.program import run_program
from energylens.errors import InputError, RunError
from energylens.files import whole_file
from energylens.tables.overfitting import PROVENANCE
from energylens.training.history import HISTORY
from energylens.training.recipes import settings_of
from energylens.training.settings import TrainSettings
from energylens.training.workers import SPAWN, deaf, leave_with_parent, spread

RESULTS = Path(__file__).parent / "results" / "campaign"  # a folder a campaign, in it one an arm
PLAN, EPOCHS, STEPS, FINAL = "campaign.json", "epochs.csv", "steps.csv", "final.json"
MISSING = "nan"  # in these tables, where an empty cell is an alarm that did not come
STEP_EVERY = 100  # steps between two rows of steps.csv
FAILED = "ended with status"
JUDGES = {"pgd_50_10": "pgd,steps=50,restarts=10", "autoattack": "autoattack"}
POLL = 0.5  # seconds between two looks at the processes
DER, SINGLE, ROBUST = {"reg": ("der",)}, {"recipe": "co"}, {"recipe": "ro"}


@dataclass(frozen=True)
class Campaign:
    """A campaign: many arms that share their settings.

    Attributes:
        shared: settings of all arms, over their recipes.
        arms: name -> recipe, settings and seeds, in order of worth.
        strong: test images that PGD-50-10 judges an arm by at the end, ours [R].
        autoattack: test images that AutoAttack judges an arm by at the end, ours [R].
    """

    shared: Mapping[str, Any]
    arms: Mapping[str, Mapping[str, Any]]
    strong: int = 1000
    autoattack: int = 200

    def runs(self, **own: Any) -> list[Arm]:
        """Every arm and seed.

        Args:
            own: settings over those of all arms, by name.

        Returns:
            The runs, first seeds of all arms before further ones.
        """
        found = []
        for name, arm in self.arms.items():
            settings = {key: value for key, value in arm.items() if key not in ("recipe", "seeds")}
            for seed in arm.get("seeds", (0,)):
                wanted = {**self.shared, **settings, "seed": seed, **own}
                found.append(Arm(name, settings_of(arm["recipe"], **wanted), self.strong, self.autoattack))
        return sorted(found, key=lambda arm: arm.settings.seed > 0)  # a first seed of every arm comes before seconds


@dataclass(frozen=True)
class Arm:
    """One training run and what judges it."""

    name: str
    settings: TrainSettings
    strong: int
    autoattack: int

    @property
    def slug(self) -> str:
        """``fgsm-der-16-255-s0``: its folder in RESULTS."""
        words = f"{self.name}-s{self.settings.seed}".lower()
        return "-".join("".join(c if c.isalnum() else " " for c in words).split())


def _single_step(eps: str, **own: Any) -> dict[str, dict[str, Any]]:
    """The arms of fast training at one radius, in the order they are told."""
    at = {**SINGLE, "eps": eps, **own}
    return {
        f"FGSM {eps}": {**at, "seeds": (0, 1, 2)},
        f"FGSM + DER {eps}": {**at, **DER, "seeds": (0, 1, 2)},
        f"RS-FGSM {eps}": {**at, "method": "rs-fgsm"},
        f"RS-FGSM + DER {eps}": {**at, **DER, "method": "rs-fgsm"},
        f"N-FGSM {eps}": {**at, "method": "n-fgsm"},
        f"GradAlign {eps}": {**at, "reg": ("gradalign",)},
        f"energy-linearity {eps}": {**at, "reg": ("energy-linearity",)},
    }


def _multi_step(**own: Any) -> dict[str, dict[str, Any]]:
    """The arms of robust overfitting."""
    at = {**ROBUST, **own}
    return {
        "PGD 8/255": at,
        "PGD + DER 8/255": {**at, **DER},
        "TRADES 8/255": {**at, "method": "trades"},
        "WEAT_adv 8/255": {**at, "method": "weat-adv"},
    }


_QUICK = {"amp": "bf16", "eval_samples": 500, "final_steps": 0}  # ``judge`` does more at the end
#: cifar10's width, classes of 1,000, PGD-7, 60 epochs, ramp at 16/255 alone and images judged are ours [R]: cut to what
#: a few CPU hours an arm allow
CAMPAIGNS: dict[str, Campaign] = {
    "cifar10": Campaign(
        {**_QUICK, "width": 16},
        {
            **_single_step("8/255"),
            **_single_step("16/255", eps_ramp=5.0),
            **_multi_step(steps=7, per_class=1000, epochs=60),
        },
    ),
    "paper": Campaign(
        {**_QUICK, "eval_every": 3, "watch_every": 100},
        {**_single_step("8/255"), **_single_step("16/255"), **_multi_step()},
    ),
}


@dataclass(frozen=True)
class Desk:
    """Where a campaign lies: out: its runs and records; results: what is kept of finished arms; root: the data."""

    out: Path
    results: Path
    root: Path | None = None

    def settle(self, arms: Sequence[Arm]) -> None:
        """Write the plan, or see that the one that is there is this.

        Args:
            arms: all runs of the campaign.

        Raises:
            InputError: where ``out`` holds another plan.
        """
        plan = {arm.slug: arm.settings.manifest() | {"judged": [arm.strong, arm.autoattack]} for arm in arms}
        path = self.out / PLAN
        if not path.exists():
            self.out.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as temporary:
                temporary.write_text(json.dumps(plan, indent=1) + "\n")
        elif (found := json.loads(path.read_text())) != plan:
            told = _difference(found, plan)
            raise InputError(f"{self.out} holds a campaign of other settings ({told}): give another --out")

    def done(self, arm: Arm) -> bool:
        """Whether the arm is written down, with these settings.

        Args:
            arm: the run to look for in ``results``.

        Returns:
            False also where it is there with other settings.
        """
        path = self.results / arm.slug / FINAL
        return path.is_file() and json.loads(path.read_text())["settings"] == arm.settings.manifest()


def _difference(found: Mapping[str, Any], plan: Mapping[str, Any]) -> str:
    """The first thing in which two plans differ, in words."""
    if odd := sorted(found.keys() ^ plan.keys()):
        return f"the arm {odd[0]} is in one of the two"
    return next(
        f"{slug}: {name} is {found[slug].get(name)!r} there, {settings.get(name)!r} here"
        for slug, settings in plan.items()
        for name in sorted(settings.keys() | found[slug].keys())
        if found[slug].get(name) != settings.get(name)
    )


def work_through(arms: Sequence[Arm], desk: Desk, *, jobs: int, minutes: float) -> list[str]:
    """Do what time allows.

    An arm that fails (its loss diverged) is written down as failed and does not stop the others.

    Args:
        arms: in order of worth.
        desk: where runs, data and results lie.
        jobs: how many arms at a time.
        minutes: when to stop.

    Returns:
        What is not done, a line each.
    """
    end, waiting = time.monotonic() + 60 * minutes, [arm for arm in arms if not desk.done(arm)]
    running: dict[int, Any] = {}  # by place; a GPU each, where there are as many
    failed: dict[str, int] = {}
    try:
        while (waiting or running) and time.monotonic() < end:
            for place, process in list(running.items()):
                if not process.is_alive():
                    del running[place]
                    if process.exitcode:
                        failed[process.name] = process.exitcode
            free = [place for place in range(jobs) if place not in running]
            for place in free[: len(waiting)]:
                arm = waiting.pop(0)
                running[place] = SPAWN.Process(target=_in_process, args=(arm, desk, place), name=arm.slug)
                with deaf():
                    running[place].start()
                click.echo(f"{time.strftime('%H:%M:%S')} {arm.slug}", err=True)
            time.sleep(POLL)
    finally:
        for process in running.values():  # what they have finished lies on the disk
            process.terminate()
            process.join()
    return [
        f"{arm.slug}: {FAILED} {failed[arm.slug]}" if arm.slug in failed else f"{arm.slug}: not done"
        for arm in arms
        if not desk.done(arm)
    ]


def _in_process(arm: Arm, desk: Desk, place: int) -> None:
    """What a process does; it ends with its parent."""
    leave_with_parent()
    spread(place)
    import torch

    torch.set_num_threads(1)
    perform(arm, desk)


def perform(arm: Arm, desk: Desk) -> None:
    """Train and judge an arm, going on where it was interrupted, and write it down.

    Args:
        arm: the run.
        desk: where its files go.
    """
    from energylens.training.loop import DivergenceError, train
    from energylens.training.watch import EnergyWatch

    began, diverged = time.monotonic(), ""
    try:
        folder = train(arm.settings, out=desk.out, root=desk.root, watch=EnergyWatch()).folder
    except DivergenceError as error:
        folder, diverged = error.folder, str(error)
    final: dict[str, Any] = {} if diverged else judge(arm, folder, desk)
    record(arm, folder, desk, {**final, "diverged": diverged, "last_sitting_seconds": round(time.monotonic() - began)})


def judge(arm: Arm, folder: Path, desk: Desk) -> dict[str, float | int]:
    """Accuracies of best and last weights in %: clean, PGD-50-10 (step eps/4), AutoAttack, with how many images.

    Args:
        arm: the run.
        folder: where its weights lie.
        desk: where the data and records lie.

    Returns:
        By weights and judge; and the number of images of each judge.
    """
    images = {"pgd_50_10": arm.strong, "autoattack": arm.autoattack}
    found: dict[str, float | int] = {f"{name}_images": n for name, n in images.items() if n}
    for which in ("best", "last"):
        weights, out = folder / f"{which}.safetensors", desk.out / "judged" / folder.name / which
        accuracies = strong_accuracies(weights, images, eps=arm.settings.eps, data_root=desk.root, out=out)
        found |= {f"{which}_{name}": accuracy for name, accuracy in accuracies.items()}
    return found


def strong_accuracies(weights: Path, images: Mapping[str, int], **settings: Any) -> dict[str, float]:
    """How right a network is on natural images and under the judges that papers report.

    Args:
        weights: a file of ``energylens train``.
        images: how many test images each of JUDGES takes, 0 for not at all.
        settings: of ``energylens.profile``.

    Returns:
        Accuracies in %: of each judge, and before PGD-50-10's ``clean``, on the same images.
    """
    from energylens.profiling import profile

    found: dict[str, float] = {}
    for name, attack in JUDGES.items():
        if n := images[name]:
            natural, attacked = profile(str(weights), attacks=attack, n=n, ladder=False, **settings).as_numbers()
            measured = {"clean": natural, name: attacked} if name == "pgd_50_10" else {name: attacked}
            found |= {which: round(100 * row["accuracy"], 2) for which, row in measured.items()}
    return found


def record(arm: Arm, folder: Path, desk: Desk, final: Mapping[str, Any]) -> None:
    """Write a finished arm to RESULTS: its epochs, every hundredth measured step, and how it ended.

    Where it finished no epoch, how it ended is all that is written.

    Args:
        arm: that is over.
        folder: of its run.
        desk: where results lie.
        final: how it ended: accuracies, or that it failed.
    """
    from energylens.tables.origin import machine
    from energylens.tables.training_runs import read_run

    target = desk.results / arm.slug
    target.mkdir(parents=True, exist_ok=True)
    if (folder / HISTORY).is_file():
        run = read_run(folder)
        steps = run.steps()
        steps = steps.groupby((steps["step"] - 1) // STEP_EVERY).first()
        for table, name in ((run.history, EPOCHS), (steps, STEPS)):
            with whole_file(target / name) as temporary:
                table.to_csv(temporary, index=False, float_format="%.5g", na_rep=MISSING)
    about = {
        "arm": arm.name,
        "seed": arm.settings.seed,
        **final,
        "command": f"energylens train {arm.settings.as_options()}",
        "machine": machine(),
        "settings": arm.settings.manifest(),
    }
    with whole_file(target / FINAL) as temporary:
        temporary.write_text(json.dumps(about, indent=1) + "\n")


def throughput(arm: Arm, desk: Desk, steps: int = 20) -> float:
    """Training images a second on this machine: the arm's first steps, after a few that warm up.

    Args:
        arm: whose settings are used.
        desk: where data lie.
        steps: how many are measured.

    Returns:
        Images a second.
    """
    import torch

    from energylens.training.folder import Plan
    from energylens.training.loop import learn
    from energylens.training.run import open_run

    def wait() -> None:
        if torch.accelerator.is_available():
            torch.accelerator.synchronize()

    with TemporaryDirectory() as folder:
        run = open_run(Plan(arm.settings, Path(folder), root=desk.root))
        run.network.train()
        batches = islice(chain.from_iterable(run.walk(epoch) for epoch in count()), 5 + steps)
        for number, x, y in islice(batches, 5):
            learn(run, x, y, 0, number)
        wait()
        began, seen = time.monotonic(), 0
        for number, x, y in batches:
            learn(run, x, y, 0, number)
            seen += len(x)
        wait()
        return seen / (time.monotonic() - began)


def finished(results: Path = RESULTS / "cifar10") -> pd.DataFrame:
    """How every finished arm of a campaign ended, a row each, in the order of the arms.

    It is what ``record`` wrote, without the settings, and the arm's folder.

    Args:
        results: the campaign's folder in RESULTS.

    Returns:
        No row where no arm is finished.
    """
    found = [json.loads(path.read_text()) | {"folder": path.parent.name} for path in results.glob(f"*/{FINAL}")]
    order = [arm for campaign in CAMPAIGNS.values() for arm in campaign.arms]
    found.sort(key=lambda final: (order.index(final["arm"]) if final["arm"] in order else len(order), final["folder"]))
    return pd.DataFrame([{name: value for name, value in final.items() if name != "settings"} for final in found])


def curves(results: Path = RESULTS / "cifar10") -> pd.DataFrame:
    """One row an epoch of every arm that is done.

    The columns are arm, seed, epoch, alarm, delta_marginal (nats, mean of the training samples seen), and in %
    test_pgd, test_clean, abnormal_share and gap (FGSM minus PGD accuracy on training images).

    Args:
        results: the campaign's folder.

    Returns:
        The table, an arm after another.

    Raises:
        InputError: where no arm is finished.
    """
    ends = finished(results)
    if ends.empty or not (ends := ends[[(results / folder / EPOCHS).is_file() for folder in ends["folder"]]]).size:
        raise InputError(f"no finished arm in {results}: python -m analyses.campaign cifar10 makes them, in hours")
    tables = []
    for arm, seed, folder in zip(ends["arm"], ends["seed"], ends["folder"], strict=True):
        epochs = pd.read_csv(results / folder / EPOCHS, keep_default_na=False, na_values=[MISSING])
        percent = 100 * epochs[["test_pgd", "test_clean", "abnormal_share"]]
        percent["gap"] = 100 * (epochs["train_fgsm"] - epochs["train_pgd"])
        tables.append(percent.assign(arm=arm, seed=seed).join(epochs[["epoch", "alarm", "delta_marginal"]]))
    table = pd.concat(tables, ignore_index=True)
    table.attrs["caption"] = (
        "CIFAR-10, PreActResNet-18 of width 16, bfloat16; at 16/255 eps grows over 5 epochs; PGD, TRADES, WEAT learn "
        "from 1,000 images a class under 7 steps, 60 epochs: cut to a few CPU hours an arm [R]; an epoch is judged by "
        "FGSM and PGD-10 on 500 images; "
        f"seed {', '.join(map(str, sorted(table['seed'].unique())))}. {PROVENANCE} "
        "Recorded, not computed now: python -m analyses.campaign cifar10."
    )
    return table


def _override(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, Any]:
    """``width=8`` as a setting of all arms."""
    pairs = [pair.partition("=") for pair in given]
    if bad := [name + sep for name, sep, value in pairs if not (name and sep and value)]:
        raise click.BadParameter(f"{bad[0]!r} is no setting: write NAME=VALUE, as in epochs=2")
    return {name.replace("-", "_"): _value(text) for name, _, text in pairs}


def _value(text: str) -> Any:
    """A number, a tuple or a truth value as Python writes it, else a word."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


@click.command()
@click.argument("name", type=click.Choice(list(CAMPAIGNS)))
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Arms at a time.")
@click.option("--minutes", type=click.FloatRange(0), default=60.0, show_default=True, help="When to stop.")
@click.option("--data-root", type=click.Path(path_type=Path), help="Where data sets lie.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs"), show_default=True, help="Of its runs.")
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, help="Where finished arms are written.")
@click.option("--arm", "only", multiple=True, metavar="NAME", help="Only these arms, as in 'FGSM 8/255'.")
@click.option("--set", "own", multiple=True, callback=_override, metavar="NAME=VALUE", help="A setting of all arms.")
@click.option("--strong", type=click.IntRange(0), help="Images that PGD-50-10 judges the ends by, 0 for not at all.")
@click.option("--autoattack", type=click.IntRange(0), help="The same of AutoAttack.")
def main(
    name: str, jobs: int, minutes: float, data_root: Path | None, out: Path, results: Path, only: tuple[str, ...],
    own: dict[str, Any], **images: Any,
) -> None:  # fmt: skip
    """Do as much of a campaign as the time allows."""
    campaign = CAMPAIGNS[name]
    check_arms(only, campaign.arms, "--arm")
    campaign = replace(campaign, **{judge: n for judge, n in images.items() if n is not None})
    desk = Desk(out / name, results / name, data_root)
    arms = [arm for arm in campaign.runs(**own) if not only or arm.name in only]
    click.echo(f"{throughput(arms[0], desk):.0f} images/s: {arms[0].slug}", err=True)
    desk.settle(campaign.runs(**own))
    left = work_through(arms, desk, jobs=jobs, minutes=minutes)
    click.echo("\n".join(left) or "every arm is done")
    if any(FAILED in line for line in left):
        raise RunError("an arm failed: what it said stands above")


if __name__ == "__main__":
    run_program(main)
