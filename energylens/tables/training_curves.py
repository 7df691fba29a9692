"""How do errors, dE(x) and the AAE share go with the epochs?

This is a question of arXiv 2505.22486, on overfitting.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from energylens.tables.training_runs import TrainingRun, labels, shared_settings

ERRORS = {"test_pgd_error": "test_pgd", "train_clean_error": "train_clean", "train_fgsm_error": "train_fgsm"}
COLUMNS = ("run", "label", "epoch", *ERRORS, "delta_marginal", "abnormal_share", "alarm")


def curves(runs: Sequence[TrainingRun]) -> pd.DataFrame:
    """The epochs of these runs.

    Args:
        runs: one or more.

    Returns:
        One row an epoch and run: run (its position), label (what tells it from the others), epoch, test_pgd_error,
        train_clean_error and train_fgsm_error (%), delta_marginal (nats, mean of the training samples seen),
        abnormal_share (% of them), alarm ("", "co" or "ro"). ``attrs["caption"]`` says what the runs share.
    """
    tables = []
    for position, (run, label) in enumerate(zip(runs, labels([run.settings for run in runs]), strict=True)):
        errors = {error: 100 - run.percent[accuracy] for error, accuracy in ERRORS.items()}
        tables.append(run.percent.assign(run=position, label=label, **errors))
    table = pd.concat(tables, ignore_index=True)[list(COLUMNS)]
    table.attrs["caption"] = shared_settings(runs)
    return table
