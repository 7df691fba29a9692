"""The pictures of steps and of images hold what their tables do."""

import pytest

import energylens as el
from energylens.figures import adversarial_images as gallery
from energylens.figures import energy_steps
from energylens.figures.energy_steps import energy_against_steps
from energylens.tables.adversarial_images import adversarial_images


@pytest.fixture(scope="module")
def record():
    battery = ["pgd,steps=4", "he-pgd,steps=4"]
    return el.profile("digits-pgd", "digits", battery, n=12, trajectory=True, save_images=True)


def test_a_line_an_attack_and_one_for_the_natural_images(record):
    table = energy_against_steps(record)
    figure = energy_steps.draw(table)
    for axes, energy in zip(figure.axes, ("marginal", "joint"), strict=True):
        lines = [line for line in axes.lines if len(line.get_xdata())]
        for attack, line, band in zip(record.attacks[1:], lines, axes.collections, strict=False):
            rows = table[(table["energy"] == energy) & (table["label"] == attack.label)]
            assert line.get_ydata().tolist() == rows["mean"].tolist()
            ends = {tuple(point) for point in band.get_paths()[0].vertices}
            assert {*zip(rows["step"], rows["low"], strict=True), *zip(rows["step"], rows["high"], strict=True)} <= ends
        assert len(axes.collections) == 2 and set(lines[2].get_ydata()) == {rows["natural"].iloc[0]}
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["PGD, steps 4", "HE-PGD, steps 4", "natural"]
    assert not any(axes.get_legend() for axes in figure.axes)


def test_three_rows_of_images(record):
    table = adversarial_images(record, record.attacks[1], count=5)
    figure = gallery.draw(table)
    assert len(figure.axes) == 15
    assert (figure.axes[0].images[0].get_array() == table["natural"][0].squeeze()).all()
