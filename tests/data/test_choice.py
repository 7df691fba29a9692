from itertools import pairwise

import pytest
import torch

from energylens.data.choice import choose_indices
from energylens.errors import InputError

LABELS = torch.tensor([0, 0, 0, 1, 2, 1, 2, 0, 1, 2, 1, 2])  # 4 of each


def test_first_takes_the_first() -> None:
    assert choose_indices(LABELS, 3, 5, "first", 0).tolist() == [0, 1, 2, 3, 4]


def test_no_n_takes_all() -> None:
    for choose in ("first", "random", "balanced"):
        assert choose_indices(LABELS, 3, None, choose, 7).tolist() == list(range(12))


@pytest.mark.parametrize("choose", ["first", "random", "balanced"])
def test_a_larger_n_keeps_the_samples_of_a_smaller_one(choose: str) -> None:
    chosen = [set(choose_indices(LABELS, 3, n, choose, 3).tolist()) for n in range(1, 13)]
    assert [len(samples) for samples in chosen] == list(range(1, 13))
    assert all(small < large for small, large in pairwise(chosen))


def test_random_is_sorted_keyed_by_the_seed_and_leaves_the_global_state() -> None:
    labels = torch.zeros(1000, dtype=torch.int64)
    before = torch.get_rng_state()
    one, again, other = (choose_indices(labels, 1, 100, "random", seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert torch.equal(one, one.sort().values) and len(one.unique()) == 100


@pytest.mark.parametrize("n", range(1, 13))
def test_balanced_counts_differ_by_at_most_one(n: int) -> None:
    indices = choose_indices(LABELS, 3, n, "balanced", 0)
    counts = LABELS[indices].bincount(minlength=3)
    assert counts.sum() == n and counts.max() - counts.min() <= 1
    assert torch.equal(indices, indices.sort().values)


def test_balanced_takes_the_first_of_each_class() -> None:
    assert choose_indices(LABELS, 3, 7, "balanced", 0).tolist() == [0, 1, 2, 3, 4, 5, 6]


def test_balanced_refuses_a_class_that_has_too_few() -> None:
    with pytest.raises(InputError, match=r"n=6 takes 3 samples of class 1, which has 1"):
        choose_indices(torch.tensor([0, 0, 0, 0, 0, 0, 1]), 2, 6, "balanced", 0)


@pytest.mark.parametrize("n", [-1, 0, 13])
def test_n_outside_the_split_is_refused_with_both_numbers(n: int) -> None:
    with pytest.raises(InputError, match=f"n={n} samples asked for; expected 1 to 12"):
        choose_indices(LABELS, 3, n, "first", 0)


def test_an_unknown_rule_is_refused_with_the_rules() -> None:
    with pytest.raises(InputError, match="unknown choose 'last': give one of first, random, balanced"):
        choose_indices(LABELS, 3, 1, "last", 0)
