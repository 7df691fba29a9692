import re

import numpy as np
import pytest
import torch

from energylens.data import check_images, check_labels
from energylens.errors import InputError

GOOD = torch.rand(2, 1, 3, 3)


@pytest.mark.parametrize("x", [GOOD, GOOD.double(), GOOD.half(), torch.zeros(1, 1, 1, 1), torch.ones(1, 3, 2, 2)])
def test_images_in_range_pass(x: torch.Tensor) -> None:
    check_images(x)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((1, 1, 2, 2)), "are a ndarray; expected a torch tensor"),
        (torch.zeros(1, 1, 2, 2, dtype=torch.uint8), "torch.uint8; expected float32"),
        (torch.zeros(3, 2, 2), r"shape (3, 2, 2); expected (N, C, H, W)"),
        (torch.zeros(0, 3, 2, 2), "with at least one image"),
        (torch.full((1, 1, 2, 2), 200.0), "range over [200, 200]; expected finite values in [0, 1]. Divide"),
        (torch.tensor([[[[-2.0, 0.5]]]]), "[-2, 0.5]; expected finite values in [0, 1]"),
        (torch.tensor([[[[float("nan"), 0.5]]]]), "[nan, nan]"),
        (torch.tensor([[[[float("inf"), 0.5]]]]), "[0.5, inf]"),
    ],
)
def test_other_images_are_refused_saying_what_came(x: torch.Tensor, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        check_images(x)


def test_a_tensor_under_differentiation_passes_and_keeps_its_graph() -> None:
    x = GOOD.clone().requires_grad_()
    check_images(x)
    assert x.requires_grad and x.grad is None


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0, 1], "a list; expected an integer torch tensor"),
        (torch.tensor([0.0, 1.0]), "torch.float32; expected an integer"),
        (torch.tensor([True, False]), "torch.bool"),
        (torch.tensor([0, 1, 2]), "shape (3,); expected (2,)"),
        (torch.tensor([[0], [1]]), "shape (2, 1); expected (2,)"),
        (torch.tensor([0, 3]), "range over [0, 3]; expected [0, 2]: there are 3 classes"),
        (torch.tensor([-1, 2]), "range over [-1, 2]"),
    ],
)
def test_wrong_labels_are_refused_saying_what_came(y: torch.Tensor, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        check_labels(y, 2, num_classes=3)


def test_without_a_number_of_classes_labels_are_0_or_more() -> None:
    check_labels(torch.tensor([0, 999], dtype=torch.int32), 2)
    with pytest.raises(InputError, match="expected 0 or more"):
        check_labels(torch.tensor([-1, 0]), 2)
