"""What a profile says of the model without failing: what the doctor would."""

import pytest
import torch
from torch import nn

import energylens as el
from energylens.errors import InputError


class Around(nn.Module):
    """digits-standard with something before it and something after it."""

    def __init__(self, before=lambda x: x, after=lambda logits: logits):
        super().__init__()
        self.before, self.after, self.network = before, after, el.load_model("digits-standard")

    def forward(self, x):
        return self.after(self.network(self.before(x)))


def strict(x):
    """As some models check their input."""
    assert x.min() >= 0 and x.max() <= 1
    return x


def notes(model, n=64, **own):
    return el.profile(model, "digits", "fgsm", n=n, **own).notes


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (lambda: Around(after=lambda logits: logits.softmax(dim=1)), "the outputs are those of a softmax"),
        (lambda: Around(after=lambda logits: logits.log_softmax(dim=1)), "the outputs are those of a log-softmax"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), "no better than guessing one of 10"),
        (lambda: Around(before=lambda x: x * 0.376 + 0.305), "give its --mean and --std"),
        (lambda: Around(before=lambda x: x / 255), "it was made for grey levels"),
    ],
    ids=["softmax", "log-softmax", "never loaded", "forgotten normalisation", "grey levels"],
)
def test_a_profile_says_in_one_line_what_the_doctor_would(model, said):
    torch.manual_seed(0)
    (note,) = notes(model().eval())
    assert said in note and note.startswith("The doctor's check") and "\n" not in note
    assert notes(model().eval(), checks=False) == ()


def test_healthy_models_and_few_samples_are_no_remark():
    assert notes("digits-standard") == notes("digits-pgd") == ()
    assert notes(Around(before=strict).eval()) == ()  # raises at what the readings try
    untrained = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval()
    assert notes(untrained, n=8) == ()  # eight images tell no accuracy from chance
    (note,) = notes(Around(after=lambda logits: logits.log_softmax(dim=1)).eval(), n=8)
    assert "log-softmax" in note


def test_a_collapsed_model_is_told_once(one_step_only):
    """Its consistency check says it; that it is better at other readings of the images only follows."""
    record = el.profile(one_step_only, "digits", ["fgsm", "pgd"], n=64)
    assert [check.rule for check in record.checks if not check.holds] == ["catastrophic overfitting"]
    assert record.notes == ()


@pytest.mark.parametrize(("kind", "name"), [("double", "float64"), ("half", "float16"), ("bfloat16", "bfloat16")])
def test_a_model_of_another_type_is_told_to_convert(kind, name):
    message = rf"the model computes in {name} and does not take float32 images .*: convert it with model\.float\(\)"
    with pytest.raises(InputError, match=message):
        notes(getattr(Around(), kind)())


def test_mixed_types_and_wrong_images_are_told_apart():
    mixed = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 10, 6).half(), nn.Flatten())
    with pytest.raises(InputError, match=r"choose the data set .* or convert its float16 weights with model\.float"):
        notes(mixed)
    with pytest.raises(InputError, match=r"choose the data set it was trained on$"):
        notes(nn.Sequential(nn.Conv2d(3, 10, 8), nn.Flatten()))
    casting = Around(before=lambda x: x.double(), after=lambda logits: logits.float()).double()
    assert notes(casting) == ()
