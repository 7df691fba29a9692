"""The pictures of trainings: every line is whole, at 0 and at its largest too, and shared axes have equal ticks."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from energylens.figures import abnormal_share, campaign, compare_runs, overfitting, training_curves

EPOCHS = np.arange(1, 25)
RUNAWAY = np.where(EPOCHS < 20, -0.02, 8.3 * (EPOCHS - 19) / 5)  # N-FGSM's dE(x), in the recorded study


def study():
    """Three arms: one collapses with a dE(x) of its own kind, one holds without an abnormal example."""
    tables = []
    for arm, delta, share, error in (
        ("FGSM", -0.02 * EPOCHS, 2.0 * EPOCHS, np.linspace(60, 100, 24)),
        ("N-FGSM", RUNAWAY, 4.0 * EPOCHS, np.linspace(60, 100, 24)),
        ("GradAlign", np.full(24, -0.02), np.zeros(24), np.linspace(60, 0, 24)),
    ):
        table = pd.DataFrame(
            {"epoch": EPOCHS, "delta_marginal": delta, "abnormal_share": share, "test_pgd": 100 - error}
        )
        tables.append(table.assign(arm=arm, seed=0, dataset="cifar10", alarm="", gap=share / 2, label=arm))
    table = pd.concat(tables, ignore_index=True)
    table.attrs["caption"] = "made up"
    return table


def of_runs():
    table = study()
    errors = dict.fromkeys(training_curves.ERRORS, 100 - table["test_pgd"])
    return table.assign(run=table["arm"].factorize()[0], **errors)


def side_by_side():
    quantities = [study().assign(value=study()[name], quantity=name) for name in ("delta_marginal", "abnormal_share")]
    quantities += [study().assign(value=study()["test_pgd"], quantity=name) for name in ("test_pgd", "test_clean")]
    return pd.concat(quantities, ignore_index=True)


def around_falls():
    return study().assign(from_fall=study()["epoch"] - 12, train_adv_accuracy=100.0)


DRAWN = {
    "co": lambda: overfitting.draw(study()),
    "campaign": lambda: campaign.draw(study()),
    "curves": lambda: training_curves.draw(of_runs()),
    "compare": lambda: compare_runs.draw(side_by_side()),
    "aae": lambda: abnormal_share.draw(_captioned(around_falls())),
}


def _captioned(table):
    table.attrs["caption"] = "made up"
    return table


def drawn(name):
    figure = DRAWN[name]()
    FigureCanvasAgg(figure).draw()
    return figure


def panels(figure):
    return [axes for axes in figure.axes if axes.get_visible()]


@pytest.mark.parametrize("name", DRAWN)
def test_no_line_is_cut_by_its_panel(name):
    figure = drawn(name)
    for axes in panels(figure):
        box = axes.get_window_extent()
        for line in axes.get_lines():
            if line.get_transform() != axes.transData or not line.get_clip_on() or not len(line.get_xdata()):
                continue  # across the panel, free to leave it, or the legend's
            half = line.get_linewidth() / 2 * figure.dpi / 72
            heights = axes.transData.transform(line.get_xydata())[:, 1]
            assert np.nanmin(heights) - half >= box.y0 and np.nanmax(heights) + half <= box.y1


@pytest.mark.parametrize("name", ["co", "campaign", "curves", "compare"])
def test_panels_that_share_an_axis_have_equal_ticks(name):
    figure = drawn(name)
    for which, ticks, limits in (("x", "get_xticks", "get_xlim"), ("y", "get_yticks", "get_ylim")):
        for axes in panels(figure):
            group = getattr(axes, f"get_shared_{which}_axes")().get_siblings(axes)
            assert {(*getattr(one, ticks)(), *getattr(one, limits)()) for one in group} == {
                (*getattr(axes, ticks)(), *getattr(axes, limits)())
            }


def test_epochs_above_and_below_and_de_of_all_panels_are_the_same_axis():
    figure = drawn("curves")
    for above, below in zip(panels(figure)[:3], panels(figure)[3:6], strict=True):
        assert above.get_xticks().tolist() == below.get_xticks().tolist()
    right = {(*axes.get_yticks(), *axes.get_ylim()) for axes in panels(drawn("co"))[3:]}
    assert len(right) == 1


def test_a_share_of_nothing_is_a_line():
    figure = drawn("curves")
    below = panels(figure)[5]  # GradAlign's
    (line,) = (line for line in below.get_lines() if len(line.get_xdata()) == len(EPOCHS))
    assert (line.get_ydata() == 0).all() and line.get_linewidth() > 1
