"""Our accuracies beside the published ones, with what n samples can tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from energylens.records.record import AttackRecord, Record
from energylens.statistics import accuracy_interval

AUTOATTACK = "autoattack"


def beside_published(record: Record) -> list[str]:
    """What RobustBench publishes of the model of a record, beside what was measured.

    Args:
        record: of one model.

    Returns:
        A sentence for the clean accuracy, and one for AutoAttack's where it ran with the published radius; none for
        other models and other data.
    """
    sentences = []
    for attack, row in zip(record.attacks, record.as_numbers(), strict=True):
        if (published := published_accuracy(attack)) is None:
            continue
        low, high = accuracy_interval(round(row["accuracy"] * row["n"]), row["n"])
        inside = "within" if low <= published / 100 <= high else "OUTSIDE"
        sentences.append(
            f"{_published_as(attack.manifest)}: {100 * row['accuracy']:.1f} % (95 %: {100 * low:.1f} to "
            f"{100 * high:.1f}, n = {row['n']}); RobustBench publishes {published:.2f} %, {inside} that."
        )
    return sentences


def published_accuracy(attack: AttackRecord) -> float | None:
    """What RobustBench publishes of these very rows' model, data and attack, in %; None for anything else.

    Args:
        attack: of a record.

    Returns:
        The accuracy in %, or None.
    """
    what = _published_as(attack.manifest)
    return None if what is None else attack.manifest["model"][what]


def _published_as(manifest: Mapping[str, Any]) -> str | None:
    """Which of the card's accuracies these rows measure: its own test data, and for AutoAttack its threat model."""
    identity, card = manifest["identity"], manifest["model"]
    if card["source"] != "robustbench":
        return None
    attack, data = identity["attack"], identity["dataset"]
    if (data["name"], data["split"]) != (card["dataset"], "test"):
        return None
    if attack["name"] == "natural":
        return "clean"
    settings = attack["settings"]
    same_threat = settings.get("eps") == card["eps"] and settings["norm"] == str(card["threat_model"]).lower()
    return AUTOATTACK if attack["name"] == AUTOATTACK and same_threat else None
