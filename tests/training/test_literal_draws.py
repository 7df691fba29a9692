"""The laws of what is drawn: where attacks start and how far they go, the order of the images, their crops and flips,
and who is held back for validation. All of it measured."""

import math
from functools import partial
from itertools import chain, combinations

import pytest
import torch
from torch import Tensor

from energylens.training.augmentation import AUGMENTATIONS, usual_augmentation
from energylens.training.data import Batches, Images, Share, load_training_data
from energylens.training.methods import METHODS
from energylens.training.recipes import settings_of

EPS = 0.1
GREY = torch.full((64, 1, 8, 8), 0.5, dtype=torch.float64)  # far from the edges of the box: 4096 pixels
LABELS = torch.arange(64) % 10


def attacked(pupil, x: Tensor) -> tuple[list[Tensor], Tensor]:
    """The images that the network saw in the attack, in order, and where it ended."""
    seen = []
    hook = pupil.run.network.register_forward_pre_hook(lambda module, given: seen.append(given[0].detach().clone()))
    adv = pupil.run.attacker(x, LABELS, EPS).x_adv.detach()
    hook.remove()
    return seen, adv


def assert_uniform(noise: Tensor, radius: float) -> None:
    """U(-radius, radius): its edges, its spread and its quartiles; no two images have the same."""
    assert noise.abs().max() <= radius * (1 + 1e-12)
    assert noise.min() < -0.99 * radius and noise.max() > 0.99 * radius
    assert noise.std().item() == pytest.approx(radius / math.sqrt(3), rel=0.03)
    quartiles = noise.flatten().quantile(torch.tensor([0.25, 0.5, 0.75], dtype=noise.dtype))
    assert (quartiles / radius).tolist() == pytest.approx([-0.5, 0.0, 0.5], abs=0.06)
    assert len(noise.flatten(1).unique(dim=0)) == len(noise)


def assert_normal(noise: Tensor, std: float) -> None:
    """N(0, std^2): its spread, and the shares within one and beyond two deviations."""
    assert noise.std().item() == pytest.approx(std, rel=0.05)
    sizes = noise.abs() / std
    assert (sizes < 1).double().mean().item() == pytest.approx(0.683, abs=0.03)
    assert (sizes > 2).double().mean().item() == pytest.approx(0.0455, abs=0.015)
    assert len(noise.flatten(1).unique(dim=0)) == len(noise)


def test_fgsm_starts_at_the_image_and_goes_eps(trainee):
    (start,), adv = attacked(trainee(method="fgsm"), GREY)
    assert torch.equal(start, GREY)
    torch.testing.assert_close((adv - GREY).abs(), torch.full_like(GREY, EPS))


def test_rs_fgsm_starts_uniform_in_eps_goes_a_quarter_further_and_is_clipped(trainee):
    (start,), adv = attacked(trainee(method="rs-fgsm"), GREY)
    assert_uniform(start - GREY, EPS)
    assert (adv - GREY).abs().max().item() == pytest.approx(EPS)
    assert (adv - start).abs().max().item() == pytest.approx(1.25 * EPS)
    whole = (adv - GREY).abs() < EPS * (1 - 1e-9)  # nothing was clipped
    assert whole.any()
    torch.testing.assert_close((adv - start).abs()[whole], torch.full_like(start[whole], 1.25 * EPS))


def test_n_fgsm_starts_uniform_in_two_eps_and_goes_eps_from_there(trainee):
    (start,), adv = attacked(trainee(method="n-fgsm"), GREY)
    assert_uniform(start - GREY, 2 * EPS)
    torch.testing.assert_close((adv - start).abs(), torch.full_like(GREY, EPS))
    assert 2.8 * EPS < (adv - GREY).abs().max() <= 3 * EPS + 1e-12


def test_pgd_starts_uniform_in_eps_and_goes_ten_quarters_within(trainee):
    seen, adv = attacked(trainee(method="pgd"), GREY)
    assert len(seen) == 10
    assert_uniform(seen[0] - GREY, EPS)
    assert (seen[1] - seen[0]).abs().max().item() == pytest.approx(EPS / 4)
    assert all((x - GREY).abs().max() <= EPS + 1e-12 for x in [*seen, adv])


@pytest.mark.parametrize("method", ["trades", "mail-trades", "weat-nat", "weat-adv"])
def test_trades_and_its_heirs_look_at_the_image_and_start_a_thousandth_from_it(method, trainee):
    (clean, *seen), adv = attacked(trainee(method=method), GREY)
    assert torch.equal(clean, GREY) and len(seen) == 10
    assert_normal(seen[0] - GREY, 0.001)
    assert (seen[1] - seen[0]).abs().max().item() == pytest.approx(EPS / 4)
    assert all((x - GREY).abs().max() <= EPS + 1e-12 for x in [*seen, adv])


def test_mart_starts_a_thousandth_from_the_image(trainee):
    seen, _ = attacked(trainee(method="mart"), GREY)
    assert len(seen) == 10
    assert_normal(seen[0] - GREY, 0.001)


@pytest.mark.parametrize("method", ["pgd", "rs-fgsm"])
def test_in_l2_the_start_is_uniform_in_the_ball(method, trainee):
    seen, adv = attacked(trainee(method=method, norm="l2", eps="0.5"), GREY)
    noise = (seen[0] - GREY).flatten(1)
    shares = (noise.norm(dim=1) / EPS) ** 64  # of the ball's volume within
    assert shares.max() <= 1 + 1e-9
    assert shares.quantile(torch.tensor([0.25, 0.5, 0.75]).double()).tolist() == pytest.approx(
        [0.25, 0.5, 0.75], abs=0.2
    )
    assert noise.std().item() == pytest.approx(noise.norm(dim=1).square().mean().div(64).sqrt().item(), rel=0.05)
    assert (adv - GREY).flatten(1).norm(dim=1).max() <= EPS + 1e-12


@pytest.mark.parametrize("method", [name for name in METHODS if name != "standard"])
@pytest.mark.parametrize("edge", [0.0, 1.0])
def test_nothing_leaves_the_box(method, edge, trainee):
    seen, adv = attacked(trainee(method=method), torch.full_like(GREY, edge))
    for images in [*seen, adv]:
        assert images.min() >= 0 and images.max() <= 1


def test_free_training_starts_at_the_image_and_goes_on_from_the_last_batch(trainee):
    pupil = trainee(method="free", eps="0.1")
    x, y = GREY[:16], LABELS[:16]
    pupil.learn(x, y, 0)
    pupil.learn(x, y, 1)
    first, second = (step.x_adv.detach() for step in pupil.steps)
    assert torch.equal(first, x)
    torch.testing.assert_close((second - x).abs(), torch.full_like(x, EPS))
    assert pupil.run.batches.replays == 8


def test_a_batch_is_walked_as_often_as_it_is_replayed(trainee):
    walked = list(trainee(method="free", replays=3).run.walk(0))
    assert [number for number, _, _ in walked] == list(range(15))
    for number, x, y in walked:
        assert torch.equal(x, walked[number - number % 3][1]) and torch.equal(y, walked[number - number % 3][2])
    assert not torch.equal(walked[0][1], walked[3][1])


def numbered(n: int) -> Images:
    """n images of two pixels that tell their number."""
    pixels = torch.stack([torch.arange(n) // 256, torch.arange(n) % 256], dim=1).to(torch.uint8)
    return Images(pixels.view(n, 1, 1, 2), torch.arange(n) % 10, 255)


def order(settings, epoch, rank=0, ranks=1, n=330) -> list[list[int]]:
    """The numbers of the images of each batch of an epoch."""
    numbers = []
    batches = settings.part(partial(Batches, numbered(n)))
    for x, y in batches.of(epoch, torch.Generator(), Share(rank, ranks)):
        high, low = (x * 255).round().long().flatten(1).unbind(1)
        numbers.append((256 * high + low).tolist())
        assert [number % 10 for number in numbers[-1]] == y.tolist()
    return numbers


def test_an_epoch_sees_each_image_once_in_an_order_of_its_own():
    settings = settings_of(augment="none", batch_size=30)
    first, again, second = order(settings, 0), order(settings, 0), order(settings, 1)
    other = order(settings_of(augment="none", batch_size=30, seed=1), 0)
    assert first == again
    for epoch in (first, second, other):
        assert [len(batch) for batch in epoch] == [30] * 11
        assert sorted(chain(*epoch)) == list(range(330))
    flat = [list(chain(*epoch)) for epoch in (first, second, other, [list(range(330))])]
    assert all(sum(a == b for a, b in zip(*two, strict=True)) < 12 for two in combinations(flat, 2))
    assert torch.tensor(first[0]).double().mean().item() == pytest.approx(165, abs=60)  # of all, not of the first


def test_what_does_not_fill_a_batch_is_left_to_the_next_shuffle():
    settings = settings_of(augment="none", batch_size=100)
    epochs = [list(chain(*order(settings, epoch))) for epoch in range(12)]
    assert all(len(epoch) == len(set(epoch)) == 300 for epoch in epochs)
    assert set().union(*epochs) == set(range(330))


def test_processes_share_a_batch_out():
    settings = settings_of(augment="none", batch_size=30)
    one, other, whole = order(settings, 3, 0, 2), order(settings, 3, 1, 2), order(settings, 3)
    assert all(sorted(a + b) == sorted(c) and len(a) == 15 for a, b, c in zip(one, other, whole, strict=True))


def moves(name: str, n: int = 3000) -> tuple[Tensor, Tensor, Tensor]:
    """How far the row of this name moves images of 12x12 pixels down and to the right, and whether it mirrors them."""
    marked = torch.zeros(n, 2, 12, 12, dtype=torch.uint8)
    marked[:, 0, 5, 4], marked[:, 1, 5, 5] = 200, 100  # the second mark is right of the first, unless mirrored
    moved = AUGMENTATIONS[name](marked, torch.Generator().manual_seed(0))
    assert moved.shape == marked.shape and moved.dtype == torch.uint8
    (row, column), (_, beside) = ((m.flatten(1).argmax(1) // 12, m.flatten(1).argmax(1) % 12) for m in moved.unbind(1))
    assert moved.flatten(1).long().sum(1).eq(300).all()  # all else is black, also where the image came from
    mirrored = beside < column
    return row - 5, torch.where(mirrored, 11 - column, column) - 4, mirrored


@pytest.mark.parametrize(
    ("name", "most", "flips"), [("crop-flip", 4, True), ("crop", 4, False), ("shift", 1, False), ("none", 0, False)]
)
def test_images_move_by_every_distance_alike_and_half_of_them_are_mirrored(name, most, flips):
    down, right, mirrored = moves(name)
    for distance in (down, right):
        counts = torch.bincount(distance + most) / len(distance)
        assert counts.tolist() == pytest.approx([1 / (2 * most + 1)] * (2 * most + 1), rel=0.25)
    assert len(torch.stack([down, right], dim=1).unique(dim=0)) == (2 * most + 1) ** 2  # down and right are two draws
    assert mirrored.double().mean().item() == pytest.approx(0.5 if flips else 0.0, abs=0.03)


def test_where_an_image_came_from_is_black():
    white = torch.full((200, 3, 8, 8), 255, dtype=torch.uint8)
    moved = AUGMENTATIONS["crop"](white, torch.Generator().manual_seed(0))
    assert set(moved.unique().tolist()) == {0, 255}
    share = moved[:, 0].eq(255).double().flatten(1).sum(1)
    assert share.min() == 16 and share.max() == 64  # 4 of 8 rows and columns are left at most shift


@pytest.mark.parametrize(
    ("dataset", "name"),
    [("digits", "shift"), ("mnist", "none"), ("svhn", "none"), ("cifar10", "crop-flip"), ("cifar100", "crop-flip")],
)
def test_a_data_set_has_its_usual_augmentation(dataset, name):
    assert usual_augmentation(dataset) == name == settings_of("digits", dataset=dataset).augment


def loaded(**own):
    return load_training_data(settings_of("digits", **{"per_class": 20, **own}), None, torch.device("cpu"))


def rows_of(images: Images) -> list[bytes]:
    return [pixels.numpy().tobytes() for pixels in images.pixels]


@pytest.mark.parametrize(("fraction", "held"), [(0.0, 0), (0.1, 20), (0.26, 52)])
def test_validation_is_a_random_share_of_the_training_images(fraction, held):
    everything, data = loaded(val_fraction=0.0), loaded(val_fraction=fraction)
    assert (len(data.val), len(data.train)) == (held, 200 - held)
    assert sorted(rows_of(data.val) + rows_of(data.train)) == sorted(rows_of(everything.train))
    assert data.val.labels.unique().numel() >= (7 if held else 0)  # not of one class after the other
    assert not held or rows_of(loaded(val_fraction=fraction, seed=1).val) != rows_of(data.val)


def test_the_probe_is_of_the_images_that_are_learnt_and_no_larger_than_the_other_splits():
    data = loaded(eval_samples=30, val_fraction=0.2)
    assert (len(data.probe), len(data.val), len(data.test)) == (30, 30, 30)
    assert set(rows_of(data.probe)) <= set(rows_of(data.train))
    whole = loaded(eval_samples=0, val_fraction=0.2)
    assert (len(whole.probe), len(whole.val), len(whole.test)) == (160, 40, 500)
    assert rows_of(whole.test)[:30] == rows_of(data.test)


def test_chosen_labels_are_renumbered_and_the_first_of_each_taken():
    data, source = loaded(classes=(7, 1), per_class=5, val_fraction=0.0, batch_size=4), loaded(per_class=60)
    assert data.classes == ("7", "1") and sorted(data.train.labels.tolist()) == [0] * 5 + [1] * 5
    assert set(data.test.labels.tolist()) == {0, 1}
    every = dict(
        zip(rows_of(source.train) + rows_of(source.val), [*source.train.labels, *source.val.labels], strict=True)
    )
    assert all(every[row] == (7, 1)[label] for row, label in zip(rows_of(data.train), data.train.labels, strict=True))
    more = loaded(classes=(7, 1), per_class=9, val_fraction=0.0, batch_size=4)
    assert set(rows_of(data.train)) < set(rows_of(more.train))


def test_the_normalisation_is_the_training_images_own(trainee):
    run = trainee(normalize=True).run
    pixels = run.data.train.pixels.double() / 16
    mean, std = run.about["mean"], run.about["std"]
    assert mean == pytest.approx(pixels.mean(dim=(0, 2, 3)).tolist(), abs=1e-6)
    assert std == pytest.approx(pixels.std(dim=(0, 2, 3), unbiased=False).tolist(), abs=1e-6)
    x = GREY[:2]
    core = run.network.get_submodule("model")
    expected = core((x - torch.tensor(mean).double()) / torch.tensor(std).double())
    torch.testing.assert_close(run.network(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("ramp", [0.0, 0.4, 2.0])
def test_eps_grows_in_a_straight_line(ramp, trainee):
    run = trainee(eps="0.2", eps_ramp=ramp).run
    for progress in (0.1, 0.4, 1.0, 5.0):
        assert run.course.eps(progress) == pytest.approx(0.2 * (min(1.0, progress / ramp) if ramp else 1.0))


@pytest.mark.parametrize("method", ["standard", "free", "fgsm"])
def test_every_epoch_begins_in_train_mode(method, trainee):
    run = trainee(method=method).run
    run.network.eval()
    next(run.epochs_left())
    assert all(module.training for module in run.network.modules())
