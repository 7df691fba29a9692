"""The charts' geometry: what is drawn where, on tables whose picture is known."""

import pandas as pd
import pytest

from energylens.report.charts import SIZE, Scale, abnormal, errors, histogram


@pytest.fixture
def epochs():
    """Four epochs, the third without energies, an alarm in the last."""
    return pd.DataFrame(
        {
            "epoch": [1, 2, 3, 4],
            "test_pgd_error": [100.0, 50.0, 75.0, 0.0],
            "train_clean_error": [10.0] * 4,
            "train_fgsm_error": [20.0] * 4,
            "delta_marginal": [-1.0, 0.0, float("nan"), 1.0],
            "abnormal_share": [0.0, 0.0, float("nan"), 50.0],
            "alarm": ["", "", "", "co"],
        }
    )


def test_ticks_are_round_and_on_the_axis():
    ticks = Scale(-12.3, 7.9).ticks(5)
    assert [tick.text for tick in ticks] == ["−10", "−5", "0", "5"]
    assert ticks[2].at == pytest.approx(100 * 12.3 / 20.2)
    assert [tick.text for tick in Scale(0, 0.3).ticks(3)] == ["0", "0.1", "0.2", "0.3"]


def test_a_histogram_is_as_high_as_its_counts():
    edges = [(-2.0, 0.0), (0.0, 2.0)]
    bins = pd.DataFrame(
        [
            {"series": name, "left": left, "right": right, "count": count, "mean": mean}
            for name, counts, mean in (("natural", (10, 0), -1.0), ("adversarial", (4, 6), 0.5))
            for (left, right), count in zip(edges, counts, strict=True)
        ]
    )
    chart = histogram(bins, "E(x)", tallest=10)
    top = SIZE - SIZE / 1.06  # where ten images end
    assert chart.shapes[0].path == f"M0 1000V{top:.1f}H500V1000H1000V1000Z"
    assert [shape.path for shape in chart.shapes[2:]] == ["M250 0V1000", "M625 0V1000"]  # the means
    assert [strip.text for strip in chart.strips] == [
        "E(x) −2.0 to 0.0\nnatural 10\nadversarial 4",
        "E(x) 0.0 to 2.0\nnatural 0\nadversarial 6",
    ]


def test_errors_left_energies_right_and_the_alarm_across(epochs):
    chart = errors(epochs)
    lines = {shape.style: shape.path for shape in chart.shapes}
    assert lines["line error"] == "M0 0L333.3 500L666.7 250L1000 1000"
    assert lines["line delta"].count("M") == 2  # broken where nothing was measured
    assert lines["alarm"] == "M1000 0V1000"
    assert [(mark.at, mark.text) for mark in chart.marks] == [(100.0, "CO")]
    assert [tick.text for tick in chart.right] == ["−1", "−0.5", "0", "0.5", "1"]
    assert chart.strips[3].text.splitlines() == [
        "epoch 4", "PGD test error 0.0 %", "FGSM training error 20.0 %", "clean training error 10.0 %",
        "ΔE(x) 1.000", "AAE 50.0 %", "alarm CO",
    ]  # fmt: skip


def test_strips_cover_the_axis_once(epochs):
    strips = errors(epochs).strips
    ends = [strip.left + strip.width for strip in strips]
    assert strips[0].left == 0 and ends[-1] == SIZE
    assert [strip.left for strip in strips[1:]] == pytest.approx(ends[:-1])


def test_one_epoch_and_no_energies_draw_too(epochs):
    one = epochs.head(1).assign(delta_marginal=float("nan"))
    assert not errors(one).right
    assert abnormal(one).shapes[0].path.startswith("M0 1000L0 1000L")
