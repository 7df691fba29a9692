"""A user's own arrays, data sets and loaders: the record of the tensors they hold, and what was converted is said."""

import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, SubsetRandomSampler, TensorDataset

import energylens as el
from energylens.data.own import own_samples
from energylens.errors import InputError, Note

N = 24
DIGITS = el.load_data("digits", n=N)
X, Y = (DIGITS.images * 255).round() / 255, DIGITS.labels
GREY = (X * 255).round().to(torch.uint8)


class Items(Dataset[Any]):
    """Items as a function of their number makes them; how often each was read."""

    def __init__(self, item: Callable[[int], Any], n: int = N) -> None:
        self.item, self.n, self.reads = item, n, [0] * n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> Any:
        self.reads[i] += 1
        return self.item(i)


def pair(i: int) -> Any:
    return X[i], int(Y[i])


def picture(i: int) -> Any:
    return Image.fromarray(GREY[i, 0].numpy()), int(Y[i])


class Stream(IterableDataset[Any]):
    def __init__(self, item: Callable[[int], Any] = pair) -> None:
        self.item = item

    def __iter__(self) -> Iterator[Any]:
        return map(self.item, range(N))


def collated(items: list[Any]) -> dict[str, Tensor]:
    return {"pixel_values": torch.stack([x for x, _ in items]), "labels": torch.tensor([y for _, y in items])}


PLAIN = TensorDataset(X, Y)
STREAM = re.escape("a stream: 24 of them, 0 MB, are held in memory, since a stream is read once")
KINDS: dict[str, tuple[Any, str | None]] = {
    "tensors": ((X, Y), None),
    "a list of tensors": ([X, Y], None),
    "numpy": ((X.numpy(), Y.numpy()), r"came as a numpy array of float32"),
    "uint8": ((GREY, Y), "came as uint8 grey levels, divided by 255"),
    "numpy, uint8, channels last": (
        (GREY.permute(0, 2, 3, 1).numpy(), Y.tolist()), "channels moved from the last place to the second, uint8",
    ),
    "a Dataset": (PLAIN, None),
    "a Dataset of dicts": (Items(lambda i: {"image": X[i], "label": int(Y[i])}), None),
    "a Dataset of pictures": (Items(picture), "images of the Items came as PIL pictures, uint8 grey levels, divided"),
    "a DataLoader": (DataLoader(PLAIN, batch_size=7), None),
    "a DataLoader that shuffles": (DataLoader(PLAIN, batch_size=7, shuffle=True), "shuffling was left out"),
    "a DataLoader with a collate_fn": (DataLoader(PLAIN, batch_size=7, collate_fn=collated), STREAM),
    "a stream": (Stream(), STREAM),
    "a stream of pictures": (Stream(picture), "came as PIL pictures, uint8 grey levels, divided by 255, a stream: 24"),
    "a DataLoader without batches": (DataLoader(PLAIN, batch_size=None), STREAM),
    "a DataLoader of a stream": (DataLoader(Stream(), batch_size=7), STREAM),
}  # fmt: skip


@pytest.fixture(scope="module")
def robust() -> nn.Module:
    return el.load_model("digits-pgd")


@pytest.fixture(scope="module")
def expected(robust: nn.Module) -> Any:
    return el.profile(robust, el.Samples.from_tensors(X, Y, classes=DIGITS.classes), ["pgd,steps=2"]).frame()


@pytest.mark.parametrize("kind", KINDS)
def test_profile_attack_and_doctor_take_it_and_say_what_was_converted(
    kind: str, robust: nn.Module, expected: Any
) -> None:
    data, told = KINDS[kind]
    x, y = data if isinstance(data, tuple | list) else (data, None)
    for asked in (
        lambda: el.profile(robust, data, ["pgd,steps=2"]).frame()["joint_adv"].to_numpy(),
        lambda: robust(el.attack("pgd,steps=2", robust, x, y))[range(N), Y].neg().numpy(),
    ):
        with warnings.catch_warnings(record=True) as notes:
            warnings.simplefilter("always")
            found = asked()
        np.testing.assert_allclose(found[-N:], expected["joint_adv"].to_numpy()[-N:], atol=1e-4)
        messages = [str(note.message) for note in notes if issubclass(note.category, Note)]
        assert len(messages) == (told is not None)
        assert told is None or re.search(told, messages[0])


@pytest.mark.filterwarnings("ignore::energylens.errors.Note")
@pytest.mark.parametrize("kind", ["numpy, uint8, channels last", "a Dataset", "a DataLoader of a stream"])
def test_the_doctor_takes_it(kind: str, robust: nn.Module) -> None:
    many = el.load_data("digits", n=70)
    grey = (many.images * 255).round().to(torch.uint8)
    data = {
        "numpy, uint8, channels last": (grey.permute(0, 2, 3, 1).numpy(), many.labels.numpy()),
        "a Dataset": TensorDataset(many.images, many.labels),
        "a DataLoader of a stream": DataLoader(TensorDataset(many.images, many.labels), 9, collate_fn=collated),
    }[kind]
    diagnosis = el.examine(robust, data)
    assert diagnosis.healthy and diagnosis.n == (70 if isinstance(data, tuple) else 64)
    if not isinstance(data, tuple):
        assert el.examine(robust, data, n=50).n == 50


def test_a_data_set_is_read_when_a_batch_asks_and_memory_stays_flat() -> None:
    class Big(Items):
        """100 images of 3 MB: 300 MB at once."""

        classes = ("cat", "dog")

    items = Big(lambda i: (torch.full((3, 512, 512), i / 100), i % 2), 100)
    samples = own_samples(items)
    for at in range(0, 100, 4):
        x, y = samples.batch(at, at + 4)
        assert x[:, 0, 0, 0].tolist() == pytest.approx([i / 100 for i in range(at, at + 4)])
        assert y.tolist() == [0, 1, 0, 1]
    assert items.reads == [2] * 100  # once for labels and content, once for its batch
    assert samples.name == "Big" and samples.classes == ("cat", "dog")
    held = sum(value.numel() for value in vars(samples.source).values() if isinstance(value, Tensor))
    assert held == 100  # the labels


def test_n_reads_no_more_than_it_needs(robust: nn.Module) -> None:
    items = Items(lambda i: (X[i], int(Y[i])))
    assert len(el.profile(robust, items, ["fgsm"], n=5, ladder=False)) == 5
    assert sum(items.reads[5:]) == 0
    record = el.profile(robust, items, ["fgsm"], n=5, choose="random", ladder=False)
    assert record.attacks[0].rows["index"].max() > 5
    with pytest.raises(InputError, match="n=99 samples asked for; expected 1 to 24"):
        el.profile(robust, items, ["fgsm"], n=99)
    with pytest.raises(InputError, match="n goes with a data set given by name, a Dataset or a DataLoader"):
        el.profile(robust, (X, Y), ["fgsm"], n=5)


def test_a_sampler_says_which_items(robust: nn.Module) -> None:
    with pytest.warns(Note, match="sampler drew 3 of 24 items of its TensorDataset: these, in their order"):
        samples = own_samples(DataLoader(PLAIN, sampler=SubsetRandomSampler([7, 2, 5])))
    assert torch.equal(samples.images, X[[2, 5, 7]])
    with pytest.warns(Note, match="drew 4 of 24"):
        samples = own_samples(DataLoader(PLAIN, batch_sampler=[[3, 1], [9, 4]]))
    assert torch.equal(samples.images, X[[1, 3, 4, 9]])
    assert len(own_samples(DataLoader(PLAIN, batch_size=5, drop_last=True))) == 20
    assert len(own_samples(Subset(PLAIN, [4, 2]))) == 2


def test_the_same_content_is_the_same_record_and_other_content_another(robust: nn.Module) -> None:
    digests = [
        own_samples(data).digest
        for data in (PLAIN, DataLoader(PLAIN, batch_size=9), Items(lambda i: (X[i], int(Y[i]))))
    ]
    assert len(set(digests)) == 1
    changed = X.clone()
    changed[5, 0, 3, 3] = 0.123
    others = [TensorDataset(changed, Y), TensorDataset(X, Y.roll(1)), TensorDataset(X[:-1], Y[:-1])]
    assert len({*digests, *(own_samples(data).digest for data in others)}) == 4


def test_images_that_change_from_reading_to_reading_are_refused(robust: nn.Module) -> None:
    noisy = Items(lambda i: ((X[i] + 0.1 * torch.rand(1)).clamp(0, 1), int(Y[i])))
    with pytest.raises(InputError, match=r"is another image at each reading.*take random augmentation out"):
        el.profile(robust, noisy, ["fgsm"])


BAD: dict[str, tuple[Any, str]] = {
    "empty": (Items(lambda i: None, 0), "the Items is empty"),
    "masks": (Items(lambda i: ((X[i] > 0.5).byte(), 1)), r"are uint8 and range over \[0, 1\]; expected grey"),
    "masks as tensors": (((X > 0.5).byte(), Y), r"uint8 and range over \[0, 1\]; expected grey levels up to 255"),
    "16 bits": (Items(lambda i: (Image.new("I;16", (8, 8)), 1)), "item 0 of the Items is a picture of mode I;16"),
    "images alone": (Items(lambda i: X[i]), "item 0 of the Items is a Tensor; expected a pair"),
    "three things": (Items(lambda i: (X[i], 1, 2)), "item 0 of the Items is 3 things; expected a pair"),
    "other keys": (Items(lambda i: {"a": 1, "b": 2}), "is the keys a, b; expected a pair"),
    "sizes differ": (Items(lambda i: (torch.rand(1, 8, 8 + i), 1)), r"item 1 of the Items is \(1, 8, 9\)"),
    "normalised": (Items(lambda i: (X[i] - 3, 1)), r"item 0 of the Items: images range over \[-3, -2\]"),
    "no label": (Items(lambda i: (X[i], "cat")), "item 0 of the Items has the label 'cat'; expected an integer"),
    "labels beyond": (TensorDataset(X, Y + 7), r"labels range over \[7, 16\]; expected \[0, 9\]"),
    "a number": (3, "data are a int; expected a name, Samples, a pair"),
    "three tensors": ((X, Y, Y), "data are 3 things; expected a name, Samples, a pair"),
    "a path": (Items(lambda i: ("cat.png", 1)), "item 0 of the Items has a str for an image"),
    "a stream of sizes": (
        DataLoader(Items(lambda i: (torch.rand(1, 8, 8 + i % 2), 1)), 1, collate_fn=collated), "differ in shape",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_other_data_are_refused_in_one_line(kind: str, robust: nn.Module) -> None:
    data, told = BAD[kind]
    for ask in (lambda: el.profile(robust, data, ["fgsm"]), lambda: el.examine(robust, data)):
        with pytest.raises(InputError, match=told) as caught:
            ask()
        assert "\n" not in str(caught.value)


def test_a_missing_eps_is_the_same_for_attack_and_profile(robust: nn.Module) -> None:
    plain = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    for ask in (lambda: el.attack("pgd", plain, X, Y), lambda: el.profile(plain, (X, Y), ["pgd"])):
        with pytest.raises(InputError, match="pgd needs a radius and no usual one is known here: give one with eps"):
            ask()
    for model, data, usual in ((robust, (X, Y), 0.2), (plain, DIGITS, 0.2)):
        moved = (el.attack("fgsm", model, *([data] if data is DIGITS else data)) - DIGITS.images).abs().max()
        assert float(moved) == pytest.approx(usual, abs=2e-3)
        assert el.profile(model, data, ["fgsm"]).eps == str(usual)
    assert len(el.profile(plain, (X, Y), ["cw"], ladder=False)) == N  # needs none
    assert el.attack("cw", plain, X, Y).shape == X.shape


def test_attack_says_what_is_missing_or_lies_elsewhere(robust: nn.Module) -> None:
    with pytest.raises(InputError, match="labels are missing: give y beside x"):
        el.attack("fgsm", robust, X)
    with pytest.raises(InputError, match=r"does not take images of shape \(3, 5, 5\), torch.float32"):
        el.attack("fgsm", robust, torch.rand(2, 3, 5, 5), torch.tensor([0, 1]))
    with pytest.raises(InputError, match="the images lie on meta, the model on cpu"):
        el.attack("fgsm", robust, X.to("meta"), Y)


def test_a_black_image_among_others_is_one_of_them() -> None:
    black = GREY.clone()
    black[3] = 0
    with pytest.warns(Note):
        assert torch.equal(own_samples(TensorDataset(black, Y)).images, black / 255)


def test_masks_are_no_grey_levels_for_an_attack_either(robust: nn.Module) -> None:
    with pytest.raises(InputError, match=r"uint8 and range over \[0, 1\]"):
        el.attack("fgsm", robust, (X > 0.5).byte(), Y)


def test_a_dataset_without_a_length_is_told_so() -> None:
    class Endless(Dataset[Any]):
        def __getitem__(self, i: int) -> Any:
            return pair(i)

    with pytest.raises(InputError, match=r"the Endless has no length \(__len__\)"):
        own_samples(Endless(), None)
