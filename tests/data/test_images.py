import re

import numpy as np
import pytest
import torch

from energylens.data import check_images, check_labels
from energylens.data.images import as_floats, as_labels, as_pixels
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
        (torch.tensor([[[[0.0, 1.00001]]]]), "range over [0, 1.00001001]; expected"),
        (torch.tensor([[[[-3e-6, 1.0]]]]), "range over [-3.00000011e-06, 1]; expected"),
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


def test_rounding_outside_is_clamped() -> None:
    mean, std = 0.4914, 0.2471
    x = torch.linspace(0, 1, 4096).view(1, 1, 64, 64)
    back = (x - mean) / std * std + mean  # un-normalised: up to 6e-8 outside
    nudged = back + torch.where(x > 0.5, 9e-7, -9e-7)
    assert nudged.min() < 0 and nudged.max() > 1
    pixels, converted = as_pixels(nudged)
    assert (pixels.min(), pixels.max(), converted) == (0, 1, [])
    torch.testing.assert_close(pixels, x, atol=2e-6, rtol=0)


def test_images_within_are_not_copied() -> None:
    assert as_pixels(GOOD)[0].data_ptr() == GOOD.data_ptr()


GREY = torch.arange(2 * 3 * 5 * 7, dtype=torch.uint8).view(2, 3, 5, 7)


@pytest.mark.parametrize(
    ("x", "told"),
    [
        (GREY, "uint8 grey levels, divided by 255"),
        (GREY.numpy(), "a numpy array of uint8, uint8 grey levels, divided by 255"),
        (GREY.permute(0, 2, 3, 1), "channels moved from the last place to the second, uint8 grey levels, divided"),
        (GREY.permute(0, 2, 3, 1).numpy(), "a numpy array of uint8, channels moved"),
        (GREY.numpy() / 255, "a numpy array of float64"),
        (GREY.numpy()[:, :, ::-1][:, :, ::-1].astype("float32") / 255, "a numpy array of float32"),
    ],
)
def test_arrays_and_grey_levels_are_converted_and_told(x: object, told: str) -> None:
    pixels, converted = as_pixels(x)
    assert ", ".join(converted).startswith(told)
    floats = as_floats(pixels)
    assert floats.is_contiguous() and floats.dtype == torch.float32
    torch.testing.assert_close(floats, GREY / 255)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(3, 2, 2, dtype=torch.uint8), "have shape (3, 2, 2); expected (N, C, H, W)"),
        (torch.full((1, 1, 2, 2), 200), "are torch.int64; expected float32"),
        (np.full((1, 1, 2, 2), 200.0), "range over [200, 200]"),
        (np.array([[["a"]]]), "are a ndarray"),
        ([[0.0]], "are a list"),
    ],
)
def test_what_cannot_be_read_in_one_way_is_refused(x: object, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        as_pixels(x)


@pytest.mark.parametrize(
    "y", [[3, 1], (3, 1), np.array([3, 1], dtype="uint16"), torch.tensor([3, 1], dtype=torch.int8)]
)
def test_labels_of_any_integer_kind_become_int64(y: object) -> None:
    labels = as_labels(y)
    assert labels.dtype == torch.int64 and labels.tolist() == [3, 1]
