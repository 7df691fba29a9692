"""The images contract: float, (N, C, H, W), finite, in [0, 1]; and the labels that go with them."""

import torch
from torch import Tensor

from energylens.errors import InputError


def check_images(x: Tensor) -> None:
    """Refuse what is not a batch of images.

    x: (N, C, H, W), a floating dtype, finite, in [0, 1], at least one image. Raises InputError with what came.
    """
    if not isinstance(x, Tensor):
        raise InputError(f"images are a {type(x).__name__}; expected a torch tensor (torch.as_tensor(images)).")
    if not x.is_floating_point():
        raise InputError(f"images are {x.dtype}; expected float32 in [0, 1]: convert grey levels by x.float() / 255.")
    if x.dim() != 4 or x.numel() == 0:
        raise InputError(f"images have shape {tuple(x.shape)}; expected (N, C, H, W) with at least one image.")
    low, high = (float(bound) for bound in torch.aminmax(x.detach()))  # NaN propagates into both
    if not 0 <= low <= high <= 1:
        raise InputError(
            f"images range over [{low:g}, {high:g}]; expected finite values in [0, 1]. "
            "Divide grey levels by 255; normalisation (mean, std) belongs into the model."
        )


def check_labels(y: Tensor, num_samples: int, num_classes: int | None = None) -> None:
    """Refuse what are not the labels of `num_samples` images.

    y: (N,), an integer dtype, in [0, num_classes), or only >= 0 where num_classes is None. Raises InputError.
    """
    if not isinstance(y, Tensor) or y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        came = y.dtype if isinstance(y, Tensor) else f"a {type(y).__name__}"
        raise InputError(f"labels are {came}; expected an integer torch tensor (torch.as_tensor(labels).long()).")
    if y.shape != (num_samples,):
        raise InputError(f"labels have shape {tuple(y.shape)}; expected ({num_samples},), one for each image.")
    low, high = (int(bound) for bound in torch.aminmax(y))
    if low < 0 or (num_classes is not None and high >= num_classes):
        expected = "0 or more" if num_classes is None else f"[0, {num_classes - 1}]: there are {num_classes} classes"
        raise InputError(f"labels range over [{low}, {high}]; expected {expected}.")
