"""Are our numbers the papers'? Every published number that something here is the counterpart of, beside ours."""

from __future__ import annotations

from typing import Any

import pandas as pd

from analyses import robustness
from analyses.claims import all_claims, measured
from analyses.lab import Lab


def exhibit(lab: Lab) -> pd.DataFrame:
    """At demo scale the claims of RESULTS.md that a paper has a number for, else RobustBench's models: claim, seed,
    ours, paper, provenance (of the paper's
    number), threshold (what of it is asked of ours), verdict, all in words. ``attrs["caption"]`` says what they are."""
    return of_models(robustness.exhibit(lab)) if lab.scale == "paper" else of_claims(lab)


def of_claims(lab: Lab) -> pd.DataFrame:
    """The claims with a paper's number, measured now or read where they were recorded."""
    claims = [claim for claim in all_claims() if claim.holds]
    table = measured(claims, lab).drop(columns="command")
    table.insert(4, "provenance", [claim.provenance for claim in claims])
    table.attrs["caption"] = (
        "ours on the data and networks that each claim names, the papers' on CIFAR-10 and larger networks unless a "
        "formula is compared: sign and order compare, sizes do not"
    )
    return table


def of_models(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of ``robustness.robustness`` that RobustBench publishes an accuracy of."""
    rows: list[dict[str, Any]] = []
    for row in table[table["published"].notna()].to_dict("records"):
        within = "within" if row["low"] <= row["published"] <= row["high"] else "OUTSIDE"
        rows.append(
            {
                "claim": f"{row['model']}: {row['attack']} accuracy",
                "seed": "0",
                "ours": f"{row['accuracy']:.2f} % ({row['low']:.2f} to {row['high']:.2f})",
                "paper": f"{row['published']:.2f} %",
                "provenance": "RobustBench's model_info",
                "threshold": "within our 95 % interval",
                "verdict": f"{within} our 95 % interval, n = {row['n']}",
            }
        )
    found = pd.DataFrame(rows)
    found.attrs["caption"] = table.attrs["caption"]
    return found
