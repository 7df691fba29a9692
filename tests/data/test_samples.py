import re

import pytest
import torch

from energylens.data import Samples, load_data
from energylens.errors import InputError

X = torch.rand(6, 3, 4, 4, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 1, 2, 0, 1, 2])


def test_digits_test_split() -> None:
    digits = load_data("digits")
    assert (digits.name, digits.split, len(digits)) == ("digits", "test", 500)
    assert digits.classes == tuple("0123456789") and digits.image_shape == (1, 8, 8)
    counts = digits.labels.bincount(minlength=10)
    assert counts.min() >= 48 and counts.max() <= 51  # stratified
    x = digits.images
    assert x.dtype == torch.float32 and x.shape == (500, 1, 8, 8)
    assert x.min() == 0 and x.max() == 1
    assert torch.equal(x * 16, (x * 16).round())


def test_digits_splits_share_no_sample_and_never_change() -> None:
    train, test = load_data("digits", split="train"), load_data("digits", split="test")
    assert len(train) == 1297
    rows = {image.numpy().tobytes() for image in train.images}
    assert not rows & {image.numpy().tobytes() for image in test.images}
    # Records name samples by their position in this split: if this fails, they name others.
    assert test.digest == "d2b75f70fe40465de407f7b206b234ab6241dba3139ace82c423846e8f24b047"


def test_a_batch_is_a_slice_of_the_selection() -> None:
    digits = load_data("digits", n=7, choose="random", seed=5)
    x, y = digits.batch(2, 5)
    assert torch.equal(x, digits.images[2:5]) and torch.equal(y, digits.labels[2:5])
    assert x.dtype == torch.float32 and y.dtype == torch.int64
    assert torch.equal(x, load_data("digits").images[digits.indices[2:5]])
    assert [len(digits.batch(start, start + 3)[0]) for start in (0, 3, 6, 9)] == [3, 3, 1, 0]


def test_writing_into_a_batch_leaves_the_samples_alone() -> None:
    for samples in (load_data("digits", n=2), Samples.from_tensors(X, Y)):
        before = samples.images
        samples.batch(0, 2)[0].fill_(0.5)
        assert torch.equal(samples.images, before)


def test_subset_names_samples_by_their_position_in_the_split() -> None:
    digits = load_data("digits", n=50, choose="balanced")
    few = digits.subset([9, 3, 4])
    assert torch.equal(few.indices, digits.indices[[3, 4, 9]])
    assert torch.equal(few.images, digits.images[[3, 4, 9]])
    assert few.digest == digits.digest
    assert torch.equal(few.subset(torch.tensor([2])).indices, digits.indices[[9]])


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        ([], "no positions came"),
        ([0, 6], "range over [0, 6]; expected distinct integers in [0, 5]"),
        ([-1], "range over [-1, -1]"),
        ([2, 1, 2], "position 2 comes more than once"),
        ([0.5], "torch.float32; expected distinct integers"),
        ([True, False], "mask.nonzero()"),
    ],
)
def test_subset_refuses_wrong_positions(positions: list[int], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        Samples.from_tensors(X, Y).subset(positions)


@pytest.mark.parametrize("how", ["first", "random", "balanced"])
def test_choosing_of_a_whole_split_is_loading_that_choice(how: str) -> None:
    chosen, loaded = load_data("digits").choose(30, how, 3), load_data("digits", n=30, choose=how, seed=3)
    assert torch.equal(chosen.indices, loaded.indices) and torch.equal(chosen.images, loaded.images)


def test_choosing_counts_within_the_selection() -> None:
    digits = load_data("digits", n=50, choose="balanced")
    few = digits.choose(7, "random", 1)
    assert len(few) == 7 and set(few.indices.tolist()) < set(digits.indices.tolist())
    assert torch.equal(digits.choose(3, "first").indices, digits.indices[:3])
    assert torch.equal(digits.choose(None, "random").indices, digits.indices)
    assert Samples.from_tensors(X, Y).choose(4, "balanced").labels.tolist() == [0, 1, 2, 0]


@pytest.mark.parametrize(
    ("n", "how", "message"),
    [
        (51, "first", "n=51 samples asked for; expected 1 to 50"),
        (0, "first", "n=0"),
        (3, "last", "unknown choose 'last': give one of first, random, balanced"),
    ],
)
def test_a_choice_that_cannot_be_had_is_refused(n: int, how: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        load_data("digits", n=50).choose(n, how)


def test_some_classes_are_renumbered_and_keep_their_places_in_the_split() -> None:
    digits, some = load_data("digits"), load_data("digits", classes=(7, 1), n=9, choose="random", seed=2)
    assert (some.classes, some.title, digits.title) == (("7", "1"), "digits (classes 7, 1)", "digits")
    assert [(7, 1)[label] for label in some.labels] == digits.labels[some.indices].tolist()
    x, y = some.batch(2, 5)
    assert torch.equal(x, digits.images[some.indices[2:5]]) and torch.equal(y, some.labels[2:5])
    assert some.digest == digits.digest and len(some.subset([0, 1]).classes) == 2
    whole = load_data("digits", classes=[7, 1])
    assert len(whole) == int(((digits.labels == 7) | (digits.labels == 1)).sum())
    assert whole.choose(4, "balanced").labels.bincount().tolist() == [2, 2]
    again = load_data("digits", classes=(3, 7, 1)).of_classes((1, 2))
    assert torch.equal(again.indices, whole.indices) and torch.equal(again.labels, whole.labels)
    assert again.title == whole.title


@pytest.mark.parametrize("classes", [(3,), (3, 3), (3, 12), (-1, 2), ()])
def test_classes_that_are_not_there_are_refused(classes: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="expected two or more different labels of digits, 0 to 9"):
        load_data("digits", classes=classes)


def test_your_own_tensors() -> None:
    samples = Samples.from_tensors(X.double(), Y.int())
    assert (samples.name, samples.split, len(samples), samples.classes) == ("tensors", "all", 6, ("0", "1", "2"))
    assert samples.indices.tolist() == list(range(6)) and samples.image_shape == (3, 4, 4)
    x, y = samples.batch(1, 3)
    assert torch.equal(x, X[1:3]) and x.dtype == torch.float32
    assert torch.equal(y, Y[1:3]) and y.dtype == torch.int64
    named = Samples.from_tensors(X, Y, classes=["cat", "dog", "owl", "yak"], name="pets")
    assert (named.name, named.classes) == ("pets", ("cat", "dog", "owl", "yak"))


def test_wrong_tensors_of_your_own_are_refused() -> None:
    with pytest.raises(InputError, match=r"range over \[0, 255\].*Divide grey levels by 255"):
        Samples.from_tensors(torch.tensor([[[[0.0, 255.0]]]]), torch.tensor([0]))
    with pytest.raises(InputError, match=r"labels have shape \(5,\); expected \(6,\)"):
        Samples.from_tensors(X, Y[:5])
    with pytest.raises(InputError, match="there are 2 classes"):
        Samples.from_tensors(X, Y, classes=["cat", "dog"])


def test_the_digest_follows_a_tensor_that_changes_in_place() -> None:
    x = X.clone()
    samples = Samples.from_tensors(x, Y)
    before = samples.digest
    x[0, 0, 0, 0] = 1 - x[0, 0, 0, 0]
    assert samples.digest != before and samples.digest == Samples.from_tensors(x, Y).digest


def test_the_digest_tells_contents_apart() -> None:
    digest = Samples.from_tensors(X, Y).digest
    assert len(digest) == 64 and digest == Samples.from_tensors(X.clone(), Y, name="other").digest
    assert digest != Samples.from_tensors(X.flip(0), Y).digest
    assert digest != Samples.from_tensors(X, Y.flip(0)).digest
    assert digest != Samples.from_tensors(X.reshape(6, 3, 2, 8), Y).digest
    assert digest != Samples.from_tensors(torch.cat([X, X]), torch.cat([Y, Y])).digest


def test_the_repr_is_short() -> None:
    assert repr(Samples.from_tensors(X, Y)) == "Samples(name='tensors', split='all')"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "digit"}, "did you mean digits?"),
        ({"split": "val"}, "digits has no split 'val'; expected one of train, test"),
        ({"preprocessing": "Res"}, "unknown preprocessing 'Res'; expected settings such as resize=256"),
        ({"n": 501}, "n=501 samples asked for; expected 1 to 500"),
        ({"n": 0}, "n=0"),
        ({"choose": "best"}, "give one of first, random, balanced"),
        ({"n": 500, "choose": "balanced"}, "takes 50 samples of class"),
    ],
)
def test_a_wrong_request_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        load_data(**({"name": "digits"} | arguments))
