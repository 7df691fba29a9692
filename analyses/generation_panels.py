"""What do the images look like that classifiers hold probable? Generations side by side, a panel each (arXiv
2407.06315, section 6). ``starts``, ``robust_and_natural`` and ``losses`` are three such comparisons."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import torch

from analyses.digits_runs import trained
from analyses.lab import Lab
from energylens.generation.generate import generate
from energylens.generation.generated import Generated, to_bytes
from energylens.generation.score import Scorer, open_scorer
from energylens.generation.settings import GenerationSettings
from energylens.generation.starts import STARTS
from energylens.training.checkpoint import BEST

#: The papers' sampler on CIFAR-10. arXiv 2407.06315 names eta .5 and .8 with 20 to 50 steps; its authors' code draws
#: starts with sigma .005 in singular values, .35 standard deviations of a class's 5,000 images, and noise of .001.
PAPER: dict[str, Any] = {"step_size": 0.5, "steps": 50, "spread": 0.35, "noise": 0.001}
#: And what it names for the L2 ResNet-50 of Engstrom et al.
L2_RESNET50: dict[str, Any] = {
    "model": "Engstrom2019Robustness", "threat_model": "L2", "step_size": 0.025, "steps": 500, "momentum": 0.8,
    "retained_variance": 0.99,
}  # fmt: skip
#: What is looked at, by scale of the lab: a robust and a natural model, their data, how many images. sampler: what
#: holds for all, over the defaults, which were chosen on the digits. visible: shows what a model wants to see, at five
#: times the default on the digits and the larger of the papers' step sizes. also: models with their own settings.
SCALES: dict[str, dict[str, Any]] = {
    "demo": {
        "robust": "digits-pgd", "natural": "digits-standard", "data": "digits", "n": 100, "sampler": {},
        "visible": {"step_size": 0.01}, "also": {},
    },
    "paper": {
        "robust": "Engstrom2019Robustness", "natural": "Standard", "data": "cifar10", "n": 10_000, "sampler": PAPER,
        "visible": {"step_size": 0.8}, "also": {"L2 ResNet-50": {"start": "pca", **L2_RESNET50}},
    },
}  # fmt: skip


#: what a caption on the digits adds, by step size: the default one, and ``visible``'s
CHOSEN = {
    GenerationSettings().step_size: "; the sampler's defaults were chosen on these digits: seed 0 is not free of that",
    SCALES["demo"]["visible"]["step_size"]: (
        "; at five times the default step, taken because the difference shows there; seed 0"
    ),
}


def starts(lab: Lab) -> pd.DataFrame:
    """A robust model's images from each of the four starts, and at the papers' scale the L2 ResNet-50's."""
    made = {f"from {start}": generated(lab, start=start) for start in STARTS}
    made |= {f"{name}, from {own['start']}": generated(lab, **own) for name, own in SCALES[lab.scale]["also"].items()}
    return panels(made, scorer_of(lab))


def robust_and_natural(lab: Lab) -> pd.DataFrame:
    """A robust and a natural model's images, from noise and from the class's principal components."""
    models = {kind: SCALES[lab.scale][kind] for kind in ("robust", "natural")}
    return panels(_from_both(lab, models), scorer_of(lab))


def losses(lab: Lab) -> pd.DataFrame:
    """Images of a model trained on adversarial cross-entropy (PGD) beside those of one trained on KL (TRADES)."""
    runs = trained(lab, ("PGD", "TRADES"))
    return panels(_from_both(lab, {name: str(run.path / BEST) for name, run in runs.items()}), scorer_of(lab))


def _from_both(lab: Lab, models: Mapping[str, str]) -> dict[str, Generated]:
    return {
        f"{name}, from {start}": generated(lab, model=model, start=start, **SCALES[lab.scale]["visible"])
        for start in ("noise", "pca")
        for name, model in models.items()
    }


def generated(lab: Lab, **settings: Any) -> Generated:
    """``energylens.generate`` at the lab's scale, of its robust model where none is named; images that are there are
    used again."""
    scale = SCALES[lab.scale]
    lab.tell(f"generating {', '.join(map(str, settings.values()))}")
    asked = {"model": scale["robust"], "data": scale["data"], "n": scale["n"], **scale["sampler"], **settings}
    one = generate(out=lab.runs, data_root=lab.root, listener=lab.listener("generating"), **asked)
    lab.used.extend([] if one.folder is None else [one.folder])
    lab.seeds.add(one.seed)
    return one


def scorer_of(lab: Lab, **space: Any) -> Scorer:
    """Scores against the training images of the lab's data. space: of features, as ``open_scorer`` takes it."""
    return open_scorer(
        SCALES[lab.scale]["data"], data_root=lab.root, out=lab.runs, listener=lab.listener("scoring"), **space
    )


def panels(made: Mapping[str, Generated], scorer: Scorer | None = None) -> pd.DataFrame:
    """A row an image: panel (the name), index, class, pred (a class), right, steps, marginal, joint (nats), nearest_l2
    and told: the panel in words, with a scorer its Frechet distance too, which is also the column frechet.

    ``attrs["images"]`` are the images (rows, C, H, W) in [0, 1], ``attrs["caption"]`` says what all of them are.
    """
    tables = []
    for name, one in made.items():
        classes = dict(enumerate(one.classes))
        distance = math.nan if scorer is None else scorer([to_bytes(one.images)])[scorer.frechet].value
        told = _told(one, scorer, distance)
        rows = one.rows[["index", "steps", "marginal", "joint", "nearest_l2"]].assign(
            panel=name, told=told, frechet=distance
        )
        rows["class"], rows["pred"] = (one.rows[column].map(classes) for column in ("label", "pred"))
        rows["right"] = one.rows["pred"] == one.rows["label"]
        tables.append(rows)
    table = pd.concat(tables, ignore_index=True)
    table.attrs["images"] = torch.cat([one.images for one in made.values()]).numpy()
    table.attrs["caption"] = caption(list(made.values()), scorer)
    return table


def _told(one: Generated, scorer: Scorer | None, distance: float) -> str:
    right = f"{100 * (one.rows['pred'] == one.rows['label']).mean():.0f} % as its class"
    return right if scorer is None else f"{scorer.frechet.replace('_', ' ')} {distance:.0f}, {right}"


def caption(made: Sequence[Generated], scorer: Scorer | None = None) -> str:
    """What the generations have in common, in words, and what their scores are in."""
    models = " and ".join(dict.fromkeys(one.model for one in made))
    shared = {name: value for name, value in made[0].settings.items() if all(_same(one, name, value) for one in made)}
    told = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in shared.items())
    scores = f"; scores in the features of {scorer.extractor.name}" if scorer else ""
    mark = "" if all(_sourced(one) for one in made) else "; local PCA and guidance are our reconstructions [R]"
    seeds = ", ".join(dict.fromkeys(str(one.seed) for one in made))
    chosen = CHOSEN.get(shared.get("step_size", math.nan), "") if made[0].dataset == "digits" else ""
    return f"{models} on {made[0].dataset}, n = {len(made[0])}, {told}, seed {seeds}{scores}{mark}{chosen}"


def _sourced(one: Generated) -> bool:
    """Whether nothing of the generation is a reconstruction of ours."""
    return one.settings.get("start") != "local-pca" and one.settings.get("guidance", "none") == "none"


def _same(one: Generated, name: str, value: Any) -> bool:
    return name in one.settings and bool(one.settings[name] == value)
