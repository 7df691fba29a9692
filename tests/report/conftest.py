"""Runs to report on: a profile and trainings, as the commands leave them."""

import json

import numpy as np
import pandas as pd
import pytest

import energylens as el
from energylens.training.history import COLUMNS
from energylens.training.settings import TrainSettings

ATTACKS = ("fgsm", "pgd,steps=5", "trades", "cw,steps=5")


@pytest.fixture(scope="session")
def profiled(tmp_path_factory):
    """A model's folder, and the record that was written there."""
    out = tmp_path_factory.mktemp("profiled")
    record = el.profile("digits-standard", "digits", ATTACKS, n=60, out=out, save_images=True)
    return record.folder, record


@pytest.fixture
def trained(tmp_path):
    """``trained("name", pgd=(...), seed=1)``: a run folder as the trainer leaves it."""

    def make(name, pgd=(0.3, 0.4, 0.1), alarms=("", "", "co"), **settings):
        folder = tmp_path / name
        folder.mkdir()
        own = TrainSettings(**{"epochs": len(pgd), "method": "fgsm", "eps": "0.2", **settings}).resolved()
        (folder / "manifest.json").write_text(json.dumps({"identity": {"settings": own.manifest()}}))
        (folder / "best.json").write_text(json.dumps({"test_images": 200}))
        history = pd.DataFrame(np.nan, index=range(len(pgd)), columns=list(COLUMNS)).assign(
            epoch=range(1, len(pgd) + 1), test_pgd=pgd, test_clean=0.9, test_fgsm=0.5, train_clean=0.95, train_fgsm=0.6,
            train_pgd=0.5, val_pgd=pgd, delta_marginal=-0.125, delta_joint=-0.5, abnormal_share=0.25, alarm=alarms,
        )  # fmt: skip
        history.to_parquet(folder / "history.parquet", index=False)
        return folder

    return make


@pytest.fixture
def report(monkeypatch, capsys, tmp_path):
    """``report(folder, "--samples", 3) -> (status, the page or "", standard error)``."""
    import sys

    from energylens.cli import main

    def typed(*words):
        page = tmp_path / "pages" / "report.html"
        monkeypatch.setattr(sys, "argv", ["energylens", "report", "--out", str(page), *map(str, words)])
        status = 0
        try:
            main()
        except SystemExit as stop:
            status = stop.code
        return status, page.read_text() if page.is_file() else "", capsys.readouterr().err

    return typed
