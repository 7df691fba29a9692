"""Which images are learnt, held back and looked at, in which order, and the law of their augmentation."""

from functools import partial

import pytest
import torch
from torch import Tensor

import energylens as el
from energylens.training.augmentation import AUGMENTATIONS, Augmentation, usual_augmentation
from energylens.training.data import Batches, Images, Share, TrainingData, load_training_data
from energylens.training.recipes import settings_of

CPU = torch.device("cpu")
USUAL = {"per_class": 20, "batch_size": 16, "method": "fgsm", "eval_samples": 0, "val_fraction": 0.25}


def data_of(**own) -> TrainingData:
    return load_training_data(settings_of("digits", **USUAL | own), None, CPU)


def named(images: Images) -> list[tuple[bytes, int]]:
    """Each image with its label: no two digits are the same picture."""
    return [(x.numpy().tobytes(), int(y)) for x, y in zip(images.pixels, images.labels, strict=True)]


def digits(split: str, labels=range(10), per_class=None) -> set[tuple[bytes, int]]:
    """The first so many of each label, renumbered in the order of the labels."""
    samples = el.load_data("digits", split=split)
    found = set()
    for number, label in enumerate(labels):
        members = [i for i in range(len(samples)) if samples.labels[i] == label][:per_class]
        found |= {((samples.images[i] * 16).round().to(torch.uint8).numpy().tobytes(), number) for i in members}
    return found


def test_the_images_to_learn_and_those_held_back_are_the_first_of_each_class_shared_out():
    data = data_of(classes=(7, 1, 4))
    learnt, held = named(data.train), named(data.val)
    assert (len(learnt), len(held)) == (45, 15)
    assert not set(learnt) & set(held)
    assert set(learnt) | set(held) == digits("train", (7, 1, 4), per_class=20)
    assert len({label for _, label in held}) == 3  # drawn from all, not the first of one
    assert data.classes == ("7", "1", "4")
    assert data.train.pixels.dtype == torch.uint8 and data.train.levels == 16
    assert torch.equal(data.train.x, data.train.pixels / 16)


def test_the_test_images_are_of_the_test_split_and_in_no_other():
    data = data_of(per_class=None)
    assert set(named(data.test)) == digits("test")
    seen = set(named(data.train)) | set(named(data.val)) | set(named(data.probe))
    assert seen == digits("train") and not seen & set(named(data.test))


def test_the_probe_is_the_first_of_what_is_learnt_and_every_split_is_cut_to_so_many():
    whole, cut = data_of(), data_of(eval_samples=30)
    assert named(whole.probe) == named(whole.train)
    assert named(cut.train) == named(whole.train)
    for name in ("probe", "val", "test"):
        assert named(getattr(cut, name)) == named(getattr(whole, name))[:30]
    assert [len(part) for part in (whole.probe, whole.val, whole.test)] == [150, 50, 500]


def test_the_split_is_a_function_of_the_seed():
    first, again, other = data_of(seed=0), data_of(seed=0), data_of(seed=1)
    assert named(first.val) == named(again.val)
    assert set(named(first.val)) != set(named(other.val))
    assert len(data_of(val_fraction=0.0).val) == 0


def test_the_probe_does_not_depend_on_who_is_left_out():
    whole, cut = data_of(), data_of(omit="random", omit_share=0.2)
    assert named(whole.probe) == named(cut.probe) and named(whole.val) == named(cut.val)
    assert len(cut.train) == 120 and set(named(cut.train)) < set(named(whole.train))
    assert [image for image in named(whole.train) if image in set(named(cut.train))] == named(cut.train)
    other = data_of(omit="random", omit_share=0.2, seed=1)
    assert set(named(other.train)) != set(named(cut.train))


def test_the_layers_mean_and_deviation_are_those_of_the_images_to_learn():
    data = data_of()
    mean, std = data.statistics()
    assert mean == [pytest.approx(data.train.x.mean().item(), abs=1e-5)]
    assert std == [pytest.approx(data.train.x.std(correction=0).item(), abs=1e-5)]


def epoch_of(data: TrainingData, epoch: int, *share: int, **own) -> list[tuple[Tensor, Tensor]]:
    batches = settings_of("digits", **USUAL | {"augment": "none"} | own).part(partial(Batches, data.train))
    found = list(batches.of(epoch, torch.Generator().manual_seed(0), Share(*share)))
    assert len(found) == len(batches)
    return found


def as_named(x: Tensor, y: Tensor) -> list[tuple[bytes, int]]:
    return named(Images((x * 16).round().to(torch.uint8), y, 16))


def test_an_epoch_is_a_shuffle_of_the_images_in_full_batches():
    data = data_of()
    batches = epoch_of(data, 0)
    assert [len(y) for _, y in batches] == [16] * 9  # of 150: the last 6 wait
    seen = [image for batch in batches for image in as_named(*batch)]
    assert len(set(seen)) == len(seen) and set(seen) < set(named(data.train))
    assert seen != named(data.train)[: len(seen)]
    assert all(x.dtype == torch.float32 and x.max() <= 1 for x, _ in batches)
    again, later, other = epoch_of(data, 0), epoch_of(data, 1), epoch_of(data, 0, seed=1)
    assert all(torch.equal(one[0], two[0]) for one, two in zip(batches, again, strict=True))
    for shuffled in (later, other):
        assert not torch.equal(batches[0][1], shuffled[0][1])
    missed = set(named(data.train)) - set(seen)
    assert missed != set(named(data.train)) - {image for batch in later for image in as_named(*batch)}


def test_ranks_share_out_each_batch():
    data = data_of()
    whole, parts = epoch_of(data, 2), [epoch_of(data, 2, rank, 2) for rank in range(2)]
    for batch, *shares in zip(whole, *parts, strict=True):
        named_shares = [as_named(*share) for share in shares]
        assert [len(share) for share in named_shares] == [8, 8]
        assert sorted([image for share in named_shares for image in share]) == sorted(as_named(*batch))


def test_batches_are_augmented_as_the_settings_say_with_draws_of_the_generator():
    data = data_of()
    plain, moved = epoch_of(data, 0)[0], epoch_of(data, 0, augment="shift")[0]
    expected = Augmentation(shift=1)((plain[0] * 16).round(), torch.Generator().manual_seed(0)) / 16
    assert torch.equal(moved[0], expected) and torch.equal(plain[1], moved[1])
    assert not torch.equal(moved[0], plain[0])


def test_a_shift_is_equally_likely_everywhere_and_each_images_own():
    x = torch.zeros(9000, 1, 5, 5)
    x[:, 0, 2, 2] = 1
    moved = Augmentation(shift=1)(x, torch.Generator().manual_seed(0))
    places = moved.flatten(1).argmax(dim=1)
    rows, columns = places // 5 - 2, places % 5 - 2
    counts = torch.bincount((rows + 1) * 3 + columns + 1, minlength=9)
    assert len(counts) == 9
    assert counts.tolist() == pytest.approx([1000] * 9, abs=4 * (1000 * 8 / 9) ** 0.5)  # four standard errors


def test_a_mirror_is_an_even_coin_of_each_images_own_from_left_to_right():
    x = torch.arange(6.0).view(1, 1, 2, 3).repeat(4000, 1, 1, 1)
    flipped = Augmentation(flip=True)(x, torch.Generator().manual_seed(0))
    mirrored = (flipped == torch.tensor([[2.0, 1.0, 0.0], [5.0, 4.0, 3.0]])).flatten(1).all(dim=1)
    same = (flipped == x).flatten(1).all(dim=1)
    assert (mirrored ^ same).all()
    assert mirrored.sum().item() == pytest.approx(2000, abs=4 * 1000**0.5)


def test_augmentations_have_their_names_laws():
    laws = {name: (row.shift, row.flip) for name, row in AUGMENTATIONS.items()}
    assert laws == {"none": (0, False), "crop-flip": (4, True), "crop": (4, False), "shift": (1, False)}
    usual = {name: usual_augmentation(name) for name in ("digits", "mnist", "svhn", "cifar10", "cifar100")}
    assert usual == {
        "digits": "shift", "mnist": "none", "svhn": "none", "cifar10": "crop-flip", "cifar100": "crop-flip",
    }  # fmt: skip
