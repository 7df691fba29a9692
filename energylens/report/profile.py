"""What does a profile tell? The tables of its report, out of the record alone."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from energylens.attacks.radius import shown_setting
from energylens.attacks.registry import ATTACKS
from energylens.checks.consistency import RULES, check_rows, robust_overfitting
from energylens.data import DATA_SETS, Samples, load_data
from energylens.data.choice import CHOICES
from energylens.errors import InputError, RunError
from energylens.records.attack_run import IMAGES, TRAJECTORY
from energylens.records.identity import CONTENTS
from energylens.records.record import AttackRecord, Record
from energylens.statistics import accuracy_interval
from energylens.tables.adversarial_images import PIXELS, amplified

KEEPS_IMAGES = frozenset(row.name for row in ATTACKS if row.keeps_images)  # whether asked to or not
TOLD = ("index", "linf", "marginal_clean", "marginal_adv", "joint_clean", "joint_adv")  # of a sample
BY_HAND = "The model was handed over as a module: energylens.profile(model, ...) in Python repeats this."
UNTOLD = "An earlier version made these runs and kept no --mean and --std: add them where the model was given its own."


def attack_table(record: Record) -> pd.DataFrame:
    """What a record's attacks did.

    Args:
        record: of one model.

    Returns:
        The summary of the record, a row an attack, natural first, and beside it label, accuracy_low and accuracy_high,
        the exact 95 % interval of the accuracy, shares in [0, 1].
    """
    table = record.summary().assign(label=[attack.label for attack in record.attacks])
    right = (table["accuracy"] * table["n"]).round().astype(int)
    table[["accuracy_low", "accuracy_high"]] = list(map(accuracy_interval, right, table["n"]))
    return table


def check_table(record: Record, training: Record | None = None) -> pd.DataFrame:
    """The consistency checks that need no model, one a row.

    Args:
        record: on test images.
        training: the same model's record on its training images, where there is one.

    Returns:
        The fields of ``ConsistencyCheck``, then ``meaning`` (what a violation usually means) and ``remedy``.
    """
    checks = check_rows(record) + (() if training is None else robust_overfitting(record, training))
    return pd.DataFrame([asdict(check) | asdict(RULES[check.rule]) for check in checks])


def training_twin(record: Record, others: Sequence[Record]) -> Record | None:
    """The record of the same model on the training images of the same data.

    Args:
        record: on test images.
        others: among which it is looked for.

    Returns:
        The record; None where there is none, or ``record`` is on other images.
    """
    return next((one for one in others if _subject(one, "train") == _subject(record, "test") is not None), None)


def _subject(record: Record, split: str) -> tuple[Any, ...] | None:
    """What both records of a model share; None for one on another split."""
    manifest = record.attacks[0].manifest
    identity, prepared = manifest["identity"], manifest["model"].get("preprocessing")
    data = identity["dataset"]
    return (identity["model"], prepared, data["name"], data.get("classes")) if data["split"] == split else None


def natural_samples(record: Record, root: Path | None = None) -> Samples:
    """The data set's samples out of which the record's were chosen.

    Args:
        record: of one model.
        root: where data sets lie.

    Returns:
        All of the split, images (N, C, H, W) in [0, 1].

    Raises:
        InputError: they came as tensors, or the data set cannot be had.
        RunError: those that lie here are others than were attacked.
    """
    manifest = record.attacks[0].manifest
    data, card = manifest["identity"]["dataset"], manifest["model"]
    if data["name"] not in DATA_SETS:
        raise InputError(f"the images ({data['name']}) came as tensors and are not kept")
    samples = load_data(
        data["name"], split=data["split"], classes=data.get("classes"), root=root, preprocessing=card["preprocessing"]
    )
    digest = samples.digest
    if data["digest"] not in (digest, samples.former_digest) or manifest.get(CONTENTS, digest) != digest:
        raise RunError(f"the {data['name']} that lies here is not the one that was attacked: its digest differs")
    return samples


def abnormal_samples(record: Record, count: int, samples: Samples | None = None) -> pd.DataFrame:
    """The samples whose loss an attack lowered most, and what the attack made of them, the most abnormal first.

    Abnormal is dE(x,y) > dE(x); the order is that of the difference, which is CE(x,y) - CE(x*,y). A sample comes once,
    under the attack that lowered its loss most. Where no attack lowered a loss, it is the samples whose E(x) moved
    furthest: ``attrs["ranked"]`` tells, "abnormal" or "moved".

    Args:
        record: of one model.
        count: how many samples at most.
        samples: the data set's, for the images and the names of classes.

    Returns:
        One row a sample: attack (its label), label, pred_clean and pred_adv, TOLD, lowered (nats), and natural,
        adversarial and difference, (C, H, W) in [0, 1] or None where they cannot be had, with the gain of
        ``tables.adversarial_images.amplified``.
    """
    tables = [attack.rows.assign(position=number) for number, attack in enumerate(record.attacks) if number]
    rows = pd.concat(tables, ignore_index=True)
    delta = rows["marginal_clean"] - rows["marginal_adv"]
    rows["lowered"] = rows["cross_entropy_clean"] - rows["cross_entropy_adv"]
    ranked = "abnormal" if rows["abnormal"].any() else "moved"
    rows["rank"] = rows["lowered"].where(rows["abnormal"]) if ranked == "abnormal" else delta.abs()
    ordered = rows.dropna(subset="rank").sort_values(["rank", "index"], ascending=[False, True])
    chosen = ordered.drop_duplicates("index").head(count)
    tables = [
        _shown(record.attacks[number], chosen[chosen["position"] == number], samples)
        for number in chosen["position"].unique().tolist()
    ]
    table = pd.concat(tables).loc[chosen.index]
    table.attrs["ranked"] = ranked
    return table


def _shown(attack: AttackRecord, rows: pd.DataFrame, samples: Samples | None) -> pd.DataFrame:
    """The rows of ``abnormal_samples`` under one attack."""
    table: pd.DataFrame = rows[[*TOLD, "lowered"]].assign(attack=attack.label)
    for name in ("label", "pred_clean", "pred_adv"):
        table[name] = [str(number) if samples is None else samples.classes[number] for number in rows[name]]
    return table.join(pd.DataFrame(_pictures(attack, rows["index"].tolist(), samples), index=table.index))


def _pictures(attack: AttackRecord, indices: Sequence[int], samples: Samples | None) -> list[dict[str, Any]]:
    """The images of these samples, as far as they can be had."""
    shown: list[dict[str, Any]] = [dict.fromkeys((*PIXELS, "gain")) for _ in indices]
    if samples is None:
        return shown
    kept = None if attack.load_images is None else attack.images()["x_adv"]
    at = {index: position for position, index in enumerate(attack.rows["index"])}
    for one, index, x in zip(shown, indices, samples.source.images(torch.tensor(indices)), strict=True):
        one["natural"] = x.numpy()
        if kept is not None:
            x_adv = kept[at[index]]
            difference, gain = amplified(x, x_adv)
            one |= {"adversarial": x_adv.numpy(), "difference": difference.numpy(), "gain": gain}
    return shown


def attack_settings(record: Record) -> list[tuple[str, str]]:
    """Every attack's label and its settings, in words.

    Args:
        record: of ``profile``.

    Returns:
        An entry an attack, without the natural rows.
    """
    return [(attack.label, _settings(attack.manifest["identity"]["attack"])) for attack in record.attacks[1:]]


def _settings(attack: Mapping[str, Any]) -> str:
    shown = {**attack["settings"], "target": attack["target"], "backend": attack.get("kernels")}
    return ", ".join(
        f"{name.replace('_', '-')} {shown_setting(name, value)}" for name, value in shown.items() if value is not None
    )


def provenance(record: Record) -> list[tuple[str, str]]:
    """Hashes, versions and machines of the rows, as name and value; several values where rows differ in them.

    Args:
        record: with one attack at least.

    Returns:
        Names and values, those that are empty left out.
    """
    manifests = [attack.manifest for attack in record.attacks[1:]]
    identity, card = manifests[0]["identity"], manifests[0]["model"]
    versions = dict.fromkeys(", ".join(f"{name} {one}" for name, one in m["versions"].items()) for m in manifests)
    facts = {
        "architecture": card["architecture"],
        "model from": card["source"],
        "model sha256": identity["model"],
        "weights sha256": card["weights"],
        "data": f"{record.dataset}, {identity['dataset']['split']} split",
        "data sha256": identity["dataset"]["digest"],
        "versions": "; ".join(versions),
        "machine": "; ".join(dict.fromkeys(m["machine"] for m in manifests)),
    }
    return [(name, str(value)) for name, value in facts.items() if value]


def repeat(record: Record, samples: Samples | None = None) -> tuple[str | None, list[str]]:
    """How to make a record again.

    Args:
        record: of one model.
        samples: the data set's, to tell how the record's were chosen from it.

    Returns:
        The command line, None where there is none, and what must be known with it, a sentence each.
    """
    manifests = [attack.manifest for attack in record.attacks]
    card, data = manifests[0]["model"], manifests[0]["identity"]["dataset"]
    caveats = [BY_HAND] if card["source"] == "module" else []
    caveats += [UNTOLD] if card["source"] in ("file", "factory") and "mean" not in card else []
    unnamed = [attack.name for attack in record.attacks if _is_function(attack) and ":" not in attack.name]
    caveats += [f"{name} was handed over as a function: energylens.profile in Python repeats it." for name in unnamed]
    if unnamed or card["source"] == "module" or data["name"] not in DATA_SETS:
        return None, caveats
    choice = _choice(record, samples)
    if choice is None:
        caveats.append("How the samples were chosen cannot be told any more: the command takes the first ones.")
    norms = {told["identity"]["attack"]["settings"]["norm"] for told in manifests if told["eps"]}
    also = {kept for attack in record.attacks[1:] for kept in _asked(attack)}
    diffusions = [told["diffusion"] for told in manifests if told["diffusion"]]
    options = {
        "model": card["name"],
        "threat-model": card["threat_model"] if card["source"] == "robustbench" else None,
        "arch": card["architecture"] if card["source"] == "file" and not card.get("whole") else None,
        "mean": _listed(card.get("mean")),
        "std": _listed(card.get("std")),
        "preprocessing": card.get("preprocessing"),
        "dataset": data["name"],
        "split": data["split"],
        "n": len(record),
        "choose": choice or "first",
        "eps": record.eps,
        "norm": norms.pop() if len(norms) == 1 else None,
        "seed": record.seed,
        "diffusion": diffusions[0] if diffusions else None,
    }
    words = ["energylens", "profile"]
    for name, value in options.items():
        words += [] if value is None else [f"--{name}", str(value)]
    words += ["--trust-pickle"] if card.get("whole") else []
    for argument in card.get("arch_args") or ():
        words += ["--arch-arg", argument]
    for attack in record.attacks[1:]:
        words += ["--attack", attack.name]
    words += [flag for flag, kept in (("--save-images", IMAGES), ("--trajectory", TRAJECTORY)) if kept in also]
    return shlex.join(words), caveats


def _listed(numbers: Sequence[float] | None) -> str | None:
    """Numbers as an option takes them."""
    return ",".join(map(str, numbers)) if numbers else None


def _is_function(attack: AttackRecord) -> bool:
    """Whether it is a callable of the user's own."""
    return "kind" in attack.manifest["identity"]["attack"]["settings"]


def _asked(attack: AttackRecord) -> set[str]:
    """What the attack's rows hold beside the usual columns because it was asked for."""
    identity = attack.manifest["identity"]
    return set(identity.get("also", ())) - ({IMAGES} if identity["attack"]["name"] in KEEPS_IMAGES else set())


def _choice(record: Record, samples: Samples | None) -> str | None:
    """The rule by which the record's samples were chosen, None where none of them gives these."""
    indices = record.attacks[0].rows["index"].tolist()
    if indices == list(range(len(indices))):
        return "first"
    for how in CHOICES:
        with suppress(InputError):
            if samples and samples.choose(len(indices), how, record.seed).indices.tolist() == indices:
                return how
    return None
