"""The pictures of steps and of images hold what their tables do."""

import pytest

import energylens as el
from analyses.adversarial_images import adversarial_images
from analyses.energy_steps import energy_against_steps
from figures import adversarial_images as gallery
from figures import energy_steps


@pytest.fixture(scope="module")
def record():
    battery = ["pgd,steps=4", "he-pgd,steps=4"]
    return el.profile("digits-pgd", "digits", battery, n=12, trajectory=True, save_images=True)


def test_a_line_an_attack_and_one_for_the_natural_images(record):
    table = energy_against_steps(record)
    figure = energy_steps.draw(table)
    for axes, energy in zip(figure.axes, ("marginal", "joint"), strict=True):
        assert [line.get_label() for line in axes.lines] == ["PGD, steps 4", "HE-PGD, steps 4", "natural"]
        pgd = table[(table["energy"] == energy) & (table["attack"] == "pgd,steps=4")]
        assert axes.lines[0].get_ydata().tolist() == pgd["mean"].tolist()
    (legend,) = figure.legends
    assert len(legend.get_texts()) == 3


def test_three_rows_of_images(record):
    table = adversarial_images(record, record.attacks[1], count=5)
    figure = gallery.draw(table)
    assert len(figure.axes) == 15
    assert (figure.axes[0].images[0].get_array() == table["natural"][0].squeeze()).all()
