"""Data that comes inside a dependency: no folder, no network."""

import torch

from energylens.data.catalog import Request
from energylens.data.sources import Memory

_TEST_SIZE = 500
_SPLIT_SEED = 0  # fixed for good: every recorded row names a position in this split


def load_digits(request: Request) -> Memory:
    """scikit-learn's 1,797 digits, 1x8x8, 0 to 16 grey levels: 500 to test, 1,297 to train, stratified.

    Within a split they keep scikit-learn's order.

    Args:
        request: its split is used.

    Returns:
        The split, held in memory.
    """
    from sklearn.datasets import load_digits as read
    from sklearn.model_selection import train_test_split

    digits = read()
    train, test = train_test_split(
        range(len(digits.target)), test_size=_TEST_SIZE, random_state=_SPLIT_SEED, stratify=digits.target
    )
    rows = sorted({"train": train, "test": test}[request.split])
    return Memory(
        classes=tuple(str(label) for label in digits.target_names),
        labels=torch.from_numpy(digits.target[rows]).long(),
        pixels=torch.from_numpy(digits.images[rows]).to(torch.uint8).unsqueeze(1),
        levels=16,
    )
