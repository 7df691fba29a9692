"""How well E(x) alone tells adversarial from natural images: the detector of arXiv 2304.04033."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SMALLEST = 20  # samples: ten a half, below which TPR and FPR come in steps of more than 10 %
SIDES = {"lower": -1.0, "higher": 1.0}  # where the adversarial lies, and the sign that makes it the higher score

Energies = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Separability:
    """What E(x) tells of an attack; adversarial is the positive class.

    auroc: area under the ROC of the score -E(x), in [0, 1]: 1 = adversarial wholly left of the natural, 0 = wholly
    right, .5 = no trace. detector_threshold, detector_side: an image is called adversarial where its E(x) is
    ``lower`` (or ``higher``) than the threshold, in nats; both chosen on one half of the samples. tpr, fpr: shares of
    the adversarial and of the natural images called adversarial, on the other half.
    """

    auroc: float
    detector_threshold: float
    detector_side: str
    tpr: float
    fpr: float


def separability(natural: Energies, adversarial: Energies) -> Separability | None:
    """Separate by E(x) the natural (n,) and adversarial (n,) energies of the same n samples, in order of their index.

    Threshold and side maximise TPR - FPR on the samples at even places; those at odd places judge. None for fewer
    than SMALLEST samples.
    """
    from sklearn.metrics import roc_auc_score

    if len(natural) < SMALLEST:
        return None
    threshold, side = _detector(natural[::2], adversarial[::2])
    tpr, fpr = (float((SIDES[side] * (energies[1::2] - threshold) > 0).mean()) for energies in (adversarial, natural))
    labels, energies = _labelled(natural, adversarial)
    return Separability(float(roc_auc_score(labels, -energies)), threshold, side, tpr, fpr)


def _labelled(natural: Energies, adversarial: Energies) -> tuple[NDArray[np.bool_], Energies]:
    """Who is adversarial, (2n,), and their energies, (2n,)."""
    labels = np.repeat([False, True], [len(natural), len(adversarial)])
    return labels, np.concatenate([natural, adversarial]).astype("float64")


def _detector(natural: Energies, adversarial: Energies) -> tuple[float, str]:
    """The threshold and side of the largest TPR - FPR; of two sides as good, the lower."""
    candidates = [(*_best_cut(natural, adversarial, sign), side) for side, sign in SIDES.items()]
    _, threshold, side = max(candidates, key=lambda candidate: candidate[0])
    return threshold, side


def _best_cut(natural: Energies, adversarial: Energies, sign: float) -> tuple[float, float]:
    """The largest TPR - FPR on one side and its threshold, half way to the next energy that is not called."""
    from sklearn.metrics import roc_curve

    labels, energies = _labelled(natural, adversarial)
    fpr, tpr, scores = roc_curve(labels, sign * energies, drop_intermediate=False)
    scores = np.append(scores[1:], scores[-1] - 1)  # the first stands for nobody called, at infinity
    at = int(np.argmax((tpr - fpr)[1:]))
    return float((tpr - fpr)[1:][at]), float(sign * (scores[at] + scores[at + 1]) / 2)
