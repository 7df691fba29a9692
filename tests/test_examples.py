"""The scripts in ``examples/`` do what they say."""

import sys
from pathlib import Path

import energylens as el

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))


def test_der_works_in_a_plain_loop():
    from der_in_your_loop import train_with_der

    model = train_with_der(epochs=12)
    natural, fgsm = el.profile(model, "digits", "fgsm", eps=0.1, n=200).as_numbers()
    assert natural["accuracy"] > 0.7 and fgsm["accuracy"] > 0.3
    assert fgsm["abnormal_share"] == 0
